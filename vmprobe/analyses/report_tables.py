"""The report laid out for the page: the same words and figures as in the terminal, in tables that sort."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.analyses.frag_layout import AGREE, HELD
from vmprobe.analyses.parts import Column, Fact, Facts, Grid, Kind, grid
from vmprobe.bridge.frag import debugfs_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vmprobe.analyses.frag_answer import Frag, ZoneRow
    from vmprobe.analyses.page_inputs import FreeMass
    from vmprobe.analyses.report_answer import Report, Series
    from vmprobe.bridge.curve import CostCurve

MOST_OWNERS: Final = 1000
"""Owners on the page; those that hold the most."""
MOST_RUNS: Final = 30
"""Runs in the table below the trend lines; the latest."""
CURVE_ROWS: Final = 12
"""Rows of the table below a curve, before its cliff."""


def obtainable(report: Report) -> Grid:
    """Return what can be had of each size, now and afterwards."""
    return grid(
        "Blocks that can be had",
        report.obtainable,
        ("bytes", "size", Kind.BYTES),
        ("order", "order", Kind.TEXT),
        ("now", "now", Kind.COUNT),
        ("mid", "after compaction", Kind.COUNT),
        ("low", "at least", Kind.COUNT),
        ("high", "at most", Kind.COUNT),
        ("after_eviction", "cache dropped too", Kind.COUNT),
    )


def costs(curves: Iterable[CostCurve]) -> list[Grid]:
    """Return a table for each curve with something to gain: some of its points, and always the cliff."""
    tables = []
    for curve in curves:
        if not curve.candidate_blocks:
            continue
        last = len(curve.blocks) - 1
        among = {round(step * last / CURVE_ROWS) for step in range(CURVE_ROWS + 1)}
        among.add(curve.blocks.index(curve.cliff_blocks))
        rows = tuple(
            (curve.blocks[at], curve.pages[at], "no" if curve.blocks[at] > curve.cliff_blocks else "yes")
            for at in sorted(among)
        )
        columns = (
            Column("huge pages gained", Kind.COUNT),
            Column("pages copied", Kind.COUNT),
            Column("room for it", Kind.TEXT),
        )
        tables.append(Grid(f"Node {curve.node} zone {curve.zone}", columns, rows))
    return tables


def free_mass(mass: FreeMass, page_size: int) -> Grid:
    """Return free blocks by order: before, as forecast, and as a compaction really left them."""
    each = (mass.before, mass.forecast, mass.real)
    nr_orders = max((len(blocks) for blocks in each if blocks is not None), default=0)
    rows = tuple(
        (
            order,
            page_size << order,
            *(None if blocks is None or order >= len(blocks) else blocks[order] for blocks in each),
        )
        for order in range(nr_orders)
    )
    columns = (
        Column("order", Kind.TEXT),
        Column("block", Kind.BYTES),
        Column("before", Kind.COUNT),
        Column("forecast", Kind.COUNT),
        Column("last real run", Kind.COUNT),
    )
    return Grid("Free blocks by order, all zones", columns, rows)


def runs(series: Sequence[tuple[str, Series]]) -> Grid:
    """Return the last runs of the history, a row each."""
    times = sorted({time for _, each in series for time in each.times})[-MOST_RUNS:]
    by_time = [dict(zip(each.times, each.values, strict=True)) for _, each in series]
    columns = (Column("run", Kind.TEXT), *(Column(words, _kind(each)) for words, each in series))
    rows = tuple((time_text(time), *(values.get(time) for values in by_time)) for time in reversed(times))
    return Grid(f"The last {len(times)} runs", columns, rows)


def _kind(each: Series) -> Kind:
    return Kind.BYTES if each.name.endswith("_bytes") else Kind.COUNT


def time_text(time: str) -> str:
    """Return a time in UTC for reading.

    >>> time_text("2026-01-02T03:04:05.678900+00:00")
    '2026-01-02 03:04:05'
    """
    return time[:19].replace("T", " ")


def kinds(frag: Frag) -> Grid:
    """Return who holds pageblocks, by kind."""
    return grid("Kinds of owners", frag.blockers or (), ("kind", "kind", Kind.TEXT), *HELD)


def owners(frag: Frag) -> Grid:
    """Return who holds pageblocks."""
    names = (("kind", "kind", Kind.TEXT), ("owner", "owner", Kind.TEXT), ("pid", "pid", Kind.TEXT))
    return grid("Owners", (frag.owners or ())[:MOST_OWNERS], *names, *HELD)


def owners_left_out(frag: Frag) -> int:
    """Return how many owners are not on the page."""
    return frag.owners_left_out + max(0, len(frag.owners or ()) - MOST_OWNERS)


def free_blocks(frag: Frag) -> Grid:
    """Return free blocks and indices, a row for each node, zone and order."""
    columns = (
        Column("node", Kind.TEXT),
        Column("zone", Kind.TEXT),
        Column("order", Kind.TEXT),
        Column("block", Kind.BYTES),
        Column("free blocks", Kind.COUNT),
        Column("free memory", Kind.BYTES),
        Column("unusable", Kind.TEXT),
        Column("fragmentation", Kind.TEXT),
    )
    rows = tuple(row for zone in frag.zones for row in _orders(zone, frag.page_size))
    return Grid("Free blocks and indices", columns, rows)


def _orders(zone: ZoneRow, page_size: int) -> Iterable[tuple[object, ...]]:
    if zone.free_blocks is None or zone.unusable_permille is None or zone.fragmentation_permille is None:
        return
    each = zip(zone.free_blocks, zone.unusable_permille, zone.fragmentation_permille, strict=True)
    for order, (nr, unusable, index) in enumerate(each):
        size = page_size << order
        yield (zone.node, zone.zone, order, size, nr, nr * size, debugfs_text(unusable), debugfs_text(index))


def zones(frag: Frag) -> Grid:
    """Return the sizes of zones, and whether their frames agree with the free lists."""
    rows = tuple(
        (
            zone.node,
            zone.zone,
            zone.free_pages,
            zone.pcp_pages,
            zone.unknown_pages,
            zone.unmanaged_pages,
            None if zone.frames_agree is None else AGREE[zone.frames_agree],
        )
        for zone in frag.zones
    )
    columns = (
        Column("node", Kind.TEXT),
        Column("zone", Kind.TEXT),
        Column("free pages", Kind.COUNT),
        Column("on per-CPU lists", Kind.COUNT),
        Column("not known", Kind.COUNT),
        Column("never given", Kind.COUNT),
        Column("frames", Kind.TEXT),
    )
    return Grid("Zones", columns, rows)


def contiguity(frag: Frag) -> Grid:
    """Return how much memory is free in blocks of a size, now and after perfect compaction."""
    page = frag.page_size
    rows = tuple(
        (
            row.bytes,
            None if row.free_pages is None else row.free_pages * page,
            None if row.permille_of_free is None else row.permille_of_free / 10,
            None if row.after_pages is None else row.after_pages * page,
            None if row.permille_of_total is None else row.permille_of_total / 10,
        )
        for row in frag.contiguity
    )
    columns = (
        Column("size", Kind.BYTES),
        Column("free now", Kind.BYTES),
        Column("of free memory", Kind.PERCENT),
        Column("after perfect compaction", Kind.BYTES),
        Column("of all memory", Kind.PERCENT),
    )
    return Grid("Memory free in blocks of a size", columns, rows)


def events(report: Report) -> Facts | None:
    """Return compactions and huge page faults since boot, by the kernel's names."""
    if not report.events:
        return None
    each = (Fact(name, nr, Kind.COUNT) for name, nr in report.events.items())
    return Facts("Since boot, by the kernel's names", tuple(each))


def heading(report: Report) -> str:
    """Return of which kernel and time the report is; hosts have no name in a snapshot."""
    scanned = "page frames scanned" if report.frames else "page frames not scanned"
    return f"Linux {report.release}, {time_text(report.time)} UTC, {scanned}"
