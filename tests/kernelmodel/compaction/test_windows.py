"""kernelmodel.compaction.windows: counts in three ways that must agree, costs, and what blocks pageblocks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.compaction import windows as module
from kernelmodel.compaction.windows import NR_KINDS, blocked_by, buddy_windows, frame_cost_sums, windows
from kernelmodel.compaction.zone_layout import KIND_MASK, Frame, ZoneLayout
from kernelmodel.errors import ModelError
from tests.kernelmodel.compaction.layouts import layout_of, layouts


def by_hand(layout: ZoneLayout, order: int) -> list[list[int]]:
    size = 1 << order
    rows = []
    for pfn in range(layout.base_pfn, layout.base_pfn + len(layout.state), size):
        if pfn % size == 0 and pfn + size <= layout.base_pfn + len(layout.state):
            at = pfn - layout.base_pfn
            found = Counter((layout.state[at : at + size] & KIND_MASK).tolist())
            rows.append([found[kind] for kind in range(NR_KINDS)])
    return rows


@given(layouts(), st.integers(0, 4))
def test_every_way_of_counting_counts_the_same(layout: ZoneLayout, order: int) -> None:
    expected = by_hand(layout, order)
    assert windows(layout, order).counts.tolist() == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HAVE_NUMBA", False)
        patch.setattr(module, "CHUNK_FRAMES", 32)
        assert windows(layout, order).counts.tolist() == expected
    counts = np.zeros((len(expected), NR_KINDS), np.uint8)
    if order < 3:
        module.count_kinds(layout.state, 1 << order, counts)
    else:
        with np.errstate(over="ignore"):
            module.count_kinds_by_eight(layout.state.view(np.uint64), 1 << order >> 3, counts)
    assert counts.tolist() == expected


@given(layouts(), st.integers(0, 4), st.integers(0, 5))
def test_counts_of_a_higher_order_are_those_of_its_parts(layout: ZoneLayout, low: int, more: int) -> None:
    part, whole = windows(layout, low).coarsened(low + more), windows(layout, low + more)
    assert part.first_pfn == whole.first_pfn or not len(whole)
    assert part.counts.tolist() == whole.counts.tolist()


def test_windows_above_the_largest_free_block_are_those_that_lie_in_the_zone() -> None:
    zone = layout_of("a" * 80, base_pfn=48)
    found = windows(zone, 5)
    assert (found.first_pfn, len(found), found.movable.tolist()) == (64, 2, [32, 32])
    with pytest.raises(ModelError, match="order 5"):
        buddy_windows(zone, 5)


@given(layouts(), st.integers(0, 4), st.integers(0, 2**32))
def test_costs_are_those_of_the_frames_that_move(layout: ZoneLayout, order: int, seed: int) -> None:
    frame_cost = np.random.default_rng(seed).integers(0, 9, len(layout.state))
    kind_cost = np.arange(NR_KINDS) ** 2
    found = windows(layout, order)
    kinds = layout.kinds.tolist()
    size = 1 << order
    spans = [range(at, at + size) for at in range(0, len(kinds), size)]
    movable = [[i for i in span if 1 <= kinds[i] <= 6] for span in spans]
    assert frame_cost_sums(layout, found, frame_cost).tolist() == [
        sum(int(frame_cost[i]) for i in here) for here in movable
    ]
    assert found.cost(kind_cost).tolist() == [sum(kinds[i] ** 2 for i in here) for here in movable]
    assert found.movable.tolist() == [len(here) for here in movable]
    assert found.evictable.tolist() == [sum(1 <= kinds[i] <= 4 for i in span) for span in spans]


def test_a_pageblock_is_blocked_by_the_first_reason_in_it_and_one_that_is_all_hole_by_none() -> None:
    zone = layout_of("x?pu.... p.?..... ?u_.....  u_......  _a...... ________ aaaa.... ........")
    assert blocked_by(windows(zone, 3)) == {"fixed": 1, "pinned": 1, "unknown": 1, "uncertain": 1, "hole": 1}
    reasons = (Frame.ANON, Frame.FIXED)
    assert blocked_by(windows(zone, 3), reasons) == {"anon": 2, "fixed": 1}
