"""The cheapest way to K more blocks of an order by moves alone, and the least that any way costs.

Mirrors: nothing; ``mm/compaction.c`` empties every block below the point where its scanners meet.
Fidelity: exact in copies where every page is single or every folio finds a run or can be split. Where a folio
that cannot be split finds none, its window is left out and the next cheapest taken: then the outcome may cost
more than `minimum_moves`, which stays the bound.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.compaction.curve import curve
from kernelmodel.compaction.eviction import CLASSES, Evict, MoveOrEvict, frames_to_evict
from kernelmodel.compaction.placement import outcome, place_chosen
from kernelmodel.compaction.selection import select, select_most
from kernelmodel.compaction.windows import buddy_windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from kernelmodel.compaction.curve import Curve
    from kernelmodel.compaction.eviction import EvictionLimits
    from kernelmodel.compaction.result import Outcome
    from kernelmodel.compaction.selection import Selection, Task
    from kernelmodel.compaction.windows import Windows
    from kernelmodel.compaction.zone_layout import ZoneLayout


def plan(
    layout: ZoneLayout,
    order: int,
    nr_blocks: int,
    *,
    kind_cost: NDArray[np.int64] | None = None,
    frame_cost: NDArray[np.integer] | None = None,
) -> Outcome:
    """Clear the cheapest windows for `nr_blocks` more free blocks than there are now.

    Parameters
    ----------
    layout
        The zone.
    order
        Order of the blocks, at most that of the largest free block.
    nr_blocks
        Blocks to gain; what is free now stays free and does not count.
    kind_cost, frame_cost
        What a page costs, as in `kernelmodel.compaction.curve.curve`; without, each copy costs the same.

    Returns
    -------
    Outcome
        ``infeasible`` with as many blocks as there are, where there are not so many.

    Raises
    ------
    ModelError
        `order` is none of the zone's.
    """
    found = buddy_windows(layout, order)
    line = curve(layout, order, kind_cost=kind_cost, frame_cost=frame_cost, found=found)
    cheapest = (line.window_pfn - found.first_pfn) >> order
    nothing = np.empty(0, np.int64)

    def choose(allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return cheapest[allowed[cheapest]][: min(nr_blocks, line.nr_attainable)], nothing

    placed = place_chosen(layout, found, choose)
    return outcome(
        layout, found, placed, strategy="plan", nr_blocks=nr_blocks, nr_candidates=line.nr_candidates
    )


def minimum_moves(layout: ZoneLayout, order: int, nr_gained: int, *, optimistic: bool = False) -> int | None:
    """Return the pages that any algorithm copies that ends with `nr_gained` more free blocks of `order`.

    It ends with at least so many free windows that were not free, and each used frame in them was copied at
    least once. No reserve is left alone here. None says that moves alone cannot get there: too few windows
    can be cleared, or there is too little room.

    Parameters
    ----------
    layout
        The zone before.
    order
        Order of the blocks.
    nr_gained
        Blocks more than before; 0 and less cost nothing.
    optimistic
        Bound also those who move what may move and find free what may be free.

    Examples
    --------
    >>> from kernelmodel.compaction.zone_layout import ZoneLayout
    >>> state = np.array([1, 0, 0, 0, 1, 1, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0], np.uint8)
    >>> zone = ZoneLayout(0, "Normal", 0, 16, 0, state, np.ones(2, bool), 3, 5)
    >>> [minimum_moves(zone, 2, nr_gained) for nr_gained in range(4)]
    [0, 1, 3, None]
    """
    if nr_gained <= 0:
        return 0
    line = curve(layout, order, optimistic=optimistic)
    return int(line.pages[nr_gained]) if nr_gained <= line.limit(0) else None


def plan_with_eviction(layout: ZoneLayout, order: int, nr_blocks: int, limits: EvictionLimits) -> Outcome:
    """Clear windows at the least cost where each page may be moved or evicted.

    Parameters
    ----------
    layout
        The zone.
    order
        Order of the blocks.
    nr_blocks
        Blocks to gain beyond those that are free now.
    limits
        What may be evicted, and the prices of all.

    Returns
    -------
    Outcome
        ``infeasible`` with as many blocks as were found, where there are not so many.
    """
    found = buddy_windows(layout, order)
    line = curve(layout, order, found=found)
    cheapest = np.sort((line.window_pfn - found.first_pfn) >> order)

    def choose(allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = cheapest[allowed[cheapest]]
        chosen, nr_evicted = _selected(
            found, rows, line, limits, nr_blocks=min(nr_blocks, len(rows)), search=select_most
        )
        assert chosen.rows is not None
        taken = rows[chosen.rows]
        return taken, frames_to_evict(layout, found, taken, nr_evicted)

    placed = place_chosen(layout, found, choose)
    return outcome(
        layout, found, placed, strategy="plan", nr_blocks=nr_blocks, nr_candidates=line.nr_candidates
    )


def eviction_bounds(layout: ZoneLayout, order: int, nr_blocks: int, limits: EvictionLimits) -> Selection:
    """Return what `plan_with_eviction` costs and the least that it could, in nanoseconds.

    Raises
    ------
    ModelError
        `order` is none of the zone's.
    """
    found = buddy_windows(layout, order)
    line = curve(layout, order, found=found)
    rows = (line.window_pfn - found.first_pfn) >> order
    return _selected(found, rows, line, limits, nr_blocks=nr_blocks, search=select)[0]


def _selected(
    found: Windows,
    rows: NDArray[np.int64],
    line: Curve,
    limits: EvictionLimits,
    *,
    nr_blocks: int,
    search: Callable[[Task, int], Selection],
) -> tuple[Selection, tuple[int, ...]]:
    """Choose among the windows `rows`; return positions in it, and how many pages of each class are evicted.

    What is moved leaves the reserve alone. Where nothing is moved no room is needed either, so that this is a
    choice of its own.
    """
    classes, used = limits.classes_of(found, rows), found.movable[rows]
    room_pages = line.room_pages - line.reserve_pages
    task = MoveOrEvict(classes, used, limits, room_pages=room_pages, nr_frames=found.nr_frames)
    mixed = search(task, nr_blocks)
    alone = np.flatnonzero(classes.sum(axis=1) == used)
    evicted = search(Evict(classes[alone], limits), nr_blocks)
    if evicted.rows is not None:
        evicted = replace(evicted, rows=alone[evicted.rows])
    if evicted.rows is not None and _merit(evicted) > _merit(mixed):
        best, nr_evicted = evicted, classes[evicted.rows].sum(axis=0)
    else:
        best, nr_evicted = mixed, np.zeros(len(CLASSES), np.int64)
        if mixed.rows is not None:
            held = classes[mixed.rows].sum(axis=0)[None, :]
            nr_evicted = task.evicted(held, len(mixed.rows))[0]
    bound = min(mixed.lower_bound, evicted.lower_bound)
    return replace(best, lower_bound=bound), tuple(nr_evicted.tolist())


def _merit(selection: Selection) -> tuple[int, int]:
    """Return a key that is higher for more windows, then for lower cost."""
    return (-1 if selection.rows is None else len(selection.rows), -selection.cost)
