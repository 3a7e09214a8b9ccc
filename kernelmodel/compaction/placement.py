"""Clear chosen windows: where everything in them goes, and what cannot be placed.

Large folios go first and the largest of them first, into naturally aligned runs of free frames: packing
powers of two that way wastes nothing. Those that cannot be split go before those that can; what finds no run
is split. A folio that can neither be placed nor split keeps its window from being cleared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.compaction.leaving import leaving
from kernelmodel.compaction.result import Moves, Outcome, Status
from kernelmodel.compaction.room import Room
from kernelmodel.compaction.windows import STUCK, blocked_by, windows
from kernelmodel.compaction.zone_layout import HEAD, KIND_MASK, TAIL, UNSPLITTABLE, Frame
from kernelmodel.ranges import frames_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from kernelmodel.compaction.leaving import Leaving
    from kernelmodel.compaction.windows import Windows
    from kernelmodel.compaction.zone_layout import ZoneLayout

    Choose = Callable[[NDArray[np.bool_]], tuple[NDArray[np.int64], NDArray[np.int64]]]


@dataclass(frozen=True)
class Placed:
    """Windows cleared, or the reason why they are not.

    Parameters
    ----------
    rows
        int64, ascending, the windows.
    moves
        Folios and pages moved.
    evicted_pfn
        int64, ascending, frames evicted instead.
    after
        uint8, the zone's bytes when all that is done.
    stuck
        int64, frames from the layout's base: first frame of each folio that has no place and cannot be split.
    stuck_order
        Order of the smallest of these; -1 without.
    """

    rows: NDArray[np.int64]
    moves: Moves
    evicted_pfn: NDArray[np.int64]
    after: NDArray[np.uint8]
    stuck: NDArray[np.int64]
    stuck_order: int


def place(
    layout: ZoneLayout,
    found: Windows,
    rows: NDArray[np.int64],
    evicted_pfn: NDArray[np.int64],
    *,
    keep_free: bool = True,
) -> Placed:
    """Find a place for everything in the windows `rows` of `found` that is not evicted.

    The windows are few enough to be placed: their frames together are no more than the free frames outside
    the windows that are free now (without `keep_free`: outside the chosen ones that are), less what is
    evicted. O(frames of the windows, and of the room looked at).
    """
    rows = np.sort(rows)
    evicted = np.sort(evicted_pfn) - layout.base_pfn
    closed = (found.counts[:, Frame.FREE] == found.nr_frames) & keep_free
    closed[rows] = True
    room = Room(layout, found, closed)
    out = leaving(layout.state, rows << found.order, found.order, evicted)
    source, destination, nr_pages, stuck, stuck_order = _place_folios(room, out)
    unplaced = ~np.isin(out.folio, np.concatenate((source, stuck)))
    broken = np.concatenate((out.broken, out.folio[unplaced]))
    broken_pages = np.concatenate((out.broken_pages, out.nr_pages[unplaced]))
    single = out.single
    if unplaced.any():
        pages = frames_of(out.folio[unplaced], out.nr_pages[unplaced])
        single = np.sort(np.concatenate((single, pages)))
    free = room.take(0, len(single))
    assert len(stuck) or len(free) == len(single), "more to place than the caller has room for"
    single = single[: len(free)]
    after = room.state
    after[frames_of(destination, 1 << _order(nr_pages))] = Frame.FREE
    after[frames_of(destination, nr_pages)] = layout.state[frames_of(source, nr_pages)]
    after[free] = layout.state[single] & KIND_MASK
    split = frames_of(broken, broken_pages)
    after[split] &= np.uint8(0xFF & ~(HEAD | TAIL | UNSPLITTABLE))
    after[frames_of(source, nr_pages)] = Frame.FREE
    after[single] = Frame.FREE
    after[evicted] = Frame.FREE
    moves = Moves(
        np.concatenate((source, single)) + layout.base_pfn,
        np.concatenate((destination, free)) + layout.base_pfn,
        np.concatenate((nr_pages, np.ones(len(single), np.int64))),
    )
    return Placed(rows, moves, evicted + layout.base_pfn, after, stuck, stuck_order)


def _order(nr_pages: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the order of the smallest aligned run that holds so many frames.

    >>> _order(np.array([1, 2, 3, 8])).tolist()
    [0, 1, 2, 3]
    """
    return np.ceil(np.log2(np.maximum(nr_pages, 1))).astype(np.int64)


