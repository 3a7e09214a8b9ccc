"""The free scanner: from the end of the zone down, pageblock by pageblock, taking free blocks to move into.

Mirrors: ``mm/compaction.c: isolate_freepages, isolate_freepages_block, suitable_migration_target,
compaction_alloc``; ``mm/page_alloc.c: __isolate_free_page``.
Fidelity: synchronous and for no order in particular, as ``compact_memory``: no skip hints, no fast search.
"""

from __future__ import annotations

from kernelmodel._jit import jit
from kernelmodel.compaction.control import (
    COMPACT_CLUSTER_MAX,
    FREE,
    FREE_AT,
    FREE_SCANNED,
    ISOLATED,
    MIGRATE_AT,
    NONE,
    NR_FREE,
    NR_MIGRATE,
    ZONE_FREE,
    Control,
    Zone,
    all_free,
    append_block,
    block_order,
    compound_pages,
    is_block_head,
    pop_block,
    push_block,
    section_is_absent,
)
from kernelmodel.compaction.zone_layout import HEAD, KIND_MASK, TAIL


@jit
def isolate_freepages_block(zone: Zone, control: Control, start: int, end: int, stride: int) -> int:
    """Take free blocks of one pageblock until there are enough; return where that stopped."""
    info, state = control.info, control.state
    at = start
    while at < end:
        info[FREE_SCANNED] += 1
        byte = state[at]
        if byte & (HEAD | TAIL):
            nr = compound_pages(state, at)
            if byte & HEAD and at + nr <= end:
                info[FREE_SCANNED] += nr - 1
                at += nr - 1
            at += stride
            continue
        if byte & KIND_MASK != FREE or not is_block_head(state, at, zone.last_order):
            at += stride
            continue
        order = block_order(state, at, zone.last_order)
        nr = 1 << order
        if info[ZONE_FREE] <= zone.wmark_min + nr:
            break
        info[ZONE_FREE] -= nr
        for frame in range(at, at + nr):
            state[frame] = ISOLATED
        info[FREE_SCANNED] += nr - 1
        info[NR_FREE] += nr
        if zone.large_folios:
            append_block(control, order, at)
        else:
            # split_map_pages: single pages, each put first.
            for frame in range(at, at + nr):
                push_block(control, 0, frame)
        if info[NR_MIGRATE] <= info[NR_FREE]:
            at += nr
            break
        at += nr - 1 + stride
    return min(at, end)


@jit
def isolate_freepages(zone: Zone, control: Control) -> None:
    """Take free blocks, pageblock after pageblock downwards, until there are enough for the batch."""
    info, state = control.info, control.state
    block = 1 << zone.pageblock_order
    start = info[FREE_AT]
    block_start = start >> zone.pageblock_order << zone.pageblock_order
    block_end = min(block_start + block, zone.end)
    lowest = (info[MIGRATE_AT] >> zone.pageblock_order) + 1 << zone.pageblock_order
    stride = 1
    while block_start >= lowest:
        if (
            not section_is_absent(state, block_start, block)
            and control.targets[block_start >> zone.pageblock_order]
        ):
            byte = state[block_start] & KIND_MASK
            whole = byte == FREE and is_block_head(state, block_start, zone.last_order)
            if not (whole and all_free(state, block_start, min(block_start + block, state.shape[0]))):
                before = info[NR_FREE]
                start = isolate_freepages_block(zone, control, start, block_end, stride)
                if info[NR_FREE] >= info[NR_MIGRATE]:
                    if start >= block_end:
                        start = block_start - block
                    break
                if start < block_end:
                    break
                if info[NR_FREE] > before or not zone.stride:
                    stride = 1
                else:
                    stride = min(COMPACT_CLUSTER_MAX, stride << 1)
        block_end = block_start
        block_start -= block
        start = block_start
    info[FREE_AT] = start


@jit
def take_free(zone: Zone, control: Control, order: int) -> int:
    """Return a free block of an order out of those isolated, NONE where there is none (compaction_alloc)."""
    info = control.info
    for attempt in range(2):
        found = order
        while found <= zone.last_order and control.lists[found, 0] == NONE:
            found += 1
        if found <= zone.last_order:
            at = pop_block(control, found)
            while found > order:
                found -= 1
                push_block(control, found, at + (1 << found))
            info[NR_FREE] -= 1 << order
            if zone.large_folios:
                info[NR_MIGRATE] -= 1 << order
            return at
        if attempt == 0:
            isolate_freepages(zone, control)
    return NONE
