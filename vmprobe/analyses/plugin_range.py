"""Limits as one range of a monitoring plugin: outside of its ends it alerts, and inside with ``@``.

Several limits for one figure alert where any of them is crossed. A range is one closed interval or all around
one, so that it cannot say all of them: below 3 or above 9 is all around ``3:9``; at most 3 or above 9 is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.analyses.threshold import number_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    Number = int | float

ALWAYS: Final = "@~:"
"""Alerts whatever the figure is."""


class _End(NamedTuple):
    """Where figures begin to alert.

    Parameters
    ----------
    at
        The limit.
    itself
        Whether it alerts too.
    """

    at: Number
    itself: bool


def range_text(limits: Sequence[tuple[str, Number]], *, bare: bool = True) -> str | None:
    """Return the range that alerts where any limit is crossed; None where no range does.

    Parameters
    ----------
    limits
        Comparison and limit of each; at least one.
    bare
        Whether the figure is never negative, so that a bare number says what is above it.

    >>> range_text([("<", 64)]), range_text([(">", 90)]), range_text([(">", 90)], bare=False)
    ('64:', '90', '~:90')
    >>> range_text([("<", 3), (">", 20), (">", 9)]), range_text([("<=", 3), (">", 9)])
    ('3:9', None)
    """
    points = {limit for comparison, limit in limits if comparison == "=="}
    below, above = _below(limits, points), _above(limits, points)
    if below is not None and above is not None and above.at <= below.at:
        open_point = above.at == below.at and not (above.itself or below.itself)
        return _closed(below, above) if open_point else ALWAYS
    between = {
        point
        for point in points
        if (below is None or point > below.at) and (above is None or point < above.at)
    }
    if between:
        return _inside(between) if below is None and above is None else None
    if below is not None and above is not None:
        return None if below.itself or above.itself else _closed(below, above)
    if below is not None:
        return f"@~:{number_text(below.at)}" if below.itself else f"{number_text(below.at)}:"
    assert above is not None
    if above.itself:
        return f"@{number_text(above.at)}:"
    return ("" if bare and above.at >= 0 else "~:") + number_text(above.at)


def _below(limits: Sequence[tuple[str, Number]], points: set[Number]) -> _End | None:
    """Return the highest limit that has all below it alert."""
    at = max((limit for comparison, limit in limits if comparison in ("<", "<=", "!=")), default=None)
    return None if at is None else _End(at, ("<=", at) in limits or at in points)


def _above(limits: Sequence[tuple[str, Number]], points: set[Number]) -> _End | None:
    """Return the lowest limit that has all above it alert."""
    at = min((limit for comparison, limit in limits if comparison in (">", ">=", "!=")), default=None)
    return None if at is None else _End(at, (">=", at) in limits or at in points)


def _closed(below: _End, above: _End) -> str:
    return f"{number_text(below.at)}:{number_text(above.at)}"


def _inside(points: set[Number]) -> str | None:
    """Return the range of one point; several are no interval."""
    if len(points) > 1:
        return None
    text = number_text(next(iter(points)))
    return f"@{text}:{text}"
