"""The sections of the page that have charts: costs, free memory by order, trend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vmprobe.analyses import report_tables
from vmprobe.analyses.report_layout import since_parts, trend_parts
from vmprobe.render.html_parts import parts, side, table, text
from vmprobe.units import bytes_text, count_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vmprobe.analyses.page_inputs import PageInputs

    Charts = Sequence[dict[str, Any]]

NO_FRAMES: Final = "Page frames were not scanned: `vmprobe report --frames`, as root, has this."


def _figure(chart: dict[str, Any], title: str, about: str = "") -> str:
    """Return the place of a chart."""
    said = f" <span>{text(about)}</span>" if about else ""
    return (
        f'<figure><figcaption>{text(title)}{said}</figcaption><div class="chart" id="{text(chart["id"])}"'
        f' style="--height: {chart["height"]}px" role="img"'
        f' aria-label="{text(title)}; a table has the figures">'
        '<p class="waits">The chart is drawn by a script.</p></div></figure>'
    )


def _charts(figures: Iterable[str]) -> str:
    return f'<div class="charts">{"".join(figures)}</div>'


def _details(summary: str, content: str) -> str:
    return f'<details><summary>{text(summary)}</summary><div class="columns">{content}</div></details>'


def cost(inputs: PageInputs, charts: Charts) -> str:
    """Return what more huge pages cost in page copies, a chart for each zone that has something to gain."""
    if inputs.map is None:
        return f"<p>{text(NO_FRAMES)}</p>"
    by_id = {chart["id"]: chart for chart in charts}
    figures, none = [], []
    for curve in inputs.curves:
        zone = f"Node {curve.node} zone {curve.zone}"
        if not curve.candidate_blocks:
            none.append(zone)
            continue
        about = (
            f"{count_text(curve.free_blocks_now)} free already, {count_text(curve.cliff_blocks)} more by"
            f" moves alone; {count_text(curve.candidate_blocks)} hold nothing that stays"
        )
        figures.append(_figure(by_id[f"cost-{curve.node}-{curve.zone}"], zone, about))
    size = bytes_text(inputs.report.frag.page_size << inputs.report.frag.score_order)
    said = (
        f"<p>Fewest pages that any algorithm copies for so many more free blocks of {size}, the cheapest"
        " first. Beyond the cliff (dashed) so little is left in smaller blocks that the lowest watermark"
        " keeps some of these from being taken. A double click shows the whole line.</p>"
    )
    if figures:
        tables = "".join(map(table, report_tables.costs(inputs.curves)))
        said += _charts(figures) + _details("These curves as tables", tables)
    if none:
        said += f"<p>Nothing to gain by moves: {text(', '.join(none))}.</p>"
    return said


def free(inputs: PageInputs, charts: Charts) -> str:
    """Return free memory by order: before, as forecast, and as a compaction really left it."""
    mass = inputs.free_mass
    said = []
    if mass.forecast is None:
        said.append("A forecast needs page frames, which were not scanned.")
    if mass.real_time is None:
        said.append("How a real compaction left this host is not known: no verified run of it is on record.")
    else:
        when = report_tables.time_text(mass.real_time)
        said.append(f"The last real run was {when} UTC, on a layout of its own.")
    title = "Free memory in blocks of each size, all zones"
    figures = [_figure(chart, title) for chart in charts if chart["id"] == "mass"]
    blocks = table(report_tables.free_mass(mass, inputs.report.frag.page_size))
    return f"<p>{text(' '.join(said))}</p>{side(''.join(figures), blocks)}"


def trend(inputs: PageInputs, charts: Charts) -> str:
    """Return what changed since the last run, and the figures of the history."""
    report = inputs.report
    said = ""
    if report.since is not None:
        rebooted = " The host was started anew in between." if report.since.rebooted else ""
        said += f"<p>The last run was {_time(report.since.time)} UTC.{rebooted}</p>"
        said += parts(since_parts(report.since), sorts=True)
    said += parts(trend_parts(report), sorts=True)
    if not inputs.series:
        return said + "<p>There is no history: <code>vmprobe report --history FILE</code> keeps one.</p>"
    figures = [_figure(chart, chart["title"]) for chart in charts if chart["id"].startswith("trend-")]
    runs = table(report_tables.runs(inputs.series), tall=True)
    return said + _charts(figures) + _details("The last runs as a table", runs)


def _time(time: str) -> str:
    return text(report_tables.time_text(time))
