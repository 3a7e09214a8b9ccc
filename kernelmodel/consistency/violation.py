"""One contradiction, and a bounded list of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MOST_WITNESSES: Final = 8
"""Single witnesses that are listed of one kind; the rest is counted in a last line."""


class Violation(NamedTuple):
    """What is wrong, where, and what was found there."""

    kind: str
    where: str
    detail: str


def each_with_next(pairs: NDArray[np.bool_], nr_rows: int) -> NDArray[np.bool_]:
    """Return what was said of each row and its next one, with False for the last row, which has none."""
    rows = np.zeros(nr_rows, np.bool_)
    rows[: len(pairs)] = pairs
    return rows


def witnesses(
    kind: str, wrong: NDArray[np.bool_], describe: Callable[[int], tuple[str, str]]
) -> list[Violation]:
    """Return a violation for each of the first wrong rows, and one line for all others.

    Parameters
    ----------
    kind
        Name of the rule.
    wrong
        bool, which rows break it.
    describe
        Turns a row into place and detail.
    """
    rows = np.flatnonzero(wrong)
    found = [Violation(kind, *describe(int(row))) for row in rows[:MOST_WITNESSES]]
    if len(rows) > MOST_WITNESSES:
        found.append(Violation(kind, "elsewhere", f"{len(rows) - MOST_WITNESSES} more of this kind"))
    return found
