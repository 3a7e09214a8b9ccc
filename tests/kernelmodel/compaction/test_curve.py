"""kernelmodel.compaction.curve against every set of windows; its cliff, its costs and its interval."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.compaction.curve import curve
from kernelmodel.compaction.planner import minimum_moves
from kernelmodel.compaction.windows import NR_KINDS
from kernelmodel.compaction.zone_layout import Frame, ZoneLayout
from tests.kernelmodel.compaction.layouts import layout_of, layouts
from tests.oracles import planner as oracle

small = layouts(max_blocks=2)
orders = st.integers(1, 4)


@given(small, orders, st.lists(st.integers(0, 9), min_size=NR_KINDS, max_size=NR_KINDS))
def test_each_point_is_the_best_of_all_sets(layout: ZoneLayout, order: int, prices: list[int]) -> None:
    line = curve(layout, order, kind_cost=np.array(prices))
    kinds, reserve = layout.kinds.tolist(), layout.wmark_min + (1 << order)
    assert line.reserve_pages == reserve
    for nr in range(len(kinds) >> order):
        best = oracle.cheapest(kinds, order, nr, reserve, dict(enumerate(prices)))
        assert (int(line.cost[nr]) if nr <= line.nr_attainable else None) == best
        copies = oracle.cheapest(kinds, order, nr, 0, dict.fromkeys(range(NR_KINDS), 1))
        assert minimum_moves(layout, order, nr) == copies


@given(layouts(), st.integers(0, 6))
def test_the_curve_never_falls_and_rises_ever_faster(layout: ZoneLayout, order: int) -> None:
    line = curve(layout, order)
    steps = np.diff(line.pages)
    assert (steps > 0).all()
    assert (np.diff(steps) >= 0).all()
    assert len(line.pages) == len(line.cost) == line.nr_candidates + 1
    assert line.nr_attainable <= line.nr_candidates


@given(layouts(), orders, st.integers(0, 9))
def test_a_cost_for_each_frame_is_that_of_its_kind_where_it_is_the_same(
    layout: ZoneLayout, order: int, price: int
) -> None:
    kind_cost = np.full(NR_KINDS, price)
    by_kind = curve(layout, order, kind_cost=kind_cost)
    by_frame = curve(layout, order, frame_cost=kind_cost[layout.kinds])
    assert by_kind.cost.tolist() == by_frame.cost.tolist()
    assert by_kind.window_pfn.tolist() == by_frame.window_pfn.tolist()


def test_a_window_that_is_mapped_often_comes_last() -> None:
    zone = layout_of("a....... aa...... ........ ........")
    often = np.ones(len(zone.state), np.int64)
    assert curve(zone, 3).window_pfn.tolist() == [0, 8]
    often[0] = 3
    line = curve(zone, 3, frame_cost=often)
    assert (line.window_pfn.tolist(), line.cost.tolist(), line.pages.tolist()) == (
        [8, 0],
        [0, 2, 5],
        [0, 2, 3],
    )


def test_what_is_free_now_stays_free_and_is_no_room() -> None:
    # Two candidates of 4 pages; 8 free frames beside the free window, of which one block and the mark stay.
    zone = layout_of("aaaa.... aaaa.... ........ xxxxxxxx")
    line = curve(zone, 3)
    assert (line.nr_free_now, line.room_pages, line.nr_candidates, line.nr_attainable) == (1, 8, 2, 0)
    assert line.limit(0) == 1
    assert [minimum_moves(zone, 3, nr) for nr in (-1, 0, 1, 2)] == [0, 0, 4, None]
    roomy = layout_of("aaaa.... aaaa.... ........ xxxx....  xxxx....")
    assert curve(roomy, 3).nr_attainable == 1
    assert curve(layout_of("aaaa.... aaaa.... ........ xxxx.... xxxx....", wmark_min=1), 3).nr_attainable == 0


@given(layouts(), orders)
def test_the_optimistic_curve_bounds_every_way_the_unknown_can_come_out(
    layout: ZoneLayout, order: int
) -> None:
    kinds = layout.kinds
    unknown = np.flatnonzero(kinds == Frame.UNKNOWN)
    told = len(unknown) if layout.pcp_pages is None else min(layout.pcp_pages, len(unknown))
    for free in (unknown[:told], unknown[len(unknown) - told :], unknown[:0]):
        state = layout.state.copy()
        state[free] = Frame.FREE
        state[(kinds == Frame.UNCERTAIN) | (kinds == Frame.HELD)] = Frame.ANON
        truth = curve(layout.with_state(state), order)
        best = curve(layout, order, optimistic=True)
        total = truth.nr_free_now + truth.nr_attainable
        assert total <= best.nr_free_now + best.nr_attainable
        for gained in range(total - best.nr_free_now + 1):
            here = max(0, gained - (truth.nr_free_now - best.nr_free_now))
            assert best.pages[gained] <= truth.pages[here]


def test_no_more_can_be_free_on_per_cpu_lists_than_is_there() -> None:
    drawing = "???????? ??....a. u....... ........ ........ ........"
    assert curve(layout_of(drawing), 3).nr_attainable == 0
    told = [curve(layout_of(drawing, pcp_pages=nr), 3, optimistic=True) for nr in (0, 2, 8, 10)]
    assert [line.nr_candidates for line in told] == [1, 2, 2, 3]
    assert [line.window_pfn.tolist() for line in told[:2]] == [[16], [8, 16]]
    assert curve(layout_of(drawing), 3, optimistic=True).nr_candidates == 3


def test_what_per_cpu_lists_only_have_to_give_up_needs_no_room() -> None:
    line = curve(layout_of("???????? xxxxxxxx a......x"), 3, optimistic=True)
    assert (line.pages.tolist(), line.nr_attainable) == ([0, 0], 1)
    assert curve(layout_of("???????? xxxxxxxx a......."), 3, optimistic=True).nr_attainable == 1


def test_one_gigabyte_is_a_window_too() -> None:
    zone = layout_of("a" + "." * 63 + "." * 32)
    line = curve(zone, 6)
    assert (line.window_pfn.tolist(), line.pages.tolist(), line.room_pages) == ([0], [0, 1], 95)


def test_the_oracle_sees_a_wrong_window() -> None:
    zone = layout_of("aaa..... a....... x....... x....... x.......")
    line = curve(zone, 3)
    cost = dict.fromkeys(range(NR_KINDS), 1)
    best = oracle.cheapest(zone.kinds.tolist(), 3, 1, line.reserve_pages, cost)
    by_address = sorted(line.window_pfn.tolist())
    assert line.pages[1] == best == 1
    assert int(np.count_nonzero(zone.state[by_address[0] : by_address[0] + 8])) != best
    assert [a <= b for a, b in pairwise(line.pages.tolist())] == [True, True]


@pytest.mark.parametrize("order", [0, 3])
def test_a_zone_without_memory_has_an_empty_curve(order: int) -> None:
    line = curve(layout_of("_" * 16), order)
    assert (line.nr_candidates, line.nr_attainable, line.pages.tolist()) == (0, 0, [0])
