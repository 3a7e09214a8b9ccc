"""A snapshot as the model sees it: tables in, `kernelmodel.host.HostModel` out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kernelmodel.geometry import Geometry
from kernelmodel.host import HostModel, Unseen, ZoneSpan, build
from kernelmodel.memmap import MemMap
from kernelmodel.page_tables import PageTables, VmaTable
from vmprobe.bridge.memmap import frame_ranges
from vmprobe.errors import SnapshotError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vmprobe.tables import Snapshot

APART: Final = ("HighAtomic", "CMA", "Isolate")
"""Migratetypes whose free blocks merge with none of another type (``mm/page_alloc.c: __free_one_page``)."""


def host_model(snapshot: Snapshot, *, averaged: bool) -> HostModel:
    """Build the model of a snapshot.

    Parameters
    ----------
    snapshot
        With frames and their flag words.
    averaged
        Whether its kernel prints averages for large folios (the quirk averaged-mapcounts).

    Raises
    ------
    SnapshotError
        The snapshot has no flag words, or the manifest's frame ranges do not cover the table.
    """
    return build(
        frames(snapshot),
        zones(snapshot),
        page_tables(snapshot),
        unseen=unseen(snapshot),
        zspages=counter(snapshot, "vmstat", "nr_zspages"),
        averaged=averaged,
        nr_orders=nr_orders(snapshot),
    )


def frames(snapshot: Snapshot) -> MemMap:
    """Return the array of page frames.

    Raises
    ------
    SnapshotError
        There are no flag words, or the manifest's frame ranges do not cover the table.
    """
    where = snapshot.path or "snapshot"
    wanted = ("flags", "mapcount", "unstable")
    table = snapshot.table("frames", wanted) if snapshot.has("frames") else None
    if table is None or not table.has("flags"):
        hint = "take one as root, without --no-frames"
        raise SnapshotError(where, "it has no page frames, and this question is about them", hint=hint)
    ranges = frame_ranges(snapshot, len(table))
    known = table.is_valid("flags") if "flags" in table.valid else None
    words = table.column("flags").astype(np.uint64, copy=False)
    if known is not None:
        words = np.where(known, words, np.uint64(0))
    unstable = table.column("unstable") if table.has("unstable") else np.zeros(len(table), np.bool_)
    mapcount = None
    if table.has("mapcount"):
        mapcount = table.column("mapcount").astype(np.uint32, copy=False)
        if "mapcount" in table.valid:
            # What was not counted cannot disagree.
            unstable = unstable | ~table.is_valid("mapcount")
    return MemMap(ranges, words, mapcount, unstable, known)


def zones(snapshot: Snapshot) -> list[ZoneSpan]:
    """Return the zones that have memory, with the kernel's counts of free blocks."""
    if not snapshot.has("zones"):
        return []
    blocks: dict[tuple[int, str], tuple[list[int], list[int | None]]] = {}
    if snapshot.has("free_areas"):
        names = ("node", "zone", "order", "nr_free", "nr_free_after")
        for node, zone, _, before, after in sorted(snapshot.table("free_areas").rows(*names)):
            both = blocks.setdefault((node, zone), ([], []))
            both[0].append(before)
            both[1].append(after)
    apart: dict[tuple[int, str], int] = {}
    if snapshot.has("pageblocks_by_type"):
        by_type = snapshot.table("pageblocks_by_type")
        for node, zone, name, nr in by_type.rows("node", "zone", "migratetype", "nr_pageblocks"):
            if name in APART:
                apart[node, zone] = apart.get((node, zone), 0) + nr
    found = []
    for node, zone, start, spanned in snapshot.table("zones").rows(
        "node", "zone", "start_pfn", "spanned_pages"
    ):
        if start is None or not spanned:
            continue
        first, second = blocks.get((node, zone), (None, None))
        after = None if second is None or None in second else tuple(n for n in second if n is not None)
        before = None if first is None else tuple(first)
        # Unknown only where pagetypeinfo was not read, and then no pageblock is known to stand apart.
        order = snapshot.manifest.get("pageblock_order") or nr_orders(snapshot)
        found.append(
            ZoneSpan(node, zone, start, start + spanned, before, after, order, apart.get((node, zone), 0))
        )
    return found


def nr_orders(snapshot: Snapshot) -> int:
    """Return how many orders the free lists have; that of most kernels where buddyinfo was not read."""
    last = snapshot.manifest.get("max_order")
    return Geometry().nr_orders if last is None else int(last) + 1


def page_tables(snapshot: Snapshot) -> PageTables | None:
    """Return the runs of present entries with their VMAs; None without them or where frames are hidden."""
    if not snapshot.has("mappings") or not snapshot.has("vmas"):
        return None
    table = snapshot.table("mappings", ("mm", "vma", "vpn", "nr_pages", "kind", "pfn"))
    if not table.has("pfn"):
        return None
    chosen = table.equals("kind", "present") & table.is_valid("pfn")
    vmas = vma_table(snapshot)
    mm = table.column("mm")[chosen]
    vpn = table.column("vpn")[chosen].view(np.int64)
    index = np.full(len(mm), -1, np.int64)
    if table.has("vma"):
        listed = table.is_valid("vma")[chosen]
        # The vma column is the row number in vmas.
        index[listed] = table.column("vma")[chosen][listed]
    nr_pages = table.column("nr_pages")[chosen].astype(np.int64)
    highest = int((vpn + nr_pages).max()) if len(vpn) else 0
    vmas = _with_stand_ins(vmas, np.unique(mm[index < 0]).astype(np.int64), highest)
    stand_in = np.flatnonzero(~vmas.listed)
    missing = np.flatnonzero(index < 0)
    if len(missing):
        index[missing] = stand_in[np.searchsorted(vmas.mm[stand_in], mm[missing])]
    pfn = table.column("pfn")[chosen].view(np.int64)
    if ((mm[1:] < mm[:-1]) | ((mm[1:] == mm[:-1]) & (vpn[1:] < vpn[:-1]))).any():
        order = np.lexsort((vpn, mm))
        index, vpn, pfn, nr_pages = index[order], vpn[order], pfn[order], nr_pages[order]
    return PageTables(index, vpn, pfn, nr_pages, vmas)


