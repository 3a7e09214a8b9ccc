"""Free lists: put a block on one, take it off, move it, split it, merge it with its buddies.

Mirrors: mm/page_alloc.c: account_freepages, __add_to_free_list, move_to_free_list,
__del_page_from_free_list, expand, page_del_and_expand, buddy_merge_likely, __free_one_page,
split_large_buddy, change_pageblock_range, __rmqueue_smallest; mm/internal.h: find_buddy_page_pfn;
include/linux/list.h.
Fidelity: no compaction capture, guard pages, page reporting or shuffling of the largest blocks.
"""

from __future__ import annotations

from kernelmodel._jit import jit
from kernelmodel.page_alloc.state import (
    CMA,
    FPI_TO_TAIL,
    FREE,
    HIGHATOMIC,
    ISOLATE,
    NEXT,
    NO_PAGE,
    NR_FRAMES,
    NR_FREE,
    NR_FREE_CMA,
    NR_FREE_HIGHATOMIC,
    NR_FREE_OF,
    NR_ORDERS,
    NR_PCP_LISTS,
    NR_PCPTYPES,
    NR_TYPES,
    PAGEBLOCK_ORDER,
    PREV,
    TAIL,
    WORD,
    Zone,
)


@jit
def free_list(zone: Zone, order: int, migratetype: int) -> int:
    """Return the head of a free list, as an index of `zone.page`."""
    return int(zone.info[NR_FRAMES]) + order * NR_TYPES + migratetype


@jit
def pcp_list(zone: Zone, cpu: int, pindex: int) -> int:
    """Return the head of a per-CPU list, as an index of `zone.page`."""
    return int(zone.info[NR_FRAMES] + zone.info[NR_ORDERS] * NR_TYPES) + cpu * NR_PCP_LISTS + pindex


@jit
def list_first(zone: Zone, head: int) -> int:
    """Return the first entry of a list, or NO_PAGE."""
    first = int(zone.page[head, NEXT])
    return NO_PAGE if first == head else first


@jit
def list_last(zone: Zone, head: int) -> int:
    """Return the last entry of a list, or NO_PAGE."""
    last = int(zone.page[head, PREV])
    return NO_PAGE if last == head else last


@jit
def list_add(zone: Zone, entry: int, head: int, tail: bool) -> None:
    """Put `entry` at the front of a list, or at its end."""
    page = zone.page
    before = int(page[head, PREV]) if tail else head
    after = int(page[before, NEXT])
    page[entry, PREV] = before
    page[entry, NEXT] = after
    page[before, NEXT] = entry
    page[after, PREV] = entry


@jit
def list_del(zone: Zone, entry: int) -> None:
    """Take `entry` off its list."""
    page = zone.page
    before = int(page[entry, PREV])
    after = int(page[entry, NEXT])
    page[before, NEXT] = after
    page[after, PREV] = before


@jit
def pageblock_type(zone: Zone, index: int) -> int:
    """Return the migratetype of the pageblock of a frame."""
    return int(zone.block_type[index >> zone.info[PAGEBLOCK_ORDER]])


@jit
def change_pageblock_range(zone: Zone, index: int, order: int, migratetype: int) -> None:
    """Give all pageblocks of a block of pageblock order or more one migratetype."""
    first = index >> zone.info[PAGEBLOCK_ORDER]
    for block in range(first, first + (1 << (order - zone.info[PAGEBLOCK_ORDER]))):
        zone.block_type[block] = migratetype


@jit
def account_freepages(zone: Zone, nr_pages: int, migratetype: int) -> None:
    """Add to the counters of free pages; isolated pages count as no free pages."""
    if migratetype == ISOLATE:
        return
    zone.info[NR_FREE] += nr_pages
    if migratetype == CMA:
        zone.info[NR_FREE_CMA] += nr_pages
    elif migratetype == HIGHATOMIC:
        zone.info[NR_FREE_HIGHATOMIC] += nr_pages


@jit
def add_to_free_list(zone: Zone, index: int, order: int, migratetype: int, tail: bool) -> None:
    """Make a block that is on no list a free block; counts it in its order, not in the free pages."""
    list_add(zone, index, free_list(zone, order, migratetype), tail)
    zone.page[index, WORD] = FREE | order
    zone.info[NR_FREE_OF + order] += 1


