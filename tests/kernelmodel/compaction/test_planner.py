"""kernelmodel.compaction.planner against every set of windows, with and without eviction; folios."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.compaction import planner
from kernelmodel.compaction.cost import CostModel
from kernelmodel.compaction.curve import Curve, curve
from kernelmodel.compaction.eviction import EvictionLimits, evict
from kernelmodel.compaction.planner import eviction_bounds, minimum_moves, plan, plan_with_eviction
from kernelmodel.compaction.result import Outcome, Status
from kernelmodel.compaction.tree import plan_orders
from kernelmodel.compaction.windows import NR_KINDS
from kernelmodel.compaction.zone_layout import Frame, ZoneLayout
from kernelmodel.errors import ModelError
from tests.kernelmodel.compaction.layouts import drawing_of, layout_of, layouts, rng_layout
from tests.oracles import planner as oracle

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK, ALL = 600, 30_000
KINDS = (Frame.FREE, Frame.ANON, Frame.CLEAN, Frame.DIRTY, Frame.UNEVICTABLE, Frame.FIXED)


def drawn(seed: int) -> tuple[ZoneLayout, int, int]:
    """Return a small zone of 3 to 8 windows of 2 to 8 pages, the order, and how many to gain."""
    rng = np.random.default_rng(seed)
    order, nr_windows = int(rng.integers(1, 4)), int(rng.integers(3, 9))
    weights = rng.random(6) * (rng.choice([1, 3, 9]), 1, 1, 1, 0.3, 0.1)
    zone = rng_layout(rng, nr_windows << order, KINDS, tuple(weights))
    return zone, order, min(rng.integers(1, nr_windows, 2).tolist())


def drawn_limits(seed: int) -> EvictionLimits:
    rng = np.random.default_rng((seed, 1))
    move, drop, swap = (int(price) for price in rng.integers(1, 9, 3))
    model = CostModel(move_us=(0, move, 0), drop_us=(0, drop, 0), swap_us=(0, swap, 0))
    return EvictionLimits(int(rng.integers(0, 12)), bool(rng.integers(0, 2)), model)


def check_outcome(outcome: Outcome) -> None:
    """Check an outcome against itself and against the bound."""
    outcome.validate()
    outcome.before.with_state(outcome.after).validate()
    gained = outcome.gained_blocks
    if not len(outcome.evicted_pfn):
        least = minimum_moves(outcome.before, outcome.order, gained)
        assert least is not None
        assert least <= outcome.moves.total_pages


def check_plan(seed: int, planned: Callable[[ZoneLayout, int, int], Outcome] = plan) -> bool:
    """Plan one small zone and compare with every set of its windows; return whether it can be had."""
    zone, order, nr = drawn(seed)
    kinds, reserve = zone.kinds.tolist(), zone.wmark_min + (1 << order)
    best = oracle.cheapest(kinds, order, nr, reserve, dict.fromkeys(range(NR_KINDS), 1))
    outcome = planned(zone, order, nr)
    check_outcome(outcome)
    told = (drawing_of(zone.state), order, nr)
    assert (outcome.status is Status.COMPLETE) == (best is not None), told
    if best is None:
        fewer = outcome.gained_blocks
        assert fewer < nr
        assert oracle.cheapest(kinds, order, fewer + 1, reserve, dict.fromkeys(range(NR_KINDS), 1)) is None
        best = oracle.cheapest(kinds, order, fewer, reserve, dict.fromkeys(range(NR_KINDS), 1))
    else:
        assert outcome.gained_blocks == nr, told
    assert outcome.moves.total_pages == best, told
    return outcome.status is Status.COMPLETE


def prices_of(limits: EvictionLimits) -> dict[str, int | None]:
    model = limits.model
    return {
        "drop": int(model.drop_us[1]),
        "swap": int(model.swap_us[1]),
        "write": int(model.swap_us[1]) if limits.writes else None,
        "swap_free": limits.swap_free_pages,
    }


def paid(outcome: Outcome, limits: EvictionLimits) -> int:
    """Return what an outcome costs at the limits' prices."""
    model = limits.model
    kinds = outcome.before.kinds[outcome.evicted_pfn - outcome.before.base_pfn]
    nr_clean = int((kinds == Frame.CLEAN).sum())
    swap, drop, move = (int(price[1]) for price in (model.swap_us, model.drop_us, model.move_us))
    assert int(((kinds == Frame.ANON) | (kinds == Frame.SHMEM)).sum()) <= limits.swap_free_pages
    return move * outcome.moves.total_pages + drop * nr_clean + swap * (len(kinds) - nr_clean)


