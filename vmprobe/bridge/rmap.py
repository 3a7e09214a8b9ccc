"""Reverse maps of a snapshot, and what became of an earlier snapshot's single entries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.rmap.csr import reverse_entries
from kernelmodel.rmap.inferred import Areas
from kernelmodel.rmap.survey import FrameKind, Survey, survey
from kernelmodel.vma_motion import EXITED, STALE, UNREAD, Fate, Stored, follow
from vmprobe.bridge.model import frames, page_tables

__all__ = [
    "ENDS",
    "KINDS",
    "Example",
    "Mapped",
    "Outcome",
    "Survey",
    "follow_entries",
    "mapped",
    "survey_maps",
]

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.page_tables import PageTables
    from kernelmodel.rmap.csr import ReverseEntries
    from kernelmodel.vma_motion import Followed
    from vmprobe.tables import Snapshot, Table


def _word(fate: Fate) -> str:
    return fate.name.lower().replace("_", " ")


KINDS: Final = ("file", "anonymous", "ksm")
"""Mapped frames in words, by `FrameKind`; the fourth kind is not in a survey."""
ENDS: Final = tuple(_word(fate) for fate in Fate if fate not in {*STALE, Fate.RIGHT})
"""Why there is nothing left that an entry could be right or wrong about, in words."""


@dataclass(frozen=True)
class Mapped:
    """Who maps what in a snapshot.

    Parameters
    ----------
    entries
        Reverse entries; those of PFN maps are left out.
    kind, exclusive
        Of each frame of `entries`, as `kernelmodel.rmap.survey.survey` wants them.
    areas
        What each VMA maps.
    parent
        By address space: that of the parent process, -1 where there is none or it is not known.
    """

    entries: ReverseEntries
    kind: NDArray[np.uint8]
    exclusive: NDArray[np.bool_]
    areas: Areas
    parent: NDArray[np.int64]


def mapped(snapshot: Snapshot, *, trust_ksm: bool) -> Mapped | None:
    """Return who maps what; None without page tables or where frame numbers are hidden.

    Parameters
    ----------
    snapshot
        With or without flag words; without them zero pages and KSM pages count as anonymous.
    trust_ksm
        Whether the KSM bit of its kernel means KSM.
    """
    tables = page_tables(snapshot)
    if tables is None:
        return None
    tables = _without_pfnmaps(tables)
    entries = reverse_entries(tables)
    runs = snapshot.table("mappings", ("kind", "nr_pages", "pfn", "exclusive", "file"))
    present = runs.equals("kind", "present") & runs.is_valid("pfn")
    file = _covered(entries, runs, present & runs.column("file"))
    kind = np.where(file, FrameKind.FILE, FrameKind.ANON).astype(np.uint8)
    if snapshot.has("frames") and snapshot.table("frames", ("flags",)).has("flags"):
        memmap = frames(snapshot)
        row = memmap.rows(entries.pfn)
        kind[memmap.having("KSM")[row] & ~file & (row >= 0) & trust_ksm] = FrameKind.KSM
        kind[memmap.having("ZERO_PAGE")[row] & (row >= 0)] = FrameKind.UNCOUNTED
    exclusive = _covered(entries, runs, present & runs.column("exclusive"))
    return Mapped(entries, kind, exclusive, _areas(snapshot, tables), _parents(snapshot, tables))


def survey_maps(snapshot: Snapshot, maps: Mapped, mm: int | None) -> Survey:
    """Compare the three reverse maps on a snapshot, or on the frames that one address space maps."""
    return survey(
        maps.entries,
        maps.kind,
        maps.exclusive,
        maps.areas,
        maps.parent,
        nr_frames=_nr_frames(snapshot),
        mm=mm,
    )


class Example(NamedTuple):
    """One stale entry, in pages: the starts of its VMA, the offsets from them; `mm` is the earlier one."""

    mm: int
    old_start: int
    new_start: int
    recorded_offset: int
    right_offset: int


class Outcome(NamedTuple):
    """Entries that the map of 1998 would have stored, by what became of them.

    Parameters
    ----------
    nr_stored, nr_right
        Entries, and those that still resolve to their page.
    nr_by_fate
        Motions that make entries wrong, and `ENDS`, in words, to entries.
    mms_by_fate
        To address spaces of the earlier snapshot.
    examples
        Of each cause, one from the VMA with most stale entries.
    nr_linear, nr_by_rule
        Stale entries whose linear offset still resolves, and those of them for which only the kernel's rule
        says so (`kernelmodel.vma_motion.Followed`).
    """

    nr_stored: int
    nr_right: int
    nr_by_fate: dict[str, int]
    mms_by_fate: dict[str, tuple[int, ...]]
    examples: dict[str, Example]
    nr_linear: int
    nr_by_rule: int


def follow_entries(old: Snapshot, then: Mapped, new: Snapshot, now: Mapped, mm: int | None) -> Outcome:
    """Return what became of the single entries of an earlier snapshot of the same boot.

    Parameters
    ----------
    old, then, new, now
        Both snapshots, with who maps what in them.
    mm
        Follow only what belongs to this address space of `new`.
    """
    mm_now = _mm_now(old, new, len(then.parent))
    stored = _stored(then, np.full(len(mm_now), True) if mm is None else mm_now == mm)
    followed = follow(stored, then.areas, now.areas, now.entries, mm_now)
    followed.validate(stored, then.areas, now.areas)
    owner = then.areas.vmas.mm[stored.vma]
    nr_by_fate, mms_by_fate, examples = {}, {}, {}
    for fate in Fate:
        rows = np.flatnonzero(followed.fate == fate)
        if fate is not Fate.RIGHT and len(rows):
            word = _word(fate)
            nr_by_fate[word] = len(rows)
            mms_by_fate[word] = tuple(np.unique(owner[rows]).tolist())
            if fate in STALE:
                row = rows[np.argmax(np.bincount(stored.vma[rows])[stored.vma[rows]])]
                examples[word] = _example(stored, followed, then.areas, now.areas, int(row))
    stale = np.isin(followed.fate, STALE)
    return Outcome(
        len(owner),
        int(np.count_nonzero(followed.fate == Fate.RIGHT)),
        nr_by_fate,
        mms_by_fate,
        examples,
        int(np.count_nonzero(stale & followed.linear)),
        int(np.count_nonzero(stale & followed.by_rule)),
    )


def _example(stored: Stored, followed: Followed, then: Areas, now: Areas, row: int) -> Example:
    vma = int(stored.vma[row])
    start, start_now = int(then.vmas.start_vpn[vma]), int(now.vmas.start_vpn[followed.vma[row]])
    recorded, right = int(stored.vpn[row]) - start, int(followed.vpn[row]) - start_now
    return Example(int(then.vmas.mm[vma]), start, start_now, recorded, right)


def _stored(maps: Mapped, chosen: NDArray[np.bool_]) -> Stored:
    """Return the entries of frames that are mapped once, by a listed VMA of the chosen address spaces."""
    entries, vmas = maps.entries, maps.entries.vmas
    single = (entries.counts() == 1) & maps.exclusive & (maps.kind != FrameKind.UNCOUNTED)
    rows = entries.first[:-1][single]
    vma = entries.vma[rows].astype(np.int64)
    kept = vmas.listed[vma] & chosen[vmas.mm[vma]]
    vma, rows = vma[kept], rows[kept]
    return Stored(vma, vmas.start_vpn[vma] + entries.offset_pages[rows], entries.pfn[single][kept])


def _mm_now(old: Snapshot, new: Snapshot, nr: int) -> NDArray[np.int64]:
    """Return where each address space of `old` is in `new`: a process is known by pid and start time."""
    names = ("pid", "start_time", "mm")
    seen = {
        (pid, start): UNREAD if mm is None else mm
        for pid, start, mm in new.table("tasks", names).rows(*names)
        if start is not None
    }
    found = np.full(nr, EXITED, np.int64)
    for pid, start, mm in old.table("tasks", names).rows(*names):
        if mm is not None and mm < nr and found[mm] < 0:
            found[mm] = max(found[mm], seen.get((pid, start), UNREAD if new.selective else EXITED))
    return found


def _nr_frames(snapshot: Snapshot) -> int | None:
    ranges = snapshot.manifest.get("frame_ranges")
    if ranges:
        return sum(int(end) - int(start) for start, end in ranges)
    if not snapshot.has("zones"):
        return None
    return int(snapshot.table("zones", ("present_pages",)).column("present_pages").sum())


def _without_pfnmaps(tables: PageTables) -> PageTables:
    """Drop the entries of VM_PFNMAP areas: the kernel has no reverse map of them."""
    if tables.vmas.pfnmap is None or not tables.vmas.pfnmap.any():
        return tables
    kept = ~tables.vmas.pfnmap[tables.vma]
    return replace(
        tables,
        vma=tables.vma[kept],
        vpn=tables.vpn[kept],
        pfn=tables.pfn[kept],
        nr_pages=tables.nr_pages[kept],
    )


def _covered(entries: ReverseEntries, runs: Table, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which frames lie in a chosen run."""
    pfn = runs.column("pfn")[chosen].astype(np.int64)
    end = pfn + runs.column("nr_pages")[chosen].astype(np.int64)
    change = np.zeros(len(entries.pfn) + 1, np.int64)
    for edges, step in ((pfn, 1), (end, -1)):
        at = np.searchsorted(entries.pfn, np.sort(edges))
        change += step * np.bincount(at, minlength=len(change))
    inside: NDArray[np.bool_] = np.cumsum(change)[:-1] > 0
    return inside


