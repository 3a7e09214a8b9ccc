"""The steps of a request under ``buddy-grouped``, from the zones of a node.

Zones are walked downwards from the highest that will do, with less and less kept back::

    step 0   watermark low, without mixing types of pageblocks (where the kernel asks for that)
    step 1   watermark low
    step 2   watermark min, and by priority what lies below it
    step 3   who waits: one pageblock of the HighAtomic reserve is given back, not the last of a zone; then
             all CPUs give pages back
    step 4   who waits for up to 8 pages: one pageblock of the reserve after another, the last as well
    step 5   who waits for up to 8 pages: types may be mixed in defrag_mode too

Mirrors: mm/page_alloc.c (6.15 and later): __alloc_pages, get_page_from_freelist, alloc_flags_nofragment,
gfp_to_alloc_flags, gfp_to_alloc_flags_cma, __alloc_pages_slowpath, __alloc_pages_direct_reclaim,
should_reclaim_retry, unreserve_highatomic_pageblock; in each zone `kernelmodel.page_alloc`.
Fidelity: no kswapd: it reclaims nothing, and a watermark boost is over with the request that woke it. Steps 3
to 5 come before help, where the kernel reclaims first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kernelmodel._jit import jit
from kernelmodel.page_alloc.highatomic import reserve_highatomic_pageblock, unreserve_highatomic_pageblock
from kernelmodel.page_alloc.pcp import drain_pages
from kernelmodel.page_alloc.state import (
    ALLOC_CMA,
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NOFRAGMENT,
    ALLOC_NON_BLOCK,
    ALLOC_WMARK_LOW,
    ALLOC_WMARK_MIN,
    BOOST,
    COSTLY_ORDER,
    MANAGED,
    MOVABLE,
    NO_PAGE,
    USED,
    USED_MOVABLE,
    WORD,
    Request,
    Zone,
)
from kernelmodel.page_alloc.stream import take_page, watermark_allows
from kernelmodel.priority import Priority

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kernelmodel.free_area.interface import Ask

WAITS: Final = int(Priority.WAITS)
ATOMIC: Final = int(Priority.ATOMIC)

NR_ZONES: Final = 4
"""DMA, DMA32, Normal, Movable: one that a node has not is there, empty, so that one compiled loop does."""
NORMAL: Final = 2
DMA32: Final = 1

STEP_DRAINED: Final = 3
STEP_BY_FORCE: Final = 4
STEP_MIXED: Final = 5
NR_STEPS: Final = 6

# Numbers of `Zones.info`.
NOFRAGMENT: Final = 0
DEFRAG: Final = 1
ZONE_FALLBACKS: Final = 2
NR_INFO: Final = 3


class Zones(NamedTuple):
    """The zones of a node.

    Parameters
    ----------
    zones
        By type.
    first
        int64, frame of the ground at which the arrays of each begin.
    info
        int64, the numbers named above.
    """

    zones: tuple[Zone, Zone, Zone, Zone]
    first: NDArray[np.int64]
    info: NDArray[np.int64]


@jit
def preferred_zone(node: Zones, highest_zone: int) -> int:
    """Return the type of the zone that a request tries first; NO_PAGE where none will do."""
    for at in range(min(highest_zone, NR_ZONES - 1), -1, -1):
        if node.zones[at].info[MANAGED]:
            return at
    return NO_PAGE


@jit
def flags_of(node: Zones, ask: Ask, step: int) -> int:
    """Return the alloc_flags of a step."""
    # gfp_to_alloc_flags_cma: movable pages may stand where drivers will want room some day.
    flags = ALLOC_KSWAPD | (ALLOC_CMA if ask.migratetype == MOVABLE else 0)
    if step < 2:
        flags |= ALLOC_WMARK_LOW
        # alloc_flags_nofragment: only where Normal comes first, and finds DMA32 below it.
        first = preferred_zone(node, ask.highest_zone)
        wanted = node.info[DEFRAG] or (node.info[NOFRAGMENT] and first == NORMAL)
        return flags | ALLOC_NOFRAGMENT if step == 0 and wanted else flags
    flags |= ALLOC_WMARK_MIN
    if ask.priority != WAITS:
        flags |= ALLOC_NON_BLOCK
    if ask.priority == ATOMIC:
        flags |= ALLOC_MIN_RESERVE | (ALLOC_HIGHATOMIC if ask.order else 0)
    return flags | ALLOC_NOFRAGMENT if node.info[DEFRAG] and step < STEP_MIXED else flags


@jit
def tag_used(zone: Zone, index: int, order: int, word: int) -> None:
    """Note that frames are used, each by itself."""
    for frame in range(index, index + (1 << order)):
        zone.page[frame, WORD] = word


@jit
def unreserve(node: Zones, ask: Ask, force: bool) -> bool:
    """Give one pageblock of the reserve of the highest zone that can spare one back."""
    for at in range(min(ask.highest_zone, NR_ZONES - 1), -1, -1):
        if unreserve_highatomic_pageblock(node.zones[at], ask.migratetype, force):
            return True
    return False


@jit
def drain_all(node: Zones) -> None:
    """Give the pages of all CPUs' lists back."""
    for at in range(NR_ZONES):
        for cpu in range(node.zones[at].pcp.shape[0]):
            drain_pages(node.zones[at], cpu)


@jit
def drain_one(node: Zones, cpu: int) -> None:
    """Give the pages of a CPU's lists back."""
    for at in range(NR_ZONES):
        drain_pages(node.zones[at], cpu % node.zones[at].pcp.shape[0])


@jit
def step_begins(node: Zones, ask: Ask, step: int) -> bool:
    """Do what comes before a step; tell whether it finds anything that the one before it did not."""
    if step == 1:
        return flags_of(node, ask, 0) & ALLOC_NOFRAGMENT != 0 and not node.info[DEFRAG]
    if step <= 2:
        return True
    # Large orders give up before should_reclaim_retry.
    if ask.priority != WAITS or (step > STEP_DRAINED and ask.order > COSTLY_ORDER):
        return False
    if step == STEP_DRAINED:
        unreserve(node, ask, False)
        drain_all(node)
        return True
    return unreserve(node, ask, True) if step == STEP_BY_FORCE else node.info[DEFRAG] != 0


@jit
def take_grouped(node: Zones, ask: Ask) -> int:
    """Take a block for a request; see `kernelmodel.free_area.interface.take`."""
    step = 0
    while step < NR_STEPS:
        if not step_begins(node, ask, step):
            step += 1
            continue
        flags = flags_of(node, ask, step)
        for at in range(min(ask.highest_zone, NR_ZONES - 1), -1, -1):
            zone = node.zones[at]
            if not zone.info[MANAGED]:
                continue
            cpu = ask.cpu % zone.pcp.shape[0]
            request = Request(ask.order, ask.migratetype, flags, cpu, ask.highest_zone)
            if not watermark_allows(zone, request):
                continue
            index = take_page(zone, request)
            if index == NO_PAGE:
                continue
            zone.info[BOOST] = 0
            word = USED_MOVABLE if ask.migratetype == MOVABLE else USED
            zone.page[index, WORD] = word | ask.order
            if flags & ALLOC_HIGHATOMIC:
                reserve_highatomic_pageblock(zone, index, ask.order)
            tag_used(zone, index, ask.order, word)
            node.info[ZONE_FALLBACKS] += at < preferred_zone(node, ask.highest_zone)
            return int(node.first[at]) + index
        # Each pageblock that is given back by force is a try of its own.
        step += step != STEP_BY_FORCE
    return NO_PAGE
