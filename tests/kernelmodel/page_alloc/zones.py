"""Small zones for tests, for the allocator and its twin alike."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kernelmodel.geometry import Geometry
from kernelmodel.page_alloc import state
from kernelmodel.page_alloc.allocator import BuddyAllocator
from kernelmodel.page_alloc.layout import Layout, Tuning, UsedBlocks
from kernelmodel.page_alloc.rebuild import free_blocks
from tests.oracles.page_alloc import Twin

GEOMETRY = Geometry(pageblock_order=4, nr_orders=7)
"""Pageblocks of 16 frames, largest blocks of 64: everything happens in a few hundred frames."""

TUNING = Tuning(
    wmark_min=24, wmark_low=40, wmark_high=60, lowmem_reserve=(0, 10, 30, 30, 0), nr_cpus=2,
    pcp_batch=3, pcp_high_min=12, pcp_high_max=60,
)  # fmt: skip

MANAGED = 2000
"""Pages said to be managed: enough for a reserve of two pageblocks and for boosting."""


@dataclass(frozen=True)
class Shape:
    """A zone to be made: which frames are free, types by largest block, what the rest is."""

    start: int = 5
    end: int = 640
    free_share: float = 0.5
    clustered: bool = True
    types: tuple[int, ...] = (state.MOVABLE, state.UNMOVABLE, state.RECLAIMABLE)
    seed: int = 0
    tuning: Tuning = TUNING


def layout_of(shape: Shape) -> Layout:
    """Return a layout: free frames at random, singly or by eights, the others used or (one in ten) holes."""
    rng = np.random.default_rng(shape.seed)
    grain = 8 if shape.clustered else 1
    free = np.repeat(rng.random(-(-shape.end // grain)) < shape.free_share, grain)[: shape.end]
    free[: shape.start] = False
    edges = np.flatnonzero(np.diff(np.concatenate(([False], free, [False])))).reshape(-1, 2)
    shift, largest = GEOMETRY.pageblock_order, GEOMETRY.max_order
    first, last = shape.start >> shift, (shape.end - 1) >> shift
    by_largest = rng.choice(shape.types, size=(shape.end >> largest) + 1)
    types = by_largest[np.arange(first, last + 1) >> (largest - shift)].astype(np.uint8)
    used = np.flatnonzero(~free)
    used = used[(used >= shape.start) & (rng.random(used.size) < 0.9)]
    return Layout(
        zone_start=shape.start,
        zone_end=shape.end,
        managed_pages=MANAGED,
        free=free_blocks(edges, shape.start, shape.end, GEOMETRY.nr_orders),
        block_type=types,
        used=UsedBlocks(used, np.zeros(used.size, np.uint8), rng.random(used.size) < 0.5),
        geometry=GEOMETRY,
    )


def pair_of(shape: Shape, *, pure: bool = True) -> tuple[BuddyAllocator, Twin]:
    """Return the allocator and its twin on the same layout."""
    layout = layout_of(shape)
    assert layout.used is not None
    used, free = layout.used, layout.free
    first = shape.start >> GEOMETRY.pageblock_order
    twin = Twin(
        zone=(shape.start, shape.end),
        free=list(zip(free.start_pfn.tolist(), free.order.tolist(), strict=True)),
        used=list(zip(used.start_pfn.tolist(), used.order.tolist(), used.movable.tolist(), strict=True)),
        types=dict(enumerate(layout.block_type.tolist(), first)),
        tuning=shape.tuning,
        pageblock_order=GEOMETRY.pageblock_order,
        nr_orders=GEOMETRY.nr_orders,
        managed=MANAGED,
    )
    return BuddyAllocator(layout, shape.tuning, pure=pure), twin


def walk(buddy: BuddyAllocator, head: int) -> list[int]:
    """Return the pfns on a list, first to last."""
    found, entry = [], int(buddy.zone.page[head, state.NEXT])
    while entry != head:
        found.append(entry + buddy.base)
        entry = int(buddy.zone.page[entry, state.NEXT])
    return found


def assert_same(buddy: BuddyAllocator, twin: Twin) -> None:
    """Compare everything that both keep: lists in order, types, limits, counters."""
    zone, shift = buddy.zone, GEOMETRY.pageblock_order
    head = int(zone.info[state.NR_FRAMES])
    for order in range(GEOMETRY.nr_orders):
        for migratetype in range(state.NR_TYPES):
            assert walk(buddy, head) == twin.lists[order, migratetype], (order, migratetype)
            head += 1
    for number, cpu in enumerate(twin.cpus):
        for held in cpu.lists:
            assert walk(buddy, head) == held, number
            head += 1
        fields = cpu.count, cpu.high, cpu.alloc_factor, cpu.free_count, cpu.last_free_was_high_order
        assert tuple(zone.pcp[number, :5].tolist()) == fields
    types = {block: int(zone.block_type[block - (buddy.base >> shift)]) for block in twin.types}
    assert types == twin.types
    assert buddy.boost == twin.boost
    assert bool(zone.info[state.BELOW_HIGH]) == twin.below_high
    assert zone.info[state.NR_RESERVED_HIGHATOMIC] == twin.reserved
    assert buddy.nr_free_pages == twin.free_pages()
    words = zone.page[: zone.info[state.NR_FRAMES], state.WORD]
    kinds = {state.USED: False, state.USED_MOVABLE: True}
    used = {
        int(at) + buddy.base: (int(words[at] & state.ORDER_MASK), kinds[int(words[at] & state.KIND_MASK)])
        for at in np.flatnonzero(np.isin(words & state.KIND_MASK, list(kinds)))
    }
    assert used == twin.used


def without_pcp(tuning: Tuning = TUNING) -> Tuning:
    """Return the tuning with the boot pageset, so that frees reach the buddy lists at once."""
    return replace(tuning, pcp_batch=1, pcp_high_min=0, pcp_high_max=0)
