"""The parts of an answer as text, through rich.

No figure is ever cut: a grid that is wider than the terminal after its words were folded is printed wider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.cells import cell_len
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from vmprobe.analyses.parts import Facts, Grid, Kind, Note
from vmprobe.units import bytes_text, count_text, percent_text, plain, seconds_text

if TYPE_CHECKING:
    from rich.console import Console

    from vmprobe.analyses.parts import Parts

ABSENT: Final = "-"
"""Stands for a value that could not be read; zero is printed as 0."""

FOLDED_WIDTH: Final = 12
"""Columns of words are not folded narrower than this, nor than their longest word."""

GAP: Final = 2
"""Between two columns."""


def cell(value: Any, kind: Kind) -> str:
    """Return one value as text.

    >>> cell(None, Kind.COUNT), cell(0, Kind.COUNT), cell((5, None), Kind.CHANGE), cell((7, 7), Kind.CHANGE)
    ('-', '0', '5 -> -', '7')
    """
    if value is None:
        return ABSENT
    if kind is Kind.TEXT:
        return plain(str(value))
    if kind is Kind.CHANGE:
        before, after = value
        if before == after:
            return cell(before, Kind.COUNT)
        return f"{cell(before, Kind.COUNT)} -> {cell(after, Kind.COUNT)}"
    if kind is Kind.RATE:
        return f"{bytes_text(value)}/s"
    write = {
        Kind.COUNT: count_text,
        Kind.BYTES: bytes_text,
        Kind.PERCENT: percent_text,
        Kind.SECONDS: seconds_text,
    }
    return write[kind](value)


def print_parts(parts: Parts, console: Console) -> None:
    """Print `parts`, an empty line before each one that has a title, but the first."""
    for index, part in enumerate(parts.parts):
        if index and part.title:
            console.print()
        if part.title:
            console.print(Text(plain(part.title), style="bold"), soft_wrap=True)
        if isinstance(part, Grid):
            print_grid(part, console)
        elif isinstance(part, Facts):
            _print_facts(part, console)
        else:
            _print_note(part, console)


def print_grid(part: Grid, console: Console) -> None:
    """Print one grid without its title."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=True, header_style="dim")
    cells = [
        [cell(value, column.kind) for value, column in zip(row, part.columns, strict=True)]
        for row in part.rows
    ]
    widths = _widths(part, cells, console.width - GAP * (len(part.columns) - 1))
    for index, (column, width) in enumerate(zip(part.columns, widths, strict=True)):
        figure = _is_figure(column.kind, part, index)
        table.add_column(
            Text(plain(column.label)), width=width, justify="right" if figure else "left", overflow="fold"
        )
    for row in cells:
        table.add_row(*(Text(text) for text in row))
    # At the width of the console rich would make columns narrower that do not fit.
    _print_lines(table, console, max(console.width, sum(widths) + GAP * len(widths)))


def _widths(part: Grid, cells: list[list[str]], room: int) -> list[int]:
    """Return how wide each column is: figures as they are, words folded as far as `room` demands.

    The widest are folded first.
    """
    widest, narrowest = [], []
    for index, column in enumerate(part.columns):
        head, texts = cell_len(column.label), [row[index] for row in cells]
        whole = max(map(cell_len, texts), default=0)
        longest = max((cell_len(word) for text in texts for word in text.split()), default=0)
        widest.append(max(whole, head))
        folds = not _is_figure(column.kind, part, index)
        narrowest.append(max(head, min(whole, FOLDED_WIDTH), longest) if folds else widest[-1])
    bounds = list(zip(narrowest, widest, strict=True))
    level = max(widest, default=0)
    while level and sum(max(least, min(most, level)) for least, most in bounds) > room:
        level -= 1
    widths = [max(least, min(most, level)) for least, most in bounds]
    for index, most in enumerate(widest):
        widths[index] += max(0, min(most - widths[index], 1, room - sum(widths)))
    return widths


def _print_lines(renderable: Table | Text, console: Console, width: int) -> None:
    """Print at `width`, which may exceed the console's."""
    for line in console.render_lines(renderable, console.options.update(width=width), pad=False):
        console.print(Segments(_without_padding(line)), soft_wrap=True)


def _without_padding(line: list[Segment]) -> list[Segment]:
    """Return a line without the spaces that fill its last column."""
    kept = list(line)
    while kept and not kept[-1].text.rstrip():
        kept.pop()
    if kept:
        kept[-1] = Segment(kept[-1].text.rstrip(), kept[-1].style)
    return [*kept, Segment.line()]


def _is_figure(kind: Kind, part: Grid, index: int) -> bool:
    """Whether a column is made of figures: they align right and are never folded."""
    if kind is not Kind.TEXT:
        return True
    values = [row[index] for row in part.rows if row[index] is not None]
    return bool(values) and all(isinstance(value, int) for value in values)


def _print_facts(part: Facts, console: Console) -> None:
    width = max((cell_len(fact.label) for fact in part.facts), default=0)
    for fact in part.facts:
        label = plain(fact.label)
        line = Text(f"{label}{' ' * (width - cell_len(label))}  ", style="dim")
        console.print(line.append(cell(fact.value, fact.kind), style="not dim"), soft_wrap=True)


def _print_note(part: Note, console: Console) -> None:
    for line in part.lines:
        if part.verbatim:
            console.print(Text(plain(line)), soft_wrap=True)
        else:
            _print_lines(Text(plain(line), overflow="fold"), console, console.width)
