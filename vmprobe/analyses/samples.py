"""The figures of a report as samples of `vmprobe.metrics.METRICS`: what its texts say, for machines to keep.

A figure that the report does not have gives no sample. One that it has and that is 0 gives a 0, so that a
series does not end where a host gets well.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from vmprobe.metrics import METRICS, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vmprobe.analyses.frag_answer import ZoneRow
    from vmprobe.analyses.report_answer import Report

    Labels = tuple[str, ...]
    Value = int | float | None
    Figures = Iterator[tuple[Labels, Value]]

NOW: Final = "now"
LOW: Final = "after_compaction_at_least"
MID: Final = "after_compaction"
HIGH: Final = "after_compaction_at_most"
WHEN: Final = (NOW, LOW, MID, HIGH)
"""When blocks are `obtainable`."""

UNKNOWN: Final = "unknown"
BLOCKER_KINDS: Final = ("process", "cgroup", "slab", "page tables", "kernel", "pinned", UNKNOWN)
"""Kinds of owners of `vmprobe.bridge.blockers.BlockerRow`, which leaves out those that hold nothing."""


def samples(report: Report) -> tuple[Sample, ...]:
    """Return every figure that the report has, in the order of `METRICS`."""
    return tuple(
        Sample(name, labels, value)
        for name in METRICS
        for labels, value in _FIGURES[name](report)
        if value is not None
    )


def _zone(zone: ZoneRow) -> Labels:
    return str(zone.node), zone.zone


def _by_order(of: Callable[[ZoneRow], Iterable[int] | None]) -> Callable[[Report], Figures]:
    """Return what gives a figure of each zone and order."""

    def figures(report: Report) -> Figures:
        for zone in report.frag.zones:
            for order, value in enumerate(of(zone) or ()):
                yield (*_zone(zone), str(order)), value

    return figures


def _alone(of: Callable[[Report], Value]) -> Callable[[Report], Figures]:
    """Return what gives the one figure without labels."""

    def figures(report: Report) -> Figures:
        yield (), of(report)

    return figures


def _free_bytes(report: Report) -> Figures:
    for zone in report.frag.zones:
        if zone.free_pages is not None:
            yield _zone(zone), zone.free_pages * report.frag.page_size


def _score(report: Report) -> Figures:
    for node in report.frag.nodes or ():
        yield (str(node.node),), node.score_percent


def _obtainable(report: Report) -> Figures:
    for row in report.obtainable:
        for when, value in zip(WHEN, (row.now, row.low, row.mid, row.high), strict=True):
            yield (str(row.order), when), value


def _pageblocks(report: Report) -> Figures:
    for zone in report.frag.zones:
        for content, count in (zone.pageblocks or {}).items():
            yield (*_zone(zone), content), count


def _whole_pageblocks(report: Report) -> Value:
    return None if report.frag.held is None else report.frag.held.pageblocks


def _unmovable_pageblocks(report: Report) -> Value:
    """Return the pageblocks that are held by more than pages of which nothing is known."""
    unknown = _unknown_pageblocks(report)
    return None if report.frag.held is None or unknown is None else report.frag.held.held_pageblocks - unknown


def _unknown_pageblocks(report: Report) -> Value:
    if report.frag.blockers is None:
        return None
    return sum(row.alone_pageblocks for row in report.frag.blockers if row.kind == UNKNOWN)


def _trapped_free_bytes(report: Report) -> Value:
    return None if report.frag.held is None else report.frag.held.trapped_free_pages * report.frag.page_size


def _blocker_pageblocks(report: Report) -> Figures:
    if report.frag.blockers is None:
        return
    held = {row.kind: row.pageblocks for row in report.frag.blockers}
    for kind in BLOCKER_KINDS:
        yield (kind.replace(" ", "_"),), held.get(kind, 0)


def _mapped_frames(report: Report) -> Figures:
    totals = report.sharing
    if totals is None:
        return
    counted = {
        "private": totals.private,
        "shared_anonymous": totals.shared_anonymous,
        "shared_shmem": totals.shared_shmem,
        "shared_file": totals.shared_file,
        "shared_other": totals.shared_other,
        "unstable": totals.unstable,
        "unexplained": totals.unexplained,
    }
    # Not the sum over the reasons: one of them, ``no-frame``, counts entries that lead to no frame.
    counted["explained"] = totals.frames_mapped - sum(counted.values())
    for name, frames in counted.items():
        yield (name,), frames


def _forecast_error(report: Report) -> Figures:
    record = report.record
    if record is None:
        return
    yield ("moves", "median"), record.moves_percent_median
    yield ("moves", "worst"), record.moves_percent_worst
    yield ("gained", "median"), record.gained_percent_median
    yield ("gained", "worst"), record.gained_percent_worst


def _events(report: Report) -> Figures:
    for event, count in report.events.items():
        yield (event,), count


_FIGURES: Final[dict[str, Callable[[Report], Figures]]] = {
    "free_blocks": _by_order(lambda zone: zone.free_blocks),
    "free_bytes": _free_bytes,
    "unusable_permille": _by_order(lambda zone: zone.unusable_permille),
    "fragmentation_permille": _by_order(lambda zone: zone.fragmentation_permille),
    "score_percent": _score,
    "obtainable": _obtainable,
    "pageblocks": _pageblocks,
    "whole_pageblocks": _alone(_whole_pageblocks),
    "unmovable_pageblocks": _alone(_unmovable_pageblocks),
    "unknown_pageblocks": _alone(_unknown_pageblocks),
    "trapped_free_bytes": _alone(_trapped_free_bytes),
    "blocker_pageblocks": _blocker_pageblocks,
    "mapped_frames": _mapped_frames,
    "unexplained": _alone(lambda report: None if report.sharing is None else report.sharing.unexplained),
    "forecast_error_percent": _forecast_error,
    "events": _events,
    "page_size_bytes": _alone(lambda report: report.frag.page_size),
    "report_seconds": _alone(lambda report: report.cost.seconds),
    "report_max_rss_bytes": _alone(lambda report: report.cost.max_rss_bytes),
    "report_time_seconds": _alone(lambda report: datetime.fromisoformat(report.time).timestamp()),
    "report_frames": _alone(lambda report: int(report.frames)),
}
"""What gives each metric's labels and values."""
