"""The map: colours, what is below the pointer, single pages, zoom, what is picked out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.browser.ask import (
    CELLS,
    CHANGED,
    PAGES,
    SHAPE,
    canvas_of,
    colours,
    facts_of,
    facts_shown,
    one_of_each,
    place_of,
)
from vmprobe.analyses.map_answer import CHANGES, PAGE_KINDS
from vmprobe.render.paint import change_codes, strip_codes
from vmprobe.render.palette import LIGHT

if TYPE_CHECKING:
    from tests.browser.conftest import Shown

pytestmark = [pytest.mark.live, pytest.mark.slow]

ARROW_DOWN = "\ue015"
SHOWN = "const strip = page.strips[arguments[0]]; return [strip.from, strip.to];"
SEVERAL = 16
OF_SEVERAL = """
const [at, several, mode] = arguments;
const { zone } = page.strips[at];
const cells = Math.ceil(zone.length / several);
const end = (cell) => Math.min(zone.length, (cell + 1) * several);
return Array.from({ length: cells }, (_, cell) => page.blockColor(zone, cell * several, end(cell), mode));
"""
WHEEL = """
const strip = page.strips[arguments[0]];
const box = strip.canvas.getBoundingClientRect();
const { x, y } = strip.corner(arguments[1]);
const turned = { deltaY: -100, cancelable: true, clientX: box.left + x + 1, clientY: box.top + y + 1 };
return strip.canvas.dispatchEvent(new WheelEvent("wheel", { ...turned, ctrlKey: arguments[2] }));
"""
PRESS = """
const zone = document.querySelectorAll(".zone")[arguments[0]];
zone.querySelector(`[data-zoom=${arguments[1]}]`).click();
"""


def show(page: Shown, mode: str) -> None:
    page.js("document.querySelector(`input[name=mode][value=${arguments[0]}]`).click()", mode)


def test_every_cell_has_the_colour_of_its_pageblock(page: Shown) -> None:
    answer = page.inputs.map
    for at, zone in enumerate(answer.zones):
        codes = strip_codes(zone, 1 << answer.pageblock_order, page.js(SHAPE, at)["perCell"])
        assert page.js(CELLS, at) == colours(LIGHT, codes)


def test_what_a_forecast_changes_has_colours_of_its_own(page: Shown) -> None:
    forecast = page.inputs.map.forecast
    show(page, "difference")
    for at, (zone, changes) in enumerate(zip(page.inputs.map.zones, forecast.changes, strict=True)):
        assert page.js(CELLS, at) == colours(LIGHT, change_codes(zone, changes, 1))
    at = len(page.inputs.map.zones) - 1
    zone, then = page.inputs.map.zones[at], page.inputs.map.forecast.zones[at]
    block = int(np.argmax(zone.free != then.free))
    page.browser.hover(canvas_of(page, at), *place_of(page, at, block))
    show(page, "now")
    assert facts_shown(page)["pages free"] == str(zone.free[block])
    show(page, "difference")
    assert facts_shown(page)["pages free"] == f"{zone.free[block]} \u2192 {then.free[block]}"
    assert page.js("return document.querySelector('[data-legend=content]').hidden")
    assert page.js("return document.querySelectorAll('[data-legend=difference] li').length") == len(CHANGES)


def test_after_compaction_the_map_is_that_of_the_forecast(page: Shown) -> None:
    show(page, "after")
    for at, zone in enumerate(page.inputs.map.forecast.zones):
        codes = strip_codes(zone, 1 << page.inputs.map.pageblock_order, 1)
        assert page.js(CELLS, at) == colours(LIGHT, codes)
    at = len(page.inputs.map.zones) - 1
    zone, then = page.inputs.map.zones[at], page.inputs.map.forecast.zones[at]
    block = int(np.argmax(zone.free != then.free))
    page.browser.hover(canvas_of(page, at), *place_of(page, at, block))
    assert facts_shown(page)["pages free"] == f"{zone.free[block]} \u2192 {then.free[block]}"


@pytest.mark.parametrize("mode", ["now", "after", "difference"])
def test_of_several_pageblocks_the_worst_is_shown(page: Shown, mode: str) -> None:
    answer = page.inputs.map
    for at, zone in enumerate(answer.zones):
        if mode == "difference":
            codes = change_codes(zone, answer.forecast.changes[at], SEVERAL)
        else:
            strip = zone if mode == "now" else answer.forecast.zones[at]
            codes = strip_codes(strip, 1 << answer.pageblock_order, SEVERAL)
        assert [each.lower() for each in page.js(OF_SEVERAL, at, SEVERAL, mode)] == colours(LIGHT, codes)


def test_hover_shows_the_pageblock_below_the_pointer(page: Shown) -> None:
    for at, zone in enumerate(page.inputs.map.zones):
        for block in one_of_each(zone):
            page.browser.hover(canvas_of(page, at), *place_of(page, at, block))
            assert facts_shown(page) == facts_of(page, zone, block)
            assert page.text("#inspector h3") == f"node {zone.node} {zone.zone}, pageblock {block:,}"


def test_click_shows_the_single_pages_of_a_pageblock(page: Shown) -> None:
    size = 1 << page.inputs.map.pageblock_order
    for at, (zone, pages) in enumerate(zip(page.inputs.map.zones, page.inputs.pages, strict=True)):
        for block in one_of_each(zone):
            page.browser.hover(canvas_of(page, at), *place_of(page, at, block)).click().perform()
            kinds = pages.kinds[block * size : (block + 1) * size].tolist()
            assert page.js("return Array.from(page.inspector.pages)") == kinds
            assert page.js(PAGES) == [LIGHT.kinds[PAGE_KINDS[kind]].lower() for kind in kinds]
            told = page.text("#inspector .kinds")
            assert all(f"{PAGE_KINDS[kind]}{kinds.count(kind)}" in told for kind in set(kinds))


def test_hover_over_a_single_page_tells_its_frame(page: Shown) -> None:
    zone, pages = page.inputs.map.zones[0], page.inputs.pages[0]
    page.browser.hover(canvas_of(page, 0), *place_of(page, 0, 0)).click().perform()
    side = page.js("return page.inspector.side")
    page.browser.hover(page.js("return page.inspector.canvas"), 5.5 * side, 3.5 * side)
    frame = 3 * 32 + 5
    assert page.text("#told") == f"pfn {zone.first_pfn + frame}: {PAGE_KINDS[pages.kinds[frame]]}"


def test_keys_zoom_in_and_out_and_walk(page: Shown) -> None:
    at = len(page.inputs.map.zones) - 1
    zone = page.inputs.map.zones[at]
    canvas = canvas_of(page, at)
    canvas.send_keys("+")
    first, end = page.js(SHOWN, at)
    assert end - first == len(zone) // 2
    codes = strip_codes(zone, 1 << page.inputs.map.pageblock_order, 1)[first:end]
    assert page.js(CELLS, at) == colours(LIGHT, codes)
    canvas.send_keys("0")
    assert page.js(SHOWN, at) == [0, len(zone)]
    page.browser.hover(canvas, *place_of(page, at, 1)).click().perform()
    canvas.send_keys(ARROW_DOWN)
    below = 1 + page.js(SHAPE, at)["columns"]
    assert page.text("#inspector h3").endswith(f"pageblock {below:,}")
    assert facts_shown(page) == facts_of(page, zone, below)
    assert page.text("#spoken").startswith(page.text("#inspector h3"))


def test_wheel_zooms_with_control_and_scrolls_without(page: Shown) -> None:
    at = len(page.inputs.map.zones) - 1
    zone = page.inputs.map.zones[at]
    assert page.js(WHEEL, at, 100, False)
    assert page.js(SHOWN, at) == [0, len(zone)]
    assert not page.js(WHEEL, at, 100, True)
    first, end = page.js(SHOWN, at)
    assert end - first == len(zone) // 2
    assert (100 - first) / (end - first) == pytest.approx(100 / len(zone), abs=0.01)
    page.js(PRESS, at, "whole")
    assert page.js(SHOWN, at) == [0, len(zone)]
    page.js(PRESS, at, "in")
    first, end = page.js(SHOWN, at)
    assert end - first == len(zone) // 4


def test_an_owner_can_be_picked_out(page: Shown) -> None:
    zones = page.inputs.map.zones
    at = max(range(len(zones)), key=lambda zone: len(zones[zone]))
    owner = int(zones[at].user.max())
    before = page.js(CELLS, at)
    pick = page.js("return document.getElementById('pick')")
    page.js(CHANGED, pick, str(owner), "change")
    mine = (zones[at].user == owner) | (zones[at].owner == owner)
    faint = [each.endswith("faint") for each in page.js(CELLS, at)]
    assert faint == (~mine).tolist()
    assert 0 < mine.sum() < len(mine)
    page.js(CHANGED, pick, "-1", "change")
    assert page.js(CELLS, at) == before
