"""Per-CPU lists: refill, pop, push, drain, and the limits that tune themselves.

Mirrors: mm/page_alloc.c (6.15 and later): order_to_pindex, pindex_to_order, pcp_allowed_order, rmqueue_bulk,
nr_pcp_alloc, rmqueue_pcplist, nr_pcp_free, nr_pcp_high, free_frozen_page_commit, free_pcppages_bulk,
drain_pages_zone, decay_pcp_high.
Fidelity: a CPU's lock is always free; reclaim is active in a zone (ZONE_RECLAIM_ACTIVE) while the caller says
so; huge pages are of pageblock order, as on x86-64.
"""

from __future__ import annotations

from kernelmodel._jit import jit
from kernelmodel.page_alloc.freelist import (
    free_one_page,
    list_add,
    list_del,
    list_first,
    list_last,
    pageblock_type,
    pcp_list,
)
from kernelmodel.page_alloc.rmqueue import MODE_NORMAL, rmqueue
from kernelmodel.page_alloc.state import (
    BELOW_HIGH,
    COSTLY_ORDER,
    MOVABLE,
    MOVABLE_ZONE,
    NO_PAGE,
    NR_LOWORDER_PCP_LISTS,
    NR_PCP_LISTS,
    NR_PCPTYPES,
    PAGEBLOCK_ORDER,
    PCP,
    PCP_ALLOC_FACTOR,
    PCP_BATCH,
    PCP_BATCH_SCALE_MAX,
    PCP_COUNT,
    PCP_FREE_COUNT,
    PCP_FREE_HIGH_BATCH,
    PCP_HIGH,
    PCP_HIGH_MAX,
    PCP_HIGH_MIN,
    PCP_PREV_FREE_HIGH_ORDER,
    RECLAIM_ACTIVE,
    TAIL,
    WORD,
    Request,
    Zone,
)
from kernelmodel.page_alloc.watermark import wmark_pages, zone_watermark_ok


@jit
def pcp_allowed_order(zone: Zone, order: int) -> bool:
    """Tell whether blocks of this order pass through the per-CPU lists."""
    return order <= COSTLY_ORDER or order == zone.info[PAGEBLOCK_ORDER]


@jit
def order_to_pindex(migratetype: int, order: int) -> int:
    """Return the number of the list of an order and type; huge pages have two lists, the second Movable's."""
    if order > COSTLY_ORDER:
        return NR_LOWORDER_PCP_LISTS + (1 if migratetype == MOVABLE else 0)
    return NR_PCPTYPES * order + migratetype


@jit
def pindex_to_order(zone: Zone, pindex: int) -> int:
    """Return the order of the blocks on a list."""
    return int(zone.info[PAGEBLOCK_ORDER]) if pindex >= NR_LOWORDER_PCP_LISTS else pindex // NR_PCPTYPES


@jit
def clamp_high(zone: Zone, cpu: int) -> int:
    """Bring a CPU's limit between its bounds, which may have been changed, and return it in pages."""
    high = min(max(zone.pcp[cpu, PCP_HIGH], zone.info[PCP_HIGH_MIN]), zone.info[PCP_HIGH_MAX])
    zone.pcp[cpu, PCP_HIGH] = high
    return int(high)


@jit
def nr_pcp_alloc(zone: Zone, cpu: int, order: int) -> int:
    """Return how many blocks an empty list takes from the buddy lists at once."""
    base_batch = int(zone.info[PCP_BATCH])
    high = clamp_high(zone, cpu)
    if high < base_batch:
        return 1
    batch = base_batch if order else base_batch << int(zone.pcp[cpu, PCP_ALLOC_FACTOR])
    if zone.info[PCP_HIGH_MIN] != zone.info[PCP_HIGH_MAX] and not zone.info[BELOW_HIGH]:
        high = min(high + batch, int(zone.info[PCP_HIGH_MAX]))
        zone.pcp[cpu, PCP_HIGH] = high
    if not order:
        max_nr_alloc = max(high - int(zone.pcp[cpu, PCP_COUNT]) - base_batch, base_batch)
        if batch <= max_nr_alloc and zone.pcp[cpu, PCP_ALLOC_FACTOR] < PCP_BATCH_SCALE_MAX:
            zone.pcp[cpu, PCP_ALLOC_FACTOR] += 1
        batch = min(batch, max_nr_alloc)
    if batch > 1:
        batch = max(batch >> order, 2)
    return batch