def _place_folios(
    room: Room, out: Leaving
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]:
    """Place what leaves whole; return source, destination, frames, and the stuck ones with their order."""
    empty = np.empty(0, np.int64)
    sources, destinations, sizes, stuck, stuck_order = [empty], [empty], [empty], [empty], -1
    order = _order(out.nr_pages)
    for splittable in (False, True):
        for each in np.unique(order[out.splittable == splittable])[::-1].tolist():
            these = np.flatnonzero((order == each) & (out.splittable == splittable))
            runs = np.sort(room.take(each, len(these)))
            sources.append(out.folio[these[: len(runs)]])
            destinations.append(runs)
            sizes.append(out.nr_pages[these[: len(runs)]])
            if not splittable and len(runs) < len(these):
                stuck.append(out.folio[these[len(runs) :]])
                stuck_order = each
    return (
        np.concatenate(sources),
        np.concatenate(destinations),
        np.concatenate(sizes),
        np.concatenate(stuck),
        stuck_order,
    )


def place_chosen(layout: ZoneLayout, found: Windows, choose: Choose, *, keep_free: bool = True) -> Placed:
    """Choose windows and place what is in them, until everything has a place.

    Parameters
    ----------
    layout, found
        The zone and its windows.
    choose
        Given which windows may be taken, bool, returns the rows it takes and the frames evicted in them.
    keep_free
        Whether windows that are free now stay free though they are not chosen.
    """
    allowed = np.ones(len(found), np.bool_)
    hard: NDArray[np.int64] | None = None
    while True:
        rows, evicted_pfn = choose(allowed)
        placed = place(layout, found, rows, evicted_pfn, keep_free=keep_free)
        if not len(placed.stuck):
            return placed
        # What has no place here has none elsewhere either: other windows with such folios are not tried.
        if hard is None:
            hard = _hardest(layout, found)
        allowed &= hard < placed.stuck_order
        kept = np.setdiff1d(placed.rows, _holders(layout, found, placed.stuck))
        allowed[kept] = True


def _hardest(layout: ZoneLayout, found: Windows) -> NDArray[np.int64]:
    """Return, for each window, the order of its largest folio that cannot be split; -1 without."""
    state = layout.state
    frames = np.flatnonzero(state & UNSPLITTABLE)
    head = frames[(state[frames] & HEAD) != 0]
    nr_pages = np.diff(np.append(np.searchsorted(frames, head), len(frames)))
    order = _order(nr_pages)
    hardest = np.full(len(found), -1, np.int64)
    frame_order = np.repeat(order, nr_pages)
    np.maximum.at(hardest, frames >> found.order, frame_order)
    return hardest


def _holders(layout: ZoneLayout, found: Windows, stuck: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the windows that hold a part of a folio of `stuck`."""
    ends = stuck + 1
    last = len(layout.state) - 1
    while (on := (ends <= last) & ((layout.state[np.minimum(ends, last)] & TAIL) != 0)).any():
        ends[on] += 1
    frames = frames_of(stuck, ends - stuck)
    return np.unique(frames >> found.order)


def outcome(
    layout: ZoneLayout,
    found: Windows,
    placed: Placed,
    *,
    strategy: str,
    nr_blocks: int,
    nr_candidates: int,
    reasons: tuple[Frame, ...] = STUCK,
    lacking: str = "no room",
) -> Outcome:
    """Return what the cleared windows come to.

    Parameters
    ----------
    layout, found
        The zone and its windows.
    placed
        What was cleared and how.
    strategy
        Name of the strategy.
    nr_blocks
        Blocks wanted.
    nr_candidates
        Windows that nothing stands in the way of but room.
    reasons
        Kinds that stand in the way of this strategy.
    lacking
        What was too little where nothing stands in the way.
    """
    done = len(placed.rows)
    short = layout.pageblock_order - found.order
    pageblocks = (
        found.coarsened(layout.pageblock_order) if short >= 0 else windows(layout, layout.pageblock_order)
    )
    blocked = blocked_by(pageblocks, reasons)
    nr_lacking = min(nr_blocks, nr_candidates) - done
    if nr_lacking > 0:
        blocked[lacking] = -(-nr_lacking >> short) if short >= 0 else nr_lacking << -short
    return Outcome(
        strategy=strategy,
        order=found.order,
        before=layout,
        after=placed.after,
        moves=placed.moves,
        evicted_pfn=placed.evicted_pfn,
        status=Status.COMPLETE if done >= nr_blocks else Status.INFEASIBLE,
        blocked=blocked,
    )
