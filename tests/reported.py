"""Reports of the committed snapshots, with every figure that a report can have.

What a saved snapshot lacks (what the report cost, verified forecasts) is made up.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmprobe.analyses.frag import frag
from vmprobe.analyses.record import Record
from vmprobe.analyses.report_answer import Cost, Level, Obtainable, Report, Verdict
from vmprobe.analyses.sharing import sharing
from vmprobe.store import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmprobe.tables import Snapshot

SNAPSHOTS = Path(__file__).parents[1] / "fixtures" / "snapshots"
RECORD = Record("6.12.0", 7, 1.5, 4.0, 0.0, 12.5, 6, 7, 7)
EVENTS = {"compact_success": 12, "compact_fail": 3, "thp_fault_alloc": 90, "thp_fault_fallback": 4}
COST = Cost(1.25, 1.0, 99 << 20, 0.8, 3 << 20)


@cache
def report_of(name: str) -> Report:
    """Report on a committed snapshot; every figure is there."""
    return report_on(load(SNAPSHOTS / f"{name}.vmsnap"))


def report_on(snapshot: Snapshot) -> Report:
    """Report on a snapshot with frames."""
    found = frag(snapshot, top=3)
    return Report(
        time=snapshot.manifest["time"]["start"],
        release=snapshot.manifest["host"]["release"],
        frames=True,
        verdict=Verdict(Level.OK, "2 MiB pages can be had"),
        frag=found,
        obtainable=tuple(
            Obtainable(order, 4096 << order, now, now + 1, now + 2, now + 3, now + 4)
            for order, now in enumerate(_obtainable([zone.free_blocks or () for zone in found.zones]))
        ),
        record=RECORD,
        sharing=sharing(snapshot, top=1).totals,
        events=EVENTS,
        since=None,
        trend=(),
        thresholds=(),
        advice=(),
        cost=COST,
        missing=(),
    )


def _obtainable(zones: Sequence[Sequence[int]]) -> list[int]:
    """Blocks of each order, as if there were no watermarks."""
    orders = range(len(zones[0]))
    return [sum(zone[o] << o >> order for zone in zones for o in orders[order:]) for order in orders]


def without_frames(report: Report) -> Report:
    """Return what is left of a report without a frame scan."""
    zones = tuple(replace(zone, pageblocks=None, rebuilt_free_blocks=None) for zone in report.frag.zones)
    return replace(
        report,
        frames=False,
        frag=replace(report.frag, zones=zones, blockers=None, owners=None, held=None),
        obtainable=tuple(replace(row, low=None, mid=None, high=None) for row in report.obtainable),
        record=None,
        sharing=None,
    )


def with_nodes(report: Report, nr_nodes: int, zones: Sequence[str]) -> Report:
    """Return a report of a host with many nodes: each has the first zone again under all these names."""
    one: Any = report.frag.zones[0]
    rows = tuple(replace(one, node=node, zone=zone) for node in range(nr_nodes) for zone in zones)
    assert report.frag.nodes is not None
    scores = tuple(replace(report.frag.nodes[0], node=node) for node in range(nr_nodes))
    return replace(report, frag=replace(report.frag, zones=rows, nodes=scores))