@jit
def rmqueue_bulk(zone: Zone, request: Request, nr_blocks: int, head: int) -> int:
    """Fill a per-CPU list from the buddy lists, in the order taken; return the blocks added."""
    mode = MODE_NORMAL
    for nr_added in range(nr_blocks):
        index, mode = rmqueue(zone, request, mode)
        if index == NO_PAGE:
            return nr_added
        list_add(zone, index, head, True)
        zone.page[index, WORD] = PCP | request.order
    return nr_blocks


@jit
def rmqueue_pcplist(zone: Zone, request: Request) -> int:
    """Take a block from a CPU's list, refilled first if it is empty; return its frame or NO_PAGE."""
    cpu = request.cpu
    zone.pcp[cpu, PCP_FREE_COUNT] >>= 1
    head = pcp_list(zone, cpu, order_to_pindex(request.migratetype, request.order))
    index = list_first(zone, head)
    if index == NO_PAGE:
        nr_blocks = nr_pcp_alloc(zone, cpu, request.order)
        zone.pcp[cpu, PCP_COUNT] += rmqueue_bulk(zone, request, nr_blocks, head) << request.order
        index = list_first(zone, head)
        if index == NO_PAGE:
            return NO_PAGE
    list_del(zone, index)
    zone.page[index, WORD] = TAIL
    zone.pcp[cpu, PCP_COUNT] -= 1 << request.order
    return index


@jit
def free_pcppages_bulk(zone: Zone, cpu: int, nr_pages: int, pindex: int) -> None:
    """Free at least so many pages of a CPU, list by list from `pindex` on, in each the oldest first."""
    nr_pages = min(nr_pages, int(zone.pcp[cpu, PCP_COUNT]))
    pindex -= 1
    while nr_pages > 0:
        index = NO_PAGE
        while index == NO_PAGE:
            pindex = pindex + 1 if pindex < NR_PCP_LISTS - 1 else 0
            index = list_last(zone, pcp_list(zone, cpu, pindex))
        order = pindex_to_order(zone, pindex)
        while nr_pages > 0 and index != NO_PAGE:
            list_del(zone, index)
            nr_pages -= 1 << order
            zone.pcp[cpu, PCP_COUNT] -= 1 << order
            free_one_page(zone, index, order, pageblock_type(zone, index), 0)
            index = list_last(zone, pcp_list(zone, cpu, pindex))


@jit
def nr_pcp_free(zone: Zone, cpu: int, high: int, free_high: bool) -> int:
    """Return how many pages a CPU gives back when it has reached its limit."""
    batch = int(zone.info[PCP_BATCH])
    if free_high:
        return min(int(zone.pcp[cpu, PCP_COUNT]), batch << PCP_BATCH_SCALE_MAX)
    if high < batch:
        return 1
    return min(max(int(zone.pcp[cpu, PCP_FREE_COUNT]), batch), high - batch)


@jit
def nr_pcp_high(zone: Zone, cpu: int, free_high: bool) -> int:
    """Return the limit that holds for this free, and tune the one to come."""
    batch = int(zone.info[PCP_BATCH])
    high_min = int(zone.info[PCP_HIGH_MIN])
    high_max = int(zone.info[PCP_HIGH_MAX])
    high = clamp_high(zone, cpu)
    if high == 0:
        return 0
    if free_high:
        zone.pcp[cpu, PCP_HIGH] = max(high - (batch << PCP_BATCH_SCALE_MAX), high_min)
        return 0
    if zone.info[RECLAIM_ACTIVE]:
        zone.pcp[cpu, PCP_HIGH] = max(high - max(int(zone.pcp[cpu, PCP_FREE_COUNT]), batch), high_min)
        return min(batch << 2, int(zone.pcp[cpu, PCP_HIGH]))
    if high_min == high_max:
        return high
    nr_pages = int(zone.pcp[cpu, PCP_COUNT])
    free_count = int(zone.pcp[cpu, PCP_FREE_COUNT])
    if zone.info[BELOW_HIGH]:
        zone.pcp[cpu, PCP_HIGH] = max(high - max(free_count, batch), high_min)
        high = max(nr_pages, high_min)
    elif nr_pages >= high and high < free_count + batch:
        zone.pcp[cpu, PCP_HIGH] = min(max(free_count + batch, high_min), high_max)
    return high


