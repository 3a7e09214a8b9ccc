"""How each kernel quirk shows in a snapshot; pure functions, see `vmprobe.analyses.quirks`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.units import count_text

if TYPE_CHECKING:
    from vmprobe.analyses.evidence import Evidence

PRESENT: Final = "present"
ABSENT: Final = "absent"
UNKNOWN: Final = "unknown"

TYPED: Final = ("NOPAGE", "BUDDY", "SLAB", "PGTABLE", "HUGE", "ZERO_PAGE", "OFFLINE", "RESERVED")
"""Flags beside which ANON and KSM mean nothing."""

DEFERRED_MIN_PERCENT: Final = 1
"""Share of the present pages from which memory that the allocator lacks is called deferred.

A booted kernel without it keeps its image, memory map and firmware back, and marks them RESERVED: they are
subtracted first, and what is left is under a thousandth.
"""


class Finding(NamedTuple):
    """present, absent or unknown, and the figures that say so."""

    status: str
    text: str


NO_FLAGS: Final = Finding(UNKNOWN, "no flag words in the snapshot")
NO_MAPPINGS: Final = Finding(UNKNOWN, "no mappings in the snapshot")


def _seen(count: int, what: str) -> Finding:
    return Finding(PRESENT if count else ABSENT, f"{count_text(count)} {what}")


def nopage_not_reported(evidence: Evidence) -> Finding:
    """Frames outside System RAM whose word is 0, while no frame has NOPAGE."""
    if evidence.words is None:
        return NO_FLAGS
    reported = evidence.words.count("NOPAGE")
    if reported:
        return Finding(ABSENT, f"{count_text(reported)} frames with NOPAGE")
    holes = evidence.nr_zero_holes
    if holes is None:
        return Finding(UNKNOWN, "no frame has NOPAGE, and /proc/iomem does not show the holes")
    if not holes:
        return Finding(UNKNOWN, "no holes in the range of frames")
    return Finding(
        PRESENT, f"{count_text(holes)} frames outside System RAM with flag word 0, none with NOPAGE"
    )


def ksm_on_all_anon(evidence: Evidence) -> Finding:
    """As many KSM as anonymous frames while KSM shares nothing, or KSM on pages marked exclusive."""
    if evidence.words is None:
        return NO_FLAGS
    anon = evidence.words.count("ANON", lacking=TYPED)
    ksm = evidence.words.count("ANON", "KSM", lacking=TYPED)
    if not anon:
        return Finding(UNKNOWN, "no anonymous frames")
    figures = f"{count_text(ksm)} of {count_text(anon)} anonymous frames have KSM"
    if ksm < anon:
        return Finding(ABSENT, figures)
    # KSM shares a page, so it is never exclusive (PG_anon_exclusive, printed as bit 34) to one address space.
    exclusive = evidence.words.count("ANON", "KSM", "OWNER_2", lacking=TYPED)
    if exclusive:
        return Finding(PRESENT, f"{figures}, {count_text(exclusive)} of them exclusive")
    shared = evidence.counters.get(("ksm", "", "pages_shared"))
    if shared is None:
        return Finding(UNKNOWN, f"{figures}; ksm/pages_shared is not in the snapshot")
    status = UNKNOWN if shared else PRESENT
    return Finding(status, f"{figures}; ksm/pages_shared is {count_text(shared)}")


def slab_junk(evidence: Evidence) -> Finding:
    """Slab frames with ANON or KSM."""
    if evidence.words is None:
        return NO_FLAGS
    slab = evidence.words.count("SLAB")
    if not slab:
        return Finding(UNKNOWN, "no slab frames")
    junk = slab - evidence.words.count("SLAB", lacking=("ANON", "KSM"))
    return _seen(junk, f"of {count_text(slab)} slab frames have ANON or KSM")


def lru_missing(evidence: Evidence) -> Finding:
    """Anonymous frames without LRU; tails are left out, since older kernels print no LRU on them."""
    if evidence.words is None:
        return NO_FLAGS
    typed = (*TYPED, "COMPOUND_TAIL")
    anon = evidence.words.count("ANON", lacking=typed)
    if not anon:
        return Finding(UNKNOWN, "no anonymous frames")
    fresh = evidence.words.count("ANON", lacking=(*typed, "LRU"))
    return _seen(fresh, f"of {count_text(anon)} anonymous frames lack LRU")


def uptodate_on_free(evidence: Evidence) -> Finding:
    """Free frames with UPTODATE."""
    if evidence.words is None:
        return NO_FLAGS
    free = evidence.words.count("BUDDY")
    if not free:
        return Finding(UNKNOWN, "no free frames")
    return _seen(
        evidence.words.count("BUDDY", "UPTODATE"), f"of {count_text(free)} free frames have UPTODATE"
    )


def marker_as_swap(evidence: Evidence) -> Finding:
    """Entries that are markers."""
    found = evidence.entries_of("guard", "uffd-wp", "poisoned", "marker")
    return _entries(evidence, found, "marker entries")


def frame_entries(evidence: Evidence) -> Finding:
    """Entries with a frame in place of a swap slot."""
    found = evidence.entries_of("frame-entry")
    return _entries(evidence, found, "entries that hold a frame number")


def _entries(evidence: Evidence, found: int | None, what: str) -> Finding:
    """Judge a count of entries; hidden swap fields make none of them worth nothing."""
    if found is None:
        return NO_MAPPINGS
    if not found and not evidence.snapshot.table("mappings", ("pfn",)).has("pfn"):
        return Finding(UNKNOWN, "the kernel hides what entries hold")
    return _seen(found, what)


def deferred_memory(evidence: Evidence) -> Finding:
    """Pages that are present, not managed, and not reserved either."""
    if evidence.words is None:
        return NO_FLAGS
    present, managed = evidence.zone_sum("present_pages"), evidence.zone_sum("managed_pages")
    if present is None or managed is None:
        return Finding(UNKNOWN, "no zones in the snapshot")
    reserved = evidence.words.count("RESERVED")
    late = max(0, present - managed - reserved)
    text = (
        f"{count_text(present)} pages present, {count_text(managed)} managed, {count_text(reserved)} reserved"
        f": {count_text(late)} not accounted for"
    )
    return Finding(PRESENT if late * 100 > present * DEFERRED_MIN_PERCENT else ABSENT, text)


def averaged_mapcounts(evidence: Evidence) -> Finding:
    """Ask the kernel's own configuration."""
    option = evidence.config("NO_PAGE_MAPCOUNT")
    if option is None:
        return Finding(UNKNOWN, "the kernel does not show its configuration")
    return Finding(
        PRESENT if option else ABSENT, f"CONFIG_NO_PAGE_MAPCOUNT is {'y' if option else 'not set'}"
    )


def stale_walk_end(evidence: Evidence) -> Finding:
    """Ask what the collector saw when it scanned memory of its own with room for many regions."""
    noted = evidence.snapshot.manifest.get("scan_ioctl")
    stale = noted.get("stale_walk_end") if isinstance(noted, dict) else None
    if not isinstance(stale, bool):
        refused = isinstance(noted, dict) and noted.get("supported") is False
        return (
            Finding(ABSENT, "this kernel has no PAGEMAP_SCAN") if refused else Finding(UNKNOWN, "not tried")
        )
    return Finding(PRESENT if stale else ABSENT, "tried on memory of our own")


def tails_repeat_head(evidence: Evidence) -> Finding:
    """Tails of large folios with LRU."""
    if evidence.words is None:
        return NO_FLAGS
    if not evidence.words.count("COMPOUND_HEAD", "THP", "LRU", lacking=TYPED):
        return Finding(UNKNOWN, "no large folios")
    tails = evidence.words.count("COMPOUND_TAIL", "THP", lacking=TYPED)
    return _seen(
        evidence.words.count("COMPOUND_TAIL", "THP", "LRU", lacking=TYPED),
        f"of {count_text(tails)} tails of large folios have LRU",
    )
