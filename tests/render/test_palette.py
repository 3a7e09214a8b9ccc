"""Colours that nobody confuses: distances as dichromats see them, and contrast with the background."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from vmprobe.analyses.map_answer import CHANGES, CONTENTS, PAGE_KIND_VERDICTS, PAGE_KINDS
from vmprobe.render.paint import NR_CODES, colour
from vmprobe.render.palette import FADES, PALETTES, SHADED, Palette, channels

Matrix = tuple[tuple[float, float, float], ...]

# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency"
# (2009), severity 1.0; they work on linear RGB.
EYES: dict[str, Matrix] = {
    "trichromat": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
XYZ_D65: Matrix = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
WHITE = (0.95047, 1.0, 1.08883)


def times(matrix: Matrix, vector: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sum(m * v for m, v in zip(row, vector, strict=True)) for row in matrix)


def linear(colour_: str) -> tuple[float, ...]:
    shares = (each / 255 for each in channels(colour_))
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)


def lab(colour_: str, eye: str) -> tuple[float, float, float]:
    """CIE L*a*b* of a colour as an eye sees it."""
    seen = tuple(min(1.0, max(0.0, c)) for c in times(EYES[eye], linear(colour_)))
    cut = 216 / 24389
    x, y, z = (
        each ** (1 / 3) if each > cut else (24389 / 27 * each + 16) / 116
        for each in (c / w for c, w in zip(times(XYZ_D65, seen), WHITE, strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def distance(one: str, other: str) -> float:
    """The least distance that any of the eyes sees."""
    return min(math.dist(lab(one, eye), lab(other, eye)) for eye in EYES)


def contrast(one: str, other: str) -> float:
    """WCAG 2: contrast ratio."""
    low, high = sorted(times(XYZ_D65, linear(each))[1] for each in (one, other))
    return (high + 0.05) / (low + 0.05)


def test_the_distance_is_that_of_the_formulas() -> None:
    """CIE 1976: from black to white 100; red and green are far apart for one eye alone."""
    assert distance("#000000", "#FFFFFF") == pytest.approx(100, abs=0.1)
    assert math.dist(lab("#B04040", "trichromat"), lab("#607020", "trichromat")) > 50
    assert distance("#B04040", "#607020") < 20
    for matrix in EYES.values():
        assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in matrix), "grey stays grey"


@pytest.fixture(params=PALETTES)
def palette(request: pytest.FixtureRequest) -> Palette:
    return PALETTES[request.param]


def test_contents_are_told_apart_in_every_shade(palette: Palette) -> None:
    shades = [
        (name, palette.shade(name, level))
        for name in CONTENTS
        if name != "absent"
        for level in (range(len(FADES)) if name in SHADED else (0,))
    ]
    shades.append(("background", palette.background))
    close = {
        (one, other): distance(*colours)
        for (one, first), (other, second) in itertools.combinations(shades, 2)
        if one != other
        for colours in [(first, second)]
        if distance(*colours) < 14
    }
    assert not close


def test_shades_of_one_content_grow_with_what_it_holds(palette: Palette) -> None:
    for name in SHADED:
        ratios = [contrast(palette.shade(name, level), palette.background) for level in range(len(FADES))]
        assert ratios == sorted(ratios)
        assert len(set(ratios)) == len(FADES)


def test_contents_stand_out_from_the_background(palette: Palette) -> None:
    for name in CONTENTS:
        # Of what is absent or not known no more is to be seen than that.
        least = {"absent": 1.05, "unknown": 2}.get(name, 3)
        assert contrast(palette.contents[name], palette.background) >= least, name
    assert contrast(palette.ink, palette.background) >= 7
    assert contrast(palette.outline, palette.contents["one_unmovable_page_only"]) >= 1.3


def test_kinds_of_frames_are_told_apart(palette: Palette) -> None:
    verdicts = dict(zip(PAGE_KINDS, PAGE_KIND_VERDICTS, strict=True))
    for one, other in itertools.combinations(PAGE_KINDS, 2):
        if "hole" in {one, other}:
            continue
        least = 10 if verdicts[one] == verdicts[other] else 14
        assert distance(palette.kinds[one], palette.kinds[other]) >= least, (one, other)


def test_changes_are_told_apart(palette: Palette) -> None:
    for one, other in itertools.combinations(CHANGES, 2):
        assert distance(palette.changes[one], palette.changes[other]) >= 10, (one, other)


def test_every_name_has_a_colour(palette: Palette) -> None:
    assert tuple(palette.contents) == CONTENTS
    assert tuple(palette.kinds) == PAGE_KINDS
    assert tuple(palette.changes) == CHANGES
    every: list[Any] = [colour(palette, code) for code in range(NR_CODES)]
    assert all(len(channels(each)) == 3 for each in every)
