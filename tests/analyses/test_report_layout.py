"""How a report reads: what comes first, what is left out, and that it fits 80 columns."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from tests.reported import report_of, with_nodes, without_frames
from vmprobe.analyses.parts import Facts, Grid, Note
from vmprobe.analyses.report_answer import Change, Crossing, Level, Report, Since, TrendRow
from vmprobe.analyses.report_layout import layout
from vmprobe.render.text import print_parts

CROSSED = Crossing("free_bytes < 9", Level.CRITICAL, 3, 9, True, "free_bytes is 3, below 9")
HELD = Crossing("unexplained > 0", Level.WARNING, 0, 0, False, "unexplained is 0")
UNKNOWN = Crossing("pageblocks < 9", Level.CRITICAL, None, 9, None, "pageblocks is not known; be root")


def told(**changes: Any) -> Report:
    return replace(report_of("6.12-fragmented"), **changes)


def lines(answer: Report) -> list[str]:
    """The report as a pipe gets it."""
    stream = io.StringIO()
    console = Console(file=stream, width=80, highlight=False, markup=False, emoji=False)
    print_parts(layout(answer), console)
    return stream.getvalue().splitlines()


def titles(answer: Report) -> list[str]:
    return [part.title for part in layout(answer).parts if part.title]


def below(answer: Report, title: str) -> list[str]:
    """The lines of the part with that title."""
    said = lines(answer)
    first = said.index(title) + 1
    return said[first : said.index("", first) if "" in said[first:] else None]


def test_the_verdict_comes_first_and_what_is_crossed_before_it() -> None:
    assert lines(told())[0] == "OK: 2 MiB pages can be had"
    said = lines(told(thresholds=(HELD, CROSSED, UNKNOWN)))
    assert said[:2] == ["critical: free_bytes is 3, below 9", "OK: 2 MiB pages can be had"]
    shown = below(told(thresholds=(HELD, CROSSED, UNKNOWN)), "Thresholds")
    assert [line.split()[0] for line in shown[1:]] == ["warning", "critical", "critical"]


def test_a_reason_is_on_one_line_however_long() -> None:
    reason = "x" * 200
    assert lines(told(thresholds=(replace(CROSSED, reason=reason),)))[0] == f"critical: {reason}"


def test_everything_is_there_in_order() -> None:
    since = Since("2026-01-01T00:00:00+00:00", 90, rebooted=True, changes=(Change("a", 1, 2.5),))
    answer = told(since=since, trend=(TrendRow("b", 1, None, 0.5, 0, 9),), advice=("Do:", "$ it"))
    assert [title.split(",")[0] for title in titles(answer)] == [
        "Blocks that can be had", "Forecasts verified on this host", "Free blocks of node 0",
        "Score in percent: free memory in blocks smaller than 2.0 MiB",
        "Pageblocks of 2.0 MiB by what they hold", "Who holds pageblocks", "Owners", "Sharing", "Since boot",
        "Since the last run", "Trend", "What to do next", "What this cost",
    ]  # fmt: skip
    assert "Since the last run, 90.00 s before, and the host was started anew" in titles(answer)
    assert below(answer, "Trend")[1].split() == ["b", "1", "-", "0.5", "0", "9"]
    assert below(
        told(since=replace(since, rebooted=None, changes=())), "Since the last run, 90.00 s before"
    ) == ["Nothing changed."]


def test_memory_is_told_in_larger_units() -> None:
    changes = (Change("free memory, bytes", 3 << 30, None), Change("blocks", 5, 6))
    said = below(
        told(since=Since("t", 1, rebooted=False, changes=changes)), "Since the last run, 1.00 s before"
    )
    assert [line.split() for line in said] == [
        ["figure", "before", "now"], ["blocks", "5", "6"],
        ["figure", "before", "now"], ["free", "memory,", "bytes", "3.0", "GiB", "-"],
    ]  # fmt: skip


def test_what_a_report_without_frames_lacks_is_no_empty_table() -> None:
    answer = without_frames(told())
    assert not {"Owners", "Sharing", "Who holds pageblocks"} & set(titles(answer))
    had = next(part for part in layout(answer).parts if part.title.startswith("Blocks that can be had"))
    assert isinstance(had, Grid)
    assert [column.label for column in had.columns] == ["order", "block", "now"]
    assert not any("verified" in line for line in lines(answer)), "there is no forecast to be held to"


def test_commands_are_whole_and_sentences_are_folded() -> None:
    command = "$ " + "; ".join(["echo 1 > /proc/sys/vm/compact_memory"] * 5)
    said = below(told(advice=("word " * 40, command, "And then:", "$ b")), "What to do next")
    assert max(len(line) for line in said[:-3]) <= 80
    assert said[-3:] == [command, "And then:", "$ b"]
    assert below(told(advice=()), "What to do next") == ["Nothing has to be done."]


@pytest.mark.parametrize("name", ["6.12-fragmented", "6.12-two-nodes"])
def test_it_fits_80_columns(name: str) -> None:
    assert max(map(len, lines(report_of(name)))) <= 80


def test_each_node_has_its_grid_and_many_zones_several() -> None:
    answer = with_nodes(told(), 2, ["DMA", "DMA32", "Normal", "Movable"])
    grids = [part for part in layout(answer).parts if part.title.startswith("Free blocks of node")]
    labels = [[column.label for column in part.columns[1::3]] for part in grids if isinstance(part, Grid)]
    assert labels == [["DMA", "DMA32", "Normal"], ["Movable"]] * 2
    assert max(len(line) for line in lines(answer)) <= 80


def test_the_cost_of_the_report_is_told_where_it_is_known() -> None:
    parts = layout(told()).parts
    cost = next(part for part in parts if isinstance(part, Facts) and part.title == "What this cost")
    assert [fact.value for fact in cost.facts] == [0.8, 3 << 20, 1.25, 1.0, 99 << 20]
    saved = layout(told(cost=replace(told().cost, seconds=None, cpu_seconds=None, max_rss_bytes=None))).parts
    cost = next(part for part in saved if isinstance(part, Facts) and part.title == "What this cost")
    assert [fact.value for fact in cost.facts] == [0.8, 3 << 20]


def test_what_is_missing_is_last() -> None:
    from vmprobe.analyses.show import MissingPart

    last = layout(told(missing=(MissingPart("a", "b"),))).parts[-1]
    assert last == Note("Missing", ("a: b",))