def vma_table(snapshot: Snapshot) -> VmaTable:
    """Return the VMAs in the order of the table."""
    table = snapshot.table("vmas", ("mm", "start", "end", "vm_flags"))
    page = np.uint64(snapshot.page_size)
    pfnmap = None
    if table.has("vm_flags"):
        flags = table.column("vm_flags").tolist()
        known = table.is_valid("vm_flags").tolist()
        pfnmap = np.array([ok and "pf" in f.split() for f, ok in zip(flags, known, strict=True)], np.bool_)
    return VmaTable(
        table.column("mm").astype(np.int64),
        (table.column("start") // page).astype(np.int64),
        (table.column("end") // page).astype(np.int64),
        pfnmap,
        np.ones(len(table), np.bool_),
    )


def _with_stand_ins(vmas: VmaTable, mms: NDArray[np.int64], end_vpn: int) -> VmaTable:
    """Add a VMA over the whole of each address space that has entries outside every listed VMA."""
    if not len(mms):
        return vmas
    nr = len(mms)
    pfnmap = None if vmas.pfnmap is None else np.append(vmas.pfnmap, np.zeros(nr, np.bool_))
    return VmaTable(
        np.append(vmas.mm, mms),
        np.append(vmas.start_vpn, np.zeros(nr, np.int64)),
        np.append(vmas.end_vpn, np.full(nr, end_vpn, np.int64)),
        pfnmap,
        np.append(vmas.listed, np.zeros(nr, np.bool_)),
    )


def unseen(snapshot: Snapshot) -> Unseen:
    """Return who may map frames without being in the page tables that were read."""
    if snapshot.selective or not snapshot.has("tasks"):
        return Unseen(None, None, None, None)
    names = ("kernel_thread", "error", "state", "rss_pages")
    closed = [row[2:] for row in snapshot.table("tasks", names).rows(*names) if row[1] and not row[0]]
    # What has ended has no page tables any more.
    ended = [state in {"Z", "X"} for state, _ in closed]
    unread = [row for row, gone in zip(closed, ended, strict=True) if not gone]
    resident = [rss for _, rss in unread]
    nr_cpus = snapshot.manifest["host"].get("nr_cpus")
    moved = snapshot.manifest.get("volatility", {})
    # Who came, or came and went, between the first look at page tables and the map counts.
    nr_new = max(moved.get("processes_appeared") or 0, moved.get("forks") or 0)
    # stat, the first that is read of a process, was not there any more.
    nr_short_lived = nr_new + sum(1 for state, _ in unread if state is None)
    nr_hidden, nr_ended = _nr_hidden_threads(snapshot), sum(ended)
    if nr_new or None in resident or nr_cpus is None:
        return Unseen(len(resident) + nr_new, None, nr_short_lived, nr_hidden, nr_ended)
    # Three counters of a process (file, anonymous, shmem) each have up to a batch on every CPU that stat does
    # not add up (lib/percpu_counter.c: compute_batch_value).
    slack = 3 * nr_cpus * max(32, 2 * nr_cpus)
    at_most = sum(rss + slack for rss in resident if rss is not None)
    return Unseen(len(resident), at_most, nr_short_lived, nr_hidden, nr_ended)


def _nr_hidden_threads(snapshot: Snapshot) -> int | None:
    """Return how many threads the machine has beyond those of the processes that were listed.

    The last word of /proc/loadavg counts all of them, whatever PID namespace they are in
    (``fs/proc/loadavg.c``). The smaller of both looks is taken.
    """
    if not snapshot.has("counters"):
        return None
    names = ("source", "name", "value", "value_after")
    looks = [
        nr
        for source, name, *both in snapshot.table("counters").rows(*names)
        for nr in both
        if (source, name) == ("loadavg", "nr_threads") and nr is not None
    ]
    listed = sum(nr or 1 for (nr,) in snapshot.table("tasks", ("nr_threads",)).rows("nr_threads"))
    return max(0, min(looks) - listed) if looks else None


def counter(snapshot: Snapshot, source: str, name: str, scope: str | None = None) -> Any:
    """Return a counter or setting: a number, a text where it is several, None where it was not read.

    Parameters
    ----------
    snapshot
        The photograph.
    source, name
        As in the counters table.
    scope
        Of which node or zone; None where the source has but one.
    """
    if not snapshot.has("counters"):
        return None
    rows = snapshot.table("counters").rows("source", "name", "scope", "value", "text")
    return next(
        (
            t if v is None else v
            for s, n, of, v, t in rows
            if (s, n) == (source, name) and scope in (None, of)
        ),
        None,
    )


def unevictable_allowed(snapshot: Snapshot) -> bool | None:
    """Return vm.compact_unevictable_allowed; None where it was not read."""
    allowed = counter(snapshot, "sysctl", "compact_unevictable_allowed")
    return None if allowed is None else bool(allowed)
