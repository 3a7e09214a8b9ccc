"""Colours of pageblocks and of page frames, on light and on dark, that no colour blindness merges.

Based on the palette of Okabe and Ito (Color Universal Design, 2008); some are darker or lighter than there,
so that every content of a pageblock keeps its distance in each shade, as people with protanopia, deuteranopia
and tritanopia see it, and stands out from the background. A test demands the distances and contrasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

FADES: Final = (0.45, 0.3, 0.15, 0.0)
"""How far each shade lies on the way to the background: of pageblocks that are nearly empty, to full ones."""

SHADED: Final = ("movable_only", "mixed")
"""Contents whose brightness tells how full they are; the others are full, free, or not known."""


@dataclass(frozen=True)
class Palette:
    """Colours as ``#RRGGBB``.

    Parameters
    ----------
    background, ink, faint
        Of the picture, of its words, of lines and of what is not spoken of.
    outline
        Around pageblocks that one page keeps from being free.
    contents
        Of each content of a pageblock, when it is full.
    kinds
        Of each kind of page frame.
    changes
        Of what becomes of a pageblock.
    """

    background: str
    ink: str
    faint: str
    outline: str
    contents: Mapping[str, str]
    kinds: Mapping[str, str]
    changes: Mapping[str, str]

    def shade(self, content: str, level: int) -> str:
        """Return the colour of a pageblock that is so full: 0 nearly empty, ``len(FADES) - 1`` full."""
        colour = self.contents[content]
        return mixed(colour, self.background, FADES[level]) if content in SHADED else colour


def mixed(colour: str, other: str, share: float) -> str:
    """Return the colour that lies `share` of the way from one to the other.

    >>> mixed("#000000", "#FFFFFF", 0.5)
    '#808080'
    """
    pairs = zip(channels(colour), channels(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in pairs)


def channels(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255.

    >>> channels("#0072B2")
    (0, 114, 178)
    """
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


_LIGHT_CONTENTS: Final = {
    "free": "#007D5B",
    "movable_only": "#4A9AC7",
    "one_unmovable_page_only": "#B85000",
    "mixed": "#C18600",
    "unmovable": "#000000",
    "unknown": "#B0B0B0",
    "absent": "#F2F2F2",
}
_DARK_CONTENTS: Final = {
    "free": "#009E73",
    "movable_only": "#0072B2",
    "one_unmovable_page_only": "#F0E442",
    "mixed": "#E69F00",
    "unmovable": "#FFFFFF",
    "unknown": "#BBBBBB",
    "absent": "#20262C",
}

LIGHT: Final = Palette(
    background="#FFFFFF",
    ink="#1A1A1A",
    faint="#E2E2E2",
    outline="#000000",
    contents=_LIGHT_CONTENTS,
    kinds={
        "free": _LIGHT_CONTENTS["free"],
        "anonymous": _LIGHT_CONTENTS["movable_only"],
        "shared memory": "#91CEF1",
        "page cache": "#60B8EA",
        "balloon": "#00507D",
        "slab": "#E7A105",
        "page table": "#C58800",
        "hugetlb": "#643B52",
        "reserved": "#242424",
        "driver": "#000000",
        "kernel": "#DF833B",
        "unevictable": "#A16F00",
        "pinned": "#E2D63E",
        "poisoned": "#EEBE53",
        "unknown": _LIGHT_CONTENTS["unknown"],
        "hole": _LIGHT_CONTENTS["absent"],
    },
    changes={
        "same": "#E2E2E2",
        "becomes_free": "#007D5B",
        "is_filled": "#B85000",
        "more_free": "#8CC4B4",
        "less_free": "#E3BE9F",
    },
)
DARK: Final = Palette(
    background="#12161B",
    ink="#E6E6E6",
    faint="#2C333B",
    outline="#FFFFFF",
    contents=_DARK_CONTENTS,
    kinds={
        "free": _DARK_CONTENTS["free"],
        "anonymous": _DARK_CONTENTS["movable_only"],
        "shared memory": "#5EB7EA",
        "page cache": "#9ED4F2",
        "balloon": "#00517E",
        "slab": "#F0E443",
        "page table": "#E49E00",
        "hugetlb": "#BE719C",
        "reserved": "#3A3A3A",
        "driver": "#D66105",
        "kernel": "#964200",
        "unevictable": "#EFC159",
        "pinned": "#FFFFFF",
        "poisoned": "#824D6B",
        "unknown": _DARK_CONTENTS["unknown"],
        "hole": _DARK_CONTENTS["absent"],
    },
    changes={
        "same": "#2C333B",
        "becomes_free": "#009E73",
        "is_filled": "#F0E442",
        "more_free": "#0B5C4A",
        "less_free": "#8A8530",
    },
)
PALETTES: Final = {"light": LIGHT, "dark": DARK}
