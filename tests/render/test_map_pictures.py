"""A map drawn: letters, half blocks, PNG by the pixel, SVG by the rectangle."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from rich.console import Console

from lab.fixtures import FOLDER
from tests.bridge.test_blockers import host, pin
from vmprobe.analyses.map import map_of
from vmprobe.analyses.map_answer import CONTENTS, Map
from vmprobe.analyses.map_layout import ONE
from vmprobe.errors import UsageError
from vmprobe.render import picture_svg, strip_text
from vmprobe.render.paint import DIMMED, FIRST_CHANGE, NR_CODES, NR_LEVELS, colour, letter, strip_codes
from vmprobe.render.palette import DARK, LIGHT, channels
from vmprobe.render.panels import per_cell_for
from vmprobe.render.picture import picture
from vmprobe.render.picture_png import MOST_CELLS, png_picture
from vmprobe.render.picture_svg import svg_picture
from vmprobe.render.strip_text import print_map
from vmprobe.store import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SVG = "{http://www.w3.org/2000/svg}"


@cache
def fixture(name: str, forecast: str | None = None) -> Map:
    return map_of(load(FOLDER / f"{name}.vmsnap"), forecast=forecast)


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> Map:
    """Eight pageblocks, of which the fifth would be movable but for one pin."""
    pin(monkeypatch, 2100)
    return map_of(host())


def written(answer: Map, cells: int | None = None, **options: bool | int | str) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, highlight=False, width=int(options.pop("width", 80)), **options)  # type: ignore[arg-type]
    print_map(answer, console, cells)
    return stream.getvalue().splitlines()


def test_letters_are_those_of_the_pageblocks(eight: Map) -> None:
    lines = written(eight)
    # Slab, hugetlb twice, page tables among anonymous pages, the pin, mlocked, half full, reserved.
    assert "   0  0.00  x##X1xMx" in lines
    assert " 1    one page keeps it from being free  1" in lines
    assert lines[-1] == "A cell is one pageblock of 2.0 MiB. Small letters: less than half full."


def test_a_cell_of_several_pageblocks_shows_the_worst(eight: Map) -> None:
    codes = strip_codes(eight.zones[0], 512, 4)
    assert [CONTENTS[code // NR_LEVELS] for code in codes] == ["unmovable", "one_unmovable_page_only"]
    assert per_cell_for(eight, 2, 1) == 4
    assert per_cell_for(eight, 8, 1) == 1
    # As it cannot be less than a row for each zone, no cell grows without end.
    assert per_cell_for(fixture("6.12-two-nodes"), 16, 1) == 64


def test_pages_without_memory_are_not_in_use(eight: Map) -> None:
    """A quarter of the memory there is, in use: of one pageblock, and of it with one that is absent."""
    absent = np.array([112, 512], np.uint16)
    free, content = np.array([300, 0], np.uint16), np.array([3, CONTENTS.index("absent")], np.uint8)
    strip = replace(eight.zones[0], content=content, free=free, absent=absent)
    assert strip_codes(strip, 512, 1).tolist() == [3 * NR_LEVELS + 1, CONTENTS.index("absent") * NR_LEVELS]
    assert strip_codes(strip, 512, 2).tolist() == [3 * NR_LEVELS + 1]


def test_lines_are_no_longer_than_the_terminal() -> None:
    for width in (40, 80, 81, 120, 200):
        lines = written(fixture("6.12-two-nodes", "linux"), width=width)
        strips = [line for line in lines if line.lstrip()[:1].isdigit()]
        assert all(len(line) <= width for line in strips), width


def test_so_many_cells_as_were_asked_for_are_in_a_line(eight: Map) -> None:
    lines = [line.split() for line in written(eight, cells=3)]
    assert [words[-1] for words in lines if words[:1] in (["0"], ["1536"], ["3072"])] == ["x##", "X1x", "Mx"]


def test_a_terminal_gets_half_blocks_and_signs_that_need_no_colour(eight: Map) -> None:
    ansi = "\n".join(written(eight, cells=4, force_terminal=True, color_system="truecolor"))
    # The second row begins with the pinned pageblock, below the one of slab.
    assert "▼" in ansi
    assert "▀" in ansi
    assert f"38;2;{';'.join(map(str, channels(DARK.contents['one_unmovable_page_only'])))}" in ansi
    assert "two rows of" in ansi
    assert "\x1b[2;38" not in ansi, "nothing dims the colours"
    rows = "\n".join(written(eight, cells=8, force_terminal=True, color_system="256"))
    assert "▲" in rows


@pytest.mark.parametrize(
    "options",
    [
        {"force_terminal": True, "color_system": "truecolor", "no_color": True},
        {"force_terminal": True, "color_system": "standard"},
        {"force_terminal": False},
    ],
)
def test_without_enough_colours_there_are_letters(eight: Map, options: dict[str, bool | str]) -> None:
    text = "\n".join(written(eight, **options))
    assert "x##X1xMx" in text
    assert text.isascii() or "\x1b" in text
    assert "▀" not in text


def test_bright_ground_has_a_dark_sign() -> None:
    white = CONTENTS.index("unmovable") * NR_LEVELS
    blue = CONTENTS.index("movable_only") * NR_LEVELS + NR_LEVELS - 1
    one = ONE * NR_LEVELS
    char, style = strip_text._pair(one, white, up=True, low=False)
    assert (char, style.color.name if style.color else None) == ("▲", DARK.background.lower())
    char, style = strip_text._pair(blue, one, up=False, low=True)
    assert style.color is not None
    assert (char, style.color.name) == ("▼", DARK.contents["one_unmovable_page_only"].lower())
    assert strip_text._pair(one, one, up=True, low=True)[0] == "◆"


def test_every_code_has_a_letter_of_its_own() -> None:
    letters = [letter(code) for code in range(NR_CODES)]
    assert all(len(each) == 1 and each.isascii() and not each.isspace() for each in letters)
    contents = [set(letters[at : at + NR_LEVELS]) for at in range(0, FIRST_CHANGE, NR_LEVELS)]
    assert sum(len(each) for each in contents) == len(set().union(*contents))
    assert len(set(letters[FIRST_CHANGE:DIMMED])) == DIMMED - FIRST_CHANGE


def test_only_pageblocks_of_the_owner_are_shown() -> None:
    answer = map_of(host(), owner="70")
    lines = written(answer)
    assert "   0  0.00  -#--mx--" in lines
    assert " -    without a page of process 70 (worker)  5" in lines
    assert " #    unmovable                              1" in lines


def pixels(png: bytes) -> NDArray[np.uint8]:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    return np.asarray(image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("cells", [None, 100])
@pytest.mark.parametrize("name", ["6.12-compacting", "6.12-two-nodes"])
def test_every_pageblock_has_its_colour_in_the_middle_of_its_cell(name: str, cells: int | None) -> None:
    answer = fixture(name, "linux")
    made, drawn = picture(answer, cells, MOST_CELLS), pixels(png_picture(answer, cells))
    assert drawn.shape == (made.height, made.width, 3)
    assert made.per_cell == 1
    assert len(made.places) == 3 * len(answer.zones)
    half = made.cell_pixels // 2
    for place in made.places:
        row, column = np.divmod(np.arange(place.panel.nr_blocks), made.cells)
        found = drawn[place.y + row * made.cell_pixels + half, place.x + column * made.cell_pixels + half]
        expected = [channels(colour(LIGHT, int(code))) for code in place.panel.codes]
        assert np.array_equal(found, np.array(expected))


def test_a_pageblock_that_stands_out_has_an_outline_and_is_counted(eight: Map) -> None:
    made, drawn = picture(eight, 4, MOST_CELLS), pixels(png_picture(eight, 4))
    (place,) = made.places
    side = made.cell_pixels
    left, top = place.x, place.y + side  # the fifth of eight
    outline, inside = channels(LIGHT.outline), channels(LIGHT.contents["one_unmovable_page_only"])
    cell = drawn[top : top + side, left : left + side]
    assert (cell[0] == outline).all()
    assert (cell[:, -1] == outline).all()
    assert (cell[1:-1, 1:-1] == inside).all()
    assert len(made.signs) == 1
    sign = made.signs[0]
    assert sign.x > place.x + 4 * side
    assert top <= sign.y <= top + side
    assert tuple(drawn[sign.y, sign.x + 4]) == outline
    assert any(words.text == "1" and words.y == sign.y and words.x > sign.x for words in made.words)


def test_words_are_inside_the_picture() -> None:
    for answer in (fixture("6.12-compacting"), fixture("6.12-two-nodes", "linux")):
        made = picture(answer, None, MOST_CELLS)
        assert all(0 < words.y < made.height and 0 < words.x < made.width for words in made.words)
        texts = [words.text for words in made.words]
        assert any(f"Linux {answer.release}" in text for text in texts)
        assert any("Node 0 zone DMA32" in text for text in texts)
        assert str(answer.zones[-1].first_pfn) in texts
        for row in made.swatches:
            assert row.y < made.height


def test_a_large_host_has_cells_that_stand_for_several_pageblocks() -> None:
    answer = fixture("6.12-two-nodes")
    made = picture(answer, 64, 512)
    assert made.per_cell == 8
    assert sum(len(place.panel.codes) for place in made.places) <= 512
    assert any("8 pageblocks" in words.text for words in made.words)


def test_without_pillow_the_extra_is_named(eight: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match="Pillow") as missing:
        png_picture(eight)
    assert missing.value.hint is not None
    assert "pip install 'vmprobe[html]'" in missing.value.hint


def strips_of(root: ET.Element) -> Iterator[ET.Element]:
    """The groups of which each is a strip: those of swatches hold no titles."""
    return (group for group in root.iter(f"{SVG}g") if group.find(f".//{SVG}title") is not None)


@pytest.mark.parametrize("name", ["6.12-compacting", "6.12-two-nodes"])
def test_svg_has_every_pageblock_once_in_runs(name: str) -> None:
    answer = fixture(name, "linux")
    data = svg_picture(answer)
    root = ET.fromstring(data)
    made = picture(answer, None, picture_svg.MOST_CELLS)
    for group, place in zip(strips_of(root), made.places, strict=True):
        codes = np.full(len(place.panel.codes), 255)
        for rect in group.findall(f"{SVG}rect"):
            kind = rect.get("class", "")
            if kind == "l":
                continue
            x, y, width = (int(rect.get(key, "")) for key in ("x", "y", "width"))
            assert x + width <= made.cells
            at = y * made.cells + x
            assert (codes[at : at + width] == 255).all(), "drawn twice"
            codes[at : at + width] = int(kind.removeprefix("c"))
        assert np.array_equal(codes, place.panel.codes)
    style = root.find(f"{SVG}style")
    assert style is not None
    assert f".c{ONE * NR_LEVELS}{{fill:{LIGHT.contents['one_unmovable_page_only']}}}" in str(style.text)
    # Some bytes a run, not a pageblock.
    assert len(data) < 40 * sum(place.panel.nr_blocks for place in made.places)


def test_svg_says_what_is_under_the_pointer(eight: Map) -> None:
    root = ET.fromstring(svg_picture(eight, 4))
    (group,) = strips_of(root)
    titles = [str(each.text) for each in group.iter(f"{SVG}title")]
    assert titles[1] == "pfn 512 to 1535: unmovable, 2 pageblocks"
    one = next(each for each in titles if each.startswith("pfn 2048 "))
    assert one == (
        "pfn 2048 to 2559: one page keeps it from being free; pages free: 2, that stay: 1;"
        " held by pinned: worker (pid 70); used by anonymous"
    )
    loud = [rect for rect in group.findall(f"{SVG}rect") if rect.get("class") == "l"]
    assert len(loud) == 1


def test_names_cannot_break_out_of_svg() -> None:
    answer = map_of(host(), owner="90")
    root = ET.fromstring(svg_picture(answer))
    texts = " ".join(str(each.text) for each in root.iter() if each.text)
    assert "process 90 (a [red]name[/]\\x1b[31m)" in texts
