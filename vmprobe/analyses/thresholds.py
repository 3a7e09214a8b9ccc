"""Limits held against the figures of a report; their grammar is in `vmprobe.analyses.threshold_text`.

Several samples make one figure as their metric says: parts of a whole are added up, of others the worst
counts.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final

from vmprobe.analyses.report_answer import Crossing
from vmprobe.analyses.threshold import (
    COMPARISONS,
    SIZES,
    Selector,
    Threshold,
    in_bytes,
    number_text,
    plain,
)
from vmprobe.analyses.threshold_text import parse
from vmprobe.bridge.frag import order_of
from vmprobe.errors import UsageError
from vmprobe.metrics import Combine
from vmprobe.units import bytes_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vmprobe.metrics import Metric, Sample

__all__ = ["Threshold", "hold", "parse"]

_WORDS: Final = {
    "<": "below", "<=": "at most", ">": "above", ">=": "at least", "==": "equal to", "!=": "other than",
}  # fmt: skip

_BADNESS: Final[dict[str, Callable[[int | float, int | float], int | float]]] = {
    "<": lambda value, limit: limit - value,
    "<=": lambda value, limit: limit - value,
    ">": lambda value, limit: value - limit,
    ">=": lambda value, limit: value - limit,
    "==": lambda value, limit: -abs(value - limit),
    "!=": lambda value, limit: abs(value - limit),
}
"""How near a value is to the limit, or how far beyond."""

_AS_ROOT: Final = "a scan of page frames, which this report lacks: make one as root, without --no-frames"


def hold(threshold: Threshold, samples: Sequence[Sample], *, frames: bool) -> Crossing:
    """Hold a threshold against the figures of a report.

    Parameters
    ----------
    threshold
        As `parse` made it.
    samples
        Of the report.
    frames
        Whether page frames were scanned: what to do where the figure is missing depends on it.

    Raises
    ------
    UsageError
        The figure is there, and not for what the selectors choose: a zone that the host does not have.
    """
    mine = [sample for sample in samples if sample.name == threshold.metric.name]
    selectors = _selectors(threshold, samples)
    # What can be had after compaction is missing without a forecast; what the host is made of never is.
    here = [selector for selector in selectors if selector.label != "when"]
    found = [sample for sample in mine if _takes(threshold.metric, here, sample)]
    # Blocks larger than those of the free lists take frames to be seen.
    if mine and not found and (frames or threshold.name not in SIZES):
        raise UsageError(
            f"threshold {threshold.text!r}: nothing here is {', '.join(map(str, here))}",
            hint=f"{threshold.metric.name} is there for {_what_there_is(threshold.metric, mine)}",
        )
    chosen = [sample for sample in found if _takes(threshold.metric, selectors, sample)]
    if not chosen:
        forecast = bool(mine) and threshold.metric.name == "obtainable"
        return _unknown(threshold, _why_missing(threshold.metric, frames=frames, forecast=forecast))
    limit = threshold.limit
    if threshold.percent:
        limit = plain(Fraction(str(limit)) * _pageblocks(threshold.metric, samples) / 100)
    return _held(threshold, chosen, limit)


def _selectors(threshold: Threshold, samples: Iterable[Sample]) -> list[Selector]:
    """Return the selectors, with the order that a size has on this host."""
    if threshold.name not in SIZES:
        return list(threshold.selectors)
    (page,) = (sample.value for sample in samples if sample.name == "page_size_bytes")
    order = order_of(SIZES[threshold.name], int(page))
    return [*threshold.selectors, Selector("order", "=", order)]


def _takes(metric: Metric, selectors: Iterable[Selector], sample: Sample) -> bool:
    value = dict(zip(metric.labels, sample.labels, strict=True))
    return all(selector.takes(value[selector.label]) for selector in selectors)


def _what_there_is(metric: Metric, mine: list[Sample]) -> str:
    columns = zip(*(sample.labels for sample in mine), strict=True)
    return "; ".join(
        f"{label} {', '.join(dict.fromkeys(column))}"
        for label, column in zip(metric.labels, columns, strict=True)
    )


def _why_missing(metric: Metric, *, frames: bool, forecast: bool) -> str:
    if not frames and (metric.frames or forecast):
        return f"it takes {_AS_ROOT}"
    if forecast:
        return "it was not forecast: `vmprobe compact --order` forecasts other orders"
    if metric.name == "forecast_error_percent":
        return "no forecast was verified on this host: `vmprobe compact --verify` verifies one"
    return "this report does not have it: its list of what is missing says why"


def _unknown(threshold: Threshold, why: str) -> Crossing:
    reason = f"{threshold.figure} is not known; {why}"
    return Crossing(threshold.text, threshold.level, None, threshold.limit, None, reason)


def _pageblocks(metric: Metric, samples: Iterable[Sample]) -> int:
    """Return how many pageblocks there are, as the metric counts them.

    One that two zones share counts in both where they are counted by zone, and once where they are not.
    """
    name = "pageblocks" if "zone" in metric.labels else "whole_pageblocks"
    return sum(
        int(sample.value) for sample in samples if sample.name == name and sample.labels[-1:] != ("absent",)
    )


def _held(threshold: Threshold, chosen: list[Sample], limit: float) -> Crossing:
    metric, place = threshold.metric, ""
    if metric.combine is Combine.SUM:
        value = sum(sample.value for sample in chosen)
    else:
        worst = max(chosen, key=lambda sample: _BADNESS[threshold.comparison](sample.value, limit))
        value = worst.value
        if len(chosen) > 1:
            pairs = zip(metric.labels, worst.labels, strict=True)
            place = f" ({', '.join(f'{label} {word}' for label, word in pairs)})"
    crossed = COMPARISONS[threshold.comparison](value, limit)
    word = f"{'' if crossed else 'not '}{_WORDS[threshold.comparison]}"
    share = f" ({number_text(threshold.limit)} % of all pageblocks)" if threshold.percent else ""
    reason = f"{threshold.figure} is {_text(metric, value)}{place}, {word} {_text(metric, limit)}{share}"
    return Crossing(threshold.text, threshold.level, value, limit, crossed, reason)


def _text(metric: Metric, value: float) -> str:
    return bytes_text(int(value)) if in_bytes(metric) else number_text(value)
