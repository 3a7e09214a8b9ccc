"""The places of the page's map: legend, controls, a canvas for each zone, what is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from vmprobe.analyses.map_answer import CHANGES
from vmprobe.analyses.report_words import owner_text
from vmprobe.render.html_parts import text
from vmprobe.render.paint import LABELS
from vmprobe.units import bytes_text, count_text

if TYPE_CHECKING:
    from vmprobe.analyses.map_answer import Map, ZoneStrip
    from vmprobe.analyses.page_inputs import PageInputs

MOST_CHOICES: Final = 200
"""Owners that can be picked out on the map; those of the most pageblocks."""

KEYS: Final = (
    "Hover or arrow keys: a pageblock. Click or Enter: go in. + and &minus;, or Ctrl with the wheel: zoom."
    " Escape: the whole zone."
)


def map_section(inputs: PageInputs, left_out_pageblocks: int) -> str:
    """Return the section of the map.

    Parameters
    ----------
    inputs
        What the page shows.
    left_out_pageblocks
        Pageblocks of several kinds whose single pages are not in the page.
    """
    answer = inputs.map
    if answer is None:
        return "<p>A map needs page frames, which were not scanned.</p>"
    size = bytes_text(answer.page_size << answer.pageblock_order)
    about = (
        f"<p>Each cell is a pageblock of {size} in physical order: colour by what it holds, stronger the more"
        " of it is in use. A single page that stays among movable ones is loud: it alone keeps a huge page"
        " away.</p>"
    )
    lines = [about]
    if left_out_pageblocks:
        lines.append(
            f"<p>Single pages of {count_text(left_out_pageblocks)} pageblocks are left out, to keep this page"
            " small: those with the fewest changes between kinds.</p>"
        )
    zones = "".join(_zone(zone, answer) for zone in answer.zones)
    lines += [
        '<p class="waits map-off">A script draws the map; tables below count pageblocks by content.</p>',
        f'<div class="map-only tools">{_modes(answer)}{_choice(answer)}</div>',
        _legend(answer),
        f'<div class="map-only mapped"><div>{zones}<p class="note keys" id="keys">{KEYS}</p></div>',
        f"{INSPECTOR}</div>",
        '<p class="unseen" role="status" id="spoken"></p>',
    ]
    return "\n".join(lines)


INSPECTOR: Final = (
    '<aside id="inspector" aria-label="The pageblock that is looked at"><h3></h3><dl class="figures"></dl>'
    '<canvas tabindex="0" role="application" aria-roledescription="single pages" aria-label="Single pages of'
    ' the pageblock; arrow keys go from page to page" aria-describedby="told"></canvas>'
    '<p class="told" id="told" role="status"></p><dl class="kinds"></dl></aside>'
)


def _modes(answer: Map) -> str:
    if answer.forecast is None:
        return ""
    told = answer.forecast
    size = bytes_text(answer.page_size << told.order)
    low, high = told.interval
    gained = f"{count_text(told.gained_blocks)} more of {size}, {count_text(low)} to {count_text(high)}"
    modes = {"now": "now", "after": "after compaction", "difference": "difference"}
    each = "".join(
        f'<label><input type="radio" name="mode" value="{value}"{" checked" if value == "now" else ""}>'
        f" {label}</label>"
        for value, label in modes.items()
    )
    return f"<fieldset><legend>Show</legend>{each}</fieldset><span>forecast: {gained}</span>"


def _choice(answer: Map) -> str:
    """Return the list of owners that can be picked out."""
    named = np.concatenate([column for zone in answer.zones for column in (zone.owner, zone.user)])
    counted = np.bincount(named[named >= 0], minlength=len(answer.owners))
    by_weight = np.argsort(-counted, kind="stable")[:MOST_CHOICES].tolist()
    each = "".join(
        f'<option value="{owner}">{text(owner_text(answer.owners[owner]))}</option>' for owner in by_weight
    )
    return f'<label>Pick out <select id="pick"><option value="-1">everybody</option>{each}</select></label>'


def _legend(answer: Map) -> str:
    contents = [
        f'<li><i class="swatch ramp" style="background: linear-gradient(90deg, {_steps(at)})"></i>'
        f"{text(LABELS[name])}</li>"
        for at, name in enumerate(answer.contents)
    ]
    changes = [
        f'<li><i class="swatch" style="background: var(--change-{at})"></i>{text(LABELS[name])}</li>'
        for at, name in enumerate(CHANGES)
    ]
    return (
        f'<ul class="key" data-legend="content" aria-label="Colours of the map">{"".join(contents)}</ul>'
        '<ul class="key" data-legend="difference" aria-label="Colours of the difference" hidden>'
        f"{''.join(changes)}</ul>"
    )


def _steps(at: int) -> str:
    return f"var(--content-{at}-low), var(--content-{at})"


def _zone(zone: ZoneStrip, answer: Map) -> str:
    size = bytes_text(len(zone) * answer.page_size << answer.pageblock_order)
    title = f"Node {zone.node} zone {text(zone.zone)}"
    buttons = "".join(
        f'<button type="button" data-zoom="{way}" aria-label="{label}, {title}">{sign}</button>'
        for way, sign, label in (
            ("in", "+", "Zoom in"),
            ("out", "&minus;", "Zoom out"),
            ("whole", "whole", "Whole zone"),
        )
    )
    return (
        f'<figure class="zone"><figcaption><span><b>{title}</b> · {count_text(len(zone))} pageblocks, {size}'
        f' <span class="range"></span></span><span class="zoom">{buttons}</span></figcaption>'
        f'<div class="strip"><canvas tabindex="0" role="application" aria-roledescription="map of pageblocks"'
        f' aria-label="Map of {title}" aria-describedby="keys"></canvas><div class="cursor" hidden></div>'
        '<div class="chosen" hidden></div></div></figure>'
    )
