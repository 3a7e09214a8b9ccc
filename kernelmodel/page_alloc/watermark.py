"""Whether a zone has enough free pages for a request, and the boost of its watermarks.

Mirrors: mm/page_alloc.c: __zone_watermark_unusable_free, __zone_watermark_ok, zone_watermark_fast,
boost_watermark; include/linux/mmzone.h: wmark_pages.
Fidelity: free pages are counted exactly, where the kernel's counter may lag by what each CPU holds back. The
boost grows here and shrinks when the caller says so, because kswapd is not modelled.
"""

from __future__ import annotations

from kernelmodel._jit import jit
from kernelmodel.page_alloc.freelist import free_list, list_first
from kernelmodel.page_alloc.state import (
    ALLOC_CMA,
    ALLOC_HIGHATOMIC,
    ALLOC_MIN_RESERVE,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_RESERVES,
    ALLOC_WMARK_MASK,
    BOOST,
    BOOST_FACTOR,
    CMA,
    HIGHATOMIC,
    LOWMEM_RESERVE,
    MANAGED,
    NO_PAGE,
    NR_FREE,
    NR_FREE_CMA,
    NR_FREE_HIGHATOMIC,
    NR_FREE_OF,
    NR_ORDERS,
    NR_PCPTYPES,
    PAGEBLOCK_ORDER,
    WMARK_HIGH,
    WMARK_MIN,
    Zone,
)


@jit
def wmark_pages(zone: Zone, which: int) -> int:
    """Return a watermark in pages, boost included; `which` is 0 for min, 1 for low, 2 for high."""
    return int(zone.info[WMARK_MIN + which] + zone.info[BOOST])


@jit
def unusable_free(zone: Zone, order: int, alloc_flags: int) -> int:
    """Return the free pages that a request must not count on."""
    pages = (1 << order) - 1
    if not alloc_flags & ALLOC_RESERVES:
        pages += int(zone.info[NR_FREE_HIGHATOMIC])
    if not alloc_flags & ALLOC_CMA:
        pages += int(zone.info[NR_FREE_CMA])
    return pages


@jit
def has_free_block(zone: Zone, order: int, alloc_flags: int) -> bool:
    """Tell whether a block of this order or more is free on a list that the request may use."""
    for current_order in range(order, zone.info[NR_ORDERS]):
        if zone.info[NR_FREE_OF + current_order] == 0:
            continue
        for migratetype in range(NR_PCPTYPES):
            if list_first(zone, free_list(zone, current_order, migratetype)) != NO_PAGE:
                return True
        if alloc_flags & ALLOC_CMA and list_first(zone, free_list(zone, current_order, CMA)) != NO_PAGE:
            return True
        reserve = alloc_flags & (ALLOC_HIGHATOMIC | ALLOC_OOM)
        if reserve and list_first(zone, free_list(zone, current_order, HIGHATOMIC)) != NO_PAGE:
            return True
    return False


@jit
def zone_watermark_ok(zone: Zone, order: int, mark: int, highest_zone: int, alloc_flags: int) -> bool:
    """Tell whether the zone stays above `mark` and has a block of the order.

    Parameters
    ----------
    order
        Order of the request.
    mark
        Watermark in pages.
    highest_zone
        Zone type that the request could be met from at most: says how much of this zone is kept from it.
    alloc_flags
        Bits of `state.ALLOC_`: who may dip into the reserve, and how far.
    """
    free_pages = int(zone.info[NR_FREE]) - unusable_free(zone, order, alloc_flags)
    if alloc_flags & ALLOC_MIN_RESERVE:
        mark -= mark // 2
        if alloc_flags & ALLOC_NON_BLOCK:
            mark -= mark // 4
    if alloc_flags & ALLOC_OOM:
        mark -= mark // 2
    if free_pages <= mark + zone.info[LOWMEM_RESERVE + highest_zone]:
        return False
    return order == 0 or has_free_block(zone, order, alloc_flags)


@jit
def zone_watermark_fast(zone: Zone, order: int, mark: int, highest_zone: int, alloc_flags: int) -> bool:
    """Tell the same, with the exceptions of an allocation's fast path.

    A single page needs only the plain comparison, and an urgent one that asks for the min watermark
    may overlook the boost.
    """
    if order == 0:
        usable = int(zone.info[NR_FREE]) - unusable_free(zone, 0, alloc_flags)
        if max(usable, 0) > mark + zone.info[LOWMEM_RESERVE + highest_zone]:
            return True
    if zone_watermark_ok(zone, order, mark, highest_zone, alloc_flags):
        return True
    urgent = order == 0 and alloc_flags & ALLOC_MIN_RESERVE and alloc_flags & ALLOC_WMARK_MASK == 0
    if urgent and zone.info[BOOST] > 0:
        return zone_watermark_ok(zone, order, int(zone.info[WMARK_MIN]), highest_zone, alloc_flags)
    return False


@jit
def boost_watermark(zone: Zone) -> bool:
    """Raise the watermarks by one pageblock, up to a share of the high one; tell whether boosting is on."""
    pageblock_pages = 1 << zone.info[PAGEBLOCK_ORDER]
    if zone.info[BOOST_FACTOR] == 0 or pageblock_pages * 4 > zone.info[MANAGED]:
        return False
    max_boost = zone.info[WMARK_HIGH] * zone.info[BOOST_FACTOR] // 10000
    if max_boost == 0:
        return False
    zone.info[BOOST] = min(zone.info[BOOST] + pageblock_pages, max(pageblock_pages, max_boost))
    return True
