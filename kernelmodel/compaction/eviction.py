"""Free windows by eviction: 1998's "intelligently chosen swapping", and eviction as one half of a plan.

Clean page cache is dropped, dirty page cache written and dropped, anonymous and shared memory swapped, as far
as there is swap. `evict` frees whole windows that way and moves nothing; `MoveOrEvict` is the choice where
each page may be moved or evicted, whichever is cheaper, and more has to be evicted where the room for moved
pages ends.

Mirrors: ``mm/vmscan.c: shrink_folio_list`` for what can be evicted at all; lumpy reclaim (2.6.23 to 3.4) had
the same aim and took the neighbours of whatever was old.
Fidelity: ages are not looked at; what a dropped page costs when it is read again is not in the price. Frames
that are evicted outside the windows are not counted as room: a destination is free at the beginning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.compaction.cost import CostModel
from kernelmodel.compaction.placement import outcome, place
from kernelmodel.compaction.selection import IMPOSSIBLE, select_most
from kernelmodel.compaction.windows import STUCK, buddy_windows
from kernelmodel.compaction.zone_layout import HEAD, KIND_MASK, TAIL, Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.compaction.result import Outcome
    from kernelmodel.compaction.windows import Windows
    from kernelmodel.compaction.zone_layout import ZoneLayout

CLASSES = ((Frame.CLEAN,), (Frame.DIRTY,), (Frame.ANON, Frame.SHMEM))
"""What is dropped, written and swapped."""
NOT_EVICTABLE = (*STUCK, Frame.UNEVICTABLE, Frame.MOVABLE_OPS)


@dataclass(frozen=True)
class EvictionLimits:
    """What may be evicted, and at what price.

    Parameters
    ----------
    swap_free_pages
        Pages that swap can still take.
    writes
        Whether dirty page cache may be written.
    model
        Prices; the middle ones count.
    """

    swap_free_pages: int
    writes: bool = True
    model: CostModel = field(default_factory=CostModel)

    @property
    def move_ns(self) -> int:
        """Nanoseconds of a page moved: integers, so that sums are exact."""
        return round(self.model.move_us[1] * 1000)

    @property
    def evict_ns(self) -> tuple[int, int, int]:
        """Nanoseconds of a page dropped, written, swapped."""
        drop, swap = round(self.model.drop_us[1] * 1000), round(self.model.swap_us[1] * 1000)
        return drop, swap, swap

    def classes_of(self, found: Windows, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the frames of each of `CLASSES` in windows, int64 (n, 3); 0 for what may not be written."""
        columns = [found.counts[:, kinds][rows].sum(axis=1, dtype=np.int64) for kinds in CLASSES]
        if not self.writes:
            columns[1] = np.zeros_like(columns[1])
        return np.stack(columns, axis=1)


class Evict:
    """Task of `kernelmodel.compaction.selection`: windows freed by eviction alone, within the swap."""

    def __init__(self, classes: NDArray[np.int64], limits: EvictionLimits) -> None:
        self.own = classes @ np.array(limits.evict_ns)
        self.holds = classes[:, 2:]
        self.swap_free_pages = limits.swap_free_pages
        self.highest_price: tuple[int, ...] = (int(self.own.max(initial=0)) + 1,)

    def charge(self, held: NDArray[np.int64], nr_chosen: int) -> NDArray[np.int64]:  # noqa: ARG002
        """Nothing beside, or `IMPOSSIBLE` with too little swap."""
        return np.where(held[:, 0] > self.swap_free_pages, IMPOSSIBLE, 0)

    def priced(self, prices: tuple[int, ...], nr_chosen: int) -> tuple[NDArray[np.int64], int]:  # noqa: ARG002
        """Add the price of swap."""
        return self.own + prices[0] * self.holds[:, 0], -prices[0] * self.swap_free_pages

    def lacks(self, held: NDArray[np.int64], prices: tuple[int, ...]) -> bool:  # noqa: ARG002
        """Return whether there is too little swap."""
        return bool(held[0] > self.swap_free_pages)