def check_eviction(seed: int) -> str:
    """Do as `check_plan` with eviction; return what was tried."""
    zone, order, nr = drawn(seed)
    limits = drawn_limits(seed)
    kinds, reserve, prices = zone.kinds.tolist(), zone.wmark_min + (1 << order), prices_of(limits)
    move = int(limits.model.move_us[1])
    told = (drawing_of(zone.state), order, nr, limits)
    best = oracle.cheapest_with_eviction(kinds, order, nr, reserve=reserve, move=move, **prices)
    bounds = eviction_bounds(zone, order, nr, limits)
    assert (bounds.cost, bounds.lower_bound) == (bounds.cost, bounds.cost), told
    assert (None if bounds.rows is None else bounds.cost // 1000) == best, told
    mixed = plan_with_eviction(zone, order, nr, limits)
    check_outcome(mixed)
    assert (mixed.status is Status.COMPLETE) == (best is not None), told
    if best is not None:
        assert (mixed.gained_blocks, paid(mixed, limits)) == (nr, best), told
    alone = evict(zone, order, nr, limits)
    check_outcome(alone)
    best_alone = oracle.cheapest_eviction(kinds, order, nr, **prices)
    assert (alone.status is Status.COMPLETE) == (best_alone is not None), told
    assert not len(alone.moves)
    if best_alone is not None:
        assert (alone.gained_blocks, paid(alone, limits)) == (nr, best_alone), told
    return f"{best is not None} {best_alone is not None}"


def test_a_plan_is_the_best_of_all_sets() -> None:
    assert {check_plan(seed) for seed in range(QUICK)} == {True, False}


def test_a_plan_with_eviction_is_the_best_of_all_sets() -> None:
    assert {check_eviction(seed) for seed in range(QUICK)} == {"True True", "True False", "False False"}


@pytest.mark.slow
def test_plans_are_the_best_of_all_sets_thirty_thousand_times() -> None:
    assert sum(check_plan(seed) for seed in range(QUICK, QUICK + ALL)) > ALL // 10


@pytest.mark.slow
def test_plans_with_eviction_are_the_best_of_all_sets_thirty_thousand_times() -> None:
    nr_had = sum(check_eviction(seed).startswith("True") for seed in range(QUICK, QUICK + ALL))
    assert nr_had > ALL // 10


def lowest_first(layout: ZoneLayout, order: int, **options: object) -> Curve:
    """Do as `curve` with windows by address: a planner that does not look at costs."""
    line = curve(layout, order, **options)
    found = np.argsort(line.window_pfn)
    pages = np.diff(line.pages)[found]
    sums = np.concatenate(([0], np.cumsum(pages)))
    return Curve(
        order, line.nr_free_now, line.window_pfn[found], sums, sums, line.room_pages, line.reserve_pages
    )


def test_a_planner_that_takes_the_wrong_window_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "curve", lowest_first)
    with pytest.raises(AssertionError):
        [check_plan(seed) for seed in range(QUICK)]


def test_a_planner_that_uses_the_reserve_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Curve, "nr_attainable", property(lambda line: line.limit(0)))
    with pytest.raises(AssertionError):
        [check_plan(seed) for seed in range(QUICK)]


@given(layouts(), st.integers(0, 4), st.integers(0, 6))
def test_plans_of_zones_with_everything_hold_together(layout: ZoneLayout, order: int, nr: int) -> None:
    outcome = plan(layout, order, nr)
    check_outcome(outcome)
    gained = outcome.gained_blocks
    assert (outcome.status is Status.COMPLETE) <= (gained >= nr)
    assert (outcome.status is Status.INFEASIBLE) <= (len(outcome.blocked) > 0 or gained < nr)
    was_free = outcome.before.kinds.reshape(-1, 1 << order) == Frame.FREE
    is_free = outcome.after.reshape(-1, 1 << order) & 0x0F == Frame.FREE
    assert is_free.all(axis=1)[was_free.all(axis=1)].all()


