"""The reserve of pageblocks for high-order atomic allocations.

Mirrors: mm/page_alloc.c: reserve_highatomic_pageblock, unreserve_highatomic_pageblock.
Fidelity: one zone instead of a zonelist; when to give blocks back (reclaim made no progress) is the caller's.
"""

from __future__ import annotations

from kernelmodel._jit import jit
from kernelmodel.page_alloc.claim import move_freepages_block
from kernelmodel.page_alloc.freelist import (
    change_pageblock_range,
    free_list,
    list_first,
    move_to_free_list,
    pageblock_type,
)
from kernelmodel.page_alloc.state import (
    HIGHATOMIC,
    MANAGED,
    NO_PAGE,
    NR_ORDERS,
    NR_PCPTYPES,
    NR_RESERVED_HIGHATOMIC,
    NR_UNRESERVED,
    PAGEBLOCK_ORDER,
    Zone,
)


@jit
def reserve_highatomic_pageblock(zone: Zone, index: int, order: int) -> None:
    """Reserve the pageblocks of a block just allocated, up to a hundredth of the zone (rounded up)."""
    pageblock_pages = 1 << int(zone.info[PAGEBLOCK_ORDER])
    hundredth = int(zone.info[MANAGED]) // 100
    if hundredth < pageblock_pages:
        return
    max_reserved = -(-hundredth // pageblock_pages) * pageblock_pages
    if zone.info[NR_RESERVED_HIGHATOMIC] >= max_reserved:
        return
    migratetype = pageblock_type(zone, index)
    if migratetype >= NR_PCPTYPES:
        return
    if order >= zone.info[PAGEBLOCK_ORDER]:
        change_pageblock_range(zone, index, order, HIGHATOMIC)
        zone.info[NR_RESERVED_HIGHATOMIC] += 1 << order
    elif move_freepages_block(zone, index, migratetype, HIGHATOMIC) != -1:
        zone.info[NR_RESERVED_HIGHATOMIC] += pageblock_pages


@jit
def unreserve_highatomic_pageblock(zone: Zone, migratetype: int, force: bool) -> bool:
    """Give one reserved pageblock that has free pages to another type; the last one only by force.

    Free buddies of pageblock order or more that only the reserve kept apart stay apart, as in the kernel.
    """
    pageblock_pages = 1 << int(zone.info[PAGEBLOCK_ORDER])
    if not force and zone.info[NR_RESERVED_HIGHATOMIC] <= pageblock_pages:
        return False
    for order in range(zone.info[NR_ORDERS]):
        index = list_first(zone, free_list(zone, order, HIGHATOMIC))
        if index == NO_PAGE:
            continue
        if order >= zone.info[PAGEBLOCK_ORDER]:
            move_to_free_list(zone, index, order, HIGHATOMIC, migratetype)
            change_pageblock_range(zone, index, order, migratetype)
        elif move_freepages_block(zone, index, HIGHATOMIC, migratetype) == -1:
            # A pageblock cut by the zone's end is never reserved, but a layout may say so.
            continue
        zone.info[NR_RESERVED_HIGHATOMIC] -= max(pageblock_pages, 1 << order)
        zone.info[NR_UNRESERVED] += 1
        return True
    return False
