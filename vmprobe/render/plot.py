"""Figures over time as charts of characters: a line of braille dots, axes, gaps where nothing is known."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.text import Text

from vmprobe.units import bytes_text, count_text, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from vmprobe.analyses.report_answer import Series

    Value = int | float

ROWS: Final = 6
"""Lines of a chart between its axes."""

NARROWEST: Final = 16
"""Columns of a chart between its axes, on terminals that are too narrow for any."""

STYLE: Final = "cyan"


class Cells(NamedTuple):
    """How a character shows dots: columns and rows of them, and the bit of each from the top left."""

    dot_columns: int
    dot_rows: int
    bits: tuple[tuple[int, ...], ...]
    character: Callable[[int], str]
    corner: str
    side: str
    bottom: str


BRAILLE: Final = Cells(
    2,
    4,
    ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80)),
    lambda bits: chr(0x2800 + bits) if bits else " ",
    *"└│─",
)
"""Unicode's braille patterns, dots numbered down the first column and then the second (chapter 21.1)."""

ASCII: Final = Cells(1, 1, ((1,),), lambda bits: "*" if bits else " ", *"+|-")
"""For terminals whose encoding has no braille."""


class _Point(NamedTuple):
    """A value at its time, the column of dots that is for it, and whether a line leads to it."""

    column: int
    value: Value
    joined: bool


def print_chart(title: str, series: Series, console: Console) -> None:
    """Print one series under its title, as wide as the console; nothing where its value never changed.

    Times go from left to right in proportion, from the first to the last run that is in the series. Two
    values are joined unless a run between them lacked the figure, or runs are missing between.
    """
    known = [value for value in series.values if value is not None and math.isfinite(value)]
    if not known or min(known) == max(known):
        return
    to_text = bytes_text if series.name.endswith("_bytes") else count_text
    top, bottom = (to_text(int(v) if v == int(v) else v) for v in (max(known), min(known)))  # type: ignore[arg-type]
    margin = max(len(top), len(bottom))
    cells = ASCII if console.options.ascii_only else BRAILLE
    columns = max(console.width - margin - 2, NARROWEST)
    times = [datetime.fromisoformat(time) for time in series.times]
    rows = _draw(_points(times, series.values, columns * cells.dot_columns), cells, columns)
    console.print()
    console.print(Text(plain(title), style="bold"), soft_wrap=True)
    for index, row in enumerate(rows):
        label = top if index == 0 else bottom if index == ROWS - 1 else ""
        line = Text(f"{label:>{margin}} {cells.side}").append(row.rstrip(), style=STYLE)
        console.print(line, soft_wrap=True)
    indent = " " * (margin + 1)
    console.print(Text(f"{indent}{cells.corner}{cells.bottom * columns}"), soft_wrap=True)
    console.print(Text(f"{indent} {_time_axis(times[0], times[-1], columns)}"), soft_wrap=True)


def _points(times: Sequence[datetime], values: Sequence[Value | None], dots: int) -> list[_Point]:
    """Return the values that are known at their columns."""
    start, span = times[0], (times[-1] - times[0]) or timedelta(1)
    indices = [index for index, value in enumerate(values) if value is not None and math.isfinite(value)]
    steps = [times[b] - times[a] for a, b in pairwise(indices)]
    points = []
    for place, index in enumerate(indices):
        value = values[index]
        assert value is not None
        follows = place > 0 and index == indices[place - 1] + 1
        column = round((times[index] - start) / span * (dots - 1))
        points.append(_Point(column, value, follows and not _is_long(steps, place - 1)))
    return points


def _is_long(steps: Sequence[timedelta], place: int) -> bool:
    """Whether runs are missing within a step: it is half as long again as those before and after it.

    Thinning makes the steps longer towards the left, but never one between two that are shorter.
    """
    beside = [*steps[max(place - 1, 0) : place], *steps[place + 1 : place + 2]]
    return bool(beside) and steps[place] > 1.5 * max(beside)


def _draw(points: Sequence[_Point], cells: Cells, columns: int) -> list[str]:
    """Return the lines of characters, top first."""
    dot_rows = ROWS * cells.dot_rows
    lowest = min(point.value for point in points)
    scale = (dot_rows - 1) / (max(point.value for point in points) - lowest)
    grid = [[0] * columns for _ in range(ROWS)]
    last: tuple[int, int] | None = None
    for point in points:
        here = point.column, dot_rows - 1 - round((point.value - lowest) * scale)
        for x, y in _line(last if last is not None and point.joined else here, here):
            bit = cells.bits[y % cells.dot_rows][x % cells.dot_columns]
            grid[y // cells.dot_rows][x // cells.dot_columns] |= bit
        last = here
    return ["".join(map(cells.character, row)) for row in grid]


def _line(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the dots from one to another, both included, without a hole."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    for step in range(steps + 1):
        yield (
            start[0] + round((end[0] - start[0]) * step / steps),
            start[1] + round((end[1] - start[1]) * step / steps),
        )


def _time_axis(first: datetime, last: datetime, columns: int) -> str:
    """Return dates under the start, the middle where there is room, and the end of the axis."""
    form = "%Y-%m-%d" if last - first >= timedelta(days=4) else "%m-%d %H:%M"
    start, middle, end = (f"{time:{form}}" for time in (first, first + (last - first) / 2, last))
    if columns < 3 * len(start) + 4:
        return f"{start}{end:>{max(columns - len(start), len(end) + 1)}}"
    room = columns - len(start) - len(end)
    return f"{start}{middle:^{room}}{end}"
