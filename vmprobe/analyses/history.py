"""What a history of reports holds: its figures over time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from vmprobe.analyses.figures import takes_frames
from vmprobe.analyses.report_answer import Series
from vmprobe.analyses.trend import named_series
from vmprobe.errors import UsageError
from vmprobe.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmprobe.store.history import Kept

_AGE: Final = re.compile(r"(\d{1,6})(min|h|d|w)")
_UNITS: Final = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class FigureOverTime:
    """One figure.

    Parameters
    ----------
    what
        In words.
    runs
        Those that have it.
    first, last, lowest, highest
        Of its values.
    series
        All of them.
    """

    what: str
    runs: int
    first: int | float
    last: int | float
    lowest: int | float
    highest: int | float
    series: Series


@dataclass(frozen=True)
class History:
    """The answer.

    Parameters
    ----------
    runs, runs_with_frames
        How many there are, and how many of them scanned page frames.
    first, last
        When the oldest and the newest was, ISO 8601 in UTC; None where there is none.
    figures
        Those that any of the runs has.
    """

    runs: int
    runs_with_frames: int
    first: str | None
    last: str | None
    figures: tuple[FigureOverTime, ...]


def history(past: Sequence[Kept], *, metric: str | None = None) -> History:
    """Return the figures of runs over time.

    Parameters
    ----------
    past
        The runs, oldest first.
    metric
        Name of the only metric that is of interest, of which all samples are returned, events as rates; by
        default the few figures that `vmprobe.analyses.figures` makes of several.
    """
    named = named_series(past) if metric is None else _all_of(past, metric)
    return History(
        runs=len(past),
        runs_with_frames=sum(kept.run.frames for kept in past),
        first=past[0].run.time.isoformat() if past else None,
        last=past[-1].run.time.isoformat() if past else None,
        figures=tuple(_over_time(what, series) for what, series in named),
    )


def check_metric(name: str) -> None:
    """Refuse what is no metric.

    Raises
    ------
    UsageError
        It is none.
    """
    if name not in METRICS:
        raise UsageError(f"--metric {name!r}: there is no such metric", hint=f"metrics: {', '.join(METRICS)}")


def since_time(text: str, newest: datetime) -> datetime:
    """Return the time from which on runs are of interest.

    Parameters
    ----------
    text
        An age before the newest run (``90min``, ``12h``, ``7d``, ``2w``), or an ISO 8601 date or time, in UTC
        where it names no zone.
    newest
        Time of the newest run.

    Raises
    ------
    UsageError
        It is neither.
    """
    age = _AGE.fullmatch(text)
    try:
        if age:
            return newest - timedelta(**{_UNITS[age[2]]: int(age[1])})
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {text!r}: is neither an age nor a time",
            hint="give 90min, 12h, 7d or 2w before the newest run, or 2026-11-01 or 2026-11-01T12:00 (UTC)",
        ) from None


def _over_time(what: str, series: Series) -> FigureOverTime:
    values = [value for value in series.values if value is not None]
    return FigureOverTime(what, len(values), values[0], values[-1], min(values), max(values), series)


def _all_of(past: Sequence[Kept], name: str) -> list[tuple[str, Series]]:
    """Return a series for each set of labels that a metric has."""
    if name == "events":  # counts since boot are no figure to compare over boots
        return [each for each in named_series(past, idle=True) if each[1].name == name]
    values: dict[tuple[str, ...], dict[str, int | float]] = {}
    for kept in past:
        for sample in kept.samples:
            if sample.name == name:
                values.setdefault(sample.labels, {})[kept.run.id] = sample.value
    found = []
    for its, by_run in values.items():
        pairs = tuple(zip(METRICS[name].labels, its, strict=True))
        labels = ",".join(f"{label}={value}" for label, value in pairs)
        runs = [kept.run for kept in past if kept.run.frames or not takes_frames(name, labels)]
        times = tuple(run.time.isoformat() for run in runs)
        what = " ".join(f"{label} {value}" for label, value in pairs) or name
        found.append((what, Series(name, labels, times, tuple(by_run.get(run.id) for run in runs))))
    return found