@given(layouts(letters="....aacdsse"), st.integers(1, 4), st.integers(0, 6), st.integers(0, 40))
def test_plans_with_eviction_hold_together(layout: ZoneLayout, order: int, nr: int, swap: int) -> None:
    limits = EvictionLimits(swap)
    outcome, alone = plan_with_eviction(layout, order, nr, limits), evict(layout, order, nr, limits)
    for found in (outcome, alone):
        check_outcome(found)
        kinds = layout.kinds[found.evicted_pfn - layout.base_pfn]
        assert ((kinds >= Frame.ANON) & (kinds <= Frame.DIRTY)).all()
        assert (kinds <= Frame.SHMEM).sum() <= swap


def test_folios_move_whole_where_there_is_a_run_and_the_rest_is_split() -> None:
    zone = layout_of("A---.... A-A-..a. ........ x.x.x.x. x...xxx. x..xx..x  x......x ....xxxx")
    outcome = plan(zone, 3, 1)
    check_outcome(outcome)
    assert outcome.moves.nr_pages.tolist() == [4]
    assert outcome.moves.destination_pfn.tolist() == [56]
    both = plan(zone, 3, 2)
    check_outcome(both)
    assert both.moves.nr_pages.tolist() == [4, 2, 2, 1]
    tight = layout_of("A---.... x.x.x.x. x.x.x.x. x.x.x.x. x.x.x.x.")
    split = plan(tight, 3, 1)
    assert (split.moves.nr_pages.tolist(), split.moves.destination_pfn.tolist()) == ([1] * 4, [9, 11, 13, 15])
    assert drawing_of(split.after)[8:16] == "xaxaxaxa"


def test_a_folio_that_can_neither_be_placed_nor_split_makes_its_window_dearer_or_impossible() -> None:
    tight = "x.x.x.x. x.x.x.x. x.x.x.x. x.x.x.x."
    zone = layout_of("D!!!.... aaaaa... " + tight)
    outcome = plan(zone, 3, 1)
    check_outcome(outcome)
    assert outcome.moves.source_pfn.tolist() == [8, 9, 10, 11, 12]
    assert minimum_moves(zone, 3, 1) == 4
    alone = plan(layout_of("D!!!.... " + tight), 3, 1)
    assert (alone.status, len(alone.moves)) == (Status.INFEASIBLE, 0)
    placed = plan(layout_of("D!!!.... aaaaa... x...xxxx xxxx.... " + tight), 3, 1)
    assert (placed.moves.nr_pages.tolist(), placed.moves.destination_pfn.tolist()) == ([4], [28])
    assert drawing_of(placed.after)[24:32] == "xxxxD!!!"


def test_folios_that_cannot_be_split_have_the_first_choice_of_runs() -> None:
    zone = layout_of("A-D!.... xx..xxxx x.x.x.x. x.x.x.x. x.x.x.x.")
    outcome = plan(zone, 3, 1)
    check_outcome(outcome)
    assert outcome.status is Status.COMPLETE
    assert (outcome.moves.source_pfn.tolist(), outcome.moves.nr_pages.tolist()) == ([2, 0, 1], [2, 1, 1])


def test_a_window_that_is_given_up_does_not_take_others_with_it() -> None:
    zone = layout_of("D!...... D!...... a.a.a.a. xx..xxxx" + " x.x.x.x." * 5)
    outcome = plan(zone, 3, 2)
    check_outcome(outcome)
    assert outcome.status is Status.COMPLETE
    assert outcome.moves.source_pfn.tolist() == [0, 16, 18, 20, 22]


def test_a_folio_that_is_cut_takes_an_aligned_run_and_leaves_the_rest_of_it_free() -> None:
    outcome = plan(layout_of("A--aa... x....... xxxx.... x.x.x.x. x.x.x.x."), 3, 1)
    check_outcome(outcome)
    assert (outcome.moves.source_pfn[0], outcome.moves.nr_pages[0]) == (0, 3)
    assert drawing_of(outcome.after)[outcome.moves.destination_pfn[0] :][:4] in ("A--a", "A--.")


def test_a_folio_larger_than_the_regions_that_are_looked_at_moves_whole() -> None:
    larger = layout_of(
        "D!!!!!!!!!!!!!!! ................ x............... ................ " + "x............... " * 4,
        nr_orders=6,
    )
    found = plan_orders(larger, {5: 1, 3: 1})
    check_outcome(found)
    assert (found.moves.source_pfn.tolist(), found.moves.nr_pages.tolist()) == ([0], [16])
    assert found.moves.destination_pfn.tolist() == [48]


