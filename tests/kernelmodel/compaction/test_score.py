"""A forecast against reality: as sets of frames have it, and each kind of error shows in its own figure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.compaction.result import Moves, Outcome, Status, no_moves
from kernelmodel.compaction.score import (
    Counted,
    Score,
    ZoneTruth,
    drained,
    free_mass_distance,
    guess_status,
    percent,
    score,
)
from kernelmodel.compaction.zone_layout import Frame
from kernelmodel.errors import InvariantError
from tests.kernelmodel.compaction.layouts import NR_ORDERS, layout_of, layouts, state_of
from tests.oracles import score as oracle

if TYPE_CHECKING:
    from kernelmodel.compaction.zone_layout import ZoneLayout

NOTHING = Counted(None, None, None)
BEFORE = "a.a.a.a. aaaaaaaa ........ a......."
"""Four pageblocks of 8; what compaction empties first, and where it puts it."""
FORECAST = "........ aaaaaaaa aaaa.... a......."
"""The first block left, the third filled."""


def outcome(before: ZoneLayout, after: np.ndarray, order: int = 3, **changes: object) -> Outcome:
    made = Outcome(
        "linux", order, before, after, no_moves(), np.empty(0, np.int64), Status.COMPLETE, 100, 50,
        stopped_pfn=before.start_pfn + 16,
    )  # fmt: skip
    return replace(made, **changes)


def scored(before: str, forecast: str, real: str) -> Score:
    zone = layout_of(before)
    return score(
        [outcome(zone, layout_of(forecast).state)], [ZoneTruth(layout_of(real), Status.COMPLETE)], NOTHING
    )


@given(layouts(max_blocks=3), st.integers(0, NR_ORDERS - 1), st.randoms(use_true_random=False))
def test_as_the_slow_twin(before: ZoneLayout, order: int, draw: object) -> None:
    inside = before.kinds != Frame.HOLE

    def changed() -> np.ndarray:
        after = before.state.copy()
        for at in np.flatnonzero(inside).tolist():
            if draw.random() < 0.3:  # type: ignore[attr-defined]
                after[at] = draw.choice((Frame.FREE, Frame.ANON, Frame.UNKNOWN, Frame.FIXED))  # type: ignore[attr-defined]
        return after

    forecast, real = changed(), changed()
    made = score([outcome(before, forecast, order)], [ZoneTruth(before.with_state(real))], NOTHING)
    for dry, ours in ((False, made.raw), (True, made.corrected)):
        twin = oracle.pages(
            before.state.tolist(), forecast.tolist(), real.tolist(), order, before.nr_orders, drained=dry
        )
        for name, value in twin._asdict().items():
            assert getattr(ours, name) == pytest.approx(value), name
        assert ours.gained_percent == percent(ours.gained_forecast, ours.gained_real)


def test_what_came_true_has_no_error() -> None:
    made = scored(BEFORE, FORECAST, FORECAST)
    assert made.raw == made.corrected
    assert made.raw.gained_percent == made.raw.free_mass_distance == 0
    shares = (
        made.raw.left_precision,
        made.raw.left_recall,
        made.raw.filled_precision,
        made.raw.filled_recall,
    )
    assert shares == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("real", "wrong"),
    [
        # One page stayed that was to leave; its block is not gained, and mass lies elsewhere.
        ("a....... aaaaaaaa aaaa.... a.......", {"left_precision", "gained_percent", "free_mass_distance"}),
        # One left that was not to.
        ("........ aaaaaaa. aaaa.... a.......", {"left_recall", "free_mass_distance"}),
        # One came to another place in the same hole.
        ("........ aaaaaaaa aaa.a... a.......", {"filled_precision", "filled_recall", "free_mass_distance"}),
        # One came that was not to.
        ("........ aaaaaaaa aaaa.... a......a", {"filled_recall", "free_mass_distance"}),
    ],
)
def test_each_error_shows_where_it_belongs(real: str, wrong: set[str]) -> None:
    right, made = scored(BEFORE, FORECAST, FORECAST).raw, scored(BEFORE, FORECAST, real).raw
    differ = {name for name, value in vars(made).items() if value != vars(right)[name]}
    assert differ - {"gained_real"} == wrong


def test_pages_on_per_cpu_lists_count_as_free_only_when_corrected() -> None:
    made = scored(BEFORE, FORECAST, "..?..... aaaaaaaa aaaa.... a.......")
    # One block was given up for another, or for none yet.
    assert (made.raw.gained_real, made.corrected.gained_real) == (-1, 0)
    assert (made.raw.left_precision, made.corrected.left_precision) == (3 / 4, 1)
    # A word of 0 that was there before says nothing of who uses it.
    kept = scored("?" + BEFORE[1:], FORECAST, "?" + FORECAST[1:])
    assert (kept.raw.gained_real, kept.corrected.gained_real) == (-1, -1)


def test_counters_have_signed_errors_and_unknowns_stay_unknown() -> None:
    zone = layout_of(BEFORE)
    moves = Moves(np.array([0, 2, 4]), np.array([16, 17, 18]), np.array([1, 1, 1]))
    made = score([outcome(zone, zone.state, moves=moves)], [ZoneTruth(zone)], Counted(2, 200, None))
    assert (made.moves_percent, made.migrate_scanned_percent, made.free_scanned_percent) == (50, -50, None)
    unscanned = score([outcome(zone, zone.state, free_scanned=None)], [ZoneTruth(zone)], Counted(0, 0, 50))
    assert (unscanned.moves_percent, unscanned.migrate_scanned_percent) == (0, None)
    assert unscanned.free_scanned_percent is None


def test_zones_are_added_up_and_weighed_by_what_moved() -> None:
    moved, quiet = layout_of(BEFORE), layout_of("." * 16)
    stirred = layout_of("a" + "." * 15)
    pairs = [
        (outcome(moved, layout_of(FORECAST).state), ZoneTruth(layout_of(FORECAST))),
        (outcome(quiet, quiet.state), ZoneTruth(stirred)),
    ]
    both = score(*zip(*pairs, strict=True), NOTHING)
    alone = score([pairs[1][0]], [pairs[1][1]], NOTHING)
    # In the one 4 frames left and 4 were filled, in forecast and reality; in the other 1 was filled.
    assert both.raw.free_mass_distance == pytest.approx(alone.raw.free_mass_distance / 17)
    assert alone.raw.free_mass_distance > 0
    assert (both.raw.gained_forecast, both.raw.gained_real) == (1 - 1 + 1 - 1, -1)
    assert both.raw.filled_recall == 4 / 5


def test_a_zone_ends_where_it_was_forecast_to_or_has_an_error() -> None:
    zone = layout_of(BEFORE, base_pfn=64)
    truth = ZoneTruth(zone, Status.CONTENDED, zone.start_pfn + 20)
    (made,) = score([outcome(zone, zone.state)], [truth], NOTHING).zones
    assert (made.status_forecast, made.status_real, made.stopped_percent) == ("complete", "contended", -20)
    (untold,) = score([outcome(zone, zone.state)], [ZoneTruth(zone)], NOTHING).zones
    assert (untold.status_real, untold.stopped_percent) == (None, None)


@pytest.mark.parametrize(
    "other",
    [{"zone": "DMA"}, {"node": 1}, {"base_pfn": 16, "start_pfn": 16, "end_pfn": 48}, {"nr_orders": 4}],
)
def test_another_zone_is_no_truth(other: dict[str, object]) -> None:
    zone = layout_of(BEFORE)
    with pytest.raises(InvariantError, match="score-zone"):
        score([outcome(zone, zone.state)], [ZoneTruth(replace(zone, **other))], NOTHING)
    with pytest.raises(InvariantError, match="score-zone"):
        score([outcome(zone, zone.state)], [], NOTHING)


def test_draining_leaves_alone_what_was_not_in_use() -> None:
    zone = layout_of("a?.._x")
    assert drained(zone, state_of("??????" + "_" * 10))[:6].tolist() == [
        Frame.FREE, Frame.UNKNOWN, Frame.UNKNOWN, Frame.UNKNOWN, Frame.UNKNOWN, Frame.FREE,
    ]  # fmt: skip


def test_nothing_free_on_one_side_is_as_far_as_can_be() -> None:
    none, some = np.zeros(3, np.int64), np.array([1, 0, 0])
    assert (free_mass_distance(none, none), free_mass_distance(none, some)) == (0, 1)


HALVES = ("a.", "a.") * 16
"""64 frames, every second one used: 4 blocks to clear and 4 to fill."""


@pytest.mark.parametrize(
    ("after", "status"),
    [
        # Both met in the middle.
        ("........" * 4 + "aaaaaaaa" * 4, Status.COMPLETE),
        # Given up after one block of each.
        ("........" + "a.a.a.a." * 6 + "aaaaaaaa", Status.CONTENDED),
        # Given up at once.
        ("a.a.a.a." * 8, Status.CONTENDED),
        # What left, left above what stayed: others did that.
        ("a.a.a.a." * 5 + "........" * 3, None),
    ],
)
def test_pictures_tell_whether_the_scanners_met(after: str, status: Status | None) -> None:
    before = layout_of("".join(HALVES))
    assert guess_status(before, layout_of(after).state) is status


def test_where_nothing_may_be_filled_the_scanners_met() -> None:
    before = layout_of("".join(HALVES), targets=[False] * 8)
    assert guess_status(before, before.state) is Status.COMPLETE
