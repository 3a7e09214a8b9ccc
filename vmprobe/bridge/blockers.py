"""Who stands in the way of free blocks in a snapshot: tables in, `kernelmodel.blockers` out, owners named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.blockers import Windows, held_by_kind, held_by_owner, held_by_tag, hostages, windows
from kernelmodel.holder import CGROUP_TAG, HOLDER_NAMES, HOLDERS, PINNED_TAG, PROCESS_TAG, Holder
from kernelmodel.movability import MOVABILITY_INFO, Movability
from vmprobe.bridge.memmap import charged
from vmprobe.bridge.standing import Standing, reached, standing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from vmprobe.tables import Snapshot

_WORDS: Final = {
    Movability.HUGETLB: "huge pages that no process maps",
    Movability.UNEVICTABLE_KEPT: "unevictable pages that no process maps",
    Movability.DRIVER: "a driver's pages",
    Movability.KERNEL: "kernel memory charged to nobody",
    Movability.UNKNOWN: "flag word 0",
    Movability.OFFLINE: "given to the hypervisor",
    Movability.ZSMALLOC_OR_DRIVER: "zsmalloc or a driver",
    Movability.CACHE_OR_KERNEL: "page cache in a batch, or the kernel's",
    Movability.SECRET_OR_MLOCKED: "secret memory, or mlocked in a batch",
    Movability.UNREAD: "words that could not be read",
}
"""Owners that have no name of their own; the others are called by why their pages stay."""


@dataclass(frozen=True)
class BlockerRow:
    """One kind of owner.

    Parameters
    ----------
    kind
        process, cgroup, slab, page tables, kernel, pinned or unknown.
    pageblocks
        Those that it holds. One that several kinds hold counts under each: the kinds add up to more than
        there are.
    alone_pageblocks
        Those that no other kind holds: what would be free to be had if this kind went away.
    full_pageblocks
        Those with nothing but its pages: used rather than held hostage.
    pages
        Its pages in them.
    trapped_free_pages
        Free pages in them.
    """

    kind: str
    pageblocks: int
    alone_pageblocks: int
    full_pageblocks: int
    pages: int
    trapped_free_pages: int


@dataclass(frozen=True)
class OwnerRow:
    """One owner; as `BlockerRow`, but that `alone_pageblocks` are those without any other owner.

    Parameters
    ----------
    kind
        Its kind.
    owner
        Name of the process, path of the cgroup, or what the pages are; None where nobody could be named.
    pid
        The process; the first of those that share its address space.
    """

    kind: str
    owner: str | None
    pid: int | None
    pageblocks: int
    alone_pageblocks: int
    full_pageblocks: int
    pages: int
    trapped_free_pages: int


@dataclass(frozen=True)
class Blockers:
    """Who holds which blocks of one order.

    Parameters
    ----------
    order
        log2 of the pages in a block; "pageblock" below is such a block.
    pageblocks
        Those of the zones that have memory behind every page: the others can never be free as a whole.
    held_pageblocks, trapped_free_pages
        Those that anybody holds, and free pages in them; each counted once.
    kinds
        Kinds of owners that hold any, those that hold the most first.
    owners
        Owners, those that hold the most first.
    pins
        Pins that are outstanding by the kernel's count; None where that was not read.
    pins_located
        Frames that are known to be pinned.
    pins_unlocated
        Pins that no known frame accounts for: any page that could move may be one; None where that is not
        known.
    """

    order: int
    pageblocks: int
    held_pageblocks: int
    trapped_free_pages: int
    kinds: tuple[BlockerRow, ...]
    owners: tuple[OwnerRow, ...]
    pins: int | None
    pins_located: int
    pins_unlocated: int | None


def blockers(snapshot: Snapshot, order: int, zones: Collection[tuple[int, str]] | None = None) -> Blockers:
    """Return who holds which blocks of one order.

    Parameters
    ----------
    snapshot
        With flag words.
    order
        log2 of the pages in a block.
    zones
        Node and name of the zones to look at; None for all.

    Raises
    ------
    SnapshotError
        The snapshot has no flag words, or the manifest's frame ranges do not cover the table.
    """
    found = standing(snapshot)
    return blockers_among(snapshot, found, windows(found.memmap, found.tags, order), zones)


def blockers_among(
    snapshot: Snapshot,
    found: Standing,
    everything: Windows,
    zones: Collection[tuple[int, str]] | None = None,
) -> Blockers:
    """Return who holds which of some windows; as `blockers`."""
    inside = np.zeros(len(everything), np.bool_)
    for zone in found.zones:
        if zones is None or (zone.node, zone.zone) in zones:
            inside |= everything.inside(zone.start_pfn, zone.end_pfn)
    among = everything.chosen(inside & everything.whole)
    total = hostages(among)
    kinds = [
        BlockerRow(HOLDER_NAMES[holder], *held)
        for holder, held in held_by_kind(among).items()
        if held.windows
    ]
    return Blockers(
        order=among.order,
        pageblocks=len(among),
        held_pageblocks=total.windows,
        trapped_free_pages=total.trapped_free_pages,
        kinds=tuple(sorted(kinds, key=lambda row: (-row.pageblocks, row.kind))),
        owners=tuple(sorted(_owners(snapshot, found, among), key=_by_weight)),
        pins=found.pins.nr_outstanding,
        pins_located=len(found.pins.pfn),
        pins_unlocated=found.pins.nr_unlocated,
    )


def _by_weight(row: OwnerRow) -> tuple[int, int, str, str, int]:
    return (-row.pageblocks, -row.pages, row.kind, row.owner or "", row.pid or 0)


def _owners(snapshot: Snapshot, found: Standing, among: Windows) -> Iterable[OwnerRow]:
    yield from _processes(snapshot, found, among)
    yield from _cgroups(snapshot, found, among)
    for tag in Movability:
        holder = HOLDERS[tag]
        if holder not in (Holder.SLAB, Holder.KERNEL, Holder.UNKNOWN):
            continue
        held = held_by_tag(among, tag)
        if held.windows:
            yield OwnerRow(HOLDER_NAMES[Holder(holder)], tag_name(tag), None, *held)


def tag_name(tag: Movability) -> str | None:
    """Return how an owner is called that is known by its tag alone; slab is a kind without owners."""
    return None if HOLDERS[tag] == Holder.SLAB else _WORDS.get(tag, MOVABILITY_INFO[tag].reason)


def process_names(snapshot: Snapshot) -> dict[int, tuple[str | None, int]]:
    """Return name and pid of each address space, of the first of those that share it."""
    names: dict[int, tuple[str | None, int]] = {}
    columns = ("pid", "comm", "mm")
    rows = snapshot.table("tasks", columns).rows(*columns) if snapshot.has("tasks") else ()
    for pid, comm, mm in sorted(rows):
        if mm is not None:
            names.setdefault(mm, (comm, pid))
    return names


def cgroup_names(snapshot: Snapshot, inodes: Iterable[int]) -> dict[int, str | None]:
    """Return what each cgroup is called, by its inode; 0 is nobody."""
    paths = dict(snapshot.table("cgroups").rows("inode", "path")) if snapshot.has("cgroups") else {}
    return {inode: paths.get(inode, f"cgroup with inode {inode}") if inode else None for inode in inodes}


def _processes(snapshot: Snapshot, found: Standing, among: Windows) -> Iterable[OwnerRow]:
    """Name who maps what stays because of a process or of a pin; pages that nobody maps have no name."""
    names = process_names(snapshot)
    for tag, holder in ((PROCESS_TAG, Holder.PROCESS), (PINNED_TAG, Holder.PINNED)):
        chosen = found.tags == tag
        if not chosen.any():
            continue
        pfn, mm = reached(found.memmap, chosen, found.tables)
        unmapped = np.setdiff1d(found.memmap.pfns(np.flatnonzero(chosen)), pfn)
        mms, owner = np.unique(np.append(mm, np.full(len(unmapped), -1)), return_inverse=True)
        held = held_by_owner(among, np.append(pfn, unmapped), owner, len(mms))
        for each, sums in zip(mms.tolist(), held, strict=True):
            if sums.windows:
                name, pid = names.get(each, (None, None))
                yield OwnerRow(HOLDER_NAMES[holder], name, pid, *sums)


def _cgroups(snapshot: Snapshot, found: Standing, among: Windows) -> Iterable[OwnerRow]:
    """Name the cgroup that is charged for kernel memory and for page tables."""
    for tag in (CGROUP_TAG, int(Movability.PGTABLE)):
        rows = np.flatnonzero(found.tags == tag)
        if not len(rows):
            continue
        inodes, owner = np.unique(charged(snapshot, rows), return_inverse=True)
        held = held_by_owner(among, found.memmap.pfns(rows), owner, len(inodes))
        names = cgroup_names(snapshot, inodes.tolist())
        for name, sums in zip(names.values(), held, strict=True):
            if sums.windows:
                yield OwnerRow(HOLDER_NAMES[Holder(HOLDERS[tag])], name, None, *sums)
