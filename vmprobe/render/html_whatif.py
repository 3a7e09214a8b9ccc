"""A comparison of policies as one HTML page: tables, lines over time, pageblocks; no script, no request."""

from __future__ import annotations

import base64
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from vmprobe.analyses.whatif_layout import first_seed, layout, map_of_side
from vmprobe.render.html_colors import style
from vmprobe.render.html_parts import parts, text
from vmprobe.render.picture_svg import svg_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vmprobe.analyses.whatif_answer import Side, WhatIf

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
WIDTH, HEIGHT = 640, 180
DASHES: Final = ("", "6 3", "2 3", "8 3 2 3", "1 2", "10 4", "4 1")
HUES: Final = (210, 30, 120, 330, 270, 60, 180)
CSS: Final = """
svg.chart{width:100%;max-width:960px;height:auto;overflow:visible}
svg.chart polyline{fill:none;stroke-width:2}
svg.chart text{font-size:11px;fill:currentColor}
svg.chart .axis{stroke:currentColor;opacity:.35}
ul.lines{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.2em 1.2em}
figure{margin:0 0 1em}figure img{max-width:100%}
"""


def whatif_page(answer: WhatIf) -> bytes:
    """Return the page."""
    title = text(f"vmprobe whatif: {answer.demand} on {answer.release}")
    order = min(4, len(answer.sides[0].free_blocks) - 1)
    charts = [
        _chart("Free memory, per cent of the beginning", answer.sides, _free_percent(answer)),
        _chart(
            f"Share of free memory of no use to order {order}, per cent",
            answer.sides,
            lambda side: [each[order] / 10 for each in side.unusable_permille],
        ),
    ]
    maps = "".join(_figure(answer, side) for side in answer.sides)
    style_text = style() + (files("vmprobe.render") / "page" / "page.css").read_text("utf-8") + CSS
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="vmprobe">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style_text}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<section><h2>Over time{first_seed(answer)}</h2>{"".join(charts)}</section>
<section>{parts(layout(answer).parts)}</section>
<section><h2>Pageblocks at the end{first_seed(answer)}</h2>{maps}</section>
</main>
</body>
</html>
""".encode()


def _free_percent(answer: WhatIf) -> Callable[[Side], Sequence[float]]:
    whole = max(1, answer.free_pages)
    return lambda side: [100 * pages / whole for pages in side.free_pages]


def _name(side: Side) -> str:
    return f"{side.policy}, help {side.help}"


def _chart(title: str, sides: Sequence[Side], values: Callable[[Side], Sequence[float]]) -> str:
    """Return one line for each side over the events, as a drawing with its legend."""
    most = max(100.0, *(max(values(side)) for side in sides))
    lines, legend = [], []
    for number, side in enumerate(sides):
        colour = f"hsl({HUES[number % len(HUES)]} 65% 50%)"
        dash = DASHES[number // len(HUES) % len(DASHES)]
        each = values(side)
        points = " ".join(
            f"{WIDTH * at / max(1, len(each) - 1):.1f},{HEIGHT - HEIGHT * value / most:.1f}"
            for at, value in enumerate(each)
        )
        told = text(_name(side))
        drawn = f'style="stroke:{colour}" stroke-dasharray="{dash}"'
        lines.append(f'<polyline points="{points}" {drawn}><title>{told}</title></polyline>')
        key = (
            f'<svg width="24" height="8"><line x1="0" x2="24" y1="4" y2="4" {drawn} stroke-width="2"/></svg>'
        )
        legend.append(f"<li>{key} {told}</li>")
    axis = f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>'
    words = f'<text x="2" y="10">{most:.0f} %</text><text x="2" y="{HEIGHT - 3}">0 %</text>'
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(title)}"'
    return (
        f'<h3>{text(title)}</h3><svg class="chart" {box}>{axis}{"".join(lines)}{words}</svg>'
        f'<ul class="lines">{"".join(legend)}</ul>'
    )


def _figure(answer: WhatIf, side: Side) -> str:
    """Return the pageblocks that a policy ends with."""
    drawn = base64.b64encode(svg_picture(map_of_side(answer, side), None)).decode("ascii")
    name = text(_name(side))
    return (
        f"<figure><figcaption>{name}</figcaption>"
        f'<img alt="Pageblocks of {name}" src="data:image/svg+xml;base64,{drawn}"></figure>'
    )
