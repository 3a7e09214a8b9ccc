"""A report as one line of a monitoring plugin: ``VMPROBE OK - sentence | label=value;warn;crit;min``.

Follows the Monitoring Plugins Development Guidelines (https://www.monitoring-plugins.org/doc/guidelines.html):
ranges alert outside of their ends, and inside with ``@``; of several states the worst counts, unknown between
OK and warning (``lib/utils_base.c: max_state_alt``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from vmprobe.analyses.report_answer import Level
from vmprobe.analyses.threshold import number_text
from vmprobe.analyses.thresholds import hold, parse
from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vmprobe.analyses.report_answer import Crossing, Report
    from vmprobe.analyses.threshold import Threshold
    from vmprobe.metrics import Metric, Sample

STATUS: Final = {Level.OK: 0, Level.WARNING: 1, Level.CRITICAL: 2, Level.UNKNOWN: 3}
"""Exit statuses."""

WORST_FIRST: Final = (Level.CRITICAL, Level.WARNING, Level.UNKNOWN, Level.OK)

SHOWN: Final = (
    "obtainable_2m", "obtainable_2m[after_compaction]", "free_bytes > 0", "score_percent",
    "unmovable_pageblocks", "unexplained",
)  # fmt: skip
"""Figures that are always told, as far as the report has them; limits do not matter here."""

_RANGES: Final[dict[str, Callable[[str], str]]] = {
    "<": lambda limit: f"{limit}:",
    "<=": lambda limit: f"@~:{limit}",
    ">": lambda limit: f"~:{limit}",
    ">=": lambda limit: f"@{limit}:",
    "==": lambda limit: f"@{limit}:{limit}",
    "!=": lambda limit: f"{limit}:{limit}",
}
"""The range that alerts where a comparison with the limit is true."""

_UNITS: Final = {"_bytes": "B", "_seconds": "s", "_percent": "%"}
_LEAST: Final = {"fragmentation_permille": -1000}
"""What a figure is at least, where that is not 0."""

_RELATIONS: Final = {"=": "", "!=": "not_", "<": "lt_", "<=": "le_", ">": "gt_", ">=": "ge_"}


def status_line(report: Report, samples: Sequence[Sample]) -> tuple[str, int]:
    """Return the line, with performance data, and the exit status.

    Without thresholds the verdict decides. With thresholds the worst does, and one whose figure the report
    does not have is unknown.

    Parameters
    ----------
    report
        Its thresholds held.
    samples
        Of the report.
    """
    if not report.thresholds:
        level, text = report.verdict.level, report.verdict.sentence
    else:
        level, text = _worst(report.thresholds)
    return f"{_said(level, text)} | {_performance(report, samples)}", STATUS[level]


def unknown_line(message: str) -> tuple[str, int]:
    """Return the line and the exit status of a report that could not be made, because of `message`."""
    return _said(Level.UNKNOWN, message), STATUS[Level.UNKNOWN]


def _said(level: Level, text: str) -> str:
    r"""Return state and text in one line, in which nothing looks like performance data.

    >>> _said(Level.OK, "2 MiB pages\nof a|b")
    'VMPROBE OK - 2 MiB pages of a/b'
    """
    plain = "".join(c if c.isprintable() else " " for c in text.replace("|", "/"))
    return f"VMPROBE {level.upper()} - {' '.join(plain.split())}"


def _worst(crossings: Iterable[Crossing]) -> tuple[Level, str]:
    """Return the worst state, and why: of each figure that is not OK the worst, or of all where all are."""
    ordered = sorted(crossings, key=lambda crossing: WORST_FIRST.index(_level(crossing)))
    level = _level(ordered[0])
    told: dict[str, str] = {}
    for crossing in ordered:
        if level is Level.OK or _level(crossing) is not Level.OK:
            told.setdefault(parse(crossing.expression, crossing.level).figure, crossing.reason)
    return level, "; ".join(told.values())


def _level(crossing: Crossing) -> Level:
    if crossing.crossed is None:
        return Level.UNKNOWN
    return crossing.level if crossing.crossed else Level.OK


def _performance(report: Report, samples: Sequence[Sample]) -> str:
    """Return ``label=value[unit];warn;crit;min`` of each figure, those with thresholds first."""
    figures: dict[str, tuple[Metric, int | float | None]] = {}
    ranges: dict[tuple[str, Level], str] = {}
    for crossing in report.thresholds:
        threshold = parse(crossing.expression, crossing.level)
        figures[_label(threshold)] = threshold.metric, crossing.value
        if crossing.value is not None:
            ranges[_label(threshold), crossing.level] = _range(threshold, crossing.limit)
    for text in SHOWN:
        threshold = parse(text, Level.OK)
        value = _value(threshold, samples, frames=report.frames)
        if value is not None:
            figures.setdefault(_label(threshold), (threshold.metric, value))
    return " ".join(
        f"{label}={_measured(metric, value)};{ranges.get((label, Level.WARNING), '')}"
        f";{ranges.get((label, Level.CRITICAL), '')};{_LEAST.get(metric.name, 0)}"
        for label, (metric, value) in figures.items()
    )


def _value(threshold: Threshold, samples: Sequence[Sample], *, frames: bool) -> int | float | None:
    try:
        return hold(threshold, samples, frames=frames).value
    except UsageError:
        return None  # a host without blocks of that size


def _range(threshold: Threshold, limit: float) -> str:
    """Return the range that alerts where a threshold is crossed, as a bare number where one says it."""
    if threshold.comparison == ">" and limit >= 0 and threshold.metric.name not in _LEAST:
        return number_text(limit)
    return _RANGES[threshold.comparison](number_text(limit))


def _label(threshold: Threshold) -> str:
    """Return a figure's label, of letters that need no quotes and that no graph takes for its own syntax.

    >>> _label(parse("free_blocks[zone=Normal, order>=9] < 64", Level.OK))
    'free_blocks_zone_Normal_order_ge_9'
    """
    words = (f"{label}_{_RELATIONS[relation]}{value}" for label, relation, value in threshold.said)
    return re.sub(r"[^A-Za-z0-9_.-]", "_", "_".join([threshold.name, *words]))


def _measured(metric: Metric, value: float | None) -> str:
    unit = next((unit for ending, unit in _UNITS.items() if metric.name.endswith(ending)), "")
    return "U" if value is None else number_text(value) + unit
