"""`vmprobe report` as a function: figures, what is missing and why, with frames and without."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.compactable import host
from tests.synthetic import rows, snapshot
from vmprobe.analyses.can_alloc import can_alloc
from vmprobe.analyses.frag import frag
from vmprobe.analyses.record import History
from vmprobe.analyses.report import report, shortened
from vmprobe.analyses.report_answer import Cost, Level
from vmprobe.analyses.sharing import sharing
from vmprobe.errors import SnapshotError
from vmprobe.store import load
from vmprobe.tables import MemoryTables, Snapshot

if TYPE_CHECKING:
    from vmprobe.analyses.report_answer import Report

SNAPSHOTS = Path(__file__).parents[2] / "fixtures" / "snapshots"
FRAGMENTED = SNAPSHOTS / "6.12-fragmented.vmsnap"


@cache
def fragmented() -> Report:
    """The report on that guest, with all owners."""
    return report(load(FRAGMENTED), top=None)


def test_every_part_is_that_of_the_verb_which_it_is_taken_from() -> None:
    asked, answer = load(FRAGMENTED), fragmented()
    whole = can_alloc(asked, 9)
    assert answer.frag == frag(asked)
    assert answer.sharing == sharing(asked).totals
    assert answer.frames
    assert answer.record == whole.record
    huge = next(row for row in answer.obtainable if row.order == 9)
    after = whole.after_compaction
    assert (huge.now, huge.low, huge.mid, huge.high) == (whole.now, after.low, after.mid, after.high)
    assert huge.after_eviction == whole.after_eviction
    assert set(whole.missing) <= set(answer.missing)
    assert set(sharing(asked).missing) <= set(answer.missing)


def test_orders_are_those_that_the_kernel_gives_up_on() -> None:
    answer = fragmented()
    assert [row.order for row in answer.obtainable] == [*range(4, 11), 18]
    assert [row.bytes for row in answer.obtainable] == [4096 << order for order in (*range(4, 11), 18)]
    assert [row.order for row in answer.obtainable if row.mid is not None] == [4, 9, 18]
    known = [row.now for row in answer.obtainable if row.now is not None]
    assert known == sorted(known, reverse=True)


def test_without_frames_free_lists_say_what_can_be_had_now() -> None:
    full, cheap = fragmented(), report(without_frames())
    assert not cheap.frames
    assert [row.now for row in cheap.obtainable] == [row.now for row in full.obtainable]
    assert all(row.low is row.mid is row.high is row.after_eviction is None for row in cheap.obtainable)
    assert (cheap.record, cheap.sharing, cheap.frag.owners) == (None, None, None)
    assert cheap.verdict.level is Level.OK
    parts = {row.part: row.reason for row in cheap.missing}
    assert parts["sharing"] == parts["pageblocks, blockers, what compaction could give"]


def without_frames() -> Snapshot:
    """The fragmented guest as a report without a frame scan photographs it."""
    whole = load(FRAGMENTED)
    names = ("zones", "free_areas", "counters")
    manifest = {**whole.manifest, "options": {**whole.manifest["options"], "frames": False}}
    return Snapshot(manifest, MemoryTables({name: whole.table(name) for name in names}))


def test_frames_without_zones_or_page_tables_have_their_reasons() -> None:
    answer = report(snapshot(without=("zones", "mappings")))
    assert answer.frames
    parts = {row.part: row.reason for row in answer.missing}
    assert "zones are not in this snapshot" in parts["what compaction would give"]
    assert "table vmas is not in this snapshot" in parts["sharing"]
    assert all(row.now is None and row.mid is None for row in answer.obtainable)
    assert answer.verdict.level is Level.UNKNOWN
    assert answer.record is None


def test_hidden_frame_numbers_of_a_snapshot_taken_now_are_a_reason_too() -> None:
    hidden = rows("mappings", "mm vma vpn nr_pages kind", (1, 0, 16, 400, "present"))
    vmas = rows("vmas", "mm vma start end", (1, 0, 0, 1 << 20))
    answer = report(host(mappings=hidden, vmas=vmas))
    assert answer.sharing is None
    assert "frame numbers" in {row.part: row.reason for row in answer.missing}["sharing"]


def test_neither_lists_nor_frames_is_no_report() -> None:
    with pytest.raises(SnapshotError, match="neither free lists nor frames"):
        report(snapshot(without=("frames", "free_areas")))


def test_events_are_those_that_the_kernel_counts() -> None:
    def events(*named: tuple[str, int]) -> dict[str, int]:
        told = [("vmstat", "", name, value) for name, value in named]
        return report(host(counters=rows("counters", "source scope name value", *told))).events

    stalls = (("allocstall_dma", 1), ("allocstall_normal", 20), ("allocstall_movable", 300))
    assert events(*stalls, ("pgfault", 9)) == {"allocstall": 321}
    assert events(("allocstall", 7)) == {"allocstall": 7}
    assert events(("compact_fail", 3), ("thp_fault_alloc", 0)) == {"compact_fail": 3, "thp_fault_alloc": 0}
    assert events() == {}


def test_the_record_is_that_of_the_host() -> None:
    asked = host()
    verified = {"release": asked.manifest["host"]["release"], "error": {"gained_percent": -8.0}}
    told = report(asked, history=History((verified,), live=True)).record
    assert told is not None
    assert (told.runs, told.gained_percent_worst) == (1, 8.0)


def test_cost_is_the_snapshots_unless_it_is_told() -> None:
    asked = snapshot()
    cost = report(asked).cost
    assert cost == Cost(None, None, None, 1.25, sum(each["bytes"] for each in asked.manifest["sources"]))
    told = Cost(1.0, 2.0, 3, 4.0, 5)
    assert report(asked, cost=told).cost == told


def test_time_is_utc() -> None:
    begun = {**snapshot().manifest["time"], "start": "2026-01-02T05:04:05+02:00"}
    assert report(snapshot(manifest={"time": begun})).time == "2026-01-02T03:04:05+00:00"


def test_owners_are_cut_and_counted() -> None:
    whole = report(snapshot(), top=None)
    assert whole.frag.owners is not None
    nr = len(whole.frag.owners)
    assert report(snapshot(), top=2).frag == replace(
        whole.frag, owners=whole.frag.owners[:2], owners_left_out=nr - 2
    )
    assert shortened(whole, nr) is shortened(whole, None) is whole
    assert shortened(shortened(whole, 3), 1).frag.owners_left_out == nr - 1
