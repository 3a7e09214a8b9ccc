"""The page keeps to itself: no complaint, no request, no foreign script; and it says what a browser lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.ask import ROWS
from tests.browser.pages import FIXTURES, HOSTILE, inputs_of, large, without_frames
from vmprobe.render.html import html_page
from vmprobe.units import plain

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.chromium import Browser
    from tests.browser.conftest import Shown

pytestmark = [pytest.mark.live, pytest.mark.slow]

ENTER = """
const [strip] = page.strips;
strip.enter(Math.floor((arguments[0] - strip.from) / strip.shape.perCell));
return strip.shape.perCell;
"""
TEXTS = "return Array.from(document.querySelectorAll(arguments[0]), (each) => each.textContent)"
PLANT = """
const [name, key, value] = arguments;
const made = Object.assign(document.createElement(name), { [key]: value });
document.body.append(made);
return made;
"""


def test_says_nothing_to_the_console_and_asks_for_nothing(page: Shown) -> None:
    page.browser.open(page.path)
    asked = page.browser.requests()
    assert page.path.as_uri() in asked
    others = [url for url in asked if url != page.path.as_uri() and not url.startswith(("data:", "blob:"))]
    assert others == []
    assert page.browser.complaints() == []


def test_verdict_comes_first(page: Shown) -> None:
    assert page.text("h1") == page.inputs.report.verdict.sentence
    assert page.text(".level") == page.inputs.report.verdict.level


def test_names_are_text_whatever_they_say(page: Shown) -> None:
    assert page.js("return window.bitten === undefined && document.images.length === 0")
    shown = plain(HOSTILE)
    assert shown in [row[1] for row in page.js(ROWS, "owners")]
    options = page.js(TEXTS, "#pick option")
    assert f"process {shown} (pid 4242)" in options
    assert page.js("return page.ownerText(0)") == f"process {shown} (pid 4242)"


def test_nothing_but_the_page_itself_may_run_or_be_fetched(page: Shown) -> None:
    page.browser.complaints()
    planted = [
        page.js(PLANT, "script", "textContent", "window.bitten = 1"),
        page.js(PLANT, "img", "src", "https://example.org/x.png"),
    ]
    assert page.js("return window.bitten") is None
    assert len([said for said in page.browser.complaints() if "Content Security Policy" in said]) == 2
    for each in planted:
        page.js("arguments[0].remove()", each)


def test_without_what_unpacks_the_tables_remain(browser: Browser, folder: Path) -> None:
    path = folder / "plain.html"
    path.write_bytes(html_page(inputs_of(FIXTURES[0])))
    with browser.apart(), browser.before_scripts("delete window.DecompressionStream"):
        browser.open(path)
        said = browser.js(TEXTS, ".waits")
        assert said
        assert all("cannot unpack" in each for each in said)
        assert browser.js("return document.querySelectorAll('#owners tbody tr').length") > 1
        assert browser.complaints() == []


def test_without_frames_the_rest_is_there(browser: Browser, folder: Path) -> None:
    path = folder / "cheap.html"
    path.write_bytes(html_page(without_frames(inputs_of(FIXTURES[0]))))
    with browser.apart():
        browser.open(path)
        assert browser.complaints() == []
        assert "needs page frames" in browser.js("return document.getElementById('map').textContent")
        assert browser.js("return document.querySelectorAll('#mass .bars path').length") > 0
        assert browser.js("return document.querySelectorAll('#orders tbody tr').length") > 0


def test_a_host_of_1_tib_is_shown_by_the_worst_and_zooms_to_one_pageblock(
    browser: Browser, folder: Path
) -> None:
    inputs, lonely = large(inputs_of(FIXTURES[0]))
    path = folder / "large.html"
    path.write_bytes(html_page(inputs))
    with browser.apart():
        browser.open(path)
        assert browser.complaints() == []
        cell = lonely // browser.js("return page.strips[0].shape.perCell")
        worst = "const [strip] = page.strips; return strip.zone.worst(...strip.blocksOf(arguments[0]))"
        found = [inputs.map.contents[browser.js(worst, at)] for at in (cell - 1, cell, cell + 1)]
        assert found == ["mixed", "one_unmovable_page_only", "mixed"]
        clicks = 1
        while browser.js(ENTER, lonely) > 1:
            clicks += 1
        assert 1 <= clicks <= 4
        browser.js(ENTER, lonely)
        shown = browser.js("return document.querySelector('#inspector h3').textContent")
        assert shown.endswith(f"pageblock {lonely:,}")
        assert "left out" in browser.js("return document.getElementById('map').textContent")