def test_part_of_a_folio_leaves_only_where_it_can_be_split() -> None:
    zone = layout_of("A------- " + "x.x.x.x. " * 4)
    outcome = plan(zone, 1, 1)
    check_outcome(outcome)
    assert (outcome.moves.total_pages, drawing_of(outcome.after)[:8]) == (2, "..aaaaaa")
    whole = plan(layout_of("D!!!!!!! " + "x.x.x.x. " * 4), 1, 1)
    check_outcome(whole)
    assert (whole.status, len(whole.moves), whole.gained_blocks) == (Status.INFEASIBLE, 0, 0)


def test_pages_go_where_they_do_least_harm() -> None:
    # To a block that cannot be cleared first; of those that can, to the fullest; to unmovable blocks last.
    zone = layout_of(
        "aa...... aaaaa... aaaaaa.. ........ x....... x.......", targets=[True] * 4 + [False, True]
    )
    outcome = plan(zone, 3, 1)
    assert outcome.moves.destination_pfn.tolist() == [41, 42]
    more = layout_of("aaaa.... aaaaa... aaaaaa.. xx.xxxxx x.......", targets=[True] * 4 + [False, False])
    assert plan(more, 3, 1).moves.destination_pfn.tolist() == [26, 22, 23, 13]


def test_what_stands_in_the_way_is_told() -> None:
    zone = layout_of("aaaa.... aaaaa... pppp.... x??..... ????.... ........ u.......")
    outcome = plan(zone, 3, 5)
    assert (outcome.status, outcome.gained_blocks) == (Status.INFEASIBLE, 2)
    assert outcome.blocked == {"pinned": 1, "fixed": 1, "unknown": 1, "uncertain": 1}
    full = plan(layout_of("aaaaaaa. aaaaaaa. aaaaaa.."), 3, 2)
    assert (full.status, full.blocked, len(full.moves)) == (Status.INFEASIBLE, {"no room": 2}, 0)
    assert plan(layout_of("aaaaaaa. " * 6), 4, 1).blocked == {"no room": 2}
    assert plan(layout_of("aaaaaaa. " * 2), 2, 3).blocked == {"no room": 2}


@pytest.mark.parametrize("order", [-1, 5])
def test_no_block_is_larger_than_the_largest(order: int) -> None:
    with pytest.raises(ModelError, match=f"order {order}"):
        plan(layout_of("a" * 16), order, 1)


def test_page_costs_choose_the_window() -> None:
    zone = layout_of("aa...... dddd.... x....... x.......")
    cheap = np.ones(NR_KINDS, np.int64)
    cheap[Frame.ANON] = 5
    assert plan(zone, 3, 1).moves.source_pfn.tolist() == [0, 1]
    assert plan(zone, 3, 1, kind_cost=cheap).moves.source_pfn.tolist() == [8, 9, 10, 11]


def test_eviction_makes_the_room_that_moves_lack() -> None:
    zone = layout_of("aaaacccc aaaacccc aaaaaacc")
    limits = EvictionLimits(0)
    assert plan(zone, 3, 1).status is Status.INFEASIBLE
    assert plan_with_eviction(zone, 3, 1, limits).status is Status.INFEASIBLE
    swapped = plan_with_eviction(zone, 3, 1, EvictionLimits(4))
    assert (swapped.gained_blocks, len(swapped.evicted_pfn), len(swapped.moves)) == (1, 8, 0)
    roomy = layout_of("aaaaaccc aaaaaccc x....... xxx.....")
    mixed = plan_with_eviction(roomy, 3, 1, EvictionLimits(1))
    check_outcome(mixed)
    assert (mixed.gained_blocks, mixed.evicted_pfn.tolist(), len(mixed.moves)) == (1, [0, 5, 6, 7], 4)
    assert plan_with_eviction(roomy, 3, 1, limits).status is Status.INFEASIBLE


def test_what_cannot_be_split_leaves_as_pages_once_part_of_it_is_written() -> None:
    zone = layout_of("D!!!!!!! x....... x....... x.......")
    dear = EvictionLimits(0, model=CostModel(move_us=(0, 9, 0), swap_us=(0, 1, 0)))
    outcome = plan_with_eviction(zone, 2, 1, dear)
    check_outcome(outcome)
    assert (outcome.evicted_pfn.tolist(), drawing_of(outcome.after)[:8]) == ([0, 1, 2, 3], "....dddd")
