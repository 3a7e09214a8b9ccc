"""The page without a browser: what it carries, what it leaves out, and that no name of a host gets loose."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.browser.pages import without_frames
from tests.compactable import host
from vmprobe.analyses.map_answer import CHANGES, CONTENTS, PAGE_KINDS, MapOwner, ZonePages, ZoneStrip
from vmprobe.analyses.page_inputs import page_inputs
from vmprobe.analyses.record import NO_HISTORY
from vmprobe.analyses.report import report
from vmprobe.bridge.blockers import OwnerRow
from vmprobe.errors import UsageError
from vmprobe.render.html import html_page
from vmprobe.render.html_data import LEFT_OUT, MIXED, Packed, PageKinds
from vmprobe.render.paint import strip_codes

if TYPE_CHECKING:
    from vmprobe.analyses.page_inputs import PageInputs

BITING = '</script></title><img src=x onerror="bite()"><!--\x1b\u2028\ud800'
TYPES = {"i4": "<i4", "u4": "<u4", "u2": "<u2", "u1": "u1"}


@pytest.fixture(scope="module")
def inputs() -> PageInputs:
    snapshot = host()
    return page_inputs(snapshot, report(snapshot, top=None), (), NO_HISTORY)


class Page(HTMLParser):
    """The elements of a page, and what is in those with an id."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(dict(attrs).get("id") or "")

    def handle_endtag(self, tag: str) -> None:
        if self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for name in (name for name in self._open[-1:] if name):
            self.texts[name] = self.texts.get(name, "") + data

    def arrays(self, block: str, where: dict[str, Any]) -> np.ndarray:
        data = gzip.decompress(base64.b64decode(self.texts[block]))
        return np.frombuffer(data, TYPES[where["type"]], where["length"], where["at"])


def test_the_arrays_are_those_of_the_map(inputs: PageInputs) -> None:
    page = Page(html_page(inputs))
    facts = json.loads(page.texts["facts"])
    for zone, then, told in zip(
        inputs.map.zones, inputs.map.forecast.zones, facts["map"]["zones"], strict=True
    ):
        for name, where in told["arrays"].items():
            assert np.array_equal(page.arrays("blocks", where), getattr(zone, name)), name
        for name in ("content", "free", "stays", "unknown", "absent"):
            assert np.array_equal(page.arrays("blocks", told["after"][name]), getattr(then, name)), name
    for zone, told in zip(inputs.pages, facts["pages"]["zones"], strict=True):
        assert np.array_equal(kinds_told(page, told), zone.kinds)


def kinds_told(page: Page, told: dict[str, Any]) -> np.ndarray:
    """Put the single pages together again, as the script does, slowly."""
    uniform, mixed = page.arrays("pages", told["uniform"]), page.arrays("pages", told["mixed"])
    found, at = [], 0
    for kind in uniform.tolist():
        found.append(mixed[at : at + 512] if kind == MIXED else np.full(512, kind, np.uint8))
        at += 512 * (kind == MIXED)
    return np.concatenate(found)


def test_the_policy_lets_only_the_pages_own_script_run(inputs: PageInputs) -> None:
    page = html_page(inputs)
    parsed = Page(page)
    (policy,) = [each["content"] for tag, each in parsed.tags if tag == "meta" and "http-equiv" in each]
    (script,) = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    assert f"script-src 'sha256-{digest}' blob:;" in policy
    assert policy.startswith("default-src 'none';")
    assert [each for tag, each in parsed.tags if each.get("src") or "onclick" in each] == []
    links = [each["href"] for _, each in parsed.tags if "href" in each]
    assert [link for link in links if not link.startswith("#")] == ["data:,"]


def test_names_of_hosts_stay_text(inputs: PageInputs) -> None:
    clean = Page(html_page(inputs))
    row = OwnerRow("process", BITING, 1, 1, 1, 1, 1, 1)
    frag = replace(inputs.report.frag, owners=(row, *inputs.report.frag.owners))
    listed = (*inputs.map.owners, MapOwner("cgroup", BITING, None))
    bitten = Page(html_page(replace(
        inputs, report=replace(inputs.report, frag=frag), map=replace(inputs.map, owners=listed)
    )))  # fmt: skip
    added = Counter(tag for tag, _ in bitten.tags) - Counter(tag for tag, _ in clean.tags)
    assert added == {"tr": 1, "td": 8, "option": 1}
    assert json.loads(bitten.texts["facts"])["map"]["owners"][-1].startswith("cgroup </script></title><img")


