"""The zones of a snapshot as layouts, and how its kernel runs its scanners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.compaction.from_frames import ZonePlace, frame_states, zone_layout
from kernelmodel.compaction.scanners import Rules
from kernelmodel.folio import folios
from vmprobe.bridge.model import counter, frames, nr_orders, unevictable_allowed
from vmprobe.bridge.resources import ram_ranges
from vmprobe.bridge.zones import type_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.compaction.zone_layout import ZoneLayout
    from kernelmodel.memmap import MemMap
    from vmprobe.tables import Snapshot

__all__ = ["KernelRules", "kernel_rules", "zone_layouts"]


@dataclass(frozen=True)
class KernelRules:
    """The rules of the snapshot's kernel.

    Parameters
    ----------
    rules
        The likeliest.
    others
        What the kernel may do instead, where its shape does not tell; empty where it does.
    """

    rules: Rules
    others: tuple[Rules, ...]


def zone_layouts(
    snapshot: Snapshot, *, memmap: MemMap | None = None, pinned: NDArray[np.int64] | None = None
) -> tuple[ZoneLayout, ...]:
    """Return the layout of every zone that has memory, in the order of the zones table.

    Parameters
    ----------
    snapshot
        With frames and their flag words, and zones.
    memmap
        Its frames, where the caller has them already.
    pinned
        int64, frames known to be held in place, and with each its folio; none by default.

    Raises
    ------
    SnapshotError
        It has no flag words.
    """
    memmap = frames(snapshot) if memmap is None else memmap
    states = frame_states(
        memmap,
        ram_ranges(snapshot),
        unevictable_allowed=unevictable_allowed(snapshot),
        nr_zspages=counter(snapshot, "vmstat", "nr_zspages"),
    )
    held = np.empty(0, np.int64)
    if pinned is not None and len(pinned):
        held = folios(memmap).around(pinned)
    columns = ("node", "zone", "start_pfn", "spanned_pages", "pcp_pages", "wmark_min", "boost")
    # Without it the snapshot is of a kernel that hides it; 512 pages are those of every x86-64 kernel.
    order = snapshot.manifest.get("pageblock_order") or 9
    layouts = []
    for node, zone, start, spanned, pcp_pages, wmark_min, boost in snapshot.table("zones").rows(*columns):
        if start is None or not spanned:
            continue
        place = ZonePlace(
            node=node,
            zone=zone,
            start_pfn=start,
            end_pfn=start + spanned,
            pageblock_order=order,
            nr_orders=nr_orders(snapshot),
            pcp_pages=pcp_pages,
            wmark_min=(wmark_min or 0) - (boost or 0),
        )
        layouts.append(zone_layout(memmap, states, place, type_counts(snapshot, node, zone), held))
    return tuple(layouts)


def kernel_rules(snapshot: Snapshot) -> KernelRules:
    """Tell how the snapshot's kernel runs its scanners, by the shape of what it exports.

    Folios of every order have statistics of their own since 6.10 (``hugepages-*kB/stats``), and compaction
    moves large folios since 6.9; of a kernel with those folders but without statistics (6.8, 6.9) it is not
    known. vmstat counts what khugepaged scans since 6.2; pages that are stepped over count as scanned since
    6.4, and a block is finished that a batch was taken from since 6.3: of 6.2 and 6.3 the count of scanned
    pages alone may be off. Without counters the newest are taken.
    """
    if not snapshot.has("counters"):
        return KernelRules(Rules(), ())
    names = {
        (source, scope if source == "thp" else name)
        for source, scope, name in snapshot.table("counters").rows("source", "scope", "name")
    }
    newer = ("vmstat", "pgscan_khugepaged") in names
    folders = [scope for source, scope in names if source == "thp" and scope.startswith("hugepages-")]
    with_statistics = any(scope.endswith("/stats") for scope in folders)
    rules = Rules(large_folios=with_statistics or newer, counts_skipped=newer, finishes_block_it_is_in=newer)
    untold = newer and not with_statistics
    # Without huge pages in the kernel there are neither folders nor large anonymous folios.
    other = Rules(large_folios=False, counts_skipped=True, finishes_block_it_is_in=True)
    return KernelRules(rules, (other,) if untold else ())
