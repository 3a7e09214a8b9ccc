"""What writing 1 to ``/proc/sys/vm/compact_memory`` does to one zone, page by page.

The migrate scanner climbs from the start of the zone and takes what can be moved; the free scanner descends
from its end and takes what is free; what the one took moves into what the other took, until they meet::

    start                                                                    end of the zone
    |emptied.....|  migrate scanner >>>>          <<<< free scanner |filled mmmmmmmmm|

Mirrors: ``mm/compaction.c: compact_zone, isolate_migratepages, isolate_migratepages_block, isolate_freepages,
isolate_freepages_block, compaction_alloc, release_free_list``; ``mm/migrate.c: migrate_pages_batch,
try_split_folio``; ``mm/page_alloc.c: __isolate_free_page``.
Fidelity: whole-zone, synchronous, on a zone that nobody else touches. Every page that looks movable moves:
what fails in the kernel for references that are not exported is known only where it is `Frame.PINNED` or
`Frame.HELD`. Freed pages are given back at the end; until then none merges with what is still looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel._jit import compiled, jit
from kernelmodel.compaction.control import (
    COMPACT_CLUSTER_MAX,
    CONTENDED_AT,
    FINISH_BLOCK,
    FREE_AT,
    FREE_SCANNED,
    HELD,
    ISOLATED,
    LEFT,
    MIGRATE_AT,
    MIGRATE_SCANNED,
    NONE,
    NR_BATCH,
    NR_FAILED,
    NR_FREE,
    NR_INFO,
    NR_MIGRATE,
    NR_MOVES,
    NR_PUT_BACK,
    NR_SPLIT,
    ZONE_FREE,
    Control,
    Zone,
    compound_pages,
    push_block,
)
from kernelmodel.compaction.free_scanner import take_free
from kernelmodel.compaction.migrate_scanner import isolate_migratepages
from kernelmodel.compaction.result import Moves, Outcome, Status
from kernelmodel.compaction.windows import blocked_by, windows
from kernelmodel.compaction.zone_layout import (
    FIRST_MOVABLE,
    HEAD,
    KIND_MASK,
    LAST_MOVABLE,
    UNSPLITTABLE,
    Frame,
)
from kernelmodel.page_alloc.state import COSTLY_ORDER
from kernelmodel.ranges import frames_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.compaction.zone_layout import ZoneLayout


@dataclass(frozen=True)
class Rules:
    """How a kernel runs its scanners; each is found by the shape of what the kernel exports.

    Parameters
    ----------
    large_folios
        Moves folios below a pageblock whole, and keeps isolated blocks by order (6.9 and later); before,
        every compound page stays and isolated blocks are split into single pages at once.
    counts_skipped
        Pages of a free block or compound page that are stepped over count as scanned (6.4 and later).
    finishes_block_it_is_in
        A block is finished once a batch was taken from it; before 6.3 only if the batch began in it.
    stride
        The free scanner takes longer steps while it finds nothing.
    movable_targets_only
        The free scanner passes pageblocks over that are neither Movable nor CMA.
    splits
        A folio without a free block of its order is split; without this the zone is given up at once.
    aborts
        A folio that can be neither placed nor split ends the zone; without this it is left where it is.
    pcp_high
        Pages that the CPU which compacts keeps back, of each order, of what it frees.
    """

    large_folios: bool = True
    counts_skipped: bool = True
    finishes_block_it_is_in: bool = True
    stride: bool = True
    movable_targets_only: bool = True
    splits: bool = True
    aborts: bool = True
    pcp_high: int = 0


@jit
def move(control: Control, at: int, to: int, nr: int) -> None:
    """Move a folio and remember it."""
    info, state = control.info, control.state
    for page in range(nr):
        state[to + page] = state[at + page]
        state[at + page] = LEFT
    info[ZONE_FREE] += nr
    row = info[NR_MOVES]
    control.source[row] = at
    control.destination[row] = to
    control.size[row] = nr
    info[NR_MOVES] += 1


@jit
def give_back(zone: Zone, control: Control) -> None:
    """Give free pages back that were taken for pages that could not be moved (``compaction_free``)."""
    info = control.info
    for row in range(info[NR_PUT_BACK]):
        push_block(control, 0, control.put_back[row])
        info[NR_FREE] += 1
        if zone.large_folios:
            info[NR_MIGRATE] += 1
    info[NR_PUT_BACK] = 0


@jit
def order_of(nr: int) -> int:
    """Return the order of the smallest block that holds so many pages."""
    order = 0
    while 1 << order < nr:
        order += 1
    return order


@jit
def migrate_pages(zone: Zone, control: Control) -> bool:
    """Move a batch, the folio taken last first; return False where the zone must be given up."""
    info, state = control.info, control.state
    info[NR_SPLIT] = info[NR_PUT_BACK] = 0
    number = info[NR_BATCH] - 1
    while number >= 0:
        at = control.batch[number]
        nr = compound_pages(state, at) if state[at] & HEAD else 1
        to = take_free(zone, control, order_of(nr))
        if to != NONE and state[at] & KIND_MASK == HELD:
            info[NR_FAILED] += 1
            control.put_back[info[NR_PUT_BACK]] = to
            info[NR_PUT_BACK] += 1
            if not zone.finishes_block:
                # Before 6.3, which brought batches too, each page was moved and given back by itself.
                give_back(zone, control)
        elif to != NONE:
            move(control, at, to, nr)
        elif nr > 1 and zone.splits and not state[at] & UNSPLITTABLE:
            for page in range(nr):
                state[at + page] &= KIND_MASK
                control.split[info[NR_SPLIT] + page] = at + nr - 1 - page
            info[NR_SPLIT] += nr
        elif zone.aborts or nr == 1:
            info[NR_FAILED] += nr
            info[CONTENDED_AT] = at
            return False
        else:
            info[NR_FAILED] += nr
        number -= 1
    give_back(zone, control)
    for row in range(info[NR_SPLIT]):
        at = control.split[row]
        to = take_free(zone, control, 0)
        if to == NONE:
            info[NR_FAILED] += info[NR_SPLIT] - row
            break
        move(control, at, to, 1)
    return True


@jit
def compact_zone(zone: Zone, control: Control) -> bool:
    """Run both scanners until they meet; return False where the zone was given up."""
    info = control.info
    shift = zone.pageblock_order
    last_migrated = NONE
    while info[FREE_AT] >> shift > info[MIGRATE_AT] >> shift:
        begun_at = info[MIGRATE_AT]
        info[FINISH_BLOCK] = last_migrated != NONE and last_migrated >> shift == begun_at >> shift
        info[NR_BATCH] = 0
        info[NR_MIGRATE] = 0
        isolate_migratepages(zone, control)
        if info[NR_BATCH] == 0:
            continue
        last_migrated = info[MIGRATE_AT] - 1 if zone.finishes_block else begun_at
        placed = migrate_pages(zone, control)
        info[NR_MIGRATE] = 0
        if not placed and info[FREE_AT] >> shift > info[MIGRATE_AT] >> shift:
            return False
    return True


def linux(layout: ZoneLayout, order: int, rules: Rules | None = None) -> Outcome:
    """Run ``compact_memory`` on one zone. O(frames).

    Parameters
    ----------
    layout
        The zone.
    order
        Order of the blocks that the outcome counts; the kernel compacts for none in particular.
    rules
        How the kernel runs its scanners.
    """
    rules = rules or Rules()
    state = layout.state.copy()
    base = layout.base_pfn
    shift = layout.pageblock_order
    kinds = state & np.uint8(KIND_MASK)
    nr_movable = int(np.count_nonzero((kinds >= FIRST_MOVABLE) & (kinds <= LAST_MOVABLE)))
    zone_free = int(np.count_nonzero(kinds == Frame.FREE))
    del kinds
    zone = Zone(
        first=layout.start_pfn - base,
        end=layout.end_pfn - base,
        pageblock_order=shift,
        last_order=layout.nr_orders - 1,
        wmark_min=layout.wmark_min,
        large_folios=int(rules.large_folios),
        counts_skipped=int(rules.counts_skipped),
        finishes_block=int(rules.finishes_block_it_is_in),
        stride=int(rules.stride),
        splits=int(rules.splits),
        aborts=int(rules.aborts),
    )
    control = Control(
        state=state,
        targets=layout.targets if rules.movable_targets_only else np.ones_like(layout.targets),
        info=np.zeros(NR_INFO, np.int64),
        lists=np.full((layout.nr_orders, 2), NONE, np.int64),
        # Pages of these arrays that are never written take no memory.
        following=np.empty(len(state), np.int32),
        batch=np.empty((1 << shift) + COMPACT_CLUSTER_MAX, np.int64),
        split=np.empty((1 << shift) + COMPACT_CLUSTER_MAX, np.int64),
        put_back=np.empty((1 << shift) + COMPACT_CLUSTER_MAX, np.int64),
        source=np.empty(nr_movable, np.int64),
        destination=np.empty(nr_movable, np.int64),
        size=np.empty(nr_movable, np.int64),
    )
    info, state = control.info, control.state
    info[MIGRATE_AT], info[FREE_AT] = zone.first, (zone.end - 1) >> shift << shift
    info[ZONE_FREE] = zone_free
    info[CONTENDED_AT] = NONE
    complete = compiled(compact_zone)(zone, control)
    nr = int(info[NR_MOVES])
    moves = Moves(control.source[:nr] + base, control.destination[:nr] + base, control.size[:nr])
    held = _held_back(moves, base, rules.pcp_high)
    kinds = state & np.uint8(KIND_MASK)
    state[(kinds == ISOLATED) | (kinds == LEFT)] = Frame.FREE
    state[held] = Frame.UNKNOWN
    stopped = int(info[MIGRATE_AT] if complete else info[CONTENDED_AT]) + base
    return Outcome(
        strategy="linux",
        order=order,
        before=layout,
        after=state,
        moves=moves,
        evicted_pfn=np.empty(0, np.int64),
        status=Status.COMPLETE if complete else Status.CONTENDED,
        migrate_scanned=int(info[MIGRATE_SCANNED]),
        free_scanned=int(info[FREE_SCANNED]),
        held_back_pages=len(held),
        stopped_pfn=stopped,
        blocked=_blocked(layout.with_state(state), stopped),
        failed_pages=int(info[NR_FAILED]),
    )


def _blocked(after: ZoneLayout, stopped_pfn: int) -> dict[str, int]:
    """Return the pageblocks below the end of the run that did not become free, by what stays in them."""
    pageblocks = windows(after, after.pageblock_order)
    nr_below = (stopped_pfn - pageblocks.first_pfn) >> after.pageblock_order
    return blocked_by(replace(pageblocks, counts=pageblocks.counts[: max(0, nr_below)]))


def _held_back(moves: Moves, base: int, pcp_high: int) -> NDArray[np.int64]:
    """Return the frames, by index, that were freed last of each order and stay on a CPU's lists.

    Lists are kept by order, and one that grows too long gives back its own oldest pages
    (``mm/page_alloc.c: free_pcppages_bulk``): single pages, of which there are most, make no room for folios
    that came long before them.
    """
    held = [np.empty(0, np.int64)]
    if pcp_high:
        for order in range(COSTLY_ORDER + 1):
            these = moves.source_pfn[moves.nr_pages == 1 << order][-max(1, pcp_high >> order) :]
            held.append(frames_of(these, np.full(len(these), 1 << order)) - base)
    return np.concatenate(held)