@jit
def free_to_pcp(zone: Zone, cpu: int, index: int, order: int, migratetype: int) -> None:
    """Put a used block on a CPU's list, and give pages back to the buddy lists if that is now too long."""
    batch = int(zone.info[PCP_BATCH])
    pindex = order_to_pindex(migratetype, order)
    zone.pcp[cpu, PCP_ALLOC_FACTOR] >>= 1
    list_add(zone, index, pcp_list(zone, cpu, pindex), False)
    zone.page[index, WORD] = PCP | order
    zone.pcp[cpu, PCP_COUNT] += 1 << order
    free_high = False
    if 0 < order <= COSTLY_ORDER:
        much = zone.pcp[cpu, PCP_FREE_COUNT] >= batch + zone.info[PCP_HIGH_MIN] // 2
        enough = zone.pcp[cpu, PCP_FREE_HIGH_BATCH] == 0 or zone.pcp[cpu, PCP_COUNT] >= batch
        free_high = bool(much and enough and zone.pcp[cpu, PCP_PREV_FREE_HIGH_ORDER] != 0)
        zone.pcp[cpu, PCP_PREV_FREE_HIGH_ORDER] = 1
    else:
        zone.pcp[cpu, PCP_PREV_FREE_HIGH_ORDER] = 0
    if zone.pcp[cpu, PCP_FREE_COUNT] < batch << PCP_BATCH_SCALE_MAX:
        zone.pcp[cpu, PCP_FREE_COUNT] += 1 << order
    high = nr_pcp_high(zone, cpu, free_high)
    if zone.pcp[cpu, PCP_COUNT] < high:
        return
    nr_pages = nr_pcp_free(zone, cpu, high, free_high)
    while nr_pages > 0 and zone.pcp[cpu, PCP_COUNT] > 0:
        free_pcppages_bulk(zone, cpu, min(nr_pages, batch), pindex)
        nr_pages -= min(nr_pages, batch)
    if zone.info[BELOW_HIGH]:
        movable_zone = int(zone.info[MOVABLE_ZONE])
        if zone_watermark_ok(zone, 0, wmark_pages(zone, 2), movable_zone, 0):
            zone.info[BELOW_HIGH] = 0


@jit
def drain_pages(zone: Zone, cpu: int) -> int:
    """Give all pages of a CPU back to the buddy lists; return how many there were."""
    nr_drained = int(zone.pcp[cpu, PCP_COUNT])
    while zone.pcp[cpu, PCP_COUNT] > 0:
        free_pcppages_bulk(zone, cpu, int(zone.info[PCP_BATCH]) << PCP_BATCH_SCALE_MAX, 0)
    return nr_drained


@jit
def decay_pcp_high(zone: Zone, cpu: int) -> int:
    """Lower a CPU's limit by an eighth, as every second's vmstat update does; return the pages given back."""
    before = int(zone.pcp[cpu, PCP_COUNT])
    batch = int(zone.info[PCP_BATCH])
    high = int(zone.pcp[cpu, PCP_HIGH])
    high_min = int(zone.info[PCP_HIGH_MIN])
    if high > high_min:
        high = max(before - (batch << PCP_BATCH_SCALE_MAX), high - (high >> 3), high_min)
        zone.pcp[cpu, PCP_HIGH] = high
    nr_pages = before - high
    while nr_pages > 0:
        free_pcppages_bulk(zone, cpu, min(nr_pages, batch), 0)
        nr_pages -= min(nr_pages, batch)
    return before - int(zone.pcp[cpu, PCP_COUNT])
