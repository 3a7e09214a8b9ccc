"""``vmprobe page``: what one page frame is, who maps it, and whether it can be moved.

What is not known is None in the answer and has its reason in `Page.missing`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from vmprobe.analyses.evidence import FILES, FRAME_NUMBERS, Evidence, demand_frames, why_missing
from vmprobe.analyses.page_address import resolve
from vmprobe.analyses.page_answer import Folio, FreeBlock, MappingRow, MechanismOfPage, Movable, Page
from vmprobe.analyses.process import owners
from vmprobe.analyses.quirk_detectors import PRESENT, averaged_mapcounts
from vmprobe.analyses.quirks import trust_ksm
from vmprobe.analyses.show import MissingPart
from vmprobe.bridge.page import Frame, cell, frame
from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from vmprobe.analyses.page_address import Entry
    from vmprobe.bridge.page import Mapping
    from vmprobe.tables import Snapshot

UNCOUNTABLE: Final = {
    "unstable": "the frame changed while mappings were counted",
    "large-folio-average": "this kernel prints the average of a large folio on each of its pages",
    "zsmalloc": "zsmalloc keeps an offset where the count is",
}
"""Differences of map count and mappings that say nothing about mappers."""


def page(snapshot: Snapshot, pfn: int | None = None, *, at: tuple[int, int] | None = None) -> Page:
    """Return what frame `pfn` is, or what stands behind an address.

    Parameters
    ----------
    snapshot
        The photograph.
    pfn
        Page frame number.
    at
        Process and address of any byte in the page, in place of `pfn`.

    Raises
    ------
    UsageError
        There is no such frame, process or VMA.
    SnapshotError
        The snapshot has no page frames, or no page tables for `at`.
    PrivilegeError
        The same, of a snapshot that was taken now, for want of a privilege.
    """
    entry = None
    if at is not None:
        entry = resolve(snapshot, *at)
        pfn = entry.pfn
        if pfn is None:
            return _nothing(snapshot, entry)
    assert pfn is not None  # one of both is given
    evidence = Evidence(snapshot)
    demand_frames(evidence)
    found = frame(
        snapshot,
        pfn,
        averaged=averaged_mapcounts(evidence).status == PRESENT,
        trust_ksm=trust_ksm(evidence),
        unevictable_allowed=_unevictable_allowed(evidence),
    )
    if found is None:
        if entry is None:
            raise UsageError(f"the host has no page frame {pfn}", hint=f"its frames are {_ranges(snapshot)}")
        return _nothing(snapshot, entry)
    return _page(snapshot, pfn, found, entry)


def _page(snapshot: Snapshot, pfn: int, found: Frame, entry: Entry | None) -> Page:
    """Put together what the model and the tables know of a frame."""
    mapcount, memcg, why_no_memcg, unstable = _cells(snapshot, found)
    unseen, why_no_unseen = _unseen(snapshot, found, mapcount)
    span = found.spans[0] if len(found.spans) == 1 else None
    absent = {
        "class": (found.class_name, "the flag word of this frame could not be read"),
        "folio": (found.head_pfn, _why_no_folio(found)),
        "zone": (span, _why_no_zone(found)),
        "pageblock": (found.block, why_missing(snapshot, "pageblocks_by_type", "pagetypeinfo")),
        "mapcount": (mapcount, _why_no_value(snapshot, "kpagecount")),
        "memcg": (memcg, why_no_memcg),
        "mappings": (found.mappings, _why_no_mappings(snapshot)),
        "unseen_mappers": (unseen, why_no_unseen),
    }
    missing = [MissingPart(part, reason) for part, (value, reason) in absent.items() if value is None]
    return Page(
        pfn=pfn,
        page_class=found.class_name,
        flags=found.flags,
        folio=_folio(found),
        node=None if span is None else span.node,
        zone=None if span is None else span.zone,
        pageblock=found.block,
        mapcount=mapcount,
        memcg=memcg,
        mappings=None if found.mappings is None else _rows(snapshot, found.mappings),
        unseen_mappers=unseen,
        movable=Movable(found.verdict, found.reason),
        meaning=found.meaning,
        mechanism=found.difference,
        mechanisms=None
        if found.mechanisms is None
        else tuple(MechanismOfPage(*each) for each in found.mechanisms),
        entries=None if found.mappings is None else len(found.mappings),
        free_block=None if found.free_block is None else FreeBlock(*found.free_block),
        zone_offset_pages=None if span is None else span.zone_offset_pages,
        unstable=unstable,
        page_size=snapshot.page_size,
        at=entry,
        missing=tuple(missing),
    )


def _nothing(snapshot: Snapshot, entry: Entry) -> Page:
    """Return the answer for an address that no frame of the host stands behind."""
    reason = entry.meaning if entry.pfn is None else f"{entry.meaning}; no frame of the host has its number"
    answer: dict[str, Any] = dict.fromkeys(field.name for field in fields(Page))
    answer |= {"pfn": entry.pfn, "page_size": snapshot.page_size, "at": entry}
    return Page(**answer | {"missing": (MissingPart("page", reason),)})


def _unevictable_allowed(evidence: Evidence) -> bool | None:
    value = evidence.counters.get(("sysctl", "vm", "compact_unevictable_allowed"))
    return None if value is None else bool(value)


def _ranges(snapshot: Snapshot) -> str:
    return " and ".join(f"{start} to {end - 1}" for start, end in snapshot.manifest["frame_ranges"])


def _cells(snapshot: Snapshot, found: Frame) -> tuple[int | None, str | None, str, bool]:
    """Return map count, cgroup and why that is None, and whether the frame is unstable."""
    table = snapshot.table("frames", ("mapcount", "memcg", "unstable"))
    unstable = bool(cell(table, "unstable", found.row))
    mapcount = cell(table, "mapcount", found.row)
    inode = cell(table, "memcg", found.row)
    if inode is None:
        return mapcount, None, _why_no_value(snapshot, "kpagecgroup"), unstable
    if inode == 0:
        return mapcount, None, "charged to no cgroup", unstable
    path = None
    if snapshot.has("cgroups"):
        path = dict(snapshot.table("cgroups").rows("inode", "path")).get(inode)
    return mapcount, path, f"no cgroup in the snapshot has inode {inode}", unstable


def _unseen(snapshot: Snapshot, found: Frame, mapcount: int | None) -> tuple[int | None, str]:
    """Return how many mappings the kernel counts beyond those that were found, and why that is None."""
    if mapcount is None:
        return None, _why_no_value(snapshot, "kpagecount")
    if found.mappings is None:
        return None, _why_no_mappings(snapshot)
    if found.difference in UNCOUNTABLE:
        return None, UNCOUNTABLE[found.difference]
    return max(0, mapcount - len(found.mappings)), ""


def _why_no_value(snapshot: Snapshot, file: str) -> str:
    """Return why the column that is read from `file` has no value for a frame."""
    for entry in snapshot.manifest.get("unread", ()):
        if entry["what"] == file:
            return why_missing(snapshot, "frames", file)
    return "not in this snapshot"


def _why_no_mappings(snapshot: Snapshot) -> str:
    for table, file in FILES.items():
        if not snapshot.has(table):
            return why_missing(snapshot, table, file)
    return f"frame numbers are hidden from who lacks {FRAME_NUMBERS}"


def _why_no_folio(found: Frame) -> str:
    if found.class_name is None:
        return "the flag word of this frame could not be read"
    return "the frame is not allocated"


def _why_no_zone(found: Frame) -> str:
    if not found.spans:
        return "outside every zone"
    return "in the spans of " + " and ".join(f"node {span.node} {span.zone}" for span in found.spans)


def _folio(found: Frame) -> Folio | None:
    if found.head_pfn is None or found.nr_pages is None:
        return None
    order = found.nr_pages.bit_length() - 1
    return Folio(found.head_pfn, order if found.nr_pages == 1 << order else None, found.nr_pages)


def _rows(snapshot: Snapshot, mappings: tuple[Mapping, ...]) -> tuple[MappingRow, ...]:
    """Return a row for each process of each mapping's address space, by pid, then address."""
    processes = owners(snapshot)
    vmas = snapshot.table("vmas", ("start", "name", "perms"))
    rows = []
    for mapping in mappings:
        vma = [
            None if mapping.vma is None else cell(vmas, column, mapping.vma)
            for column in ("start", "name", "perms")
        ]
        for pid, comm in processes.get(mapping.mm, [(None, None)]):
            rows.append(MappingRow(pid, comm, mapping.vpn * snapshot.page_size, *vma))
    return tuple(sorted(rows, key=lambda row: (row.pid or 0, row.address)))
