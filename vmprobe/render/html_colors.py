"""Colours of the page's map and charts: the palette of the map, for scripts and for styles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vmprobe.analyses.map_answer import CHANGES, CONTENTS, PAGE_KINDS
from vmprobe.render.palette import FADES, PALETTES

if TYPE_CHECKING:
    from vmprobe.render.palette import Palette

_OTHERS: Final = {
    "light": {
        "alarm": "#B3261E",
        "muted": "#59636E",
        "panel": "#FFFFFF",
        "traces": ("#0072B2", "#D55E00", "#00815E", "#B0508A", "#6A55B0", "#555555", "#8A6D00", "#3B3B98"),
    },
    "dark": {
        "alarm": "#FF8A80",
        "muted": "#9AA5B1",
        "panel": "#12161B",
        "traces": ("#56B4E9", "#E69F00", "#2CC295", "#E39BC4", "#B3A4E0", "#BBBBBB", "#F0E442", "#9FA8FF"),
    },
}
"""What the palette of the map does not have: the lines of charts, after Okabe and Ito as well."""


def schemes() -> dict[str, dict[str, Any]]:
    """Return every colour that scripts use, for light and for dark."""
    return {name: {**_of(palette), **_OTHERS[name]} for name, palette in PALETTES.items()}


def _of(palette: Palette) -> dict[str, Any]:
    levels = range(len(FADES))
    return {
        "ink": palette.ink,
        "line": palette.faint,
        "outline": palette.outline,
        "contents": [[palette.shade(content, level) for level in levels] for content in CONTENTS],
        "kinds": [palette.kinds[kind] for kind in PAGE_KINDS],
        "changes": [palette.changes[change] for change in CHANGES],
    }


def style() -> str:
    """Return the colours of the legend as variables; on paper it is light."""
    light, dark = (_variables(PALETTES[name]) for name in ("light", "dark"))
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"


def _variables(palette: Palette) -> str:
    values = {}
    for at, content in enumerate(CONTENTS):
        values[f"content-{at}-low"] = palette.shade(content, 0)
        values[f"content-{at}"] = palette.shade(content, len(FADES) - 1)
    values.update({f"change-{at}": palette.changes[change] for at, change in enumerate(CHANGES)})
    return " ".join(f"--{name}: {value};" for name, value in values.items())
