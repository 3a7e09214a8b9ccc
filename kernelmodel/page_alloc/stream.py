"""Allocate and free as the kernel's entry points do, one operation or a stream of them in one call.

Mirrors: mm/page_alloc.c: get_page_from_freelist, rmqueue, __free_frozen_pages, free_one_page.
Fidelity: one zone, so no zonelist, cpusets, dirty limits or node distances; no reclaim, compaction or
waiting when the watermark is missed: the allocation fails and the caller decides. Waking kswapd is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernelmodel._jit import jit
from kernelmodel.page_alloc.freelist import pageblock_type, split_large_buddy
from kernelmodel.page_alloc.highatomic import reserve_highatomic_pageblock, unreserve_highatomic_pageblock
from kernelmodel.page_alloc.pcp import (
    decay_pcp_high,
    drain_pages,
    free_to_pcp,
    pcp_allowed_order,
    rmqueue_pcplist,
)
from kernelmodel.page_alloc.rmqueue import rmqueue_buddy
from kernelmodel.page_alloc.state import (
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_NO_WATERMARKS,
    ALLOC_NOFRAGMENT,
    ALLOC_WMARK_MASK,
    BELOW_HIGH,
    BOOSTED,
    DEFRAG_MODE,
    FPI_TO_TAIL,
    ISOLATE,
    MAX_ZONE_TYPES,
    MOVABLE,
    NO_PAGE,
    NR_FRAMES,
    NR_KSWAPD_WAKEUPS,
    NR_ORDERS,
    NR_PCPTYPES,
    USED,
    USED_MOVABLE,
    WORD,
    Request,
    Zone,
)
from kernelmodel.page_alloc.watermark import wmark_pages, zone_watermark_fast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Kinds of operation, the first column of a stream.
OP_ALLOC: Final = 0
OP_FREE: Final = 1
OP_FREE_RESULT: Final = 2
OP_DRAIN: Final = 3
OP_DECAY: Final = 4
OP_UNRESERVE: Final = 5

NOT_ALLOCATED: Final = -2
"""Result of a free whose block was not allocated with that order: the stream stops there."""
NO_OPERATION: Final = -3
"""Result of a row that is none of the operations: the stream stops there."""


@jit
def watermark_allows(zone: Zone, request: Request) -> bool:
    """Tell whether a request may take pages now; notes when the zone has sunk below its high watermark."""
    order, _, alloc_flags, _, highest_zone = request
    if not zone.info[BELOW_HIGH]:
        if zone_watermark_fast(zone, order, wmark_pages(zone, 2), highest_zone, alloc_flags):
            return True
        zone.info[BELOW_HIGH] = 1
    mark = wmark_pages(zone, alloc_flags & ALLOC_WMARK_MASK)
    if zone_watermark_fast(zone, order, mark, highest_zone, alloc_flags):
        return True
    return alloc_flags & ALLOC_NO_WATERMARKS != 0


@jit
def take_page(zone: Zone, request: Request) -> int:
    """Take a block through the per-CPU lists or past them, whatever the watermarks say."""
    index = NO_PAGE
    if pcp_allowed_order(zone, request.order):
        index = rmqueue_pcplist(zone, request)
    if index == NO_PAGE:
        index = rmqueue_buddy(zone, request)
    if request.alloc_flags & ALLOC_KSWAPD and zone.info[BOOSTED]:
        zone.info[BOOSTED] = 0
        zone.info[NR_KSWAPD_WAKEUPS] += 1
    return index


@jit
def alloc_page(zone: Zone, request: Request) -> int:
    """Allocate a block; return its frame or NO_PAGE.

    A request that must not mix pageblock types is tried once more without that condition, unless
    defrag_mode holds.
    """
    index = NO_PAGE
    if watermark_allows(zone, request):
        index = take_page(zone, request)
    if index == NO_PAGE and request.alloc_flags & ALLOC_NOFRAGMENT and not zone.info[DEFRAG_MODE]:
        alloc_flags = request.alloc_flags & ~ALLOC_NOFRAGMENT
        request = Request(request.order, request.migratetype, alloc_flags, request.cpu, request.highest_zone)
        if watermark_allows(zone, request):
            index = take_page(zone, request)
    if index == NO_PAGE:
        return NO_PAGE
    zone.page[index, WORD] = (USED_MOVABLE if request.migratetype == MOVABLE else USED) | request.order
    if request.alloc_flags & ALLOC_HIGHATOMIC:
        reserve_highatomic_pageblock(zone, index, request.order)
    return index


@jit
def free_page(zone: Zone, index: int, order: int, cpu: int, fpi_flags: int) -> int:
    """Free a used block; return its pages, or NOT_ALLOCATED and change nothing."""
    if not 0 <= index < zone.info[NR_FRAMES] or not 0 <= order < zone.info[NR_ORDERS]:
        return NOT_ALLOCATED
    word = int(zone.page[index, WORD])
    if word not in (USED | order, USED_MOVABLE | order):
        return NOT_ALLOCATED
    migratetype = pageblock_type(zone, index)
    past_pcp = fpi_flags & FPI_TO_TAIL != 0 or migratetype == ISOLATE
    if past_pcp or not pcp_allowed_order(zone, order):
        split_large_buddy(zone, index, order, fpi_flags)
    else:
        free_to_pcp(zone, cpu, index, order, migratetype if migratetype < NR_PCPTYPES else MOVABLE)
    return 1 << order


@jit
def alloc_pfn(zone: Zone, base: int, request: Request) -> int:
    """Allocate a block; return its pfn, NO_PAGE or NO_OPERATION."""
    typed = 0 <= request.migratetype < NR_PCPTYPES and 0 <= request.highest_zone < MAX_ZONE_TYPES
    if not typed or not 0 <= request.order < zone.info[NR_ORDERS]:
        return NO_OPERATION
    index = alloc_page(zone, request)
    return NO_PAGE if index == NO_PAGE else base + index


@jit
def maintain(zone: Zone, kind: int, migratetype: int, force: int, cpu: int) -> int:
    """Do what the kernel does beside allocating and freeing; return the operation's result."""
    if kind == OP_DRAIN:
        return drain_pages(zone, cpu)
    if kind == OP_DECAY:
        return decay_pcp_high(zone, cpu)
    if kind == OP_UNRESERVE and 0 <= migratetype < NR_PCPTYPES:
        return int(unreserve_highatomic_pageblock(zone, migratetype, force != 0))
    return NO_OPERATION


