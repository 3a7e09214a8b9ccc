"""Taking a block out of the free lists: own type, CMA, claim, steal.

Mirrors: mm/page_alloc.c (6.15 and later): __rmqueue, rmqueue_buddy, enum rmqueue_mode.
Fidelity: see `claim`; no NUMA statistics, no check of the pages taken.
"""

from __future__ import annotations

from typing import Final

from kernelmodel._jit import jit
from kernelmodel.page_alloc.claim import rmqueue_claim, rmqueue_steal
from kernelmodel.page_alloc.freelist import rmqueue_smallest
from kernelmodel.page_alloc.state import (
    ALLOC_CMA,
    ALLOC_HIGHATOMIC,
    ALLOC_NOFRAGMENT,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    CMA,
    HIGHATOMIC,
    NO_PAGE,
    NR_FREE,
    NR_FREE_CMA,
    Request,
    Zone,
)

MODE_NORMAL: Final = 0
MODE_CMA: Final = 1
MODE_CLAIM: Final = 2
MODE_STEAL: Final = 3


@jit
def rmqueue(zone: Zone, request: Request, mode: int) -> tuple[int, int]:
    """Take a block for a request of one of the three ordinary types.

    Parameters
    ----------
    zone, request
        Where from and what for.
    mode
        Where the search begins: what the last call of the same bulk refill returned, at first MODE_NORMAL.

    Returns
    -------
    tuple
        Frame or NO_PAGE, and the mode for the next call.
    """
    if request.alloc_flags & ALLOC_CMA and zone.info[NR_FREE_CMA] > zone.info[NR_FREE] // 2:
        index = rmqueue_smallest(zone, request.order, CMA)
        if index != NO_PAGE:
            return index, mode
    if mode == MODE_NORMAL:
        index = rmqueue_smallest(zone, request.order, request.migratetype)
        if index != NO_PAGE:
            return index, mode
    return rmqueue_fallback(zone, request, mode)


@jit
def rmqueue_fallback(zone: Zone, request: Request, mode: int) -> tuple[int, int]:
    """Take a block from elsewhere than the request's own lists, in order of growing damage."""
    if mode <= MODE_CMA and request.alloc_flags & ALLOC_CMA:
        index = rmqueue_smallest(zone, request.order, CMA)
        if index != NO_PAGE:
            return index, MODE_CMA
    if mode <= MODE_CLAIM:
        index = rmqueue_claim(zone, request)
        if index != NO_PAGE:
            return index, MODE_NORMAL
    if not request.alloc_flags & ALLOC_NOFRAGMENT:
        index = rmqueue_steal(zone, request)
        if index != NO_PAGE:
            return index, MODE_STEAL
    return NO_PAGE, mode


@jit
def rmqueue_buddy(zone: Zone, request: Request) -> int:
    """Take a block past the per-CPU lists; the HighAtomic reserve comes first or last by the flags."""
    index = NO_PAGE
    if request.alloc_flags & ALLOC_HIGHATOMIC:
        index = rmqueue_smallest(zone, request.order, HIGHATOMIC)
    if index == NO_PAGE:
        index, _ = rmqueue(zone, request, MODE_NORMAL)
    if index == NO_PAGE and request.alloc_flags & (ALLOC_OOM | ALLOC_NON_BLOCK):
        index = rmqueue_smallest(zone, request.order, HIGHATOMIC)
    return index
