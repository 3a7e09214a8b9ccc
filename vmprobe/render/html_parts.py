"""The parts of an answer as HTML: every text escaped, every figure as the terminal has it."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any, Final

from vmprobe.analyses.parts import Facts, Grid, Kind, Note
from vmprobe.render.text import ABSENT, cell
from vmprobe.units import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_INDEX: Final = re.compile(r"-?\d\.\d{3}")


def text(value: str) -> str:
    r"""Return text as it may stand in an element or in an attribute; what is not printable is made visible.

    >>> text('</script><img src="x">\x1b&')
    '&lt;/script&gt;&lt;img src=&quot;x&quot;&gt;\\x1b&amp;'
    """
    return escape(plain(value), quote=True)


def parts(listed: Iterable[Grid | Facts | Note], *, sorts: bool = False) -> str:
    """Return parts one below the other; whether tables sort is the same for all of them."""
    return "\n".join(_part(part, sorts=sorts) for part in listed)


def _part(part: Grid | Facts | Note, *, sorts: bool) -> str:
    if isinstance(part, Grid):
        return table(part, sorts=sorts)
    return facts(part) if isinstance(part, Facts) else note(part)


def note(part: Note) -> str:
    """Return sentences as paragraphs, commands as code."""
    if part.verbatim:
        said = "".join(f"<p><code>{text(line)}</code></p>" for line in part.lines)
    elif len(part.lines) > 1:
        said = f'<ul class="missing">{"".join(f"<li>{text(line)}</li>" for line in part.lines)}</ul>'
    else:
        said = "".join(f'<p class="note">{text(line)}</p>' for line in part.lines)
    return _heading(part.title) + said


def facts(part: Facts) -> str:
    """Return labelled values as a list of descriptions."""
    each = (f"<dt>{text(fact.label)}</dt><dd>{text(cell(fact.value, fact.kind))}</dd>" for fact in part.facts)
    return f"{_heading(part.title)}<dl>{''.join(each)}</dl>"


def _heading(title: str) -> str:
    return f"<h3>{text(title)}</h3>" if title else ""


def side(*each: str) -> str:
    """Return boxes side by side as far as there is room."""
    return f'<div class="side">{"".join(f"<div>{one}</div>" for one in each if one)}</div>'


def table(
    part: Grid,
    *,
    name: str = "",
    sorts: bool = False,
    tall: bool = False,
    graphic: tuple[str, Sequence[str]] | None = None,
) -> str:
    """Return a grid as a table in a box of its own that scrolls.

    Parameters
    ----------
    part
        The grid.
    name
        Its ``id``.
    sorts
        Whether the page lets it be sorted by its columns.
    tall
        Whether the box scrolls upwards and downwards too.
    graphic
        Label of a last column, and its cells as HTML.
    """
    figures = [_is_figure(part, index) for index in range(len(part.columns))]
    heads = "".join(
        f'<th scope="col"{" class=n data-figure" if figure else ""}>{text(column.label)}</th>'
        for column, figure in zip(part.columns, figures, strict=True)
    )
    drawn: Sequence[str] = [""] * len(part.rows)
    if graphic is not None:
        heads += f'<th scope="col">{text(graphic[0])}</th>'
        drawn = [f"<td>{each}</td>" for each in graphic[1]]
    kinds = [column.kind for column in part.columns]
    body = "".join(
        f"<tr>{''.join(map(_cell, row, kinds, figures))}{last}</tr>"
        for row, last in zip(part.rows, drawn, strict=True)
    )
    box = 'class="scrolls tall"' if tall else 'class="scrolls"'
    label = text(part.title) or "Table"
    caption = f"<caption>{text(part.title)}</caption>" if part.title else ""
    attributes = (f' id="{name}"' if name else "") + (' class="sorts"' if sorts else "")
    return (
        f'<div {box} tabindex="0" role="region" aria-label="{label}"><table{attributes}>{caption}'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _is_figure(part: Grid, index: int) -> bool:
    """Whether a column is made of figures; an index as debugfs prints it is one, though it is text."""
    values = [row[index] for row in part.rows if row[index] is not None]
    if part.columns[index].kind is not Kind.TEXT or not values:
        return part.columns[index].kind is not Kind.TEXT
    return all(isinstance(value, int | float) or _INDEX.fullmatch(str(value)) for value in values)


def _cell(value: Any, kind: Kind, figure: bool) -> str:
    shown = text(cell(value, kind))
    if value is None:
        return f"<td{' class=n' if figure else ''} data-absent>{ABSENT}</td>"
    if not figure:
        return f'<td class="words">{shown}</td>'
    sortable = f' data-v="{value}"' if isinstance(value, int | float | str) else ""
    return f'<td class="n"{sortable}>{shown}</td>'
