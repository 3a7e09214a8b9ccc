"""What eviction takes: the cheapest window, clean pages first, in batches, and no more than swap holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.compaction.eviction import EvictionLimits, evict
from kernelmodel.compaction.zone_layout import KIND_MASK, Frame
from kernelmodel.free_area.book import SWAP_FREE
from kernelmodel.free_area.carry import NOWHERE, Changes, changes_of
from kernelmodel.free_area.ground import Ground
from kernelmodel.free_area.reclaim import pages_to_evict, window_to_evict
from kernelmodel.free_area.result import Came
from kernelmodel.page_alloc.layout import Tuning
from tests.kernelmodel.free_area.demands import waiting
from tests.kernelmodel.free_area.grounds import SHAPES, Shape, ground_of
from tests.kernelmodel.free_area.test_helping import EVERYTHING, came, fragmented, played, watched


def test_memory_that_is_short_is_evicted_up_to_the_high_watermark_and_not_compacted() -> None:
    tuning = Tuning(wmark_min=85, wmark_low=90, wmark_high=100)
    helper = played(watched(fragmented(tuning=tuning), waiting(3), EVERYTHING))
    # 256 pages are free, 255 have to stay.
    assert came(helper) == [0, 1, 0, 0]
    assert helper.tally["blit"].calls == helper.tally["linux"].calls == 0
    assert helper.tally["evict"].swapped_pages >= 300 + 8 - 256
    assert "linux" in helper.tally


@pytest.mark.parametrize(("free", "nr_swapped"), [(0, 32), (1, 50)])
def test_single_pages_are_evicted_in_batches(free: int, nr_swapped: int) -> None:
    ground = fragmented()
    content = np.full(512, Frame.ANON, np.uint8)
    content[:free] = Frame.FREE
    high = 50 if free else 0
    tuning = Tuning(wmark_min=2, wmark_low=2, wmark_high=high) if free else Tuning()
    layouts = ground.layouts(content)
    zones = [replace(zone, layout=layout) for zone, layout in zip(ground.zones, layouts, strict=True)]
    zones[0] = replace(zones[0], tuning=tuning)
    helper = played(watched(Ground(tuple(zones), swap_free_pages=1000), waiting(0), ("evict",)))
    assert came(helper) == [0, 1, 0, 0]
    assert helper.tally["evict"].swapped_pages == nr_swapped


def test_nothing_is_swapped_without_swap_but_clean_pages_are_dropped() -> None:
    for kind, expected in ((Frame.ANON, 0), (Frame.CLEAN, 1)):
        ground = replace(fragmented(kind=kind), swap_free_pages=0)
        helper = played(watched(ground, waiting(3), ("evict",)))
        assert came(helper)[Came.HELPED] == expected


@given(shape=SHAPES, order=st.integers(1, 6), swap=st.sampled_from((0, 3, 1000)))
def test_the_window_evicted_costs_what_the_cheapest_costs(shape: Shape, order: int, swap: int) -> None:
    limits = EvictionLimits(swap)
    for zone in ground_of(shape).zones:
        layout = zone.layout
        right = changes_of(evict(layout, order, 1, limits), layout.base_pfn)
        found = window_to_evict(layout, order, limits, 0)
        assert (found.destination == NOWHERE).all()
        assert price(layout.state, found, limits) == price(layout.state, right, limits)


def price(state: np.ndarray, changes: Changes, limits: EvictionLimits) -> int:
    each = dict(zip((Frame.CLEAN, Frame.DIRTY, Frame.ANON), limits.evict_ns, strict=True))
    return sum(each[Frame(kind)] for kind in state[changes.source] & KIND_MASK)


def test_clean_pages_go_before_others_and_old_ones_before_new() -> None:
    ground = fragmented(kind=Frame.FIXED)
    demand = replace(
        waiting(0, 0, 1, 0, 0), standing_pfn=np.array([0, 2]), events=np.array([2, 3, 4], np.int32)
    )
    kinds = np.array([Frame.ANON, Frame.CLEAN, Frame.CLEAN, Frame.CLEAN, Frame.DIRTY], np.uint8)
    demand = replace(demand, requests=replace(demand.requests, kind=kinds))
    ground.zones[0].layout.state[4:8] = Frame.FREE
    helper = played(watched(replace(ground, swap_free_pages=0), demand, ()))
    where = helper.book.where
    order = [where[1], where[2], where[3], where[4]]
    for nr_pages, nr_chosen in ((1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (9, 4)):
        chosen = pages_to_evict(helper.book, 0, 512, nr_pages)
        assert chosen.source.tolist() == order[:nr_chosen], "no swap: what is anonymous stays"
    helper.book.info[SWAP_FREE] = 1
    assert pages_to_evict(helper.book, 0, 512, 9).source.tolist() == [*order, where[0]]
    assert pages_to_evict(helper.book, 0, 3, 9).source.tolist() == [2, 1, 0]


def test_what_stood_before_goes_in_an_order_that_is_not_that_of_addresses() -> None:
    helper = watched(fragmented(kind=Frame.CLEAN), waiting(0), ())
    chosen = pages_to_evict(helper.book, 0, 512, 32).source
    assert len(set((chosen >> 6).tolist())) > 4
    assert chosen.tolist() != sorted(chosen.tolist())
