"""From strips to cells: a byte for each, which stands for one pageblock or several; letter and colour.

A cell that stands for several pageblocks shows the worst of them: first of all one that a single page keeps
from being free, then unmovable, mixed, unknown, movable, free and absent ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from vmprobe.analyses.map_answer import CHANGES, CONTENTS
from vmprobe.analyses.map_layout import ABSENT, ONE
from vmprobe.render.palette import FADES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vmprobe.analyses.map_answer import ZoneStrip
    from vmprobe.render.palette import Palette

LABELS: Final = {
    "free": "free",
    "movable_only": "movable only",
    "one_unmovable_page_only": "one page keeps it from being free",
    "mixed": "mixed",
    "unmovable": "unmovable",
    "unknown": "unknown",
    "absent": "absent",
    "same": "as before",
    "becomes_free": "becomes free",
    "is_filled": "was free and is filled",
    "more_free": "more of it is free",
    "less_free": "less of it is free",
}
"""What contents and changes are called in a legend."""

NR_LEVELS: Final = len(FADES)
FIRST_CHANGE: Final = len(CONTENTS) * NR_LEVELS
DIMMED: Final = FIRST_CHANGE + len(CHANGES)
NR_CODES: Final = DIMMED + 1
"""A code is content and level, then what becomes of it, then what is not the owner's."""

SEVERITY: Final = (
    "absent", "free", "movable_only", "unknown", "mixed", "unmovable", "one_unmovable_page_only",
)  # fmt: skip
"""Contents of pageblocks from what is no matter to what is the most: of several the last one is shown."""
CHANGE_WEIGHTS: Final = ("same", "less_free", "more_free", "is_filled", "becomes_free")
"""What becomes of pageblocks; of several the last one is shown."""

_LETTERS: Final = {
    "free": "..",
    "movable_only": "mM",
    "one_unmovable_page_only": "11",
    "mixed": "xX",
    "unmovable": "##",
    "unknown": "??",
    "absent": "~~",
}
"""Letter of each content: less than half full, and fuller."""
_CHANGE_LETTERS: Final = {
    "same": "-",
    "becomes_free": "+",
    "is_filled": "o",
    "more_free": ">",
    "less_free": "<",
}
DIMMED_LETTER: Final = "-"


def letter(code: int) -> str:
    """Return what stands for a code where there are no colours."""
    if code == DIMMED:
        return DIMMED_LETTER
    if code >= FIRST_CHANGE:
        return _CHANGE_LETTERS[CHANGES[code - FIRST_CHANGE]]
    content, level = divmod(code, NR_LEVELS)
    return _LETTERS[CONTENTS[content]][level * 2 // NR_LEVELS]


def label(code: int) -> str:
    """Return what a code is called; what is not the owner's has no name of its own."""
    if code >= FIRST_CHANGE:
        return LABELS[CHANGES[code - FIRST_CHANGE]] if code < DIMMED else ""
    return LABELS[CONTENTS[code // NR_LEVELS]]


def colour(palette: Palette, code: int) -> str:
    """Return the colour of a code."""
    if code == DIMMED:
        return palette.faint
    if code >= FIRST_CHANGE:
        return palette.changes[CHANGES[code - FIRST_CHANGE]]
    content, level = divmod(code, NR_LEVELS)
    return palette.shade(CONTENTS[content], level)


def is_loud(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which cells are pageblocks that one page keeps from being free."""
    loud: NDArray[np.bool_] = codes // NR_LEVELS == ONE
    return loud


def strip_codes(strip: ZoneStrip, block_pages: int, per_cell: int) -> NDArray[np.uint8]:
    """Return the code of each cell of a strip.

    Parameters
    ----------
    strip
        The pageblocks.
    block_pages
        Pages in each.
    per_cell
        Pageblocks a cell.
    """
    content = _worst(strip.content, CONTENTS, SEVERITY, per_cell)
    present = block_pages - strip.absent.astype(np.int64)
    # Of an owner that was asked for, how much is its; else how much is in use.
    used = present - strip.free if strip.of_owner is None else strip.of_owner
    share = _sums(used, per_cell) / np.maximum(_sums(present, per_cell), 1)
    level = np.minimum((share * NR_LEVELS).astype(np.uint8), NR_LEVELS - 1)
    codes = content * np.uint8(NR_LEVELS) + level
    if strip.of_owner is not None:
        codes[(_sums(strip.of_owner, per_cell) == 0) & (content != ABSENT)] = DIMMED
    return codes


def change_codes(strip: ZoneStrip, changes: NDArray[np.uint8], per_cell: int) -> NDArray[np.uint8]:
    """Return the code of each cell of what becomes of a strip."""
    codes = _worst(changes, CHANGES, CHANGE_WEIGHTS, per_cell) + np.uint8(FIRST_CHANGE)
    absent = _sums(strip.content != ABSENT, per_cell) == 0
    codes[absent] = ABSENT * NR_LEVELS
    return codes


def _worst(
    values: NDArray[np.uint8], names: tuple[str, ...], order: tuple[str, ...], per_cell: int
) -> NDArray[np.uint8]:
    """Return the value of each cell that comes last in `order`."""
    rank = np.array([order.index(name) for name in names], np.uint8)
    value = np.array([names.index(name) for name in order], np.uint8)
    found: NDArray[np.uint8] = value[np.maximum.reduceat(rank[values], np.arange(0, len(values), per_cell))]
    return found


def _sums(values: NDArray[np.generic], per_cell: int) -> NDArray[np.int64]:
    """Return the sum of the pageblocks of each cell."""
    sums: NDArray[np.int64] = np.add.reduceat(
        values.astype(np.int64), np.arange(0, len(values), per_cell), dtype=np.int64
    )
    return sums
