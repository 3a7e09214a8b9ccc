"""A report as one line of a monitoring plugin: ``VMPROBE OK - sentence | label=value;warn;crit;min``.

Follows the Monitoring Plugins Development Guidelines (https://www.monitoring-plugins.org/doc/guidelines.html):
of several states the worst counts, unknown between OK and warning (``lib/utils_base.c: max_state_alt``).
Ranges are in `vmprobe.analyses.plugin_range`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from vmprobe.analyses.plugin_range import range_text
from vmprobe.analyses.report_answer import Level
from vmprobe.analyses.threshold import number_text
from vmprobe.analyses.thresholds import hold, parse
from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    ordered = _worst_first(crossings)
    level = _level(ordered[0])
    told: dict[str, str] = {}
    for crossing in ordered:
        if level is Level.OK or _level(crossing) is not Level.OK:
            told.setdefault(_threshold(crossing).figure, crossing.reason)
    return level, "; ".join(told.values())


def _worst_first(crossings: Iterable[Crossing]) -> list[Crossing]:
    return sorted(crossings, key=lambda crossing: WORST_FIRST.index(_level(crossing)))


def _level(crossing: Crossing) -> Level:
    if crossing.crossed is None:
        return Level.UNKNOWN
    return crossing.level if crossing.crossed else Level.OK


def _performance(report: Report, samples: Sequence[Sample]) -> str:
    """Return ``label=value[unit];warn;crit;min`` of each figure, those with thresholds first."""
    figures: dict[str, tuple[Metric, int | float | None]] = {}
    held: dict[str, list[Crossing]] = {}
    for crossing in report.thresholds:
        held.setdefault(_label(_threshold(crossing)), []).append(crossing)
    for label, crossings in held.items():
        worst = _worst_first(crossings)[0]
        figures[label] = _threshold(worst).metric, worst.value
    for text in SHOWN:
        threshold = parse(text, Level.OK)
        value = _value(threshold, samples, frames=report.frames)
        if value is not None:
            figures.setdefault(_label(threshold), (threshold.metric, value))
    return " ".join(
        f"{label}={_measured(metric, value)};{_range(held.get(label, ()), Level.WARNING, value)}"
        f";{_range(held.get(label, ()), Level.CRITICAL, value)};{_LEAST.get(metric.name, 0)}"
        for label, (metric, value) in figures.items()
    )


def _threshold(crossing: Crossing) -> Threshold:
    return parse(crossing.expression, crossing.level)


def _value(threshold: Threshold, samples: Sequence[Sample], *, frames: bool) -> int | float | None:
    try:
        return hold(threshold, samples, frames=frames).value
    except UsageError:
        return None  # a host without blocks of that size


def _range(crossings: Iterable[Crossing], level: Level, value: float | None) -> str:
    """Return the range that alerts where any threshold of a level is crossed, all of them for one figure.

    It is left out where no range says that, also where they are about different values of the figure: the
    most of several zones, and the least.
    """
    mine = [crossing for crossing in crossings if crossing.level is level]
    if value is None or not mine or any(crossing.value != value for crossing in mine):
        return ""
    limits = [(_threshold(crossing).comparison, crossing.limit) for crossing in mine]
    return range_text(limits, bare=_threshold(mine[0]).metric.name not in _LEAST) or ""


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
