"""Curves that can be drawn: thinned, and every point of them exact."""

from __future__ import annotations

import numpy as np
import pytest

from kernelmodel.compaction.curve import Curve, curve
from tests.compactable import host
from vmprobe.analyses.compact import prepared
from vmprobe.bridge.compact import run
from vmprobe.bridge.curve import MOST_POINTS, cost_curves, drawn_points, free_by_order


def test_every_point_is_one_of_the_whole_curve() -> None:
    made = prepared(host())
    for drawn, layout in zip(cost_curves(made, 9), made.layouts, strict=True):
        whole = curve(layout, 9)
        assert (drawn.node, drawn.zone) == (layout.node, layout.zone)
        assert [int(whole.pages[at]) for at in drawn.blocks] == list(drawn.pages)
        assert (drawn.cliff_blocks, drawn.candidate_blocks) == (whole.nr_attainable, whole.nr_candidates)
        assert {0, drawn.cliff_blocks, drawn.candidate_blocks} <= set(drawn.blocks)
    assert [line.blocks for line in cost_curves(made, 9)] == [(0, 1, 2), (0, 1, 2, 3)]


@pytest.mark.parametrize("cliff", [0, 1, 4321, 99_999, 100_000])
def test_thinning_keeps_the_cliff_and_both_ends(cliff: int) -> None:
    each = np.sort(np.random.default_rng(3).integers(0, 512, 100_000))
    pages = np.concatenate(([0], np.cumsum(each)))
    whole = Curve(9, 7, np.arange(100_000), pages, pages, cliff << 9, 0)
    points = drawn_points(whole)
    assert len(points) <= MOST_POINTS + 3
    assert {0, whole.nr_attainable, 100_000} <= set(points.tolist())
    assert whole.nr_attainable >= cliff
    # Straight lines between the points stay close to the curve everywhere.
    off = np.abs(np.interp(np.arange(len(pages)), points, pages[points]) - pages)
    assert off.max() < pages[-1] / 1000


def test_free_blocks_are_those_of_all_zones() -> None:
    outcomes = run(prepared(host()), "linux", 9, None)
    found = free_by_order(outcomes)
    one, other = outcomes
    assert found.before == tuple((one.free_before + other.free_before).tolist())
    assert found.forecast == tuple((one.free_after + other.free_after).tolist())
    assert found.before != found.forecast
