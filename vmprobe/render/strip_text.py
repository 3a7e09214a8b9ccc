"""A map in a terminal: half blocks in colour, two rows of cells a line; letters where there are no colours.

A pageblock that one page keeps from being free is a triangle that points up or down, to the half of the line
in which it is, so that it is found without its colour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from rich.style import Style
from rich.text import Text

from vmprobe.analyses.parts import Note, Parts
from vmprobe.render.paint import NR_CODES, colour, is_loud, letter
from vmprobe.render.palette import DARK, channels
from vmprobe.render.panels import address_text, cell_text, legend, panels, per_cell_for
from vmprobe.render.text import print_parts
from vmprobe.units import count_text, plain

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import Console

    from vmprobe.analyses.map_answer import Map
    from vmprobe.render.panels import LegendRow, Panel

MOST_LINES: Final = 48
"""Lines that the strips of all zones may take, of each of what is shown of them."""
CELLS: Final = tuple(nr << shift for shift in range(8) for nr in (8, 12))
"""Cells that a line may have, so that lines begin at round addresses."""
ENOUGH_COLOURS: Final = ("256", "truecolor")

BRIGHT: Final = 380
"""Sum of red, green and blue from which on yellow is hard to see."""

_COLOURS: Final = [colour(DARK, code) for code in range(NR_CODES)]
_LETTERS: Final = [letter(code) for code in range(NR_CODES)]


def print_map(answer: Map, console: Console, cells: int | None) -> None:
    """Print strips and legend.

    Parameters
    ----------
    answer
        The map.
    console
        Where to; it says whether there are colours.
    cells
        Cells in a line; None for what fits.
    """
    in_colour = (
        console.is_terminal
        and not console.no_color
        and console.color_system in ENOUGH_COLOURS
        and not console.options.ascii_only
    )
    widths = _prefix_widths(answer)
    if cells is None:
        room = console.width - sum(widths) - 4
        cells = max((nr for nr in CELLS if nr <= room), default=CELLS[0])
    rows_a_line = 2 if in_colour else 1
    per_cell = per_cell_for(answer, cells * rows_a_line, MOST_LINES)
    for panel in panels(answer, per_cell):
        console.print()
        console.print(Text(plain(panel.title), style="bold"), soft_wrap=True)
        head = f"{'pfn':>{widths[0]}}  {'GiB':>{widths[1]}}"
        console.print(Text(head, style="dim"), soft_wrap=True)
        for row in range(0, panel.rows(cells), rows_a_line):
            pfn = panel.first_pfn + (row * cells * per_cell << answer.pageblock_order)
            line = Text()
            line.append(f"{pfn:>{widths[0]}}  {address_text(answer, pfn):>{widths[1]}}  ", style="dim")
            if in_colour:
                both = (_row(panel, row, cells), _row(panel, row + 1, cells))
                line.append_text(_half_blocks(*both))
            else:
                line.append("".join(_LETTERS[code] for code in _row(panel, row, cells)))
            console.print(line, soft_wrap=True)
    console.print()
    _print_legend(answer, console, per_cell, in_colour=in_colour)


def _prefix_widths(answer: Map) -> tuple[int, int]:
    last = max((zone.first_pfn + (len(zone) << answer.pageblock_order) for zone in answer.zones), default=0)
    return max(3, len(str(last))), max(3, len(address_text(answer, last)))


def _row(panel: Panel, row: int, cells: int) -> NDArray[np.uint8]:
    return panel.codes[row * cells : (row + 1) * cells]


def _half_blocks(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> Text:
    """Return two rows of cells as one line; where the lower one has ended, the terminal's own background."""
    text = Text()
    loud_up = is_loud(upper)
    loud_low = np.concatenate((is_loud(lower), np.zeros(len(upper) - len(lower), np.bool_)))
    for at, code in enumerate(upper.tolist()):
        below = int(lower[at]) if at < len(lower) else None
        text.append(*_pair(code, below, up=bool(loud_up[at]), low=bool(loud_low[at])))
    return text


def _pair(code: int, below: int | None, *, up: bool, low: bool) -> tuple[str, Style]:
    """Return the character of two cells, one above the other."""
    upper, lower = _COLOURS[code], DARK.background if below is None else _COLOURS[below]
    if up and low:
        return "◆", Style(color=upper, bgcolor=DARK.background, bold=True)
    if up:
        return "▲", Style(color=_on(lower, upper), bgcolor=lower, bold=True)
    if low:
        return "▼", Style(color=_on(upper, lower), bgcolor=upper, bold=True)
    return "▀", Style(color=upper, bgcolor=None if below is None else lower)


def _on(ground: str, colour: str) -> str:
    """Return a colour of a sign on another; a dark one where both are bright."""
    return DARK.background if sum(channels(ground)) > BRIGHT else colour


def _print_legend(answer: Map, console: Console, per_cell: int, *, in_colour: bool) -> None:
    rows = legend(answer)
    label = max((len(row.label) for row in rows), default=0)
    columns = [("" if answer.forecast is None else "now", [_figure(row.now) for row in rows])]
    if answer.forecast is not None:
        columns.append(("after", [_figure(row.after) for row in rows]))
        heads = "".join(f"  {name:>{_width(name, each)}}" for name, each in columns)
        console.print(Text(f"{'':{label + 6}}{heads}", style="dim"), soft_wrap=True)
    for at, row in enumerate(rows):
        line = Text(" ").append_text(_sign(row, in_colour=in_colour))
        line.append(f"  {plain(row.label):{label}}")
        for name, each in columns:
            line.append(f"  {each[at]:>{_width(name, each)}}")
        line.rstrip()
        console.print(line, soft_wrap=True)
    told = [cell_text(answer, per_cell)]
    if in_colour:
        told.append("Darker: emptier." if answer.chosen is None else "Darker: fewer of its pages.")
        told.append("Each line is two rows of cells, the upper one first.")
    else:
        told.append(f"Small letters: less than half {'full' if answer.chosen is None else 'its pages'}.")
    print_parts(Parts((Note("", (" ".join(told),)),)), console)


def _width(name: str, figures: list[str]) -> int:
    return max(len(each) for each in (name, *figures))


def _figure(nr: int | None) -> str:
    return "" if nr is None else count_text(nr)


def _sign(row: LegendRow, *, in_colour: bool) -> Text:
    """Return what stands for a row of the legend: the colours, or the letters, three columns wide."""
    if not in_colour:
        return Text("".join(dict.fromkeys(_LETTERS[code] for code in row.codes)).ljust(3))
    if is_loud(np.array(row.codes, np.uint8)).any():
        return Text("▲▼◆", Style(color=_COLOURS[row.codes[0]], bgcolor=DARK.background, bold=True))
    text = Text()
    for code in row.codes[1:] if len(row.codes) > 1 else row.codes * 3:
        text.append("█", Style(color=_COLOURS[code]))
    return text
