"""One Chromium for all tests, and the pages that it opens."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from lab.errors import UnavailableError
from lab.tools import apt
from tests.browser.pages import FIXTURES, inputs_of
from vmprobe.render.html import html_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.browser.chromium import Browser
    from vmprobe.analyses.page_inputs import PageInputs

AFRESH = """
for (const strip of page.strips) strip.zoom(Infinity, 0);
document.querySelector("input[name=mode][value=now]").click();
const find = document.getElementById("find");
find.value = "";
find.dispatchEvent(new Event("input"));
"""
PROGRAMS = ("chromium", "chromedriver")


@dataclass(frozen=True)
class Shown:
    """A page that is open, and what it was made of."""

    browser: Browser
    inputs: PageInputs
    path: Path

    def js(self, code: str, *arguments: Any) -> Any:
        return self.browser.js(code, *arguments)

    def text(self, selector: str) -> str:
        return self.js("return document.querySelector(arguments[0]).textContent", selector)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    pytest.importorskip("selenium", reason="selenium is not installed: make install")
    pytest.importorskip("plotly", reason="plotly is not installed: make install")
    if not all(map(shutil.which, PROGRAMS)):
        packages = ["chromium", "chromium-driver"]
        try:
            apt(["install", "-y", "--no-install-recommends", *packages], why="no Chromium to open pages in")
        except UnavailableError as error:
            pytest.skip(str(error))
    from tests.browser.chromium import Browser

    started = Browser(tmp_path_factory.mktemp("chromium"))
    yield started
    started.quit()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session", params=FIXTURES)
def page(request: pytest.FixtureRequest, browser: Browser, folder: Path) -> Shown:
    inputs = inputs_of(request.param)
    path = folder / f"{request.param}.html"
    if not path.exists():
        path.write_bytes(html_page(inputs))
    browser.open(path)
    return Shown(browser, inputs, path)


@pytest.fixture(autouse=True)
def _as_it_was(request: pytest.FixtureRequest) -> None:
    """Each test of a page begins with a light screen, nothing zoomed, nothing filtered."""
    if "page" not in request.fixturenames:
        return
    page: Shown = request.getfixturevalue("page")
    page.browser.look()
    page.browser.size(1400, 1000)
    page.js(AFRESH)
