"""The page on screens of both colours, on a phone and on paper; and without what it needs for charts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from tests.browser.ask import (
    CELLS,
    TRACES,
    canvas_of,
    colours,
    facts_of,
    facts_shown,
    one_of_each,
    place_of,
    settle,
)
from vmprobe.render.paint import strip_codes
from vmprobe.render.palette import DARK, LIGHT

if TYPE_CHECKING:
    from tests.browser.conftest import Shown
    from vmprobe.render.palette import Palette

pytestmark = [pytest.mark.live, pytest.mark.slow]

PANEL = "return getComputedStyle(document.querySelector('section')).backgroundColor"
TICK = "return document.querySelector('#mass .xtick text').style.fill"
PAIR = """
const each = document.querySelector(arguments[0]);
const below = each.closest("section") ?? document.body;
return [getComputedStyle(each).color, getComputedStyle(below).backgroundColor];
"""
BEYOND = """
const boxed = ".scrolls, .unseen, .skip, svg *";
const all = Array.from(document.querySelectorAll("body *")).filter((each) => !each.closest(boxed));
const right = (each) => each.getBoundingClientRect();
return all.filter((each) => right(each).right > arguments[0] + 1 && right(each).width)
  .map((each) => each.outerHTML.slice(0, 100));
"""
DISPLAYED = "return document.querySelector(arguments[0]).checkVisibility()"


def last_strip(page: Shown, palette: Palette) -> tuple[list[str], list[str]]:
    """The colours of the last zone as they are, and as they should be."""
    answer = page.inputs.map
    codes = strip_codes(answer.zones[-1], 1 << answer.pageblock_order, 1)
    return page.js(CELLS, len(answer.zones) - 1), colours(palette, codes)


def contrast(page: Shown, selector: str) -> float:
    """How far text stands out from what is below it (WCAG 2.2, contrast ratio)."""
    pair = page.js(PAIR, selector)
    one, other = (luminance([int(part) for part in color[4:-1].split(",")]) for color in pair)
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def luminance(rgb: list[int]) -> float:
    shares = [part / 255 for part in rgb]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return math.fsum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_dark_is_dark_everywhere_and_comes_while_the_page_is_open(page: Shown) -> None:
    assert page.js(PANEL) == "rgb(255, 255, 255)"
    light = page.js(TRACES, "trend-free_blocks")[0]["color"]
    page.browser.look("dark")
    settle(page)
    assert page.js(PANEL) == "rgb(18, 22, 27)"
    shown, expected = last_strip(page, DARK)
    assert shown == expected
    assert page.js(TRACES, "trend-free_blocks")[0]["color"] != light
    assert page.js(TICK) == "rgb(230, 230, 230)"
    page.browser.look("light")
    settle(page)
    assert page.js(TRACES, "trend-free_blocks")[0]["color"] == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page: Shown, scheme: str) -> None:
    page.browser.look(scheme)
    for selector in ("h1", ".level", ".what", "nav a", "td", "caption", "thead th", "dt", "section > p"):
        assert contrast(page, selector) >= 4.5, selector


def test_phone_needs_no_scrolling_sideways(page: Shown) -> None:
    page.browser.size(390, 844, mobile=True)
    settle(page)
    assert page.js("return document.documentElement.scrollWidth") <= 390
    assert page.js(BEYOND, 390) == []
    box = page.js("return document.getElementById('owners').parentNode")
    assert page.js("return arguments[0].scrollWidth > arguments[0].clientWidth", box)
    at = len(page.inputs.map.zones) - 1
    zone = page.inputs.map.zones[at]
    page.browser.hover(canvas_of(page, at), *place_of(page, at, one_of_each(zone)[0]))
    assert facts_shown(page) == facts_of(page, zone, one_of_each(zone)[0])


def test_paper_is_light_and_has_everything(page: Shown) -> None:
    page.browser.look("dark", media="print")
    settle(page)
    hidden = ("nav", ".zoom", "#find", "input[name=mode]", ".keys", "summary")
    assert [each for each in hidden if page.js(DISPLAYED, each)] == []
    wanted = ("h1", "#map canvas", "#owners", "#mass svg", "#cost details table", "#trend details table")
    assert [each for each in wanted if not page.js(DISPLAYED, each)] == []
    assert page.js(PANEL) == "rgb(255, 255, 255)"
    shown, expected = last_strip(page, LIGHT)
    assert shown == expected
    assert page.browser.pdf().startswith(b"%PDF")
    page.browser.look("light")
    settle(page)
    assert not page.js("return document.querySelector('#cost details').open")


def test_motion_is_spared_who_wants_it_so(page: Shown) -> None:
    scrolling = "return getComputedStyle(document.documentElement).scrollBehavior"
    assert page.js(scrolling) == "smooth"
    page.browser.look(motion="reduce")
    assert page.js(scrolling) == "auto"
