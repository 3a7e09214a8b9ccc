"""Free blocks from free frames: what /proc/kpageflags shows of the free lists.

The kernel marks every frame of a free block, not its order (kernel-interfaces.md 2.3). The order comes back
because free buddies merge: a run of free frames is a set of maximal naturally aligned blocks, and there is
only one such set::

    pfn    5   6  7   8  9 10 11   12 13         free: [5, 14)
    order  0 [  1  ] [    2     ] [  1  ]        the orders rise from the low end and fall to the high end

Mirrors: mm/page_alloc.c: __free_one_page (what it leaves behind).
Fidelity: HighAtomic, CMA and isolated pageblocks do not merge with others, so that two free buddies of
pageblock order and more may stand apart there; this joins them. A run torn by a change while it was read
gives smaller blocks than there were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.errors import InvariantError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ORDER_BITS = 5


@dataclass(frozen=True)
class FreeBlocks:
    """Free blocks of one zone in physical order.

    Parameters
    ----------
    start_pfn
        int64, first frame of each block, ascending.
    order
        uint8 of the same shape, log2 of the block's frames.
    nr_orders
        Number of orders that the zone's lists have; the largest block is of order ``nr_orders - 1``.
    """

    start_pfn: NDArray[np.int64]
    order: NDArray[np.uint8]
    nr_orders: int

    def counts(self) -> NDArray[np.int64]:
        """Return the number of blocks of each order, int64[nr_orders], as /proc/buddyinfo prints them.

        >>> free_blocks(np.array([[5, 14]]), zone_start=0, zone_end=16).counts().tolist()
        [1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]
        """
        return np.bincount(self.order, minlength=self.nr_orders).astype(np.int64)

    def nr_pages(self) -> int:
        """Return the number of free frames."""
        return int((self.counts() << np.arange(self.nr_orders)).sum())

    def validate(self) -> None:
        """Check the blocks against the allocator's rules; O(blocks).

        Raises
        ------
        InvariantError
            ``order-range``, ``natural-alignment``, ``no-overlap`` or ``merged-buddies``.
        """
        size = np.int64(1) << self.order.astype(np.int64)
        after = self.start_pfn + size
        self._demand("order-range", self.order >= self.nr_orders)
        self._demand("natural-alignment", (self.start_pfn & (size - 1)) != 0)
        self._demand("no-overlap", after[:-1] > self.start_pfn[1:])
        # Buddies stand next to each other, the lower one at an even multiple of their size.
        pair = (self.order[:-1] == self.order[1:]) & (after[:-1] == self.start_pfn[1:])
        lower = (self.start_pfn[:-1] & size[:-1]) == 0
        self._demand("merged-buddies", pair & lower & (self.order[:-1] < self.nr_orders - 1))

    def _demand(self, invariant: str, broken: NDArray[np.bool_]) -> None:
        if broken.any():
            at = int(broken.argmax())
            block = f"order {self.order[at]}"
            if at + 1 < self.order.size:
                block += f", next block at {self.start_pfn[at + 1]} of order {self.order[at + 1]}"
            raise InvariantError(invariant, f"pfn {self.start_pfn[at]}", block)


def free_blocks(
    free_ranges: NDArray[np.int64], zone_start: int, zone_end: int, nr_orders: int = 11
) -> FreeBlocks:
    """Return the maximal naturally aligned blocks that fill `free_ranges` inside one zone.

    O(ranges · orders) at worst, and in practice a few passes: each order looks only at what the orders below
    left over. Blocks do not cross the zone's bounds, ranges that touch are joined first.

    Parameters
    ----------
    free_ranges
        int64 of shape (n, 2): half-open ranges of frames that are marked BUDDY, ascending, apart or touching.
    zone_start, zone_end
        The zone's first frame and the first one behind it; what lies outside is cut off.
    nr_orders
        Number of orders of the zone's lists (11 on x86-64).

    Raises
    ------
    ModelError
        A range is empty, or the ranges overlap or are out of order.

    Examples
    --------
    >>> blocks = free_blocks(np.array([[5, 8], [8, 14]]), zone_start=6, zone_end=4096)
    >>> [(int(pfn), int(order)) for pfn, order in zip(blocks.start_pfn, blocks.order)]
    [(6, 1), (8, 2), (12, 1)]
    """
    low, high = _joined(free_ranges)
    low, high = np.maximum(low, zone_start), np.minimum(high, zone_end)
    low, high = _rest(low, high)
    pieces = []
    for order in range(nr_orders - 1):
        if low.size == 0:
            break
        # Both ends are multiples of 1 << order here, so that a block of this order fits at either.
        size = np.int64(1 << order)
        at_low = (low & size) != 0
        pieces.append(_tagged(low[at_low], order))
        low = low + (at_low << order)
        at_high = ((high & size) != 0) & (high > low)
        high = high - (at_high << order)
        pieces.append(_tagged(high[at_high], order))
        low, high = _rest(low, high)
    last = nr_orders - 1
    nr_max = (high - low) >> last
    within = np.arange(int(nr_max.sum())) - np.repeat(np.cumsum(nr_max) - nr_max, nr_max)
    pieces.append(_tagged(np.repeat(low, nr_max) + (within << last), last))
    # Each piece is ascending, and a stable sort of integers merges ascending pieces.
    tagged = np.sort(np.concatenate(pieces), kind="stable")
    order_of = (tagged & ((1 << _ORDER_BITS) - 1)).astype(np.uint8)
    return FreeBlocks(tagged >> _ORDER_BITS, order_of, nr_orders)


def _joined(free_ranges: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return starts and ends of the ranges with those that touch made one."""
    ranges = np.asarray(free_ranges, np.int64).reshape(-1, 2)
    low, high = ranges[:, 0], ranges[:, 1]
    if (low >= high).any():
        raise ModelError(f"empty range of free frames at pfn {low[(low >= high).argmax()]}")
    if (high[:-1] > low[1:]).any():
        raise ModelError(f"ranges of free frames overlap at pfn {low[1:][(high[:-1] > low[1:]).argmax()]}")
    if low.size == 0:
        return low, high
    apart = high[:-1] < low[1:]
    return low[np.concatenate(([True], apart))], high[np.concatenate((apart, [True]))]


def _rest(low: NDArray[np.int64], high: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ranges that still hold frames."""
    some = low < high
    return low[some], high[some]


def _tagged(start: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """Return block starts with the order in the low bits, which sort like the starts."""
    tagged: NDArray[np.int64] = (start << _ORDER_BITS) | order
    return tagged