@jit
def del_from_free_list(zone: Zone, index: int, order: int) -> None:
    """Take a free block off its list; what its first frame is now, the caller says."""
    list_del(zone, index)
    zone.page[index, WORD] = TAIL
    zone.info[NR_FREE_OF + order] -= 1


@jit
def move_to_free_list(zone: Zone, index: int, order: int, old_type: int, new_type: int) -> None:
    """Move a free block to the end of another type's list, so that it is not the next to be taken."""
    list_del(zone, index)
    list_add(zone, index, free_list(zone, order, new_type), True)
    account_freepages(zone, -(1 << order), old_type)
    account_freepages(zone, 1 << order, new_type)


@jit
def expand(zone: Zone, index: int, low: int, high: int, migratetype: int) -> int:
    """Give back the upper halves of a block until order `low` is left; return the pages given back."""
    nr_added = 0
    while high > low:
        high -= 1
        add_to_free_list(zone, index + (1 << high), high, migratetype, False)
        nr_added += 1 << high
    return nr_added


@jit
def del_and_expand(zone: Zone, index: int, low: int, high: int, migratetype: int) -> None:
    """Take a free block of order `high` and keep its lowest part of order `low`."""
    del_from_free_list(zone, index, high)
    nr_added = expand(zone, index, low, high, migratetype)
    account_freepages(zone, nr_added - (1 << high), migratetype)


@jit
def is_free_buddy(zone: Zone, index: int, order: int) -> bool:
    """Tell whether a free block of exactly this order starts at a frame."""
    return int(zone.page[index, WORD]) == FREE | order


@jit
def buddy_merge_likely(zone: Zone, index: int, order: int) -> bool:
    """Tell whether the buddy one order up is free, so that this block will soon be part of a larger one."""
    if order >= zone.info[NR_ORDERS] - 2:
        return False
    higher = index & ~(1 << order)
    return is_free_buddy(zone, higher ^ (1 << (order + 1)), order + 1)


@jit
def free_one_page(zone: Zone, index: int, order: int, migratetype: int, fpi_flags: int) -> None:
    """Free a block into the lists and merge it with its buddies as far up as they are free.

    The block must lie in pageblocks of type `migratetype`. From pageblock order on, buddies of unlike types
    merge only if both are of the three ordinary types; the buddy's pageblocks then take this block's type.
    """
    zone.page[index, WORD] = TAIL
    account_freepages(zone, 1 << order, migratetype)
    while order < zone.info[NR_ORDERS] - 1:
        buddy = index ^ (1 << order)
        if not is_free_buddy(zone, buddy, order):
            break
        if order >= zone.info[PAGEBLOCK_ORDER]:
            buddy_type = pageblock_type(zone, buddy)
            if buddy_type != migratetype:
                if buddy_type >= NR_PCPTYPES or migratetype >= NR_PCPTYPES:
                    break
                change_pageblock_range(zone, buddy, order, migratetype)
        del_from_free_list(zone, buddy, order)
        index &= buddy
        order += 1
    tail = (fpi_flags & FPI_TO_TAIL) != 0 or buddy_merge_likely(zone, index, order)
    add_to_free_list(zone, index, order, migratetype, tail)


@jit
def split_large_buddy(zone: Zone, index: int, order: int, fpi_flags: int) -> None:
    """Free a block pageblock by pageblock, each under the type that its pageblock has."""
    end = index + (1 << order)
    step = min(order, int(zone.info[PAGEBLOCK_ORDER]))
    while index < end:
        free_one_page(zone, index, step, pageblock_type(zone, index), fpi_flags)
        index += 1 << step


@jit
def rmqueue_smallest(zone: Zone, order: int, migratetype: int) -> int:
    """Take the first block of the smallest sufficient order of one type; return its frame or NO_PAGE."""
    for current_order in range(order, zone.info[NR_ORDERS]):
        index = list_first(zone, free_list(zone, current_order, migratetype))
        if index != NO_PAGE:
            del_and_expand(zone, index, order, current_order, migratetype)
            return index
    return NO_PAGE
