"""A map as SVG, by runs of equal cells: small, sharp in print, and with what a cell is under the pointer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import numpy as np

from vmprobe.analyses.report_words import owner_text
from vmprobe.render.paint import DIMMED, NR_CODES, colour, is_loud, label
from vmprobe.render.palette import LIGHT
from vmprobe.render.picture import SWATCH, picture
from vmprobe.units import count_text, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmprobe.analyses.map_answer import Map
    from vmprobe.render.picture import Picture, Place, Words

MOST_CELLS: Final = 1 << 16
"""Each run of cells takes some hundred bytes."""
NEVER: Final = 255
"""No code."""

_IS_LOUD: Final = is_loud(np.arange(NR_CODES, dtype=np.uint8)).tolist()


def svg_picture(answer: Map, cells: int | None = None) -> bytes:
    """Return a map as the bytes of an SVG file.

    Parameters
    ----------
    answer
        The map.
    cells
        Cells in a row; None for what suits the host.
    """
    made = picture(answer, cells, MOST_CELLS)
    # What stands out does so in black and white too.
    hatched = (
        '<defs><pattern id="loud" width=".5" height=".5" patternUnits="userSpaceOnUse">'
        f'<path d="M0 .5L.5 0" stroke="{LIGHT.outline}" stroke-width=".1"/></pattern></defs>'
    )
    box = f'width="{made.width}" height="{made.height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} viewBox="0 0 {made.width} {made.height}" role="img">',
        f"<title>{_text(made.words[0].text)}</title>",
        f"<style>{_style()}</style>",
        hatched,
        f'<rect {box} fill="{LIGHT.background}"/>',
    ]
    for place in made.places:
        lines += _strip(answer, made, place)
    for swatch in made.swatches:
        lines.append(f'<g transform="translate({swatch.x} {swatch.y}) scale({SWATCH})">')
        lines += [*_rect(0, 0, 1, swatch.code, None), "</g>"]
    for sign in made.signs:
        lines.append(f'<path d="M{sign.x} {sign.y}l7 -5v10z" fill="{LIGHT.outline}"/>')
    lines += [_words(words) for words in made.words]
    lines.append("</svg>\n")
    return "\n".join(lines).encode()


def _style() -> str:
    """Return a class for each code, and how words look."""
    rules = [f".c{code}{{fill:{colour(LIGHT, code)}}}" for code in range(NR_CODES)]
    outline = f"stroke:{LIGHT.outline};stroke-width:1px;vector-effect:non-scaling-stroke"
    return "".join((
        "rect{shape-rendering:crispEdges}",
        *rules,
        f".l{{fill:url(#loud);{outline}}}",
        f"text{{font:12px sans-serif;fill:{LIGHT.ink};dominant-baseline:central}}",
        ".b{font-weight:bold}.r{text-anchor:end}",
    ))  # fmt: skip


def _strip(answer: Map, made: Picture, place: Place) -> Iterator[str]:
    """Yield the runs of one strip; in its own coordinates a cell is one wide and one high."""
    codes, cells = place.panel.codes, made.cells
    yield f'<g transform="translate({place.x} {place.y}) scale({made.cell_pixels})">'
    begins = np.diff(codes, prepend=np.uint8(NEVER)) != 0
    # A row ends a run.
    begins[::cells] = True
    first = np.flatnonzero(begins)
    nr = np.diff(np.append(first, len(codes)))
    for at, length in zip(first.tolist(), nr.tolist(), strict=True):
        row, column = divmod(at, cells)
        title = _title(answer, made, place, at, length)
        yield from _rect(column, row, length, int(codes[at]), title)
    yield "</g>"


def _rect(x: int, y: int, width: int, code: int, title: str | None) -> Iterator[str]:
    told = "" if title is None else f"<title>{_text(title)}</title>"
    box = f'<rect x="{x}" y="{y}" width="{width}" height="1" class='
    yield f'{box}"c{code}">{told}</rect>' if told and not _IS_LOUD[code] else f'{box}"c{code}"/>'
    if _IS_LOUD[code]:
        yield f'{box}"l">{told}</rect>'


def _title(answer: Map, made: Picture, place: Place, first: int, nr_cells: int) -> str:
    """Return what a run of cells is."""
    panel = place.panel
    block = first * made.per_cell
    nr = min(nr_cells * made.per_cell, panel.nr_blocks - block)
    pfn = panel.first_pfn + (block << answer.pageblock_order)
    last = pfn + (nr << answer.pageblock_order) - 1
    code = int(panel.codes[first])
    what = f"no page of {answer.chosen}" if code == DIMMED else label(code)
    told = f"pfn {pfn} to {last}: {what}"
    if nr > 1:
        return f"{told}, {count_text(nr)} pageblocks"
    return told + _detail(answer, panel.zone, block) if panel.now else told


def _detail(answer: Map, zone: int, block: int) -> str:
    """Return what is known of one pageblock."""
    strip = answer.zones[zone]
    free, stays = (count_text(int(column[block])) for column in (strip.free, strip.stays))
    told = f"; pages free: {free}, that stay: {stays}"
    if strip.of_owner is not None:
        told += f", of {answer.chosen}: {count_text(int(strip.of_owner[block]))}"
    for word, who in (("held", int(strip.owner[block])), ("used", int(strip.user[block]))):
        if who >= 0:
            told += f"; {word} by {owner_text(answer.owners[who])}"
    return told


def _words(words: Words) -> str:
    classes = "".join(name for name, given in (("b", words.bold), ("r", words.right)) if given)
    given = f' class="{" ".join(classes)}"' if classes else ""
    return f'<text x="{words.x}" y="{words.y}"{given}>{_text(words.text)}</text>'


def _text(text: str) -> str:
    return escape(plain(text))
