"""The charts of the page as plotly has them, but for colours, which follow the reader's light or dark."""

from __future__ import annotations

from bisect import bisect_left
from html import escape
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from vmprobe.units import bytes_text, count_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmprobe.analyses.page_inputs import FreeMass
    from vmprobe.analyses.report_answer import Series
    from vmprobe.bridge.curve import CostCurve

HEIGHT: Final = 270
LOW: Final = 190
"""Pixels of a chart; of a trend line."""
TICKS: Final = 5
BEYOND: Final = 4
"""How much of a line is shown at first, in lengths of its part up to the cliff."""
LEAST_SHOWN: Final = 8


def cost_chart(curve: CostCurve, page_size: int) -> dict[str, Any]:
    """Return page copies against huge pages gained: drawn through to the cliff, dashed beyond it."""
    cliff = curve.blocks.index(curve.cliff_blocks)
    shown_x, shown_y = _shown(curve)
    tail = curve.blocks[-1] > curve.cliff_blocks
    traces = [_cost_trace("with room", curve, slice(0, cliff + 1), page_size, "solid")]
    if tail:
        traces.append(_cost_trace("no room left", curve, slice(cliff, None), page_size, "dash"))
    return {
        "id": f"cost-{curve.node}-{curve.zone}",
        "height": HEIGHT,
        "x": {"title": "huge pages gained", "tickformat": ",", **shown_x},
        "y": {"title": "pages copied", "tickformat": ",", **shown_y},
        "traces": traces,
        "marks": [
            {
                "x": curve.cliff_blocks,
                "text": f"cliff: {count_text(curve.cliff_blocks)}",
                "anchor": "right" if not shown_x and 2 * curve.cliff_blocks > curve.blocks[-1] else "left",
            }
        ],
    }


def _shown(curve: CostCurve) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is shown at first: not all of a line that lies beyond the cliff for the most part."""
    last = bisect_left(curve.blocks, max(BEYOND * curve.cliff_blocks, LEAST_SHOWN))
    if last >= len(curve.blocks):
        return {}, {}
    return {"range": [0, curve.blocks[last]]}, {"range": [0, curve.pages[last]]}


def _cost_trace(name: str, curve: CostCurve, part: slice, page_size: int, dash: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": curve.blocks[part],
        "y": curve.pages[part],
        "customdata": [bytes_text(pages * page_size) for pages in curve.pages[part]],
        "hovertemplate": "%{x:,} huge pages: %{y:,} pages copied, %{customdata}<extra></extra>",
        "line": {"dash": dash},
        "color": 0,
    }


def mass_chart(mass: FreeMass, page_size: int) -> dict[str, Any] | None:
    """Return free memory by order: before, as forecast, and as the last real run left it."""
    named = {"before": mass.before, "forecast": mass.forecast, "last real run": mass.real}
    known = [
        (color, name, blocks) for color, (name, blocks) in enumerate(named.items()) if blocks is not None
    ]
    if not known:
        return None
    nr_orders = max(len(blocks) for _, _, blocks in known)
    most = max((nr * page_size) << order for _, _, blocks in known for order, nr in enumerate(blocks))
    return {
        "id": "mass",
        "height": HEIGHT,
        "x": {"title": "block", "type": "category", **_two_lines(nr_orders, page_size)},
        "y": {"title": "free memory", **byte_axis(most)},
        "traces": [_mass_trace(color, name, blocks, page_size) for color, name, blocks in known],
    }


def _mass_trace(color: int, name: str, blocks: Sequence[int], page_size: int) -> dict[str, Any]:
    sizes = [(nr * page_size) << order for order, nr in enumerate(blocks)]
    return {
        "type": "bar",
        "name": name,
        "x": [bytes_text(page_size << order) for order in range(len(blocks))],
        "y": sizes,
        "customdata": [[nr, bytes_text(size)] for nr, size in zip(blocks, sizes, strict=True)],
        "hovertemplate": "%{customdata[0]:,} free blocks of %{x}: %{customdata[1]}",
        "color": color,
    }


def _two_lines(nr_orders: int, page_size: int) -> dict[str, Any]:
    """Return the ticks of an axis of orders, the unit below the figure: side by side they would not fit."""
    sizes = [bytes_text(page_size << order) for order in range(nr_orders)]
    ticks = [size.replace(".0 ", "<br>") for size in sizes]
    return {"tickmode": "array", "tickvals": sizes, "ticktext": ticks, "tickangle": 0}


def byte_axis(most: float) -> dict[str, Any]:
    """Return the ticks of an axis of bytes: at powers of two and their halves, not of ten.

    >>> byte_axis(10 << 30)["ticktext"]
    ['0 B', '2.0 GiB', '4.0 GiB', '6.0 GiB', '8.0 GiB', '10.0 GiB']
    """
    step = 1
    while step * TICKS < most:
        step *= 2
    ticks = list(range(0, int(most) + step, step))
    if ticks[-1] > most:
        ticks.pop()
    return {"tickmode": "array", "tickvals": ticks, "ticktext": [bytes_text(tick) for tick in ticks]}


def trend_charts(series: Sequence[tuple[str, Series]]) -> list[dict[str, Any]]:
    """Return a chart for each metric of the history, a line for each figure of it."""
    by_name: dict[str, list[tuple[str, Series]]] = {}
    for words, each in series:
        by_name.setdefault(each.name, []).append((words, each))
    return [_trend_chart(name, lines) for name, lines in by_name.items()]


def _trend_chart(name: str, lines: Sequence[tuple[str, Series]]) -> dict[str, Any]:
    known = [value for _, each in lines for value in each.values if value is not None]
    axis = byte_axis(max(known, default=0)) if name.endswith("_bytes") else {"tickformat": ","}
    title, labels = _named([words for words, _ in lines], name)
    return {
        "id": f"trend-{name}",
        "title": title,
        "height": LOW if len(lines) == 1 else HEIGHT,
        "x": {"title": "", "type": "date"},
        "y": {"title": "", **axis},
        "traces": [
            _trend_trace(label, each, color)
            for color, (label, (_, each)) in enumerate(zip(labels, lines, strict=True))
        ],
    }


def _named(words: list[str], name: str) -> tuple[str, list[str]]:
    """Return what lines have in common, and what each has of its own.

    >>> _named(["pageblocks held by slab", "pageblocks held by kernel"], "blocker_pageblocks")
    ('pageblocks held by', ['slab', 'kernel'])
    >>> _named(["compact_stall an hour", "thp_fault_alloc an hour"], "events")
    ('events', ['compact_stall an hour', 'thp_fault_alloc an hour'])
    """
    if len(words) == 1:
        return words[0], words
    first, last = min(words), max(words)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    common = first[:same].rpartition(" ")[0]
    if not common:
        return name.replace("_", " "), words
    return common, [each[len(common) :].strip() for each in words]


def _trend_trace(label: str, each: Series, color: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(label),
        "x": each.times,
        "y": each.values,
        "connectgaps": False,
        "hovertemplate": "%{x}: %{y:,}",
        "marker": {"size": 4},
        "color": color,
    }
