"""Linux today over several zones: one zone as the live allocator has it, and what lies between zones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernelmodel.compaction.zone_layout import Frame, ZoneLayout
from kernelmodel.errors import InvariantError
from kernelmodel.free_area.ground import Ground, ZoneGround
from kernelmodel.free_area.grouped import Grouped
from kernelmodel.free_area.interface import Ask
from kernelmodel.page_alloc import state
from kernelmodel.page_alloc.allocator import BuddyAllocator
from kernelmodel.page_alloc.layout import Layout, Tuning
from kernelmodel.page_alloc.rebuild import free_blocks
from kernelmodel.priority import Priority
from kernelmodel.ranges import true_runs
from tests.kernelmodel.free_area.grounds import NR_ORDERS, PAGEBLOCK_ORDER, Shape, ground_of
from tests.kernelmodel.page_alloc.zones import GEOMETRY

WAITS, NOWAIT, ATOMIC = Priority
MOVABLE, UNMOVABLE = state.MOVABLE, state.UNMOVABLE
PCP = Tuning(
    wmark_min=8, wmark_low=12, wmark_high=20, nr_cpus=2, pcp_batch=3, pcp_high_min=12, pcp_high_max=60
)
END = 1 << 20
PAGEBLOCK_PAGES = 1 << PAGEBLOCK_ORDER


def ask(order: int, migratetype: int = MOVABLE, priority: int = WAITS, zone: int = 2, cpu: int = 0) -> Ask:
    return Ask(order, migratetype, priority, zone, END, cpu)


def flat(*zones: tuple[int, int, int], tuning: Tuning = Tuning(), **others: Tuning) -> Ground:  # noqa: B008
    """Return a ground of Movable zones, each given as type, frame behind it, and free frames at its start."""
    ends = tuple(int(end) for _, end, _ in zones)
    ground = ground_of(Shape(ends=ends, zone_types=tuple(t for t, _, _ in zones), start=0, tuning=tuning))
    made = []
    for zone, (_, end, nr_free) in zip(ground.zones, zones, strict=True):
        content = np.full(len(zone.layout.state), Frame.HOLE, np.uint8)
        inside = slice(zone.layout.start_pfn - zone.layout.base_pfn, end - zone.layout.base_pfn)
        content[inside] = Frame.FIXED
        content[inside.start : inside.start + nr_free] = Frame.FREE
        of_zone = others.get(zone.layout.zone, tuning)
        made.append(
            replace(
                zone,
                layout=zone.layout.with_state(content),
                tuning=of_zone,
                managed_pages=2000,
                block_type=np.full_like(zone.block_type, MOVABLE),
            )
        )
    return Ground(tuple(made))


def test_one_zone_gives_the_frames_of_the_live_allocator() -> None:
    ground = ground_of(Shape(ends=(630,), zone_types=(2,), seed=3, tuning=PCP))
    zone = ground.zones[0]
    grouped = Grouped("buddy-grouped", ground, pure=True)
    runs = true_runs(zone.layout.kinds == Frame.FREE) + zone.layout.base_pfn
    free = free_blocks(runs, zone.layout.start_pfn, zone.layout.end_pfn, NR_ORDERS)
    layout = Layout(5, 630, zone.managed_pages, free, zone.block_type, None, GEOMETRY)
    buddy = BuddyAllocator(layout, PCP, pure=True)
    # What is used counts when a pageblock is claimed.
    buddy.zone.page[:, state.WORD] = grouped.state.zones[2].page[:, state.WORD]
    rng = np.random.default_rng(1)
    held: list[tuple[int, int]] = []
    for _ in range(3000):
        cpu = int(rng.integers(2))
        if held and rng.integers(5) < 2:
            index, order = held.pop(int(rng.integers(len(held))))
            grouped.free(index, order, cpu)
            buddy.free(index, order, cpu)
            continue
        order, migratetype = int(min(6, rng.geometric(0.6) - 1)), int(rng.integers(3))
        index = grouped.alloc(ask(order, migratetype, NOWAIT, cpu=cpu))
        expected = buddy.alloc(order, migratetype, state.ALLOC_WMARK_LOW | state.ALLOC_KSWAPD, cpu, 2)
        if expected == state.NO_PAGE:
            flags = state.ALLOC_WMARK_MIN | state.ALLOC_KSWAPD | state.ALLOC_NON_BLOCK
            expected = buddy.alloc(order, migratetype, flags, cpu, 2)
        buddy.decay_boost(1 << 30)
        assert index == expected
        if index != state.NO_PAGE:
            held.append((index, order))
    assert grouped.counters()["claims"] == buddy.zone.info[state.NR_CLAIMS] > 0
    assert grouped.counters()["steals"] == buddy.zone.info[state.NR_STEALS] > 0
    assert grouped.free_blocks().counts().tolist() == buddy.free_blocks().counts().tolist()
    assert grouped.block_types()[2].tolist() == buddy.zone.block_type[:40].tolist()


def test_a_request_falls_to_the_zone_below_as_far_as_its_reserve_allows() -> None:
    reserve = Tuning(lowmem_reserve=(0, 40, 40, 40, 0))
    grouped: Any = Grouped("buddy-grouped", flat((0, 128, 64), (1, 256, 8), DMA=reserve), pure=True)
    taken = [grouped.alloc(ask(0)) for _ in range(40)]
    assert taken[:8] == list(range(128, 136))
    assert sum(0 <= index < 64 for index in taken) == 24
    assert taken[-1] == state.NO_PAGE
    assert grouped.counters()["zone_fallbacks"] == 24
    assert 0 <= grouped.alloc(ask(0, zone=0)) < 64


def test_a_request_for_dma_never_gets_memory_above_it() -> None:
    grouped: Any = Grouped("buddy-grouped", flat((0, 128, 4), (2, 256, 64)), pure=True)
    assert [grouped.alloc(ask(1, zone=0)) for _ in range(3)] == [0, 2, state.NO_PAGE]


def test_normal_goes_to_dma32_before_it_mixes_types() -> None:
    ground = flat((1, 128, 24), (2, 256, 8))
    kernel_in_dma32 = replace(ground.zones[0], block_type=np.zeros(8, np.uint8))
    mixed: Any = Grouped("buddy-grouped", Ground((kernel_in_dma32, ground.zones[1])), pure=True)
    # Order 0 of a Movable pageblock in Normal would have to be stolen; DMA32 has an Unmovable one.
    assert 0 <= mixed.alloc(ask(0, UNMOVABLE)) < 24
    alone: Any = Grouped("buddy-grouped", Ground((ground.zones[1],)), pure=True)
    assert alone.alloc(ask(0, UNMOVABLE)) >= 0
    assert alone.counters()["fallbacks"] == 1


@pytest.mark.parametrize(
    ("kind", "claims"),
    [(Frame.ANON, 0), (Frame.MOVABLE_OPS, 0), (Frame.PINNED, 0), (Frame.HELD, 0), (Frame.UNCERTAIN, 1)],
)
def test_no_pageblock_is_claimed_from_pages_on_lru_lists(kind: Frame, claims: int) -> None:
    ground = flat((2, 64, 4))
    ground.zones[0].layout.state[4:PAGEBLOCK_PAGES] = kind
    grouped: Any = Grouped("buddy-grouped", ground, pure=True)
    assert grouped.alloc(ask(0, UNMOVABLE)) != state.NO_PAGE
    assert (grouped.counters()["claims"], grouped.counters()["steals"]) == (claims, 1 - claims)


def test_a_request_that_movable_memory_comes_first_for_mixes_types_at_once() -> None:
    ground = flat((1, 128, 24), (2, 256, 8), (3, 384, 0))
    ground.zones[1].block_type[:] = UNMOVABLE
    empty = Ground((*ground.zones[:2], replace(ground.zones[2], managed_pages=0)))
    # Movable memory is full; Normal has pages of another type alone, and DMA32 has not.
    for node, zone, first_frame in ((ground, 3, 128), (ground, 2, 0), (empty, 3, 0)):
        grouped: Any = Grouped("buddy-grouped", node, pure=True)
        assert first_frame <= grouped.alloc(ask(0, MOVABLE, zone=zone)) < first_frame + 24


def test_defrag_mode_mixes_types_only_for_who_waits() -> None:
    ground = flat((2, 64, 8))
    for priority, met in ((WAITS, True), (NOWAIT, False), (ATOMIC, False)):
        grouped: Any = Grouped("buddy-grouped:defrag_mode=1", ground, pure=True, defrag_mode=1)
        assert (grouped.alloc(ask(0, UNMOVABLE, priority)) != state.NO_PAGE) == met
        usual: Any = Grouped("buddy-grouped", ground, pure=True)
        assert usual.alloc(ask(0, UNMOVABLE, priority)) != state.NO_PAGE


def test_the_atomic_take_what_is_kept_from_others() -> None:
    tuning = Tuning(wmark_min=16, wmark_low=20, wmark_high=24)
    grouped: Any = Grouped("buddy-grouped", flat((2, 64, 20), tuning=tuning), pure=True)
    for priority, least in ((WAITS, 16), (NOWAIT, 16), (ATOMIC, 6)):
        while grouped.alloc(ask(0, priority=priority)) != state.NO_PAGE:
            pass
        assert grouped.nr_free == least, priority


@pytest.mark.parametrize("priority", Priority)
def test_movable_pages_and_no_others_go_to_cma(priority: Priority) -> None:
    ground = flat((2, 64, 32), tuning=Tuning(wmark_min=16, wmark_low=24, wmark_high=28))
    ground.zones[0].block_type[:] = state.CMA
    # The first at the low watermark, the rest at the min one.
    grouped: Any = Grouped("buddy-grouped", ground, pure=True)
    assert grouped.alloc(ask(0, UNMOVABLE, priority)) == state.NO_PAGE
    assert sum(grouped.alloc(ask(0, MOVABLE, priority)) != state.NO_PAGE for _ in range(16)) == 16
    grouped.validate()


def test_a_reserve_for_the_atomic_is_given_back_to_who_waits() -> None:
    grouped: Any = Grouped("buddy-grouped", flat((2, 64, 32), tuning=Tuning(wmark_min=1)), pure=True)
    grouped.state.zones[2].info[[state.WMARK_LOW, state.WMARK_HIGH]] = 64
    assert grouped.alloc(ask(1, UNMOVABLE, ATOMIC)) != state.NO_PAGE
    assert state.HIGHATOMIC in grouped.block_types()[2]
    taken = [grouped.alloc(ask(0, UNMOVABLE)) for _ in range(40)]
    assert sum(index != state.NO_PAGE for index in taken) == 29
    assert grouped.counters()["unreserved"] == 1
    grouped.validate()


def test_large_orders_leave_the_last_of_the_reserve() -> None:
    for order, index, nr_unreserved in ((0, 0, 1), (3, 0, 1), (4, state.NO_PAGE, 0), (5, state.NO_PAGE, 0)):
        ground = flat((2, 64, 16))
        ground.zones[0].block_type[0] = state.HIGHATOMIC
        grouped: Any = Grouped("buddy-grouped", ground, pure=True)
        assert grouped.alloc(ask(order, UNMOVABLE)) == index
        assert grouped.counters()["unreserved"] == nr_unreserved


def test_one_pageblock_of_all_zones_is_given_back_at_a_time() -> None:
    full = Tuning(wmark_min=1000, wmark_low=1000, wmark_high=1000)
    for order, met, nr_unreserved in ((4, False, 1), (3, True, 3)):
        ground = flat((1, 64, 24), (2, 128, 24), Normal=full)
        for zone in ground.zones:
            zone.block_type[:2] = state.HIGHATOMIC
        grouped: Any = Grouped("buddy-grouped", ground, pure=True)
        # Normal comes first every time, and refuses.
        assert (grouped.alloc(ask(order, UNMOVABLE)) != state.NO_PAGE) == met
        assert grouped.counters()["unreserved"] == nr_unreserved
        grouped.validate()


def test_large_orders_never_mix_types_in_defrag_mode() -> None:
    content = np.full(512, Frame.ANON, np.uint8)
    content[64:80] = Frame.FREE
    layout = ZoneLayout(0, "Normal", 0, 512, 0, content, np.ones(8, np.bool_), 6, 9)
    ground = Ground((ZoneGround(layout, 2, 512, np.full(8, MOVABLE, np.uint8), Tuning()),))
    for order, met in ((3, True), (4, False)):
        grouped: Any = Grouped("buddy-grouped:defrag_mode=1", ground, pure=True, defrag_mode=1)
        assert (grouped.alloc(ask(order, UNMOVABLE)) != state.NO_PAGE) == met


def test_what_cpus_keep_cannot_be_claimed_until_it_is_drained() -> None:
    grouped: Any = Grouped("buddy-grouped", flat((2, 128, 64), tuning=PCP), pure=True)
    index = grouped.alloc(ask(0))
    grouped.free(index, 0)
    kept = grouped.kept_blocks().start_pfn.tolist()
    assert index in kept
    assert not grouped.claim(index, 0)
    grouped.drain()
    assert grouped.claim(index, 0)
    assert not grouped.claim(index, 0)
    assert not grouped.claim(index, PAGEBLOCK_ORDER)
    assert not grouped.claim(1 << 12, 0)
    grouped.validate()


def test_frames_in_blocks_are_no_used_frames() -> None:
    grouped: Any = Grouped("buddy-grouped", flat((2, 128, 64)), pure=True)
    index = grouped.alloc(ask(2))
    words = grouped.state.zones[2].page[:, state.WORD]
    words[index : index + 4] = state.USED | 2, state.TAIL, state.TAIL, state.TAIL
    with pytest.raises(InvariantError, match="used-single"):
        grouped.validate()


@pytest.mark.slow
def test_compiled_and_plain_code_leave_the_same_zones() -> None:
    pytest.importorskip("numba")
    ground = ground_of(Shape(ends=(128, 2048, 4000), seed=5, tuning=PCP))
    found = []
    for pure in (True, False):
        grouped: Any = Grouped("buddy-grouped", ground, pure=pure)
        rng = np.random.default_rng(1998)
        held: list[tuple[int, int]] = []
        for _ in range(6000):
            if held and rng.integers(2):
                grouped.free(*held.pop(int(rng.integers(len(held)))), int(rng.integers(2)))
                continue
            order, migratetype, priority, zone = (int(rng.integers(each)) for each in (5, 3, 3, 3))
            index = grouped.alloc(ask(order, migratetype, priority, zone, int(rng.integers(2))))
            if index != state.NO_PAGE:
                held.append((index, order))
        grouped.drain()
        grouped.validate()
        found.append([held, grouped.counters(), *(zone.page.tobytes() for zone in grouped.state.zones)])
    assert found[0] == found[1]
