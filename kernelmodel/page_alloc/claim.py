"""Claiming a whole pageblock for another migratetype, or stealing one block out of it.

Mirrors: mm/page_alloc.c (6.15 and later): prep_move_freepages_block, __move_freepages_block,
move_freepages_block, should_try_claim_block, find_suitable_fallback, try_to_claim_block, __rmqueue_claim,
__rmqueue_steal.
Fidelity: up to 6.9 the free pages of a block moved to the thief's lists even where the block kept its
type, and up to 6.14 claiming and stealing were one search; neither is modelled. Grouping by
mobility is always on (the kernel turns it off on hosts of a few MiB).
"""

from __future__ import annotations

from typing import Final

from kernelmodel import migratetype as types
from kernelmodel._jit import jit
from kernelmodel.page_alloc.freelist import (
    account_freepages,
    change_pageblock_range,
    del_and_expand,
    del_from_free_list,
    expand,
    free_list,
    list_first,
    move_to_free_list,
    rmqueue_smallest,
)
from kernelmodel.page_alloc.state import (
    ALLOC_KSWAPD,
    ALLOC_NOFRAGMENT,
    BOOSTED,
    FREE,
    KIND_MASK,
    MOVABLE,
    NO_PAGE,
    NR_CLAIMS,
    NR_FREE_OF,
    NR_ORDERS,
    NR_PCPTYPES,
    NR_STEALS,
    ORDER_MASK,
    PAGEBLOCK_ORDER,
    RECLAIMABLE,
    UNMOVABLE,
    USED_MOVABLE,
    WORD,
    ZONE_END,
    ZONE_FIRST,
    Request,
    Zone,
)
from kernelmodel.page_alloc.watermark import boost_watermark

NO_FALLBACK: Final = -1
NOT_CLAIMABLE: Final = -2
FALLBACKS: Final = tuple(tuple(int(choice) for choice in row) for row in types.FALLBACKS)


@jit
def pageblock_in_zone(zone: Zone, index: int) -> bool:
    """Tell whether the pageblock of a frame lies wholly inside the zone."""
    pageblock_pages = 1 << zone.info[PAGEBLOCK_ORDER]
    start = index & ~(pageblock_pages - 1)
    return bool(zone.info[ZONE_FIRST] <= start and start + pageblock_pages <= zone.info[ZONE_END])


@jit
def count_pageblock(zone: Zone, index: int) -> tuple[int, int]:
    """Return the free and the movable used pages of the pageblock of a frame."""
    pageblock_pages = 1 << zone.info[PAGEBLOCK_ORDER]
    start = index & ~(pageblock_pages - 1)
    nr_free = 0
    nr_movable = 0
    at = start
    while at < start + pageblock_pages:
        word = int(zone.page[at, WORD])
        kind = word & KIND_MASK
        nr_pages = 1 << (word & ORDER_MASK)
        if kind == FREE:
            nr_free += nr_pages
            at += nr_pages
        elif kind == USED_MOVABLE:
            nr_movable += nr_pages
            at += nr_pages
        else:
            at += 1
    return nr_free, nr_movable


@jit
def move_freepages_block(zone: Zone, index: int, old_type: int, new_type: int) -> int:
    """Retag the pageblock of a frame and move its free blocks along; return the pages moved.

    -1 when the pageblock reaches out of the zone: then nothing is changed.
    """
    if not pageblock_in_zone(zone, index):
        return -1
    pageblock_pages = 1 << zone.info[PAGEBLOCK_ORDER]
    start = index & ~(pageblock_pages - 1)
    nr_moved = 0
    at = start
    while at < start + pageblock_pages:
        word = int(zone.page[at, WORD])
        if word & KIND_MASK == FREE:
            move_to_free_list(zone, at, word & ORDER_MASK, old_type, new_type)
            nr_moved += 1 << (word & ORDER_MASK)
            at += 1 << (word & ORDER_MASK)
        else:
            at += 1
    zone.block_type[start >> zone.info[PAGEBLOCK_ORDER]] = new_type
    return nr_moved


