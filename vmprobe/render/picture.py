"""A map as a picture, before it is known in which format: where each strip, word and sign has its place.

::

    title, in bold
        pfn   GiB  ┌────────────────┐
          0  0.00  │                │ ◂ 2    pageblocks in this row that one page keeps from being free
      32768  0.13  │                │
                   └────────────────┘
    legend, caption

All lengths are pixels, from the upper left corner.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from vmprobe.analyses.map_layout import sentence, source
from vmprobe.render.paint import is_loud
from vmprobe.render.panels import address_text, cell_text, legend, panels, per_cell_for
from vmprobe.units import count_text

if TYPE_CHECKING:
    from vmprobe.analyses.map_answer import Map
    from vmprobe.render.panels import Panel

MARGIN: Final = 16
LINE: Final = 18
"""From one line of words to the next."""
AXIS: Final = 128
"""For frame number and address, left of the cells."""
SIGNS: Final = 48
"""For counts, right of the cells."""
SWATCH: Final = 12
GAP: Final = 10

CELLS_IN_A_ROW: Final = (128, 256, 512, 1024)
FEW_ROWS: Final = 96
STRIP_PIXELS: Final = 1536
LEAST_PIXELS, MOST_PIXELS = 2, 12
"""Of a cell."""
WIDEST_CAPTION: Final = 200
"""Characters."""


class Words(NamedTuple):
    """A line of words.

    Parameters
    ----------
    x, y
        Where it begins, or ends if it is `right`; its middle in height.
    text
        What it says.
    right
        Whether it ends at `x`.
    bold
        Whether it is a title.
    """

    x: int
    y: int
    text: str
    right: bool = False
    bold: bool = False


class Swatch(NamedTuple):
    """A square of the legend: its upper left corner and the code that it shows."""

    x: int
    y: int
    code: int


class Sign(NamedTuple):
    """A triangle that points left to a row with pageblocks that one page keeps: its tip."""

    x: int
    y: int


class Place(NamedTuple):
    """A strip, and the upper left corner of its first cell."""

    panel: Panel
    x: int
    y: int


@dataclass(frozen=True)
class Picture:
    """Everything that is drawn.

    Parameters
    ----------
    width, height
        Of the picture.
    cells
        Cells in a row.
    cell_pixels
        Of each side of a cell.
    per_cell
        Pageblocks a cell.
    places, words, swatches, signs
        What is drawn.
    """

    width: int
    height: int
    cells: int
    cell_pixels: int
    per_cell: int
    places: tuple[Place, ...]
    words: tuple[Words, ...]
    swatches: tuple[Swatch, ...]
    signs: tuple[Sign, ...]


def picture(answer: Map, cells: int | None, most_cells: int) -> Picture:
    """Lay out a map.

    Parameters
    ----------
    answer
        The map.
    cells
        Cells in a row; None for what suits the host.
    most_cells
        Cells of all zones together; where there are more pageblocks, cells stand for several.
    """
    if cells is None:
        cells = next((nr for nr in CELLS_IN_A_ROW if _rows(answer, nr) <= FEW_ROWS), CELLS_IN_A_ROW[-1])
    per_cell = per_cell_for(answer, cells, max(1, most_cells // cells))
    pixels = min(MOST_PIXELS, max(LEAST_PIXELS, STRIP_PIXELS // cells))
    width = MARGIN + AXIS + cells * pixels + SIGNS + MARGIN
    lines = _wrapped(sentence(answer), width)
    words = [Words(MARGIN, MARGIN + LINE // 2 + at * LINE, line, bold=True) for at, line in enumerate(lines)]
    y = MARGIN + len(lines) * LINE
    words.append(Words(MARGIN, y + LINE // 2, source(answer)))
    y += LINE + GAP
    places, signs = [], []
    for panel in panels(answer, per_cell):
        words.append(Words(MARGIN + AXIS, y + LINE // 2, panel.title, bold=True))
        words += [
            Words(x, y + LINE // 2, text, right=True) for x, text in zip(_axis(), ("pfn", "GiB"), strict=True)
        ]
        place = Place(panel, MARGIN + AXIS, y + LINE)
        places.append(place)
        words += _axis_words(answer, place, cells, per_cell, pixels)
        told, tips = _signs(place, cells, pixels)
        words += told
        signs += tips
        y = place.y + max(panel.rows(cells) * pixels, LINE) + GAP
    swatches, told, y = _legend(answer, y)
    words += told
    last = _wrapped(_caption(answer, per_cell, stands_out=bool(signs)), width)
    words += [Words(MARGIN, y + LINE // 2 + at * LINE, line) for at, line in enumerate(last)]
    y += len(last) * LINE
    return Picture(
        width, y + MARGIN, cells, pixels, per_cell, tuple(places), tuple(words), tuple(swatches), tuple(signs)
    )


def _wrapped(text: str, width: int) -> list[str]:
    """Return lines that fit into a picture, as far as it is not narrower than words."""
    return textwrap.wrap(text, max(40, min(WIDEST_CAPTION, (width - 2 * MARGIN) // 7)))


def _caption(answer: Map, per_cell: int, *, stands_out: bool) -> str:
    """Return how to read the picture."""
    shades = "Paler: emptier." if answer.chosen is None else "Paler: fewer of its pages."
    told = [cell_text(answer, per_cell), shades]
    if stands_out:
        told.append("Outlined, and counted at the end of the row: one page keeps it from being free.")
    return " ".join(told)


def _rows(answer: Map, cells: int) -> int:
    return sum(-(-len(zone) // cells) for zone in answer.zones)


def _axis() -> tuple[int, int]:
    """Return where frame numbers and addresses end."""
    return MARGIN + AXIS - 58, MARGIN + AXIS - 8


def _axis_words(answer: Map, place: Place, cells: int, per_cell: int, pixels: int) -> list[Words]:
    """Return frame number and address of as many rows as there is room for."""
    step = 1
    while step * pixels < LINE - 4:
        step *= 2
    words = []
    for row in range(0, place.panel.rows(cells), step):
        pfn = place.panel.first_pfn + (row * cells * per_cell << answer.pageblock_order)
        y = place.y + row * pixels + max(pixels // 2, 5)
        for x, text in zip(_axis(), (str(pfn), address_text(answer, pfn)), strict=True):
            words.append(Words(x, y, text, right=True))
    return words


def _signs(place: Place, cells: int, pixels: int) -> tuple[list[Words], list[Sign]]:
    """Return a triangle and a count for each row that has cells which stand out; close ones share one."""
    loud = np.flatnonzero(is_loud(place.panel.codes))
    x = place.x + cells * pixels + 4
    words: list[Words] = []
    signs = []
    step = -(-SWATCH // pixels)
    rows, nr = np.unique(loud // cells // step * step, return_counts=True)
    for row, count in zip(rows.tolist(), nr.tolist(), strict=True):
        y = place.y + row * pixels + step * pixels // 2
        signs.append(Sign(x, y))
        words.append(Words(x + 12, y, count_text(count)))
    return words, signs


def _legend(answer: Map, y: int) -> tuple[list[Swatch], list[Words], int]:
    """Return the legend, one row below the other, and where it ends."""
    swatches: list[Swatch] = []
    words = []
    for row in legend(answer):
        codes = tuple(dict.fromkeys(row.codes))
        swatches += [Swatch(MARGIN + at * (SWATCH + 2), y + 3, code) for at, code in enumerate(codes)]
        now = None if row.now is None else count_text(row.now)
        after = None if row.after is None else count_text(row.after)
        if now is not None and after is not None:
            after += " afterwards"
        figures = ", ".join(each for each in (now, after) if each is not None)
        words.append(Words(MARGIN + 4 * (SWATCH + 2) + 6, y + LINE // 2, f"{row.label}: {figures}"))
        y += LINE
    return swatches, words, y + GAP
