"""Runs of a history as figures over time, and from when on they are asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from tests.histories import START, kept_of, six_days
from tests.reported import report_of
from vmprobe.analyses.history import check_metric, history, since_time
from vmprobe.analyses.history_layout import layout
from vmprobe.analyses.kept import kept
from vmprobe.analyses.samples import samples
from vmprobe.errors import UsageError
from vmprobe.metrics import Sample


def test_figures_are_those_of_the_values_that_are_known() -> None:
    answer = history(six_days())
    assert (answer.runs, answer.runs_with_frames) == (25, 7)
    blocks = answer.figures[0]
    assert blocks.series.labels == "order>=9"
    known = [value for value in blocks.series.values if value is not None]
    assert (blocks.runs, len(blocks.series.values)) == (len(known), 25) == (21, 25)
    assert (blocks.first, blocks.last) == (known[0], known[-1])
    assert (blocks.lowest, blocks.highest) == (min(known), max(known))


def test_one_metric_gives_all_its_samples() -> None:
    answer = history(six_days(), metric="free_blocks")
    assert [each.what for each in answer.figures[:2]] == [
        "node 0 zone Normal order 8", "node 0 zone Normal order 9",
    ]  # fmt: skip
    assert len(answer.figures) == 6
    assert history(six_days(), metric="report_time_seconds").figures == ()
    after = history(six_days(), metric="obtainable").figures[1]
    assert (after.series.labels, len(after.series.times)) == ("order=9,when=after_compaction", 7)


def test_events_are_rates_within_a_boot_whatever_is_asked() -> None:
    named = {each.what: each for each in history(six_days(), metric="events").figures}
    assert list(named) == ["compact_stall an hour", "compact_fail an hour"]
    stalls = named["compact_stall an hour"]
    (followed,) = [each for each in history(six_days()).figures if each.what == stalls.what]
    assert stalls == followed
    assert (stalls.series.values[1], stalls.series.values[15]) == (1.17, None), "7 in 6 hours; a reboot"


def test_a_time_is_shown_as_one() -> None:
    seconds = START.timestamp() + 90.5
    runs = [kept_of(n, n, [Sample("report_time_seconds", (), seconds + 3600 * n)]) for n in range(2)]
    (grid,) = layout(history(runs, metric="report_time_seconds")).parts[1:]
    assert grid.rows == (
        ("report_time_seconds", 2, *["2026-11-01 00:01", "2026-11-01 01:01"] * 2),
    )  # fmt: skip


def test_no_run_is_said() -> None:
    answer = history([])
    assert (answer.runs, answer.first, answer.figures) == (0, None, ())
    assert len(layout(answer).parts) == 1


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("90min", START - timedelta(minutes=90)),
        ("12h", START - timedelta(hours=12)),
        ("7d", START - timedelta(days=7)),
        ("2w", START - timedelta(days=14)),
        ("0d", START),
        ("2026-10-01", datetime(2026, 10, 1, tzinfo=UTC)),
        ("2026-10-01T06:30", datetime(2026, 10, 1, 6, 30, tzinfo=UTC)),
        ("2026-10-01T06:30+02:00", datetime(2026, 10, 1, 6, 30, tzinfo=timezone(timedelta(hours=2)))),
        ("2026-10-01T06:30Z", datetime(2026, 10, 1, 6, 30, tzinfo=UTC)),
    ],
)
def test_since(text: str, time: datetime) -> None:
    assert since_time(text, START) == time


@pytest.mark.parametrize(
    "text",
    ["", "7", "d", "-7d", "7 d", "7m", "999999w", "9999999d", "2026-13-01", "0001-01-01T00:00+23:00", "now"],
)
def test_since_when(text: str) -> None:
    with pytest.raises(UsageError, match="is neither an age nor a time") as caught:
        since_time(text, START)
    assert "\n" not in caught.value.message


def test_no_such_metric() -> None:
    check_metric("events")
    with pytest.raises(UsageError, match="there is no such metric"):
        check_metric("free")


def test_what_is_kept_of_a_report() -> None:
    report = report_of("6.12-fragmented")
    manifest = {
        "host": {"boot_id": "b"}, "program": {"pid": 7},
        "time": {"start": "2026-01-02T03:04:05.678901+00:00", "seconds": 1.5},
    }  # fmt: skip
    found = kept(report, samples(report), manifest)
    assert found.run.time == datetime.fromisoformat(report.time)
    assert (found.run.frames, found.run.release) == (True, report.release)
    assert (found.run.boot_id, found.run.seconds) == ("b", report.cost.seconds)
    assert found.samples == samples(report)
    assert [(each.kind, each.owner, each.pages) for each in found.owners] == [
        (each.kind, each.owner, each.pages) for each in report.frag.owners or ()
    ]
    assert kept(report, (), manifest).run.id == found.run.id, "it is the same photograph"
    for part, changed in (
        ("host", {"boot_id": None}),
        ("program", {"pid": 8}),
        ("time", {"start": "2026-01-02T03:04:05.678902+00:00", "seconds": 1.5}),
    ):
        assert kept(report, (), manifest | {part: changed}).run.id != found.run.id


def test_memory_stands_apart() -> None:
    answer = history(
        [kept_of(1, 0, [Sample("free_bytes", ("0", "DMA"), 4096), Sample("score_percent", ("0",), 1)])]
    )
    titles = [part.title for part in layout(answer).parts]
    assert titles == ["", "Figures", "Memory"]