def _areas(snapshot: Snapshot, tables: PageTables) -> Areas:
    """Return what each VMA maps; a stand-in maps nothing that is known."""
    names = ("pgoff", "dev", "inode", "name", "perms", "vm_flags")
    table = snapshot.table("vmas", names)
    nr = len(tables.vmas)
    backing = np.full(nr, -1, np.int64)
    numbers: dict[tuple[str, int], int] = {}
    pgoff = tables.vmas.start_vpn.copy()
    private, grows_down = np.zeros(nr, np.bool_), np.zeros(nr, np.bool_)
    for row, (offset, dev, inode, name, perms, flags) in enumerate(table.rows(*names)):
        private[row] = perms.endswith("p")
        grows_down[row] = name == "[stack]" or "gd" in (flags or "").split()
        if inode:
            backing[row] = numbers.setdefault((dev, inode), len(numbers))
            pgoff[row] = offset
    return Areas(tables.vmas, backing, pgoff, private, grows_down)


def _parents(snapshot: Snapshot, tables: PageTables) -> NDArray[np.int64]:
    nr = int(tables.vmas.mm.max(initial=-1)) + 1
    parent = np.full(nr, -1, np.int64)
    rows = sorted(snapshot.table("tasks", ("pid", "ppid", "mm")).rows("pid", "ppid", "mm"))
    mm_of = {pid: mm for pid, _, mm in rows if mm is not None and mm < nr}
    for pid, ppid, _ in rows:
        above = mm_of.get(ppid, -1)
        if pid in mm_of and parent[mm_of[pid]] < 0 and above != mm_of[pid]:
            parent[mm_of[pid]] = above
    return parent