def test_what_does_not_fit_is_left_out_the_most_even_first() -> None:
    kinds = np.zeros((4, 512), np.uint8)
    noise = np.random.default_rng(1)
    kinds[1] = noise.integers(0, len(PAGE_KINDS), 512)  # many changes, and hard to press
    kinds[2, 256:] = 1  # one change
    kinds[3] = 2
    zone = ZonePages(0, "Normal", 0, kinds.ravel())
    everything = PageKinds((zone,), 512, 1 << 20)
    assert everything.left_out_pageblocks == 0
    some = PageKinds((zone,), 512, len(base64.b64decode(everything.text)) // 10)
    none = PageKinds((zone,), 512, 0)
    assert (some.left_out_pageblocks, none.left_out_pageblocks) == (2, 2)
    many = np.tile(kinds, (200, 1))
    many[::4, ::2] = noise.integers(0, len(PAGE_KINDS), (200, 256))
    budget = 20_000
    part = PageKinds((ZonePages(0, "Normal", 0, many.ravel()),), 512, budget)
    assert 0 < part.left_out_pageblocks < 600
    assert len(base64.b64decode(part.text)) <= budget + 2_000
    where = part.facts()["zones"][0]["uniform"]
    uniform = np.frombuffer(
        gzip.decompress(base64.b64decode(part.text)), np.uint8, where["length"], where["at"]
    )
    assert set(uniform[2::4].tolist()) == {LEFT_OUT}
    assert set(uniform[3::4].tolist()) == {2}
    assert MIXED in uniform[1::4]


def test_what_is_left_out_is_said(inputs: PageInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert b"are left out, to keep" not in html_page(inputs)
    monkeypatch.setattr("vmprobe.render.html.PAGE_BYTES", 0)
    monkeypatch.setattr("vmprobe.render.html.LEAST_BYTES", 0)
    assert b"Single pages of 7 pageblocks are left out" in html_page(inputs)


def test_noise_all_over_24_gib_fits_into_the_budget(inputs: PageInputs) -> None:
    nr = 24 << 9
    noise = np.random.default_rng(5)

    def strip() -> ZoneStrip:
        content = noise.integers(0, len(CONTENTS), nr).astype(np.uint8)
        free, stays = (noise.integers(0, 256, nr).astype(np.uint16) for _ in range(2))
        who = [noise.integers(-1, len(inputs.map.owners), nr).astype(np.int32) for _ in range(2)]
        none = np.zeros(nr, np.uint16)
        return ZoneStrip(0, "Normal", 0, content, free, stays, none, none, *who, None)

    changes = noise.integers(0, len(CHANGES), nr).astype(np.uint8)
    forecast = replace(inputs.map.forecast, zones=(strip(),), changes=(changes,))
    pages = (ZonePages(0, "Normal", 0, noise.integers(0, 6, nr << 9, dtype=np.uint8)),)
    row = OwnerRow("cgroup", "/system.slice/a-service-of-some-kind.service", None, 9, 1, 1, 1, 1)
    report_ = replace(inputs.report, frag=replace(inputs.report.frag, owners=(row,) * 5000))
    map_ = replace(inputs.map, zones=(strip(),), forecast=forecast)
    page = html_page(replace(inputs, report=report_, map=map_, pages=pages))
    assert len(page) < 3_000_000
    assert len(page) > 2_900_000
    assert b"are left out, to keep" in page


def test_arrays_begin_where_their_type_may() -> None:
    packed = Packed()
    first = packed.add(np.arange(3), "u1")
    second = packed.add(np.arange(5), "i4")
    data = gzip.decompress(base64.b64decode(packed.text()))
    assert (first["at"], second["at"]) == (0, 4)
    assert np.frombuffer(data, "<i4", 5, 4).tolist() == [0, 1, 2, 3, 4]


def test_the_worst_of_several_is_the_same_as_in_other_pictures(inputs: PageInputs) -> None:
    severity = json.loads(Page(html_page(inputs)).texts["facts"])["map"]["severity"]
    strip = inputs.map.zones[0]
    for one in range(len(CONTENTS)):
        for other in range(len(CONTENTS)):
            pair = np.array([one, other], np.uint8)
            nothing = np.zeros(2, np.uint16)
            two = replace(strip, content=pair, free=nothing, absent=nothing)
            code = int(strip_codes(two, 512, 2)[0])
            assert code // 4 == max(one, other, key=lambda each: severity[each])


def test_without_frames_the_page_says_what_is_missing(inputs: PageInputs) -> None:
    page = html_page(without_frames(inputs)).decode()
    assert "A map needs page frames" in page
    assert page.count("Page frames were not scanned") == 2
    assert "A forecast needs page frames" in page
    assert json.loads(Page(page.encode()).texts["facts"])["map"] is None


def test_commands_stand_below_the_sentence_they_belong_to(inputs: PageInputs) -> None:
    advice = ("Compact.", "$ vmprobe compact --verify --yes", "Look <again>.", "$ a", "$ b")
    page = html_page(replace(inputs, report=replace(inputs.report, advice=advice))).decode()
    assert '"advice"><li>Compact.<br><code>vmprobe compact --verify --yes</code></li><li>Look' in page
    assert "<li>Look &lt;again&gt;.<br><code>a</code><br><code>b</code></li>" in page
    page = html_page(replace(inputs, report=replace(inputs.report, advice=("$ a",)))).decode()
    assert '<ol class="advice"><li><code>a</code></li></ol>' in page


def test_without_plotly_the_remedy_is_named(inputs: PageInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(UsageError, match="plotly") as caught:
        html_page(inputs)
    assert "vmprobe[html]" in caught.value.hint


def test_the_same_inputs_make_the_same_page(inputs: PageInputs) -> None:
    assert html_page(inputs) == html_page(inputs)
