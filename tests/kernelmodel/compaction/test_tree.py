"""kernelmodel.compaction.tree against all sets of disjoint windows; why the largest order first is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.compaction import tree
from kernelmodel.compaction.curve import curve
from kernelmodel.compaction.result import Outcome, Status
from kernelmodel.compaction.tree import plan_orders
from kernelmodel.compaction.zone_layout import Frame, ZoneLayout
from kernelmodel.errors import ModelError
from tests.kernelmodel.compaction.layouts import drawing_of, layout_of, layouts, rng_layout
from tests.oracles import planner as oracle

if TYPE_CHECKING:
    from collections.abc import Callable

Wanted = dict[int, int]
KINDS = (Frame.FREE, Frame.ANON, Frame.FIXED)
TRAP = "........ aaaa.... aaa..... aaa....." + " x......." * 4
"""The cheapest window of order 4 holds a free one of order 3, which is worth more alone."""


def copies(planned: Outcome) -> int | None:
    return planned.moves.total_pages if planned.status is Status.COMPLETE else None


def best(layout: ZoneLayout, wanted: Wanted) -> int | None:
    largest = max(order for order, nr in wanted.items() if nr)
    return oracle.cheapest_orders(layout.kinds.tolist(), wanted, layout.wmark_min + (1 << largest))


def check(seed: int, planned: Callable[[ZoneLayout, Wanted], int | None]) -> bool:
    """Compare one small zone with all sets; return whether the demand can be met."""
    rng = np.random.default_rng(seed)
    weights = (2 + 3 * rng.random(), 2 * rng.random(), 0.15 * rng.random())
    zone = rng_layout(rng, 16 * int(rng.integers(2, 5)), KINDS, weights)
    orders = rng.choice(np.arange(1, 5), int(rng.integers(1, 4)), replace=False)
    wanted = {int(order): int(rng.integers(0, 3)) for order in orders} | {int(orders[0]): 1}
    return check_zone(zone, wanted, planned)


def check_zone(
    layout: ZoneLayout, wanted: Wanted, planned: Callable[[ZoneLayout, Wanted], int | None]
) -> bool:
    expected = best(layout, wanted)
    assert planned(layout, wanted) == expected, (drawing_of(layout.state), wanted)
    return expected is not None


def by_tree(layout: ZoneLayout, wanted: Wanted) -> int | None:
    outcome = plan_orders(layout, wanted)
    outcome.validate()
    return copies(outcome)


def largest_first(layout: ZoneLayout, wanted: Wanted) -> int | None:
    """Take the cheapest windows of the largest order, then of the next in what is left."""
    state = layout.state.copy()
    total = 0
    for order, nr in sorted(wanted.items(), reverse=True):
        rows = state.reshape(-1, 1 << order)
        cost = np.where((rows > Frame.ANON).any(axis=1), 10_000, (rows == Frame.ANON).sum(axis=1))
        taken = np.argsort(cost, kind="stable")[:nr]
        total += int(cost[taken].sum())
        rows[taken] = Frame.FIXED
    return total if total < 10_000 and best(layout, wanted) is not None else None


def test_the_recurrence_is_the_best_of_all_sets() -> None:
    assert {check(seed, by_tree) for seed in range(100)} == {True, False}


@pytest.mark.slow
def test_the_recurrence_is_the_best_of_all_sets_many_times() -> None:
    assert sum(check(seed, by_tree) for seed in range(100, 5100)) > 1000


def test_the_largest_order_first_is_found_to_be_wrong() -> None:
    zone, wanted = layout_of(TRAP), {4: 1, 3: 1}
    assert (largest_first(zone, wanted), by_tree(zone, wanted), best(zone, wanted)) == (7, 6, 6)


@given(layouts(max_blocks=4), st.integers(0, 4), st.integers(1, 4))
def test_of_one_order_the_tree_plans_what_the_curve_says(layout: ZoneLayout, order: int, nr: int) -> None:
    line = curve(layout, order)
    outcome = plan_orders(layout, {order: line.nr_free_now + nr})
    outcome.validate()
    outcome.before.with_state(outcome.after).validate()
    if outcome.status is Status.COMPLETE:
        assert nr <= line.nr_attainable
        assert outcome.gained_blocks >= nr
        assert outcome.moves.total_pages >= line.pages[nr]


@given(layouts(max_blocks=4), st.dictionaries(st.integers(0, 4), st.integers(1, 3), min_size=1, max_size=3))
def test_blocks_of_all_orders_are_there_afterwards(layout: ZoneLayout, wanted: Wanted) -> None:
    outcome = plan_orders(layout, wanted)
    outcome.validate()
    outcome.before.with_state(outcome.after).validate()
    if outcome.status is Status.COMPLETE:
        # Largest first wastes nothing where all are free.
        free = outcome.after & 0x0F == Frame.FREE
        for order, nr in sorted(wanted.items(), reverse=True):
            blocks = np.flatnonzero(free.reshape(-1, 1 << order).all(axis=1))
            assert len(blocks) >= nr
            free.reshape(-1, 1 << order)[blocks[:nr]] = False


def test_what_is_free_now_counts() -> None:
    zone = layout_of("........ ........ aa...... a......." + " x......." * 4)
    assert copies(plan_orders(zone, {3: 2})) == 0
    assert copies(plan_orders(zone, {4: 1, 3: 1})) == 1
    assert copies(plan_orders(zone, {4: 1, 3: 2})) == 3


def test_where_not_all_can_be_had_the_most_is_done() -> None:
    zone = layout_of("a....... a....... xa...... a.x....." + " x......." * 5)
    outcome = plan_orders(zone, {4: 1, 3: 3})
    outcome.validate()
    assert outcome.status is Status.INFEASIBLE
    assert "no room" not in outcome.blocked
    assert outcome.moves.total_pages == 2
    crowded = layout_of("aaaaaaa. " * 4)
    assert plan_orders(crowded, {3: 1, 2: 1}).blocked == {"no room": 2}


def test_nothing_of_no_order_is_refused_and_tables_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = layout_of("a......." * 4)
    with pytest.raises(ModelError, match="no block"):
        plan_orders(zone, {3: 0})
    with pytest.raises(ModelError, match="order 5"):
        plan_orders(zone, {3: 1, 5: 1})
    monkeypatch.setattr(tree, "MAX_CELLS", 3)
    with pytest.raises(ModelError, match="too many"):
        plan_orders(zone, {3: 1, 4: 1})