@jit
def execute(zone: Zone, base: int, ops: NDArray[np.int64], results: NDArray[np.int64]) -> int:
    """Carry out a stream of operations; return how many were done.

    Parameters
    ----------
    zone
        The zone.
    base
        pfn of the zone's first frame.
    ops
        int64 (n, 6): kind, then what the kind takes, in columns::

            OP_ALLOC        order   migratetype  alloc_flags  cpu  highest_zone
            OP_FREE         pfn     order        fpi_flags    cpu  -
            OP_FREE_RESULT  number  -            fpi_flags    cpu  -     what operation `number` allocated
            OP_DRAIN        -       -            -            cpu  -
            OP_DECAY        -       -            -            cpu  -
            OP_UNRESERVE    -       migratetype  force        -    -
    results
        int64 (n), written: the pfn allocated or NO_PAGE; pages freed (0 where there was nothing to free),
        drained or given back; 1 or 0 for a pageblock unreserved or not. Where the stream stops before its
        end, the last one written is NOT_ALLOCATED or NO_OPERATION.
    """
    for done in range(ops.shape[0]):
        # Not unpacked at once: a row would be an object of its own, counted and freed.
        kind, first, second = ops[done, 0], ops[done, 1], ops[done, 2]
        flags, cpu, highest_zone = ops[done, 3], ops[done, 4], ops[done, 5]
        if not 0 <= cpu < zone.pcp.shape[0]:
            result = NO_OPERATION
        elif kind == OP_ALLOC:
            result = alloc_pfn(zone, base, Request(first, second, flags, cpu, highest_zone))
        elif kind == OP_FREE:
            result = free_page(zone, first - base, second, cpu, flags)
        elif kind == OP_FREE_RESULT:
            result = NO_OPERATION
            if 0 <= first < done and ops[first, 0] == OP_ALLOC:
                result = 0
                if results[first] != NO_PAGE:
                    result = free_page(zone, results[first] - base, ops[first, 1], cpu, flags)
        else:
            result = maintain(zone, kind, second, flags, cpu)
        results[done] = result
        if result < NO_PAGE:
            return done
    return int(ops.shape[0])
