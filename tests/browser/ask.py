"""What tests ask an open page, and what the answer should be."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from vmprobe.analyses.map_answer import CONTENTS, PAGE_KIND_VERDICTS
from vmprobe.analyses.report_words import owner_text
from vmprobe.render.paint import LABELS, colour
from vmprobe.render.text import cell
from vmprobe.units import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.browser.conftest import Shown
    from vmprobe.analyses.map_answer import ZoneStrip
    from vmprobe.analyses.parts import Grid
    from vmprobe.render.palette import Palette

HEX = """
const two = (part) => part.toString(16).padStart(2, "0");
const hex = (data) => `#${two(data[0])}${two(data[1])}${two(data[2])}${data[3] < 255 ? " faint" : ""}`;
"""
# The colour in the middle of every cell of a strip, as it is on the canvas.
CELLS = (
    HEX
    + """
const strip = page.strips[arguments[0]];
const context = strip.canvas.getContext("2d");
const middle = Math.floor((strip.shape.side - 1) / 2);
return Array.from({ length: strip.shape.cells }, (_, cell) => {
  const { x, y } = strip.corner(cell);
  return hex(context.getImageData(x + middle, y + middle, 1, 1).data);
});
"""
)
PAGES = (
    HEX
    + """
const { canvas, side, pages } = page.inspector;
const context = canvas.getContext("2d");
const middle = Math.floor((side - 1) / 2);
return Array.from(pages, (kind, at) => {
  const [x, y] = [(at % 32) * side + middle, Math.floor(at / 32) * side + middle];
  return hex(context.getImageData(x, y, 1, 1).data);
});
"""
)
FACTS = """
const list = document.querySelectorAll("#inspector .figures dt, #inspector .figures dd");
return Array.from(list, (each) => each.textContent);
"""
ROWS = """
const rows = Array.from(document.getElementById(arguments[0]).tBodies[0].rows);
return rows.filter((row) => !row.hidden).map((row) => Array.from(row.cells, (cell) => cell.textContent));
"""
SHAPE = "const strip = page.strips[arguments[0]]; return {...strip.shape, gutter: strip.gutter};"
TRACES = """
return document.getElementById(arguments[0]).data.map((trace) => ({
  name: trace.name, x: Array.from(trace.x), y: Array.from(trace.y), color: trace.marker.color,
}));
"""
CHANGED = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event(arguments[2]))"
SETTLED_MS = 300
"""Until a chart is drawn anew."""


def settle(page: Shown) -> None:
    page.js("return new Promise((done) => setTimeout(done, arguments[0]))", SETTLED_MS)


def canvas_of(page: Shown, zone: int) -> Any:
    return page.js("return page.strips[arguments[0]].canvas", zone)


def place_of(page: Shown, zone: int, block: int) -> tuple[float, float]:
    """Where a pageblock lies in its canvas, from the shape alone."""
    shape = page.js(SHAPE, zone)
    row, column = divmod(block // shape["perCell"], shape["columns"])
    return shape["gutter"] + (column + 0.5) * shape["side"], (row + 0.5) * shape["side"]


def one_of_each(zone: ZoneStrip) -> list[int]:
    """The first pageblock of each content, and the last two, which lack memory in part and in whole."""
    return [*np.unique(zone.content, return_index=True)[1].tolist(), len(zone) - 2, len(zone) - 1]


def colours(palette: Palette, codes: Iterable[int]) -> list[str]:
    return [colour(palette, int(code)).lower() for code in codes]


def facts_of(page: Shown, zone: ZoneStrip, block: int) -> dict[str, str]:
    """What is to be told of a pageblock, counted page by page."""
    size = 1 << page.inputs.map.pageblock_order
    first = zone.first_pfn + block * size
    (pages,) = [each for each in page.inputs.pages if (each.node, each.zone) == (zone.node, zone.zone)]
    kinds = pages.kinds[block * size : (block + 1) * size].tolist()
    nr = Counter(PAGE_KIND_VERDICTS[kind] for kind in kinds)
    told = {
        "pfn": f"{first} to {first + size - 1}",
        "content": LABELS[CONTENTS[zone.content[block]]],
        "pages free": str(nr["free"]),
        "can move": str(nr["moves"]),
        "stay": str(nr["stays"]),
        "not known": str(nr["unknown"]),
        "no memory": str(nr["absent"]),
        "held by": owner_words(page, int(zone.owner[block])) or "nobody",
        "used by": owner_words(page, int(zone.user[block])) or "nobody named",
    }
    return {label: value for label, value in told.items() if (label, value) != ("no memory", "0")}


def owner_words(page: Shown, index: int) -> str | None:
    if index < 0:
        return None
    return plain(owner_text(page.inputs.map.owners[index]))


def facts_shown(page: Shown) -> dict[str, str]:
    listed = page.js(FACTS)
    return dict(zip(listed[::2], listed[1::2], strict=True))


def cells_of(grid: Grid) -> list[list[str]]:
    kinds = [column.kind for column in grid.columns]
    return [[cell(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in grid.rows]