@jit
def should_try_claim_block(zone: Zone, order: int, migratetype: int) -> bool:
    """Tell whether a free block of this order is reason enough to look at its whole pageblock."""
    return order >= zone.info[PAGEBLOCK_ORDER] // 2 or migratetype in (RECLAIMABLE, UNMOVABLE)


@jit
def find_suitable_fallback(zone: Zone, order: int, migratetype: int, claimable: bool) -> int:
    """Return the first type of the fallback table with a free block of this order.

    NO_FALLBACK when there is none; NOT_CLAIMABLE when `claimable` is asked for and the order is too low.
    """
    if claimable and not should_try_claim_block(zone, order, migratetype):
        return NOT_CLAIMABLE
    if zone.info[NR_FREE_OF + order] == 0:
        return NO_FALLBACK
    for choice in range(NR_PCPTYPES - 1):
        fallback = FALLBACKS[migratetype][choice]
        if list_first(zone, free_list(zone, order, fallback)) != NO_PAGE:
            return fallback
    return NO_FALLBACK


@jit
def try_to_claim_block(zone: Zone, index: int, current_order: int, block_type: int, request: Request) -> int:
    """Take over the pageblock of a free block, if half of it is free or of the request's kind.

    A block of pageblock order or more is taken without asking. Otherwise the watermarks are boosted first,
    whether it works or not. Returns the frame of a block of the request's order, or NO_PAGE.
    """
    start_type = request.migratetype
    if current_order >= zone.info[PAGEBLOCK_ORDER]:
        del_from_free_list(zone, index, current_order)
        account_freepages(zone, -(1 << current_order), block_type)
        change_pageblock_range(zone, index, current_order, start_type)
        account_freepages(zone, expand(zone, index, request.order, current_order, start_type), start_type)
        return index
    if boost_watermark(zone) and request.alloc_flags & ALLOC_KSWAPD:
        zone.info[BOOSTED] = 1
    if not pageblock_in_zone(zone, index):
        return NO_PAGE
    pageblock_pages = 1 << zone.info[PAGEBLOCK_ORDER]
    nr_free, nr_movable = count_pageblock(zone, index)
    nr_alike = 0
    if start_type == MOVABLE:
        nr_alike = nr_movable
    elif block_type == MOVABLE:
        # Everything that is neither free nor movable can only be of the unmovable kinds.
        nr_alike = pageblock_pages - (nr_free + nr_movable)
    if nr_free + nr_alike < pageblock_pages // 2:
        return NO_PAGE
    move_freepages_block(zone, index, block_type, start_type)
    return rmqueue_smallest(zone, request.order, start_type)


@jit
def rmqueue_claim(zone: Zone, request: Request) -> int:
    """Claim the pageblock of the largest block that another type has; return a frame or NO_PAGE."""
    min_order = request.order
    if request.alloc_flags & ALLOC_NOFRAGMENT:
        min_order = max(min_order, int(zone.info[PAGEBLOCK_ORDER]))
    current_order = int(zone.info[NR_ORDERS]) - 1
    while current_order >= min_order:
        fallback = find_suitable_fallback(zone, current_order, request.migratetype, True)
        if fallback == NOT_CLAIMABLE:
            break
        if fallback != NO_FALLBACK:
            index = list_first(zone, free_list(zone, current_order, fallback))
            index = try_to_claim_block(zone, index, current_order, fallback, request)
            if index != NO_PAGE:
                zone.info[NR_CLAIMS] += 1
                return index
        current_order -= 1
    return NO_PAGE


@jit
def rmqueue_steal(zone: Zone, request: Request) -> int:
    """Take part of another type's smallest sufficient block and leave it the rest; a frame or NO_PAGE."""
    for current_order in range(request.order, zone.info[NR_ORDERS]):
        fallback = find_suitable_fallback(zone, current_order, request.migratetype, False)
        if fallback != NO_FALLBACK:
            index = list_first(zone, free_list(zone, current_order, fallback))
            del_and_expand(zone, index, request.order, current_order, fallback)
            zone.info[NR_STEALS] += 1
            return index
    return NO_PAGE
