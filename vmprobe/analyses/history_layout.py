"""The answer of ``vmprobe history`` laid out for reading."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.analyses.parts import Grid, Kind, Note, Parts, grid
from vmprobe.units import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmprobe.analyses.history import FigureOverTime, History


TIME: Final = "report_time_seconds"
"""The metric that is a time, in seconds since 1970."""


class _Times(NamedTuple):
    """A figure that is a time, as `FigureOverTime`, in words."""

    what: str
    runs: int
    first: str
    last: str
    lowest: str
    highest: str


def layout(answer: History) -> Parts:
    """Return a sentence and the figures; memory and times apart from what is counted."""
    parts: list[Grid | Note] = [Note("", (_sentence(answer),))]
    memory = [each for each in answer.figures if each.series.name.endswith("_bytes")]
    times = [each for each in answer.figures if each.series.name == TIME]
    counted = [each for each in answer.figures if each not in memory and each not in times]
    if counted:
        parts.append(_grid("Figures", counted, Kind.COUNT))
    if memory:
        parts.append(_grid("Memory", memory, Kind.BYTES))
    if times:
        parts.append(_grid("Times (UTC)", map(_in_words, times), Kind.TEXT))
    return Parts(tuple(parts))


def _sentence(answer: History) -> str:
    if answer.first is None or answer.last is None:
        return "No runs."
    runs = f"{count_text(answer.runs)} {'run' if answer.runs == 1 else 'runs'}"
    frames = f"{count_text(answer.runs_with_frames)} with page frames"
    if answer.runs == 1:
        return f"{runs}, {frames}, at {time_text(answer.first)} UTC."
    return f"{runs}, {frames}, from {time_text(answer.first)} to {time_text(answer.last)} UTC."


def time_text(time: str) -> str:
    """Return an ISO 8601 time to the minute.

    >>> time_text("2026-11-01T12:30:59.123+00:00")
    '2026-11-01 12:30'
    """
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M}"


def _in_words(each: FigureOverTime) -> _Times:
    words = (
        time_text(datetime.fromtimestamp(value, UTC).isoformat())
        for value in (each.first, each.last, each.lowest, each.highest)
    )
    return _Times(each.what, each.runs, *words)


def _grid(title: str, figures: Iterable[FigureOverTime | _Times], kind: Kind) -> Grid:
    return grid(
        title,
        figures,
        ("what", "figure", Kind.TEXT),
        ("runs", "runs", Kind.COUNT),
        ("first", "first", kind),
        ("last", "last", kind),
        ("lowest", "lowest", kind),
        ("highest", "highest", kind),
    )
