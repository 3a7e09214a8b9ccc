"""A map as PNG, drawn with Pillow."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np

from vmprobe.errors import UsageError
from vmprobe.render.paint import NR_CODES, colour, is_loud
from vmprobe.render.palette import LIGHT, channels
from vmprobe.render.picture import SWATCH, picture

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from vmprobe.analyses.map_answer import Map
    from vmprobe.render.picture import Picture, Place

MOST_CELLS: Final = 1 << 20
"""Pageblocks of 2 TiB, one a cell."""
FONT_PIXELS: Final = 12
LEAST_FOR_OUTLINE: Final = 4
"""Pixels of a cell: in a smaller one an outline would leave nothing of its colour."""

_COLOURS: Final = np.array([channels(colour(LIGHT, code)) for code in range(NR_CODES)], np.uint8)


def png_picture(answer: Map, cells: int | None = None) -> bytes:
    """Return a map as the bytes of a PNG file.

    Parameters
    ----------
    answer
        The map.
    cells
        Cells in a row; None for what suits the host.

    Raises
    ------
    UsageError
        Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415 - an extra
    except ImportError:
        hint = "pip install 'vmprobe[html]', or ask for --svg"
        raise UsageError("--png takes Pillow, which is not installed", hint=hint) from None
    made = picture(answer, cells, MOST_CELLS)
    pixels = np.full((made.height, made.width, 3), channels(LIGHT.background), np.uint8)
    for place in made.places:
        _draw_strip(pixels, made, place)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for swatch in made.swatches:
        low = (swatch.x, swatch.y)
        high = (swatch.x + SWATCH - 1, swatch.y + SWATCH - 1)
        code = np.array([swatch.code], np.uint8)
        outline = channels(LIGHT.outline) if is_loud(code)[0] else None
        draw.rectangle((low, high), tuple(_COLOURS[swatch.code].tolist()), outline)
    _draw_words(draw, made, ImageFont.load_default(FONT_PIXELS))
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _draw_strip(pixels: NDArray[np.uint8], made: Picture, place: Place) -> None:
    """Paint the cells of one strip, row by row."""
    side, codes = made.cell_pixels, place.panel.codes
    padded = np.full((place.panel.rows(made.cells), made.cells, 3), channels(LIGHT.background), np.uint8)
    padded.reshape(-1, 3)[: len(codes)] = _COLOURS[codes]
    strip = padded.repeat(side, axis=0).repeat(side, axis=1)
    if side >= LEAST_FOR_OUTLINE:
        for row, column in zip(*np.divmod(np.flatnonzero(is_loud(codes)), made.cells), strict=True):
            cell = strip[row * side : (row + 1) * side, column * side : (column + 1) * side]
            inner = cell[1:-1, 1:-1].copy()
            cell[:] = channels(LIGHT.outline)
            cell[1:-1, 1:-1] = inner
    pixels[place.y : place.y + strip.shape[0], place.x : place.x + strip.shape[1]] = strip


def _draw_words(draw: ImageDraw, made: Picture, font: FreeTypeFont | ImageFont) -> None:
    ink = channels(LIGHT.ink)
    for words in made.words:
        anchor = "rm" if words.right else "lm"
        width = 0.4 if words.bold else 0
        draw.text((words.x, words.y), words.text, ink, font, anchor, stroke_width=width)
    for sign in made.signs:
        tip = (sign.x, sign.y)
        draw.polygon((tip, (sign.x + 7, sign.y - 5), (sign.x + 7, sign.y + 5)), channels(LIGHT.outline))
