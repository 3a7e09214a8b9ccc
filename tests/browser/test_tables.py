"""Tables of the page: sorted by every column, filtered by text, and as named as charts are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.ask import CHANGED, ROWS, cells_of
from vmprobe.analyses import report_tables
from vmprobe.units import plain

if TYPE_CHECKING:
    from tests.browser.conftest import Shown

pytestmark = [pytest.mark.live, pytest.mark.slow]

SORTED = "return Array.from(document.querySelectorAll('#owners th'), (head) => head.ariaSort);"
CLICK = "document.querySelectorAll('#owners thead button')[arguments[0]].click()"
NAMELESS = """
const of = (selector) => Array.from(document.querySelectorAll(selector));
return [
  ...of("table").filter((each) => !each.caption),
  ...of("canvas, [role=img], .scrolls").filter((each) => !each.ariaLabel),
  ...of("th").filter((each) => each.scope !== "col"),
  ...of("canvas, .scrolls").filter((each) => each.tabIndex !== 0),
].map((each) => each.outerHTML.slice(0, 100));
"""
IDS = "return Array.from(document.querySelectorAll('[id]'), (each) => each.id)"


@pytest.mark.parametrize("column", range(8))
def test_sorts_by_every_column_and_absent_last(page: Shown, column: int) -> None:
    grid = report_tables.owners(page.inputs.report.frag)
    assert len(grid.columns) == 8
    known = [row for row in grid.rows if row[column] is not None]
    absent = [row for row in grid.rows if row[column] is None]
    figures = all(isinstance(row[column], int) for row in known)

    def key(row: tuple[Any, ...]) -> Any:
        return row[column] if figures else plain(row[column]).lower()

    for falling in (figures, not figures):
        page.js(CLICK, column)
        rows = (*sorted(known, key=key, reverse=falling), *absent)
        expected = [row[column] for row in cells_of(replace(grid, rows=rows))]
        assert [row[column] for row in page.js(ROWS, "owners")] == expected
        heads = page.js(SORTED)
        assert heads[column] == ("descending" if falling else "ascending")
        assert heads.count(None) == len(heads) - 1
    assert sorted(page.js(ROWS, "owners")) == sorted(cells_of(grid))


@pytest.mark.parametrize("words", ["slab", "kernel memory", "4242", "PAGE tab", "<IMG", "nobody such"])
def test_filters_by_text(page: Shown, words: str) -> None:
    grid = report_tables.owners(page.inputs.report.frag)
    page.js(CHANGED, page.js("return document.getElementById('find')"), words, "input")
    among = [(row, " ".join(row).lower()) for row in cells_of(grid)]
    expected = [row for row, said in among if all(word in said for word in words.lower().split())]
    assert sorted(page.js(ROWS, "owners")) == sorted(expected)
    assert page.text("#find-told") == f"{len(expected)} of {len(grid.rows)} rows"
    assert bool(expected) == (words != "nobody such")


def test_everything_has_a_name_and_a_place_for_the_keyboard(page: Shown) -> None:
    assert page.js(NAMELESS) == []
    names = page.js(IDS)
    assert len(names) == len(set(names))
