"""Free blocks by order on lists: the buddy allocator of 1998, by who is taken next and what is kept back.

``buddy-lifo``
    A freed block is the next to be taken, as in Linux before 2.6.24: it is likely to be in the cache.
``buddy-fifo``
    A freed block waits behind all others: its buddy has time to become free.
``reserve``
    As ``buddy-lifo``; but a block of order t or more is not split for a request below t, unless n of order t
    are left afterwards, larger ones divided, or the priority is high (the proposal of 1998).

A request with a limit walks the lists for a block that it can use::

    order 2   head <-> 40 <-> 8 <-> 84 <-> head        limit 16: 40 is passed over, 8 is taken

Mirrors: Linux 2.0 to 2.2 ``mm/page_alloc.c: __get_free_pages, RMQUEUE_TYPE, EXPAND, free_pages_ok``.
Fidelity: a block that straddles the limit is used where its low part, which is what a split keeps, is below.
In the beginning the lists are in the order of addresses, since a layout does not tell another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernelmodel._jit import jit
from kernelmodel.free_area.interface import Functions
from kernelmodel.free_area.lists_check import check
from kernelmodel.free_area.lists_state import (
    MERGES,
    NEXT,
    NO_BLOCK,
    NR_FRAMES,
    NR_FREE,
    NR_INFO,
    NR_ORDERS,
    NR_RESERVED,
    ORDER,
    PREV,
    REFUSALS,
    RESERVED_ORDER,
    SPLITS,
    TO_TAIL,
    VISITS,
    WMARK_MIN,
    Lists,
)
from kernelmodel.free_area.policy import ATOMIC, Policy, watermark_allows
from kernelmodel.page_alloc.rebuild import FreeBlocks
from kernelmodel.page_alloc.state import NO_PAGE

if TYPE_CHECKING:
    from kernelmodel.free_area.ground import Ground
    from kernelmodel.free_area.interface import Ask


@jit
def add_block(lists: Lists, index: int, order: int) -> None:
    """Put a free block at the end of its list that the policy says."""
    page, info = lists.page, lists.info
    head = info[NR_FRAMES] + order
    if info[TO_TAIL]:
        before, after = page[head, PREV], head
    else:
        before, after = head, page[head, NEXT]
    page[index, NEXT], page[index, PREV], page[index, ORDER] = after, before, order
    page[before, NEXT] = index
    page[after, PREV] = index
    lists.nr_blocks[order] += 1


@jit
def del_block(lists: Lists, index: int, order: int) -> None:
    """Take a free block off its list."""
    page = lists.page
    before, after = page[index, PREV], page[index, NEXT]
    page[before, NEXT] = after
    page[after, PREV] = before
    page[index, ORDER] = NO_BLOCK
    lists.nr_blocks[order] -= 1


@jit
def may_break(lists: Lists, ask: Ask, order: int) -> bool:
    """Tell whether a block of an order may be split for a request."""
    info = lists.info
    kept = info[RESERVED_ORDER]
    if order < kept or ask.order >= kept or ask.priority == ATOMIC:
        return True
    # Larger blocks count as what they divide into: the split takes one of these.
    nr_left = -1
    for each in range(kept, info[NR_ORDERS]):
        nr_left += lists.nr_blocks[each] << (each - kept)
    return bool(nr_left >= info[NR_RESERVED])


@jit
def find_below(lists: Lists, order: int, end: int) -> int:
    """Return the first block on a list that begins before frame `end`; NO_PAGE where there is none."""
    page, info = lists.page, lists.info
    head = info[NR_FRAMES] + order
    entry = page[head, NEXT]
    while entry != head:
        info[VISITS] += 1
        if entry < end:
            return int(entry)
        entry = page[entry, NEXT]
    return NO_PAGE


@jit
def take_block(lists: Lists, ask: Ask) -> int:
    """Take a block for a request; see `kernelmodel.free_area.interface.take`."""
    info = lists.info
    if not watermark_allows(info[NR_FREE], info[WMARK_MIN], ask.order, ask.priority):
        return NO_PAGE
    end = ask.limit - (1 << ask.order) + 1
    refused = 0
    for order in range(ask.order, info[NR_ORDERS]):
        if not lists.nr_blocks[order]:
            continue
        if not may_break(lists, ask, order):
            refused = 1
            continue
        index = find_below(lists, order, end)
        if index != NO_PAGE:
            del_block(lists, index, order)
            info[NR_FREE] -= 1 << ask.order
            for lower in range(order - 1, ask.order - 1, -1):
                add_block(lists, index + (1 << lower), lower)
                info[SPLITS] += 1
            return index
    info[REFUSALS] += refused
    return NO_PAGE


@jit
def release_block(lists: Lists, index: int, order: int, cpu: int) -> None:  # noqa: ARG001
    """Give a block back and merge it as far up as its buddies are free."""
    info = lists.info
    info[NR_FREE] += 1 << order
    while order < info[NR_ORDERS] - 1:
        buddy = index ^ (1 << order)
        if lists.page[buddy, ORDER] != order:
            break
        del_block(lists, buddy, order)
        index &= buddy
        order += 1
        info[MERGES] += 1
    add_block(lists, index, order)


@jit
def block_around(lists: Lists, index: int, order: int) -> int:
    """Return the order of the free block that holds all of a range; NO_BLOCK where none does."""
    for above in range(order, lists.info[NR_ORDERS]):
        if lists.page[index & -(1 << above), ORDER] == above:
            return above
    return NO_BLOCK


@jit
def claim_block(lists: Lists, index: int, order: int, movable: int) -> bool:  # noqa: ARG001
    """Take one certain block; see `kernelmodel.free_area.interface.claim`.

    Free buddies have merged, so that a range which is free lies in one block.
    """
    above = block_around(lists, index, order)
    if above == NO_BLOCK:
        return False
    start = index & -(1 << above)
    del_block(lists, start, above)
    lists.info[NR_FREE] -= 1 << order
    while above > order:
        above -= 1
        lists.info[SPLITS] += 1
        upper = start + (1 << above)
        if index < upper:
            add_block(lists, upper, above)
        else:
            add_block(lists, start, above)
            start = upper
    return True


class FreeLists(Policy):
    """Free blocks by order on lists.

    Parameters
    ----------
    name, ground, pure
        As for `Policy`.
    to_tail
        Whether a freed block waits behind all others.
    t, n
        Order from which blocks are kept, and how many; `n` 0 keeps none.

    Examples
    --------
    See `kernelmodel.free_area.registry.make`.
    """

    state: Lists

    def __init__(
        self, name: str, ground: Ground, *, pure: bool = False, to_tail: bool = False, t: int = 0, n: int = 0
    ) -> None:
        functions = Functions(take_block, release_block, claim_block)
        super().__init__(name, ground, build(ground, to_tail=to_tail, t=t, n=n), functions, pure=pure)

    @property
    def nr_free(self) -> int:
        """Free pages."""
        return int(self.state.info[NR_FREE])

    def free_blocks(self) -> FreeBlocks:
        """Return the free blocks by address; start_pfn counts from frame 0."""
        order = self.state.page[: self.state.info[NR_FRAMES], ORDER]
        start = np.flatnonzero(order != NO_BLOCK)
        return FreeBlocks(start, order[start].astype(np.uint8), self.ground.nr_orders)

    def counters(self) -> dict[str, int]:
        """Return splits and merges of blocks, entries visited, and requests refused to keep the reserve."""
        info = self.state.info
        counted = {"splits": SPLITS, "merges": MERGES, "visits": VISITS}
        if info[NR_RESERVED]:
            counted["refusals"] = REFUSALS
        return {name: int(info[at]) for name, at in counted.items()}

    def validate(self) -> None:
        """Check every invariant of `kernelmodel.free_area.lists_check`; raises InvariantError."""
        check(self.state)


def build(ground: Ground, *, to_tail: bool, t: int, n: int) -> Lists:
    """Return the lists of a ground, each in the order of addresses."""
    blocks = ground.free_blocks()
    nr_frames, nr_orders = ground.nr_frames, ground.nr_orders
    page = np.full((nr_frames + nr_orders, 3), NO_BLOCK, np.int32)
    count = blocks.counts().astype(np.int64)
    page[blocks.start_pfn, ORDER] = blocks.order
    for order in range(nr_orders):
        head = nr_frames + order
        ring = np.concatenate(([head], blocks.start_pfn[blocks.order == order]))
        page[ring, NEXT], page[ring, PREV] = np.roll(ring, -1), np.roll(ring, 1)
    info = np.zeros(NR_INFO, np.int64)
    sizes = {
        NR_FRAMES: nr_frames,
        NR_ORDERS: nr_orders,
        WMARK_MIN: ground.wmark_min,
        TO_TAIL: to_tail,
        RESERVED_ORDER: t,
        NR_RESERVED: n,
        NR_FREE: int((count << np.arange(nr_orders)).sum()),
    }
    info[list(sizes)] = list(sizes.values())
    return Lists(page, count, info)
