"""The migrate scanner: from the start of the zone up, taking what can be moved, a batch at a time.

Mirrors: ``mm/compaction.c: isolate_migratepages, isolate_migratepages_block, suitable_migration_source``.
Fidelity: what is on an LRU list and not known to be pinned is taken; references are not exported.
"""

from __future__ import annotations

from kernelmodel._jit import jit
from kernelmodel.compaction.control import (
    COMPACT_CLUSTER_MAX,
    FINISH_BLOCK,
    FREE,
    FREE_AT,
    HELD,
    MIGRATE_AT,
    MIGRATE_SCANNED,
    NR_BATCH,
    NR_MIGRATE,
    Control,
    Zone,
    block_order,
    compound_pages,
    is_block_head,
    section_is_absent,
)
from kernelmodel.compaction.zone_layout import FIRST_MOVABLE, HEAD, KIND_MASK, LAST_MOVABLE, TAIL


@jit
def isolate_migratepages_block(zone: Zone, control: Control, start: int, end: int) -> None:
    """Take what can be moved out of one pageblock, up to a batch, or all of it (`FINISH_BLOCK`)."""
    info, state = control.info, control.state
    at = start
    while at < end:
        info[MIGRATE_SCANNED] += 1
        byte = state[at]
        kind = byte & KIND_MASK
        if kind == FREE:
            if is_block_head(state, at, zone.last_order):
                nr = 1 << block_order(state, at, zone.last_order)
                info[MIGRATE_SCANNED] += (nr - 1) * zone.counts_skipped
                at += nr - 1
            at += 1
            continue
        nr = 1
        movable = FIRST_MOVABLE <= kind <= LAST_MOVABLE or kind == HELD
        if byte & (HEAD | TAIL):
            nr = compound_pages(state, at)
            skipped = not zone.large_folios or nr >= 1 << zone.pageblock_order
            if skipped:
                info[MIGRATE_SCANNED] += (nr - 1) * zone.counts_skipped
                at += nr
                continue
            if byte & TAIL or not movable:
                at += 1
                continue
        if not movable:
            at += 1
            continue
        control.batch[info[NR_BATCH]] = at
        info[NR_BATCH] += 1
        info[NR_MIGRATE] += nr
        info[MIGRATE_SCANNED] += (nr - 1) * zone.counts_skipped
        at += nr
        if info[NR_MIGRATE] >= COMPACT_CLUSTER_MAX and not info[FINISH_BLOCK]:
            break
    info[MIGRATE_AT] = min(at, end)


@jit
def isolate_migratepages(zone: Zone, control: Control) -> None:
    """Take a batch from the first pageblock at or above the scanner that holds something."""
    info, state = control.info, control.state
    block = 1 << zone.pageblock_order
    at = info[MIGRATE_AT]
    block_end = (at >> zone.pageblock_order) + 1 << zone.pageblock_order
    while block_end <= info[FREE_AT]:
        block_start = block_end - block
        persistent = state[block_start] & (HEAD | TAIL) and compound_pages(state, block_start) >= block
        if not persistent and not section_is_absent(state, block_start, block):
            isolate_migratepages_block(zone, control, at, block_end)
            return
        at = block_end
        info[MIGRATE_AT] = at
        block_end += block