class MoveOrEvict:
    """Task of `kernelmodel.compaction.selection`: each page is moved or evicted, within room and swap.

    Whatever is chosen, all but `room_pages` of the frames of K windows must have been free or be evicted, so
    that the least number of evictions depends on K alone. Each class of pages is evicted as a whole, or not
    at all, but for one; which, follows from the difference of the prices.
    """

    def __init__(
        self,
        classes: NDArray[np.int64],
        used: NDArray[np.int64],
        limits: EvictionLimits,
        *,
        room_pages: int,
        nr_frames: int,
    ) -> None:
        self.own = used * limits.move_ns
        self.holds = classes
        self.extra = tuple(price - limits.move_ns for price in limits.evict_ns)
        """Nanoseconds that an eviction costs more than a move."""
        self.swap_free_pages = limits.swap_free_pages
        self.room_pages, self.nr_frames = room_pages, nr_frames
        highest = 2 * nr_frames * max(limits.move_ns, *limits.evict_ns) + 1
        self.highest_price: tuple[int, ...] = (highest, highest)

    def least_evicted(self, nr_chosen: int) -> int:
        """Return how many pages are to be evicted at least; not above 0 where there is room for all."""
        return nr_chosen * self.nr_frames - self.room_pages

    def evicted(self, held: NDArray[np.int64], nr_chosen: int) -> NDArray[np.int64]:
        """Return how many pages of each class are evicted at the least cost, int64 (m, 3).

        Fewer in sum than `least_evicted` says that it cannot be done.
        """
        held = held.copy()
        held[:, 2] = np.minimum(held[:, 2], self.swap_free_pages)
        evicted = np.zeros_like(held)
        for each in np.argsort(self.extra, kind="stable").tolist():
            need = np.maximum(self.least_evicted(nr_chosen) - evicted.sum(axis=1), 0)
            evicted[:, each] = held[:, each] if self.extra[each] < 0 else np.minimum(held[:, each], need)
        return evicted

    def charge(self, held: NDArray[np.int64], nr_chosen: int) -> NDArray[np.int64]:
        """Return what evicting costs more than moving, or `IMPOSSIBLE` with too little to evict."""
        evicted = self.evicted(held, nr_chosen)
        enough = evicted.sum(axis=1) >= self.least_evicted(nr_chosen)
        return np.where(enough, evicted @ np.array(self.extra), IMPOSSIBLE)

    def priced(self, prices: tuple[int, ...], nr_chosen: int) -> tuple[NDArray[np.int64], int]:
        """Return the cost where each eviction saves the price of a room and pays that of swap."""
        room, swap = prices
        saved = [min(0, extra - room + paid) for extra, paid in zip(self.extra, (0, 0, swap), strict=True)]
        each = self.own + self.holds @ np.array(saved)
        return each, room * self.least_evicted(nr_chosen) - swap * self.swap_free_pages

    def lacks(self, held: NDArray[np.int64], prices: tuple[int, ...]) -> bool:
        """Return whether more is swapped at these prices than there is swap."""
        room, swap = prices
        return self.extra[2] + swap < room and int(held[2]) > self.swap_free_pages


def evict(layout: ZoneLayout, order: int, nr_blocks: int, limits: EvictionLimits) -> Outcome:
    """Free the windows that are cheapest to free by eviction; nothing is moved.

    Parameters
    ----------
    layout
        The zone.
    order
        Order of the blocks.
    nr_blocks
        Blocks to gain beyond those that are free now.
    limits
        What may be evicted.

    Returns
    -------
    Outcome
        ``infeasible`` with as many blocks as can be had, where there are not so many; ``no swap`` of
        `Outcome.blocked` tells how many pageblocks only swap was missing for.
    """
    found = buddy_windows(layout, order)
    size = found.nr_frames
    free = found.free
    classes = limits.classes_of(found, np.arange(len(found)))
    rows = np.flatnonzero((free < size) & (free + classes.sum(axis=1) == size))
    nr = min(nr_blocks, len(rows))
    chosen = select_most(Evict(classes[rows], limits), nr).rows
    assert chosen is not None

    frames = (rows[chosen][:, None] * size + np.arange(size)).ravel()
    used = frames[(layout.state[frames] & KIND_MASK) != Frame.FREE]
    return outcome(
        layout,
        found,
        place(layout, found, rows[chosen], used + layout.base_pfn),
        strategy="evict",
        nr_blocks=nr_blocks,
        nr_candidates=len(rows),
        reasons=NOT_EVICTABLE,
        lacking="no swap",
    )


def frames_to_evict(
    layout: ZoneLayout, found: Windows, rows: NDArray[np.int64], nr_evicted: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return so many frames of each class in windows, pfns: single pages first, then folios as they stand."""
    frames = (np.sort(rows)[:, None] * found.nr_frames + np.arange(found.nr_frames)).ravel()
    state = layout.state[frames]
    kinds = state & KIND_MASK
    chosen = []
    for members, nr in zip(CLASSES, nr_evicted, strict=True):
        here = np.flatnonzero(np.isin(kinds, members))
        compound = (state[here] & (HEAD | TAIL)) != 0
        chosen.append(frames[here[np.argsort(compound, kind="stable")][:nr]])
    return np.concatenate(chosen) + layout.base_pfn
