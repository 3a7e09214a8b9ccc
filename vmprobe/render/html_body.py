"""What the page says before any script runs: verdict, figures, tables, and the places of map and charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vmprobe.analyses import report_tables
from vmprobe.analyses.compact_words import record_part
from vmprobe.analyses.frag_layout import INDICES, PERFECT, SEVERAL, pageblock_parts, score_parts
from vmprobe.analyses.report_answer import Level
from vmprobe.analyses.report_layout import COMMAND, cost_facts
from vmprobe.analyses.sharing_layout import ledger_facts
from vmprobe.render.html_figures import NO_FRAMES, cost, free, trend
from vmprobe.render.html_map import map_section
from vmprobe.render.html_parts import facts, parts, side, table, text
from vmprobe.units import bytes_text, count_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vmprobe.analyses.page_inputs import PageInputs
    from vmprobe.analyses.report_answer import Crossing, Obtainable, Report

    Charts = Sequence[dict[str, Any]]

BAR: Final = (220, 14)
"""Pixels of the picture beside what can be had."""


def body(inputs: PageInputs, charts: Charts, left_out_pageblocks: int) -> str:
    """Return the page's body.

    Parameters
    ----------
    inputs
        What the page shows.
    charts
        Those that a script will draw.
    left_out_pageblocks
        Pageblocks of several kinds whose single pages are not in the page.
    """
    report = inputs.report
    sections = {
        "map": ("Map of pageblocks", map_section(inputs, left_out_pageblocks)),
        "obtainable": ("What can be had", _obtainable(report)),
        "cost": ("What huge pages cost", cost(inputs, charts)),
        "free": ("Free memory by order", free(inputs, charts)),
        "trend": ("Trend", trend(inputs, charts)),
        "blockers": ("Who is in the way", _blockers(report)),
        "zones": ("Zones and orders", _zones(report)),
        "sharing": ("Sharing and events", _sharing(report)),
        "report": ("This report", _report(report)),
    }
    links = "".join(f'<a href="#{name}">{title}</a>' for name, (title, _) in sections.items())
    listed = (_section(name, *section) for name, section in sections.items())
    footer = "<footer>Written by vmprobe. Nothing here is fetched from anywhere.</footer>"
    return "\n".join((_head(inputs, links), "<main>", *listed, "</main>", footer))


def _section(name: str, title: str, said: str) -> str:
    head = f'<h2 id="{name}-title">{title}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">{head}\n{said}</section>'


def _head(inputs: PageInputs, links: str) -> str:
    report = inputs.report
    verdict = report.verdict
    return (
        f'<header><p class="what"><b>vmprobe report</b> · {text(report_tables.heading(report))}</p>'
        f'<div class="verdict is-{verdict.level}"><span class="level">{text(verdict.level)}</span>'
        f"<h1>{text(verdict.sentence)}</h1></div>{_crossings(report.thresholds)}{_advice(report.advice)}"
        f'<nav aria-label="Sections">{links}</nav></header>'
    )


def _crossings(thresholds: Iterable[Crossing]) -> str:
    each = "".join(f'<li class="is-{_level(row)}">{text(row.reason)}</li>' for row in thresholds)
    return f'<ul class="crossings">{each}</ul>' if each else ""


def _level(row: Crossing) -> Level:
    """Return how a threshold is to be shown: the level it was given counts where it is crossed."""
    if row.crossed is None:
        return Level.UNKNOWN
    return row.level if row.crossed else Level.OK


def _advice(lines: Sequence[str]) -> str:
    """Return what to do next, each command below the sentence that it belongs to."""
    steps: list[str] = []
    for line in lines:
        if not line.startswith(COMMAND):
            steps.append(text(line))
            continue
        command = f"<code>{text(line.removeprefix(COMMAND))}</code>"
        steps[-1:] = [f"{''.join(steps[-1:])}<br>{command}" if steps else command]
    listed = "".join(f"<li>{step}</li>" for step in steps)
    return f'<h3>What to do next</h3><ol class="advice">{listed}</ol>' if listed else ""


def _obtainable(report: Report) -> str:
    most = max((_reach(row) * row.bytes for row in report.obtainable), default=0)
    bars = [_bar(row, most) for row in report.obtainable]
    said = (
        "<p>Blocks above the watermarks: now; after the kernel compacts, as forecast, with the least and the"
        " most that this may be; and with clean page cache dropped besides.</p>"
    )
    drawn = table(report_tables.obtainable(report), graphic=("as memory: now, forecast, interval", bars))
    return said + side(drawn, "" if report.record is None else parts([record_part(report.record)]))


def _reach(row: Obtainable) -> int:
    return max((each for each in (row.now, row.mid, row.high) if each is not None), default=0)


def _bar(row: Obtainable, most: int) -> str:
    """Draw what can be had of one size: now filled, the interval pale, the forecast a stroke."""
    width, height = BAR

    def x(blocks: int) -> float:
        return round(width * blocks * row.bytes / most, 1) if most else 0.0

    drawn = [f'<rect class="base" width="{width}" height="{height}" rx="2"/>']
    if row.now is not None:
        drawn.append(f'<rect class="now" y="3" width="{x(row.now)}" height="{height - 6}"/>')
    if row.low is not None and row.high is not None:
        low, high = x(max(0, row.low)), x(max(0, row.high))
        drawn.append(f'<rect class="span" x="{low}" width="{max(2, high - low):.1f}" height="{height}"/>')
    if row.mid is not None:
        drawn.append(f'<rect class="mid" x="{max(0, x(row.mid) - 1):.1f}" width="2" height="{height}"/>')
    return f'<svg class="bar" width="{width}" height="{height}" aria-hidden="true">{"".join(drawn)}</svg>'


def _blockers(report: Report) -> str:
    frag = report.frag
    if frag.owners is None or frag.held is None:
        return f"<p>{text(NO_FRAMES)}</p>"
    held = frag.held
    trapped = bytes_text(held.trapped_free_pages * frag.page_size)
    said = (
        f"<p>{count_text(held.held_pageblocks)} of {count_text(held.pageblocks)} pageblocks hold a page that"
        f" stays; {trapped} are free in them. {text(SEVERAL)}</p>"
    )
    more = report_tables.owners_left_out(frag)
    left_out = f"<p>{count_text(more)} more owners are left out.</p>" if more else ""
    find = (
        '<p class="tools" hidden><label>Filter <input type="search" id="find" data-filters="owners"'
        ' placeholder="process, cgroup, kind, pid" autocomplete="off" spellcheck="false"></label>'
        '<output id="find-told" for="find"></output></p>'
    )
    owners = find + table(report_tables.owners(frag), name="owners", sorts=True, tall=True) + left_out
    return said + side(table(report_tables.kinds(frag), sorts=True), owners)


def _zones(report: Report) -> str:
    frag = report.frag
    find = (
        '<p class="tools" hidden><label>Filter <input type="search" id="find-order" data-filters="orders"'
        ' placeholder="zone" autocomplete="off" spellcheck="false"></label>'
        '<output id="find-order-told" for="find-order"></output></p>'
    )
    orders = find + table(report_tables.free_blocks(frag), name="orders", sorts=True, tall=True)
    memory = table(report_tables.zones(frag)) + parts(pageblock_parts(frag))
    sizes = (
        table(report_tables.contiguity(frag))
        + f'<p class="note">{text(PERFECT)}</p>'
        + parts(score_parts(frag))
    )
    return f"<p>{text(INDICES)}</p>" + side(orders, memory + sizes)


def _sharing(report: Report) -> str:
    events = report_tables.events(report)
    each = [
        *(() if report.sharing is None else (ledger_facts(report.sharing),)),
        *(() if events is None else (events,)),
    ]
    none = (
        ""
        if report.sharing is not None
        else "<p>Sharing takes page frames and page tables, which were not read.</p>"
    )
    return none + side(*map(facts, each))


def _report(report: Report) -> str:
    missing = [f"{row.part}: {row.reason}" for row in report.missing]
    said = facts(cost_facts(report.cost))
    lacking = "".join(f"<li>{text(line)}</li>" for line in missing) or "<li>Nothing.</li>"
    return f'{said}<h3>What is missing</h3><ul class="missing">{lacking}</ul>'
