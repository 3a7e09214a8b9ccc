"""What the page of ``vmprobe report --html`` shows besides the report: map, costs, free memory, history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vmprobe.analyses.compact import prepared
from vmprobe.analyses.map import map_of
from vmprobe.analyses.trend import named_series
from vmprobe.bridge.compact import run
from vmprobe.bridge.curve import cost_curves, free_by_order
from vmprobe.bridge.strip import page_kinds
from vmprobe.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmprobe.analyses.map_answer import Map, ZonePages
    from vmprobe.analyses.record import History
    from vmprobe.analyses.report_answer import Report, Series
    from vmprobe.bridge.compact import Host
    from vmprobe.bridge.curve import CostCurve
    from vmprobe.store.history import Kept
    from vmprobe.tables import Snapshot

STRATEGY: Final = "linux"
"""Whose compaction is forecast: the kernel's own."""


@dataclass(frozen=True)
class FreeMass:
    """Free blocks by order, all zones together.

    Parameters
    ----------
    before
        As the snapshot has them; None where nothing was read.
    forecast
        After a compaction by the kernel, as forecast from the snapshot; None without frames or zones.
    real
        After the last compaction of this host that a forecast was held against; None where the record does
        not have it.
    real_time
        When that was, ISO 8601 in UTC.
    """

    before: tuple[int, ...] | None
    forecast: tuple[int, ...] | None
    real: tuple[int, ...] | None
    real_time: str | None


@dataclass(frozen=True, eq=False)
class PageInputs:
    """Everything that is on the page.

    Parameters
    ----------
    report
        The report.
    map
        Pageblocks of every zone, now and after a compaction; None without frames or zones.
    pages
        What every single frame is; None without frames or zones.
    curves
        Page copies against blocks gained, for each zone; empty without frames or zones.
    free_mass
        Free memory by order.
    series
        Figures of the history, each after its words; empty without.
    """

    report: Report
    map: Map | None
    pages: tuple[ZonePages, ...] | None
    curves: tuple[CostCurve, ...]
    free_mass: FreeMass
    series: tuple[tuple[str, Series], ...]


class _Real(NamedTuple):
    free_blocks: tuple[int, ...] | None
    time: str | None


def page_inputs(snapshot: Snapshot, report: Report, past: Sequence[Kept], history: History) -> PageInputs:
    """Return what the page shows.

    Parameters
    ----------
    snapshot
        That `report` was made of.
    report
        Where it has no frames, there is no map; nor where it has no forecast for want of zones.
    past
        Runs of the history, oldest first.
    history
        Verified forecasts.
    """
    real = last_real(history, snapshot.manifest["host"])
    made = _prepared(snapshot) if report.frames else None
    if made is None:
        mass = FreeMass(_listed(report), None, *real)
        return PageInputs(report, None, None, (), mass, tuple(named_series(past)))
    order = report.frag.score_order
    by_order = free_by_order(run(made, STRATEGY, order, None))
    return PageInputs(
        report=report,
        map=map_of(snapshot, forecast=STRATEGY, order=order, host=made),
        pages=page_kinds(snapshot),
        curves=cost_curves(made, order),
        free_mass=FreeMass(by_order.before, by_order.forecast, *real),
        series=tuple(named_series(past)),
    )


def _prepared(snapshot: Snapshot) -> Host | None:
    """Return what is forecast from; None where the report goes without a forecast too, and says why."""
    try:
        return prepared(snapshot)
    except SnapshotError:
        return None


def last_real(history: History, host: Mapping[str, Any]) -> _Real:
    """Return the free blocks that the last verified compaction of a host left, and when that was."""
    for document in reversed(history.on(host)):
        blocks = (document.get("free_blocks") or {}).get("real")
        if document.get("release") == host.get("release") and blocks:
            return _Real(tuple(blocks), document.get("time"))
    return _Real(None, None)


def _listed(report: Report) -> tuple[int, ...] | None:
    """Return the free blocks that buddyinfo counts, all zones together."""
    zones = [zone.free_blocks for zone in report.frag.zones if zone.free_blocks is not None]
    return tuple(map(sum, zip(*zones, strict=True))) if zones else None
