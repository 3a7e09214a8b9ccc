"""vmprobe.analyses.plugin: each exit status on a snapshot that deserves it, in one line by the guidelines."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles.thresholds import compare
from tests.reported import SNAPSHOTS, report_of, without_frames
from vmprobe.analyses.plugin import STATUS, status_line, unknown_line
from vmprobe.analyses.plugin_range import range_text
from vmprobe.analyses.report import report as reported
from vmprobe.analyses.report_answer import Level, Verdict
from vmprobe.analyses.samples import samples
from vmprobe.analyses.thresholds import hold, parse
from vmprobe.store import load

if TYPE_CHECKING:
    from vmprobe.analyses.report_answer import Report

FRAGMENTED, QUIET = "6.12-fragmented", "6.12-quiet"

PERFORMANCE = re.compile(
    r"(?P<label>[^\s='|]+)=(?P<value>-?[0-9.]+|U)(?P<unit>us|ms|s|%|B|KB|MB|TB|c|)"
    r";(?P<warn>[-@~:0-9.]*);(?P<crit>[-@~:0-9.]*);(?P<least>-?[0-9.]*)"
)
"""``'label'=value[UOM];[warn];[crit];[min];[max]`` of the guidelines, for labels that need no quotes."""


class Told(NamedTuple):
    """A line taken apart."""

    text: str
    figures: dict[str, dict[str, str]]
    status: int


def told(report: Report, *thresholds: tuple[str, Level]) -> Told:
    """What the plugin says of a report held against thresholds."""
    made = samples(report)
    crossings = tuple(hold(parse(text, level), made, frames=report.frames) for text, level in thresholds)
    line, status = status_line(replace(report, thresholds=crossings), made)
    assert line.isprintable()
    text, bar, data = line.partition(" | ")
    assert bar
    assert "|" not in text + data
    matches = [PERFORMANCE.fullmatch(word) for word in data.split(" ")]
    assert all(matches), data
    groups = [match.groupdict() for match in matches if match]
    figures = {group["label"]: group for group in groups}
    assert len(figures) == len(groups)
    return Told(text, figures, status)


def alerts(value: float, text: str) -> bool:
    """Whether a range of the guidelines alerts: outside of its ends, or inside with an @."""
    inside = text.startswith("@")
    start, colon, end = text.removeprefix("@").rpartition(":")
    low = float("-inf") if start == "~" else float(start) if start else 0.0
    high = float(end) if end else float("inf")
    assert colon or end
    assert low <= high
    return (low <= value <= high) == inside


def test_without_thresholds_the_verdict_decides() -> None:
    report = report_of(QUIET)
    for level, status in STATUS.items():
        said = told(replace(report, verdict=Verdict(level, "a sentence")))
        assert (said.text, said.status) == (f"VMPROBE {level.upper()} - a sentence", status)
    assert (said.figures["obtainable_2m"]["value"], said.figures["score_percent"]["unit"]) == ("168", "%")
    assert [said.figures["obtainable_2m"][name] for name in ("warn", "crit", "least")] == ["", "", "0"]
    assert STATUS == {Level.OK: 0, Level.WARNING: 1, Level.CRITICAL: 2, Level.UNKNOWN: 3}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "warning", "critical", "status"),
    [
        (QUIET, "obtainable_2m < 100", "obtainable_2m < 50", 0),
        (FRAGMENTED, "obtainable_2m < 100", "obtainable_2m < 50", 1),
        (FRAGMENTED, "unmovable_pageblocks > 20%", "obtainable_2m[after_compaction] < 100", 2),
        (QUIET, "obtainable_2m < 100", "forecast_error_percent > 50", 3),
    ],
)
def test_real_reports(name: str, warning: str, critical: str, status: int) -> None:
    """Nothing is made up here."""
    report = reported(load(SNAPSHOTS / f"{name}.vmsnap"))
    assert told(report, (warning, Level.WARNING), (critical, Level.CRITICAL)).status == status


def test_ok() -> None:
    said = told(
        report_of(QUIET),
        ("free_blocks[order>=9] < 64", Level.CRITICAL),
        ("unmovable_pageblocks > 100", Level.WARNING),
    )
    assert said.status == 0
    assert said.text == (
        "VMPROBE OK - free_blocks[order>=9] is 85, not below 64; unmovable_pageblocks is 43, not above 100"
    )
    assert list(said.figures)[:2] == ["free_blocks_order_ge_9", "unmovable_pageblocks"]
    assert said.figures["free_blocks_order_ge_9"]["crit"] == "64:"
    assert said.figures["unmovable_pageblocks"]["warn"] == "100"


def test_warning() -> None:
    said = told(
        report_of(FRAGMENTED),
        ("free_blocks[order>=9] < 4", Level.CRITICAL),
        ("free_blocks[order>=9] < 64", Level.WARNING),
    )
    assert (said.text, said.status) == ("VMPROBE WARNING - free_blocks[order>=9] is 36, below 64", 1)
    figure = said.figures["free_blocks_order_ge_9"]
    assert (figure["value"], figure["warn"], figure["crit"]) == ("36", "64:", "4:")


def test_critical_comes_first_and_each_figure_once() -> None:
    said = told(
        report_of(FRAGMENTED),
        ("unmovable_pageblocks > 20%", Level.WARNING),
        ("free_blocks[order>=9] < 128", Level.WARNING),
        ("free_blocks[order>=9] < 64", Level.CRITICAL),
        ("free_bytes < 1K", Level.CRITICAL),
    )
    assert said.status == 2
    assert said.text == (
        "VMPROBE CRITICAL - free_blocks[order>=9] is 36, below 64;"
        " unmovable_pageblocks is 52, above 50.8 (20 % of all pageblocks)"
    )
    assert said.figures["unmovable_pageblocks"]["warn"] == "50.8"
    assert said.figures["free_bytes"] | {"crit": ""} == {
        "label": "free_bytes", "value": "147763200", "unit": "B", "warn": "", "crit": "", "least": "0",
    }  # fmt: skip


def test_unknown_is_worse_than_ok_and_better_than_warning() -> None:
    report = without_frames(report_of(FRAGMENTED))
    unknown, good = ("unmovable_pageblocks", Level.CRITICAL), ("free_blocks[order>=9] < 4", Level.CRITICAL)
    said = told(report, good, unknown)
    assert said.status == 3
    assert said.text.startswith("VMPROBE UNKNOWN - unmovable_pageblocks is not known; ")
    assert said.figures["unmovable_pageblocks"] | {"value": "?"} == {
        "label": "unmovable_pageblocks", "value": "?", "unit": "", "warn": "", "crit": "", "least": "0",
    }  # fmt: skip
    assert said.figures["unmovable_pageblocks"]["value"] == "U"
    bad = told(report, unknown, ("free_blocks[order>=9] < 64", Level.WARNING))
    assert bad.status == 1
    assert bad.text.startswith(
        "VMPROBE WARNING - free_blocks[order>=9] is 36, below 64; unmovable_pageblocks is"
    )


@given(
    comparison=st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    limit=st.integers(-3, 40) | st.integers(0, 400).map(lambda tenths: tenths / 10),
    name=st.sampled_from(["free_blocks[order>=9]", "fragmentation_permille[zone=DMA32]"]),
)
def test_ranges_alert_where_thresholds_are_crossed(comparison: str, limit: float, name: str) -> None:
    report = report_of(FRAGMENTED)
    text = f"{name} {comparison} {limit}"
    crossing = hold(parse(text, Level.WARNING), samples(report), frames=True)
    said = told(report, (text, Level.WARNING))
    figure = next(iter(said.figures.values()))
    assert float(figure["value"]) == crossing.value
    assert alerts(float(figure["value"]), figure["warn"]) == crossing.crossed == (said.status == 1)


@given(
    given=st.lists(
        st.tuples(
            st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
            st.integers(34, 38) | st.integers(-1002, -998),
            st.sampled_from([Level.WARNING, Level.CRITICAL]),
        ),
        min_size=1,
        max_size=4,
    ),
    name=st.sampled_from(["free_blocks[order>=9]", "fragmentation_permille[zone=DMA32]"]),
)
def test_the_range_of_several_thresholds_alerts_where_any_is_crossed(
    given: list[tuple[str, int, Level]], name: str
) -> None:
    thresholds = [(f"{name} {comparison} {limit}", level) for comparison, limit, level in given]
    figure = next(iter(told(report_of(FRAGMENTED), *thresholds).figures.values()))
    held = [hold(parse(*each), samples(report_of(FRAGMENTED)), frames=True) for each in thresholds]
    for level, text in ((Level.WARNING, figure["warn"]), (Level.CRITICAL, figure["crit"])):
        mine = [crossing for crossing in held if crossing.level is level]
        assert mine or not text
        if text:
            assert alerts(float(figure["value"]), text) == any(crossing.crossed for crossing in mine)


@given(
    limits=st.lists(
        st.tuples(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.integers(-2, 6)),
        min_size=1,
        max_size=4,
    ),
    bare=st.booleans(),
)
def test_a_range_is_left_out_only_where_none_alerts_as_the_limits_do(
    limits: list[tuple[str, int]], bare: bool
) -> None:
    values = [half / 2 for half in range(-8, 16)]
    wanted = {value: any(compare(value, *limit) for limit in limits) for value in values}
    text = range_text(limits, bare=bare)
    if text is not None:
        assert all(alerts(value, text) == wanted[value] for value in values if value >= 0 or not bare)
        return
    ends = {*map(float, range(-2, 7)), values[0], values[-1]}
    for which in (True, False):
        inside = [value for value in values if wanted[value] is which]
        together = [value for value in values if inside[0] <= value <= inside[-1]]
        assert inside != together or not ends >= {inside[0], inside[-1]}


def test_two_thresholds_on_one_figure_share_a_range_or_have_none() -> None:
    free, worst = "free_blocks[order>=9]", "unusable_permille[9]"
    report = report_of(FRAGMENTED)
    both = told(report, (f"{free} < 4", Level.WARNING), (f"{free} > 90", Level.WARNING))
    assert both.figures["free_blocks_order_ge_9"]["warn"] == "4:90"
    tighter = told(report, (f"{free} < 64", Level.WARNING), (f"{free} < 4", Level.WARNING))
    assert (tighter.figures["free_blocks_order_ge_9"]["warn"], tighter.status) == ("64:", 1)
    neither = told(report, (f"{free} <= 4", Level.WARNING), (f"{free} > 90", Level.WARNING))
    assert neither.figures["free_blocks_order_ge_9"]["warn"] == ""
    # The worst of several zones is another one for each.
    values = told(report, (f"{worst} < 0", Level.WARNING), (f"{worst} > 50", Level.CRITICAL))
    figure = values.figures["unusable_permille_order_9"]
    assert (figure["value"], figure["warn"], figure["crit"]) == ("58", "", "50")


def test_ranges_are_those_of_the_guidelines() -> None:
    assert [alerts(value, "10") for value in (-1, 0, 10, 11)] == [True, False, False, True]
    assert [alerts(value, "10:") for value in (9, 10, 11)] == [True, False, False]
    assert [alerts(value, "~:10") for value in (-99, 10, 11)] == [False, False, True]
    assert [alerts(value, "10:20") for value in (9, 10, 20, 21)] == [True, False, False, True]
    assert [alerts(value, "@10:20") for value in (9, 10, 20, 21)] == [False, True, True, False]


@given(st.text())
def test_no_text_breaks_the_line(text: str) -> None:
    report = replace(report_of(QUIET), verdict=Verdict(Level.OK, text))
    assert told(report).status == 0
    line, status = unknown_line(text)
    assert status == 3
    assert line.startswith("VMPROBE UNKNOWN - ")
    assert line.isprintable()
    assert "|" not in line
