"""What K more free blocks of an order cost in page copies, for every K at once, and where the zone runs out.

To clear a set S of K windows, each movable used frame of theirs is copied once, to a free frame outside S.
The room that takes does not depend on which windows are taken: with W frames a window, sum(movable) fits into
F - sum(free) exactly if K * W <= F. So the K cheapest windows are the best choice for every K, one sort gives
the whole curve, and its sums bound every other algorithm from below::

    copies |              .'
           |          .-'       |
           |    __..-'          | cliff: no more candidates, or no more room
           +--------------------+------ K, blocks gained

**What a gained block is.** Blocks that are free now stay free: K counts those that come on top. Keeping them
costs nothing (they are the cheapest windows there are), but their frames are no room for what is moved, so
that F here is the free memory outside them. Together ``nr_free_now + K`` blocks can be had.

Mirrors: nothing; the kernel does not plan (research sheet, section 2.1).
Fidelity: exact for single pages. A large folio that cannot be split and finds no run of free frames can make
a window dearer or impossible (`kernelmodel.compaction.planner`); the curve stays the lower bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.compaction.windows import frame_cost_sums, windows
from kernelmodel.compaction.zone_layout import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.compaction.windows import Windows
    from kernelmodel.compaction.zone_layout import ZoneLayout


@dataclass(frozen=True)
class Curve:
    """Cost against blocks gained.

    Parameters
    ----------
    order
        Order of the blocks.
    nr_free_now
        Windows that are free already.
    window_pfn
        int64, first frame of each window that can be cleared and is not free, cheapest first.
    pages
        int64, shape (candidates + 1,): pages copied when the first K of them are cleared; never falls.
    cost
        int64, same shape: the same in the caller's page costs; equal to `pages` where none were given.
    room_pages
        Free frames outside the windows that are free already.
    reserve_pages
        Of these, what is left alone: the minimum watermark and one block.
    """

    order: int
    nr_free_now: int
    window_pfn: NDArray[np.int64]
    pages: NDArray[np.int64]
    cost: NDArray[np.int64]
    room_pages: int
    reserve_pages: int

    @property
    def nr_candidates(self) -> int:
        """Blocks that could be gained if there were room for everything."""
        return len(self.window_pfn)

    @property
    def nr_attainable(self) -> int:
        """Blocks that can be gained by moves alone, the reserve left alone: where the cliff is."""
        return self.limit(self.reserve_pages)

    def limit(self, reserve_pages: int) -> int:
        """Return how many blocks can be gained if `reserve_pages` are left alone.

        What is gained without a copy (an optimistic curve: a window that per-CPU lists only have to give up)
        needs no room.
        """
        nr_without_copies = int(np.searchsorted(self.pages, 0, side="right")) - 1
        nr_with_room = max(0, self.room_pages - reserve_pages) >> self.order
        return min(self.nr_candidates, max(nr_without_copies, nr_with_room))


def curve(
    layout: ZoneLayout,
    order: int,
    *,
    kind_cost: NDArray[np.int64] | None = None,
    frame_cost: NDArray[np.integer] | None = None,
    optimistic: bool = False,
    found: Windows | None = None,
) -> Curve:
    """Return the whole curve. O(frames) to count, O(n log n) in windows to sort.

    Parameters
    ----------
    layout
        The zone.
    order
        Order of the blocks; any, also above the largest free block.
    kind_cost
        int64, shape (`kernelmodel.compaction.windows.NR_KINDS`,): cost of a frame of each kind, not negative.
    frame_cost
        Cost of each frame from ``layout.base_pfn`` on (by how often it is mapped, say); not negative, and
        instead of `kind_cost`.
    optimistic
        Count what may move as movable and what may be free as free, of that no more than there is on per-CPU
        lists: no zone can come out better. Without it nothing that is not known counts.
    found
        Windows of this order where the caller has counted them.

    Examples
    --------
    >>> from kernelmodel.compaction.zone_layout import ZoneLayout
    >>> state = np.array([1, 0, 0, 0, 1, 1, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0], np.uint8)
    >>> zone = ZoneLayout(0, "Normal", 0, 16, 0, state, np.ones(2, bool), 3, 5)
    >>> found = curve(zone, 2)
    >>> found.window_pfn.tolist(), found.pages.tolist(), found.nr_attainable
    ([0, 4], [0, 1, 3], 1)
    """
    found = windows(layout, order) if found is None else found
    size = found.nr_frames
    free, movable, maybe_free = found.free, found.movable, 0
    # A window of a higher order may cover less than the zone; its frames outside are room all the same.
    room = int(np.count_nonzero(layout.kinds == Frame.FREE)) if order >= layout.nr_orders else int(free.sum())
    nr_free_now = int(np.count_nonzero(free == size))
    at_hand = free == size
    if optimistic:
        unknown = found.counts[:, Frame.UNKNOWN].astype(np.int64)
        maybe_free = int(unknown.sum()) if layout.pcp_pages is None else layout.pcp_pages
        maybe_free = min(maybe_free, int(unknown.sum()))
        movable = movable + found.counts[:, Frame.UNCERTAIN] + found.counts[:, Frame.HELD]
        candidate = (free + movable + unknown == size) & (unknown <= maybe_free) & ~at_hand
        nr_hidden = int((np.cumsum(np.sort(unknown[candidate])) <= maybe_free).sum())
    else:
        candidate = (free + movable == size) & ~at_hand
        nr_hidden = int(np.count_nonzero(candidate))
    rows = np.flatnonzero(candidate)
    copies = movable[rows]
    if frame_cost is not None:
        price = frame_cost_sums(layout, found, frame_cost)[rows]
    else:
        price = copies if kind_cost is None else found.cost(kind_cost)[rows]
    cheapest = np.lexsort((copies, price)) if price is not copies else np.argsort(copies, kind="stable")
    cheapest = cheapest[:nr_hidden]
    return Curve(
        order,
        nr_free_now,
        found.first_pfn + (rows[cheapest] << order),
        _sums(copies[cheapest]),
        _sums(price[cheapest]),
        room - nr_free_now * size + maybe_free,
        layout.wmark_min + size,
    )


def _sums(each: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sums of none, the first, the first two and so on."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(each, dtype=np.int64)))
