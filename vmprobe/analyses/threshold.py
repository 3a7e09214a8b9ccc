"""One limit for one figure of a report, as a value; `vmprobe.analyses.thresholds` reads and holds them."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vmprobe.analyses.samples import NOW
from vmprobe.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction

    from vmprobe.analyses.report_answer import Level
    from vmprobe.metrics import Metric

SIZES: Final = {"obtainable_64k": 64 << 10, "obtainable_2m": 2 << 20, "obtainable_1g": 1 << 30}
"""Names for `obtainable` of the order that has so many bytes on the host in question."""

COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class Selector(NamedTuple):
    """Which samples count, by one label; its value is an integer where those of the label are numbers."""

    label: str
    relation: str
    value: str | int

    def takes(self, value: str) -> bool:
        """Whether a sample with this value of the label counts."""
        found = int(value) if isinstance(self.value, int) else value
        return COMPARISONS["==" if self.relation == "=" else self.relation](found, self.value)

    def __str__(self) -> str:  # type: ignore[explicit-override]
        return f"{self.label}{self.relation}{self.value}"


ONLY_NOW: Final = Selector("when", "=", NOW)
"""What counts of `obtainable` where nothing is said."""


@dataclass(frozen=True)
class Threshold:
    """A figure and its limit; `vmprobe.analyses.thresholds.parse` takes its text.

    Parameters
    ----------
    name
        A metric, or one of `SIZES`.
    selectors
        A sample counts when all of them take it.
    comparison, limit
        When it is crossed.
    percent
        Whether the limit is a share of all pageblocks.
    level
        What crossing it means: warning or critical.
    text
        As it was given.
    """

    name: str
    selectors: tuple[Selector, ...]
    comparison: str
    limit: int | float
    percent: bool
    level: Level
    text: str = field(compare=False)

    @property
    def metric(self) -> Metric:
        """What is measured."""
        return metric_of(self.name)

    @property
    def said(self) -> tuple[Selector, ...]:
        """The selectors without what goes without saying."""
        whens = [selector for selector in self.selectors if selector.label == "when"]
        return tuple(each for each in self.selectors if whens != [ONLY_NOW] or each != ONLY_NOW)

    @property
    def figure(self) -> str:
        """What is held against the limit, in the words of the grammar."""
        chosen = ", ".join(map(str, self.said))
        return f"{self.name}[{chosen}]" if chosen else self.name

    def __str__(self) -> str:  # type: ignore[explicit-override]
        return f"{self.figure} {self.comparison} {number_text(self.limit)}{'%' if self.percent else ''}"


def metric_of(name: str) -> Metric:
    """Return the metric that a threshold's name stands for."""
    return METRICS["obtainable" if name in SIZES else name]


def in_bytes(metric: Metric) -> bool:
    """Whether a figure is in bytes."""
    return metric.name.endswith("_bytes")


def number_text(number: float) -> str:
    """Return a number with all its digits and without an exponent.

    >>> number_text(64), number_text(0.00001), number_text(1e22)
    ('64', '0.00001', '10000000000000000000000')
    """
    return str(number) if isinstance(number, int) else format(Decimal(repr(number)), "f")


def plain(number: Fraction) -> int | float:
    """Return an integer where it is one.

    >>> from fractions import Fraction
    >>> plain(Fraction(3, 2)), plain(Fraction(4, 2))
    (1.5, 2)
    """
    return int(number) if number.denominator == 1 else float(number)
