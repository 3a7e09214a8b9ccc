"""Free blocks of the model against /proc/buddyinfo and against the frames themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.consistency.violation import Violation, each_with_next, witnesses
from kernelmodel.ranges import frames_inside

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.host import HostModel, ZoneSpan
    from kernelmodel.memmap import MemMap
    from kernelmodel.page_alloc.rebuild import FreeBlocks

EXACT = "exact"
WITHIN_DRIFT = "within_drift"
VIOLATED = "violated"


@dataclass(frozen=True)
class ZoneBlocks:
    """Free blocks by order: rebuilt, and as the kernel counted them.

    Parameters
    ----------
    node, zone
        Which zone.
    rebuilt
        Blocks by order that the frames add up to.
    kernel_before, kernel_after
        /proc/buddyinfo before and after; None where it was not read.
    drift
        By how many blocks an order may be off because memory was taken and given back meanwhile: the change
        of the kernel's own count, and the blocks that may have come or gone with frames that changed. 0 when
        count and frames stood still, but for the orders at which pageblocks of a type that merges with no
        other may keep buddies apart.
    status
        ``exact``, ``within_drift`` or ``violated``; None where there is nothing to compare with.
    """

    node: int
    zone: str
    rebuilt: tuple[int, ...]
    kernel_before: tuple[int, ...] | None
    kernel_after: tuple[int, ...] | None
    drift: tuple[int, ...] | None
    status: str | None


def check_buddy(model: HostModel) -> tuple[list[ZoneBlocks], list[Violation]]:
    """Compare the free blocks of every zone with the kernel's counts, and with the frames' own flags.

    Violations are ``free-blocks`` (a count that no drift explains), ``free-block-aligned``,
    ``free-block-overlaps``, ``free-block-in-use`` (a frame of it is not free), ``free-frame-lost`` (free
    frames that are in no block) and ``free-block-unmerged`` (two buddies that would have been one block).
    """
    zones, violations = [], []
    for zone, free in zip(model.zones, model.free, strict=True):
        row = against_kernel(model.frames, zone, free)
        zones.append(row)
        if row.status == VIOLATED:
            violations.append(Violation("free-blocks", _name(zone), _off(row)))
        violations += _against_frames(model.frames, zone, free)
    return zones, violations


def _name(zone: ZoneSpan) -> str:
    return f"node {zone.node} zone {zone.zone}"


def against_kernel(frames: MemMap, zone: ZoneSpan, free: FreeBlocks) -> ZoneBlocks:
    """Compare the free blocks of one zone with the kernel's counts."""
    counts = free.counts()
    rebuilt = tuple(counts.tolist())
    before = zone.nr_free_before
    after = before if zone.nr_free_after is None else zone.nr_free_after
    if before is None or after is None:
        return ZoneBlocks(zone.node, zone.zone, rebuilt, before, zone.nr_free_after, None, None)
    first, second = np.array(before), np.array(after)
    drift = np.abs(first - second) + _in_doubt(frames, zone, len(first))
    # Each such pageblock keeps at most two blocks of each order at and above its own from merging.
    drift[zone.pageblock_order :] += 2 * zone.nr_pageblocks_apart
    low, high = np.minimum(first, second) - drift, np.maximum(first, second) + drift
    if before == after == rebuilt:
        status = EXACT
    elif len(counts) == len(first) and ((counts >= low) & (counts <= high)).all():
        status = WITHIN_DRIFT
    else:
        status = VIOLATED
    drifted = tuple(drift.tolist())
    return ZoneBlocks(zone.node, zone.zone, rebuilt, before, zone.nr_free_after, drifted, status)


def _off(row: ZoneBlocks) -> str:
    """Tell the lowest order that is off, and how many are."""
    before = row.kernel_before or ()
    after = before if row.kernel_after is None else row.kernel_after
    if len(row.rebuilt) != len(before):
        return f"{len(row.rebuilt)} orders rebuilt, the kernel has {len(before)}"
    off = [
        order
        for order, (nr, first, second, drift) in enumerate(
            zip(row.rebuilt, before, after, row.drift or (), strict=True)
        )
        if not min(first, second) - drift <= nr <= max(first, second) + drift
    ]
    order = off[0]
    counted = f"{before[order]} before and {after[order]} after" if row.kernel_after else f"{before[order]}"
    drift = (row.drift or ())[order]
    others = f"; {len(off) - 1} more orders are off" if len(off) > 1 else ""
    return f"order {order}: {row.rebuilt[order]} rebuilt, the kernel has {counted}, drift {drift}{others}"


