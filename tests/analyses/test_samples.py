"""vmprobe.analyses.samples: every metric of a report, and none that it does not have."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from kernelmodel.holder import HOLDER_NAMES
from tests.reported import SNAPSHOTS, report_of, with_nodes, without_frames
from vmprobe.analyses.report import report as reported
from vmprobe.analyses.samples import BLOCKER_KINDS, WHEN, samples
from vmprobe.metrics import METRICS, Sample
from vmprobe.store import load
from vmprobe.tables import MemoryTables

FULL = ("6.12-fragmented", "6.12-two-nodes")


def figures(name: str, of: tuple[Sample, ...]) -> dict[tuple[str, ...], int | float]:
    """The values of one metric by labels."""
    return {sample.labels: sample.value for sample in of if sample.name == name}


@pytest.mark.parametrize("name", FULL)
def test_every_metric_has_a_sample(name: str) -> None:
    made = samples(report_of(name))
    assert list(dict.fromkeys(sample.name for sample in made)) == list(METRICS)
    for sample in made:
        assert len(sample.labels) == len(METRICS[sample.name].labels), sample
        assert all(isinstance(label, str) for label in sample.labels), sample
        assert type(sample.value) in (int, float), sample
    assert not [key for key, times in Counter(sample[:2] for sample in made).items() if times > 1]


@pytest.mark.slow
def test_a_saved_snapshot_lacks_only_what_it_cannot_have() -> None:
    """Nothing is made up here: neither what the report cost nor verified forecasts are in a snapshot."""
    made = samples(reported(load(SNAPSHOTS / "6.12-two-nodes.vmsnap")))
    lacking = METRICS.keys() - {sample.name for sample in made}
    assert lacking == {"report_seconds", "report_max_rss_bytes", "forecast_error_percent"}
    mine = {(sample.name, sample.labels): sample.value for sample in samples(report_of("6.12-two-nodes"))}
    of_frag = [s for s in made if s.name not in ("obtainable", "events")]
    assert of_frag
    assert all(mine[name, labels] == value for name, labels, value in of_frag)


def test_values_are_those_of_the_report() -> None:
    report = report_of("6.12-two-nodes")
    made = samples(report)
    buddyinfo = {
        (str(zone.node), zone.zone, str(order)): nr
        for zone in report.frag.zones
        for order, nr in enumerate(zone.free_blocks or ())
    }
    assert figures("free_blocks", made) == buddyinfo
    assert len(buddyinfo) == 3 * 11
    free_bytes = Counter[tuple[str, ...]]()
    for (node, zone, order), nr in buddyinfo.items():
        free_bytes[node, zone] += nr * 4096 << int(order)
    assert figures("free_bytes", made) == free_bytes
    assert figures("score_percent", made) == {("0",): 0, ("1",): 0}
    assert figures("obtainable", made)["9", "now"] == report.obtainable[9].now
    assert figures("obtainable", made)["9", "after_compaction_at_most"] == report.obtainable[9].high
    assert {when for _, when in figures("obtainable", made)} == set(WHEN)
    assert figures("pageblocks", made)["1", "Normal", "unmovable"] == 27
    assert report.frag.held is not None
    alone = next(row.alone_pageblocks for row in report.frag.blockers or () if row.kind == "unknown")
    assert figures("unknown_pageblocks", made) == {(): alone}
    assert figures("unmovable_pageblocks", made) == {(): 154 - alone}
    assert report.frag.held.held_pageblocks == 154 > alone > 0
    assert figures("whole_pageblocks", made) == {(): report.frag.held.pageblocks}
    assert figures("trapped_free_bytes", made) == {(): 3512 * 4096}
    assert figures("report_time_seconds", made) == {(): 1795629692.72153}
    assert figures("forecast_error_percent", made)["gained", "worst"] == 12.5
    assert figures("page_size_bytes", made) == {(): 4096}


def test_kinds_that_hold_nothing_are_zero() -> None:
    assert set(BLOCKER_KINDS) == set(HOLDER_NAMES.values())
    held = figures("blocker_pageblocks", samples(report_of("6.12-fragmented")))
    assert held == {
        ("process",): 0, ("cgroup",): 16, ("slab",): 29, ("page_tables",): 14, ("kernel",): 34,
        ("pinned",): 0, ("unknown",): 31,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.stem, marks=pytest.mark.slow if path.stem.startswith("6.1-") else ())
        for path in sorted(SNAPSHOTS.glob("*.vmsnap"))
    ],
)
def test_each_mapped_frame_counts_once(name: str) -> None:
    totals = report_of(name).sharing
    assert totals is not None
    counted = figures("mapped_frames", samples(report_of(name)))
    assert sum(counted.values()) == totals.frames_mapped
    assert min(counted.values()) >= 0
    by_reason = sum(frames for reason, frames in totals.explained.items() if reason != "no-frame")
    assert counted["explained",] == by_reason


def test_entries_that_lead_to_no_frame_are_no_frames() -> None:
    report = report_of("6.12-fragmented")
    assert report.sharing is not None
    more = replace(report.sharing, explained={**report.sharing.explained, "no-frame": 1000})
    assert samples(replace(report, sharing=more)) == samples(report)


def test_without_frames_there_are_no_samples_of_them() -> None:
    report = without_frames(report_of("6.12-two-nodes"))
    made = samples(report)
    assert {sample.name for sample in made} == {name for name, metric in METRICS.items() if not metric.frames}
    assert figures("report_frames", made) == {(): 0}
    assert {when for _, when in figures("obtainable", made)} == {"now"}


def test_what_was_not_read_is_not_zero() -> None:
    report = report_of("6.12-fragmented")
    zones = tuple(
        replace(zone, free_blocks=None, free_pages=None, unusable_permille=None, fragmentation_permille=None)
        for zone in report.frag.zones
    )
    cost = replace(report.cost, seconds=None, max_rss_bytes=None)
    made = samples(
        replace(
            report,
            frag=replace(report.frag, zones=zones, nodes=None),
            obtainable=tuple(replace(row, now=None) for row in report.obtainable),
            events={},
            cost=cost,
        )
    )
    gone = set(METRICS) - {sample.name for sample in made}
    assert gone == {
        "free_blocks", "free_bytes", "unusable_permille", "fragmentation_permille", "score_percent", "events",
        "report_seconds", "report_max_rss_bytes",
    }  # fmt: skip
    assert "now" not in {when for _, when in figures("obtainable", made)}


def test_frames_without_zones_are_nobodys() -> None:
    """Without a zone no pageblock is counted, which is not none."""
    whole = load(SNAPSHOTS / "6.12-fragmented.vmsnap")
    names = [name for name in whole.tables() if name != "zones"]
    report = reported(replace(whole, source=MemoryTables({name: whole.table(name) for name in names})))
    assert (report.frag.held, report.frag.blockers, report.frag.owners) == (None, None, None)
    assert report.frames
    assert {row.after_pages for row in report.frag.contiguity} == {None}
    lacking = {row.part: row.reason for row in report.missing}
    assert lacking["pageblocks, blockers, what compaction could give"].startswith("zones: not in this")
    made = {sample.name for sample in samples(report)}
    assert made.isdisjoint(name for name in METRICS if name.endswith("pageblocks") or "trapped" in name)
    assert "free_blocks" in made


def test_an_index_is_told_in_the_units_of_both_its_readers() -> None:
    """Thresholds read per mille, a metrics file ratios."""
    about = METRICS["fragmentation_permille"].about
    assert all(f"{nr}000 per mille (a ratio of {nr})" in about for nr in (1, -1))


def test_a_record_without_runs_has_no_errors() -> None:
    report = report_of("6.12-fragmented")
    assert report.record is not None
    empty = replace(report.record, runs=0, moves_percent_median=None, moves_percent_worst=None)
    empty = replace(empty, gained_percent_median=None, gained_percent_worst=None)
    assert not figures("forecast_error_percent", samples(replace(report, record=empty)))


def test_many_nodes() -> None:
    made = samples(with_nodes(report_of("6.12-fragmented"), 64, ("Normal", "Movable")))
    assert len(figures("free_blocks", made)) == 64 * 2 * 11
    assert len(figures("score_percent", made)) == 64
