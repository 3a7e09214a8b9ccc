"""Charts: what plotly drew, held against the figures and against the tables beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.ask import TRACES
from vmprobe.units import bytes_text

if TYPE_CHECKING:
    from tests.browser.conftest import Shown

pytestmark = [pytest.mark.live, pytest.mark.slow]

MARK = "return document.getElementById(arguments[0]).layout.shapes[0].x0"


def test_cost_curves_have_their_cliff(page: Shown) -> None:
    gainful = [curve for curve in page.inputs.curves if curve.candidate_blocks]
    assert gainful
    for curve in gainful:
        chart = f"cost-{curve.node}-{curve.zone}"
        with_room, beyond = page.js(TRACES, chart)
        cliff = curve.blocks.index(curve.cliff_blocks)
        assert (with_room["x"], with_room["y"]) == (
            list(curve.blocks[: cliff + 1]),
            list(curve.pages[: cliff + 1]),
        )
        assert (beyond["x"], beyond["y"]) == (list(curve.blocks[cliff:]), list(curve.pages[cliff:]))
        assert page.js(MARK, chart) == curve.cliff_blocks
        assert f"{curve.blocks[cliff]:,}{curve.pages[cliff]:,}yes" in page.text("#cost details")


def test_free_memory_by_order_before_forecast_and_real(page: Shown) -> None:
    mass, size = page.inputs.free_mass, page.inputs.report.frag.page_size
    expected = [mass.before, mass.forecast, mass.real]
    traces = page.js(TRACES, "mass")
    assert [trace["name"] for trace in traces] == ["before", "forecast", "last real run"]
    assert [trace["y"] for trace in traces] == [
        [(nr * size) << order for order, nr in enumerate(blocks)] for blocks in expected
    ]
    assert page.js("return document.querySelectorAll('#mass .bars path').length") == sum(map(len, expected))
    for order, nr in enumerate(mass.before):
        assert f"{order}{bytes_text(size << order)}{nr:,}{mass.forecast[order]:,}" in page.text("#free table")


def test_trend_lines_have_gaps_where_a_run_has_nothing(page: Shown) -> None:
    figures = dict(page.inputs.series)
    (line,) = page.js(TRACES, "trend-free_blocks")
    assert line["y"] == list(figures["free blocks of 2.0 MiB or more"].values)
    assert line["x"] == list(figures["free blocks of 2.0 MiB or more"].times)
    assert None in line["y"]
    assert [each["name"] for each in page.js(TRACES, "trend-blocker_pageblocks")] == ["slab", "kernel"]
    pieces = page.js("return document.querySelectorAll('#trend-free_blocks .js-line').length")
    assert pieces == 2
