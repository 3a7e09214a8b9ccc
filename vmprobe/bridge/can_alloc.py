"""How many blocks of one order can be had: now, after compaction, after dropping the page cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.compaction.curve import curve
from kernelmodel.compaction.result import blocks_of_order
from kernelmodel.compaction.single_entry import marked_frames
from kernelmodel.compaction.windows import windows
from kernelmodel.compaction.zone_layout import TAIL, Frame
from vmprobe.bridge.compact import run, stops
from vmprobe.bridge.interval import intervals
from vmprobe.bridge.obtainable import lowmem_reserves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kernelmodel.compaction.zone_layout import ZoneLayout
    from vmprobe.bridge.compact import Host
    from vmprobe.tables import Snapshot


@dataclass(frozen=True)
class Chances:
    """Blocks that can be taken from one zone, or from all together: never below its lowest watermark.

    Parameters
    ----------
    now
        Free, without doing anything.
    low, mid, high
        After compaction: at least, as forecast, at most.
    after_eviction, after_eviction_low
        After page cache that nobody maps was written and dropped, and memory compacted: forecast, at least.
    evicted_pages
        Pages of that cache.
    at_most
        Whatever anybody moves, drops or swaps, and whatever unknown pages turn out to be.
    movable
        The same if there were room for all that moves.
    windows
        Blocks of this order that have memory behind every page.
    withheld
        Blocks that are free now, and that the watermark keeps from being taken.
    """

    now: int
    low: int
    mid: int
    high: int
    after_eviction: int
    after_eviction_low: int
    evicted_pages: int
    at_most: int
    movable: int
    windows: int
    withheld: int


@dataclass(frozen=True)
class ZoneChances(Chances):
    """Those of one zone."""

    node: int
    zone: str


@dataclass(frozen=True)
class _Blocks:
    """Free blocks of each zone after compaction: at least, as forecast, at most."""

    low: list[int]
    mid: list[int]
    high: list[int]
    dirty: bool


def chances(snapshot: Snapshot, made: Host, order: int) -> tuple[tuple[ZoneChances, ...], bool]:
    """Return what can be had in each zone, and whether a large dirty folio would end compaction.

    Above the largest free block nothing is allocated but by ``alloc_contig_range``, which clears the range it
    takes: there compaction is that, and the fewest moves decide.

    Parameters
    ----------
    snapshot
        For the reserves of zones.
    made
        The host.
    order
        log2 of the pages in a block; any.
    """
    compacted = _compacted(snapshot, made, order)
    emptied = replace(made, layouts=tuple(_without_cache(made, layout) for layout in made.layouts))
    later = _compacted(snapshot, emptied, order)
    reserves = lowmem_reserves(snapshot)
    swap_free_pages = made.swap_free_pages
    rows = []
    # The highest zone is asked first, and so is the first to swap.
    for i in reversed(range(len(made.layouts))):
        layout, without = made.layouts[i], emptied.layouts[i]
        reserve = layout.wmark_min + reserves.get((layout.node, layout.zone), 0)
        room, roomier = (max(0, _nr(each, Frame.FREE) - reserve) >> order for each in (layout, without))
        swaps = min(swap_free_pages, _nr(layout, Frame.ANON, Frame.SHMEM))
        swap_free_pages -= swaps
        # What is cache can be dropped, and what is unknown may be free.
        pages = _nr(layout, Frame.FREE, Frame.CLEAN, Frame.DIRTY, Frame.UNKNOWN) + swaps - reserve
        line = curve(layout, order, optimistic=True)
        movable = line.nr_free_now + line.nr_candidates
        free_now = _free_now(layout, order)
        rows.append(
            ZoneChances(
                now=min(free_now, room),
                low=max(0, min(compacted.low[i], room)),
                mid=min(compacted.mid[i], room),
                high=min(compacted.high[i], room),
                after_eviction=min(later.mid[i], roomier),
                after_eviction_low=max(0, min(later.low[i], roomier)),
                evicted_pages=_nr(without, Frame.FREE) - _nr(layout, Frame.FREE),
                at_most=min(movable, max(0, pages) >> order),
                movable=movable,
                windows=int(np.count_nonzero(windows(layout, order).counts[:, Frame.HOLE] == 0)),
                withheld=max(0, free_now - room),
                node=layout.node,
                zone=layout.zone,
            )
        )
    return tuple(rows[::-1]), compacted.dirty


def together(zones: Sequence[ZoneChances]) -> Chances:
    """Return the sums over zones."""
    names = tuple(Chances.__dataclass_fields__)
    return Chances(**{name: sum(getattr(zone, name) for zone in zones) for name in names})


def _nr(layout: ZoneLayout, *kinds: Frame) -> int:
    return int(np.isin(layout.kinds, kinds).sum())


def _free_now(layout: ZoneLayout, order: int) -> int:
    if order < layout.nr_orders:
        return blocks_of_order(layout.free_blocks(), order)
    return int(np.count_nonzero(windows(layout, order).free == 1 << order))


def _compacted(snapshot: Snapshot, made: Host, order: int) -> _Blocks:
    """Return the blocks that are free after compaction, watermarks not looked at."""
    before = [_free_now(layout, order) for layout in made.layouts]
    if order > made.max_order:
        return _by_range(made, order, before)
    outcomes = run(made, "linux", order, None)
    between = intervals(snapshot, made, "linux", outcomes, None).zones
    return _Blocks(
        low=[nr + low for nr, (low, _) in zip(before, between, strict=True)],
        mid=[nr + outcome.gained_blocks for nr, outcome in zip(before, outcomes, strict=True)],
        high=[nr + high for nr, (_, high) in zip(before, between, strict=True)],
        dirty=any(stop.dirty for stop in stops(outcomes)),
    )


def _by_range(made: Host, order: int, before: list[int]) -> _Blocks:
    """Return the ranges that can be cleared by moving what is in them."""
    lines = [curve(layout, order) for layout in made.layouts]
    best = [curve(layout, order, optimistic=True) for layout in made.layouts]
    gained = [line.limit(layout.wmark_min) for line, layout in zip(lines, made.layouts, strict=True)]
    most = [line.limit(layout.wmark_min) for line, layout in zip(best, made.layouts, strict=True)]
    unlocated = made.pins.nr_unlocated or 0
    return _Blocks(
        low=[nr + gain - min(unlocated, gain) for nr, gain in zip(before, gained, strict=True)],
        mid=[nr + gain for nr, gain in zip(before, gained, strict=True)],
        high=[nr + max(pair) for nr, *pair in zip(before, gained, most, strict=True)],
        dirty=False,
    )


def _without_cache(made: Host, layout: ZoneLayout) -> ZoneLayout:
    """Return a zone after ``sync`` and ``drop_caches``, which leaves what is mapped."""
    stays = ~np.isin(layout.kinds, (Frame.CLEAN, Frame.DIRTY)) | _mapped(made, layout)
    # A folio goes as a whole, or stays as one.
    begin = np.flatnonzero((layout.state & TAIL) == 0)
    kept = np.logical_or.reduceat(stays, begin)
    state = layout.state.copy()
    state[~np.repeat(kept, np.diff(np.append(begin, len(state))))] = Frame.FREE
    return layout.with_state(state)


def _mapped(made: Host, layout: ZoneLayout) -> NDArray[np.bool_]:
    """Return which frames of a zone the kernel counts as mapped."""
    frames = made.model.frames
    if frames.mapcount is None:
        return np.zeros(len(layout.state), np.bool_)
    return marked_frames(made.model, layout, frames.mapcount != 0)