def _in_doubt(frames: MemMap, zone: ZoneSpan, nr_orders: int) -> NDArray[np.int64]:
    """Return by order how many blocks there may be more or less, as frames changed while they were read.

    A block can have come or gone only where it, or the buddy that it merges with, holds a frame that changed;
    and it must lie whole in frames that are free or changed. Places of blocks are counted, so that nothing is
    assumed about the order in which frames changed.
    """
    doubt = np.zeros(nr_orders, np.int64)
    changed = frames.pfns(np.flatnonzero(frames.unstable))
    changed = changed[(changed >= zone.start_pfn) & (changed < zone.end_pfn)]
    if not len(changed):
        return doubt
    possible = np.concatenate(([0], np.cumsum(frames.having("BUDDY") | frames.unstable)))

    def whole(place: NDArray[np.int64], order: int) -> NDArray[np.bool_]:
        start, end = place << order, (place + 1) << order
        first, last = frames.rows(start), frames.rows(end - 1)
        there = (first >= 0) & (last - first == (1 << order) - 1)
        there &= (start >= zone.start_pfn) & (end <= zone.end_pfn)
        first, last = np.where(there, first, 0), np.where(there, last, 0)
        held: NDArray[np.bool_] = there & (possible[last + 1] - possible[first] == 1 << order)
        return held

    every = changed
    for order in range(nr_orders):
        # Ascending, so that those that are equal stand side by side.
        every = every >> 1 if order else every
        every = every[np.diff(every, prepend=-1) != 0]
        place = every[whole(every, order)]
        if order < nr_orders - 1 and len(place):
            buddy = place ^ 1
            near = np.minimum(np.searchsorted(place, buddy), len(place) - 1)
            buddy = buddy[place[near] != buddy]
            place = np.append(place, buddy[whole(buddy, order)])
        doubt[order] = len(place)
    return doubt


def _against_frames(frames: MemMap, zone: ZoneSpan, free: FreeBlocks) -> list[Violation]:
    by_start = np.argsort(free.start_pfn, kind="stable")
    start, order = free.start_pfn[by_start], free.order[by_start].astype(np.int64)
    size = np.int64(1) << order

    def block(row: int) -> str:
        return f"{_name(zone)} pfn {start[row]} order {order[row]}"

    violations = witnesses(
        "free-block-aligned",
        (start & (size - 1)) != 0,
        lambda row: (block(row), "start is no multiple of size"),
    )
    overlaps = each_with_next(start[1:] < (start + size)[:-1], len(start))
    violations += witnesses(
        "free-block-overlaps",
        overlaps,
        lambda row: (block(row), f"the next block starts at {start[row + 1]}"),
    )
    runs = frames.free_runs
    clipped = np.clip(runs, zone.start_pfn, zone.end_pfn)
    inside = frames_inside(clipped[clipped[:, 1] > clipped[:, 0]], start, start + size)
    violations += witnesses(
        "free-block-in-use",
        inside != size,
        lambda row: (block(row), f"{size[row] - inside[row]} of {size[row]} frames are not free"),
    )
    nr_free, nr_held = int((clipped[:, 1] - clipped[:, 0]).sum()), int(size.sum())
    if nr_held < nr_free:
        violations.append(
            Violation("free-frame-lost", _name(zone), f"{nr_free} frames are free, blocks hold {nr_held}")
        )
    buddies = ((start[:-1] ^ size[:-1]) == start[1:]) & (order[1:] == order[:-1])
    buddies = each_with_next(buddies, len(start))
    unmerged = buddies & (order < len(free.counts()) - 1) & ((start & size) == 0)
    violations += witnesses(
        "free-block-unmerged",
        unmerged,
        lambda row: (block(row), "its buddy is a free block of the same order"),
    )
    return violations
