"""`vmprobe diff` as a function: every part by hand, and what happens where parts are missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.before_after import (
    AFTER,
    BEFORE,
    SECONDS,
    after,
    before,
    counters,
    frame_table,
    lists,
    tasks,
)
from tests.synthetic import MANIFEST, PAGE
from vmprobe.analyses.diff import diff
from vmprobe.analyses.diff_answer import (
    ClassChange,
    Diff,
    Event,
    FreePageblocks,
    ProcessChange,
)
from vmprobe.analyses.diff_frames import OwnerRow, Turned
from vmprobe.analyses.diff_layout import layout
from vmprobe.analyses.parts import Grid, Note
from vmprobe.cli.output import PIPE_COLUMNS, write_text
from vmprobe.render.text import cell
from vmprobe.tables import Coded, Table

OTHER_BOOT = {"host": MANIFEST["host"] | {"boot_id": "another"}}
UNKNOWN_BOOT = {"host": MANIFEST["host"] | {"boot_id": None, "release": "7.0"}}


def text(answer: Diff) -> str:
    return "\n".join(line for part in layout(answer).parts if isinstance(part, Note) for line in part.lines)


def titles(answer: Diff) -> list[str]:
    return [part.title for part in layout(answer).parts if part.title]


def missing(answer: Diff) -> dict[str, str]:
    return {row.part: row.reason for row in answer.missing}


def turned(answer: Diff, name: str) -> Turned:
    assert answer.frames is not None
    found: Turned = getattr(answer.frames, name)
    return found


def test_the_verdict_names_who_took_huge_pages() -> None:
    answer = diff(before(), after())
    assert answer.verdict == (
        "1 huge page fewer is free than 21 h ago: 3 were broken (1 by eater 95; 1 by slab; 1 by several at"
        " once, eater 95 in 1 of those), 2 became free, 1 more that compaction could have freed holds pages"
        " that stay now."
    )
    assert text(answer).startswith(answer.verdict)
    assert diff(before(), before()).verdict == "As many huge pages are free as in the earlier snapshot, 3."
    back = diff(before(manifest=OTHER_BOOT), after()).verdict
    assert back == (
        "The host was booted between the two, so that frames cannot be compared. 1 huge page fewer is free"
        " than 21 h ago."
    )


def test_the_verdict_knows_vmprobe_itself() -> None:
    answer = diff(before(), after(manifest={"program": {"pid": 95}}))
    assert "1 by vmprobe itself" in answer.verdict
    assert "Process 95 is vmprobe itself, at work for that snapshot." in text(answer)


def test_pageblocks_that_are_no_huge_pages_are_called_so() -> None:
    answer = diff(before(manifest={"pageblock_order": 8}), after(manifest={"pageblock_order": 8}))
    assert " pageblocks fewer are free than 21 h ago" in answer.verdict


def test_owners_are_cut_to_the_top_and_counted() -> None:
    everything, one = diff(before(), after(), top=None), diff(before(), after(), top=1)
    # Both of the latter have one pageblock; slab has it alone.
    assert turned(everything, "broken").owners == (
        OwnerRow("process", "eater", 95, 1, 1, 612, 0, (512, 1324)),
        OwnerRow("slab", None, None, 1, 0, 1, 1, (1536,)),
        OwnerRow("page cache", None, None, 0, 1, 300, 0, (1024,)),
    )
    assert turned(one, "broken").owners == turned(everything, "broken").owners[:1]
    assert turned(one, "broken").owners_left_out == 2
    assert one.verdict == everything.verdict
    assert turned(one, "broken").pageblocks == 3
    assert one.frames is not None
    assert (len(one.frames.changes), one.frames.changes_left_out) == (1, 6)
    assert one.processes is not None
    assert (len(one.processes.rows), one.processes.rows_left_out) == (1, 2)


def test_classes_are_told_before_and_after() -> None:
    answer = diff(before(), after(frames=frame_table(AFTER, (1536, 1537))))
    assert answer.classes == (
        ClassChange("free", (3414, 2822), (0, 0)),
        ClassChange("slab", (12, 1), (0, 1)),
        ClassChange("page table", (0, 1), (0, 0)),
        ClassChange("reserved", (8, 8), (0, 0)),
        ClassChange("anonymous", (612, 712), (0, 0)),
        ClassChange("file", (50, 550), (0, 1)),
        ClassChange("unknown", (0, 2), (0, 0)),
    )


def test_pageblocks_are_told_from_content_to_content() -> None:
    answer = diff(before(), after())
    assert answer.frames is not None
    moved = {
        (then, now): nr for then, row in answer.frames.pageblocks.items() for now, nr in row.items() if nr
    }
    assert moved == {
        ("free", "movable_only"): 2, ("free", "one_unmovable_page_only"): 1, ("movable_only", "free"): 1,
        ("movable_only", "one_unmovable_page_only"): 1, ("movable_only", "unknown"): 1, ("mixed", "free"): 1,
        ("mixed", "mixed"): 1,
    }  # fmt: skip


def test_free_blocks_and_indices_are_told_of_every_order() -> None:
    answer = diff(before(), after())
    assert answer.orders is not None
    assert len(answer.orders) == 11
    assert [row.free_blocks for row in answer.orders][7:] == [(2, 2), (6, 4), (3, 2), (0, 0)]
    assert answer.orders[9].unusable_permille == (561, 615)
    # A zone that came.
    added = diff(before(free_areas=lists(1)), after())
    assert added.orders is not None
    assert added.orders[9].free_blocks == (None, 2)


def test_without_frames_free_lists_tell_of_pageblocks() -> None:
    larger = lists(4, 1, 1, 1, 2, 2, 1, 2, 6, 3, 2)
    answer = diff(before(frames=None, free_areas=larger), after(frames=None))
    assert answer.free_pageblocks == FreePageblocks(3 + 2 * 2, 2, "free lists")
    assert answer.verdict == "5 huge pages fewer are free than 21 h ago."


def test_processes_came_went_grew_and_shrank() -> None:
    answer = diff(before(), after())
    assert answer.processes is not None
    assert answer.processes.rows == (
        ProcessChange("came", 95, "eater", (None, 612 * PAGE), 612 * PAGE),
        ProcessChange("went", 80, "leaver", (512 * PAGE, None), -512 * PAGE),
        ProcessChange("came", 80, "other", (None, 0), 0),
    )
    assert (answer.processes.came, answer.processes.went, answer.processes.same) == (2, 1, 1)
    # Without page tables the figures of stat: worker and leaver changed places in size.
    listed = tasks((70, 500, "worker", 1, 900), (80, 600, "leaver", 2, 12))
    without: dict[str, Any] = {"mappings": None}
    answer = diff(before(**without), after(tasks=listed, **without))
    assert answer.processes is not None
    assert answer.processes.rows == (
        ProcessChange("grew", 70, "worker", (96 * PAGE, 900 * PAGE), 804 * PAGE),
        ProcessChange("shrank", 80, "leaver", (512 * PAGE, 12 * PAGE), -500 * PAGE),
    )
    assert (answer.processes.grew, answer.processes.shrank) == (1, 1)


def test_of_chosen_processes_nobody_came_or_went() -> None:
    chosen = {"options": {"pids": [70]}}
    answer = diff(before(), after(manifest=chosen))
    assert answer.processes is not None
    assert (answer.processes.came, answer.processes.went, answer.processes.rows) == (None, None, ())
    assert "later snapshot: only chosen ones" in missing(answer)["other processes"]
    assert "Processes: 0 grew, 0 shrank" in titles(answer)


def test_counters_are_told_between_and_by_the_hour() -> None:
    answer = diff(before(), after())
    assert answer.events == (
        Event("compact_stall", 4, round(4 * 3600 / SECONDS, 2)),
        Event("compact_success", 0, 0.0),
        Event("thp_fault_alloc", 60, round(60 * 3600 / SECONDS, 2)),
        Event("thp_fault_fallback", 1260, 60.0),
    )
    same = diff(before(), before())
    assert same.events is not None
    assert {row.per_hour for row in same.events} == {None}
    # A counter of one of the two alone is in neither.
    assert diff(before(counters=counters()), after()).events == ()


def test_sharing_is_told_before_and_after() -> None:
    answer = diff(before(), after())
    assert answer.sharing is not None
    assert (answer.sharing.before.private, answer.sharing.after.private) == (612, 712)
    assert [(row.mechanism, row.bytes) for row in answer.sharing.mechanisms] == [
        ("page-cache-unmapped", (50 * PAGE, 550 * PAGE))
    ]


@pytest.mark.parametrize(
    ("manifest", "same_boot", "why"),
    [
        (OTHER_BOOT, False, "a boot lies between"),
        (UNKNOWN_BOOT, None, "whether a boot lies between is not known"),
    ],
)
def test_of_two_boots_sums_are_told_alone(manifest: Any, same_boot: bool | None, why: str) -> None:
    answer = diff(before(), after(manifest=manifest))
    assert answer.same_boot is same_boot
    assert (answer.frames, answer.processes, answer.events) == (None, None, None)
    assert why in missing(answer)["pageblocks and owners of frames"]
    assert why in missing(answer)["counters of vmstat"]
    assert answer.names is not None
    assert [(row.comm, row.processes, row.rss_bytes) for row in answer.names] == [
        ("eater", (0, 1), (0, 612 * PAGE)), ("leaver", (1, 0), (512 * PAGE, 0)), ("other", (0, 1), (0, 0)),
    ]  # fmt: skip
    assert answer.classes is not None
    assert answer.orders is not None
    assert answer.free_pageblocks is not None
    assert answer.free_pageblocks.source == "free lists"
    assert "frames ca" in answer.verdict or "frames are not compared" in answer.verdict


def test_processes_by_name_have_one_measure_and_unknown_is_not_zero() -> None:
    # Page tables and stat differ in every figure: of one host both times nothing changed all the same.
    answer = diff(before(), before(manifest=OTHER_BOOT, mappings=None))
    assert answer.names == ()
    # Of one leaver in the later snapshot there is no figure.
    listed = tasks((70, 500, "worker", 1, 104), (80, 600, "leaver", 2, None), (81, 700, "leaver", 3, 5))
    answer = diff(before(), after(manifest=OTHER_BOOT, tasks=listed, mappings=None))
    assert answer.names is not None
    assert [(row.comm, row.processes, row.rss_bytes) for row in answer.names] == [
        ("worker", (1, 1), (96 * PAGE, 104 * PAGE)), ("leaver", (1, 2), (512 * PAGE, None)),
    ]  # fmt: skip
    (shown,) = [part for part in layout(answer).parts if part.title == "Processes by name"]
    assert isinstance(shown, Grid)
    assert cell(shown.rows[1][-1], shown.columns[-1].kind) == "-"


def test_hashed_names_of_two_boots_are_said_to_differ() -> None:
    hashed = {"options": {"redact": True}} | UNKNOWN_BOOT
    assert "key of its own" in missing(diff(before(), after(manifest=hashed)))["processes by name"]
    # Of one boot a process is known by pid and start time, whatever it is called.
    same = {"options": {"redact": True}}
    assert "processes by name" not in missing(diff(before(), after(manifest=same)))


def test_without_frames_lists_processes_and_counters_are_left() -> None:
    answer = diff(before(frames=None), after())
    assert (answer.frames, answer.classes, answer.sharing) == (None, None, None)
    assert missing(answer) == {
        "pageblocks and owners of frames": "earlier snapshot: not read",
        "classes of frames": "earlier snapshot: not read",
        "sharing": "earlier snapshot: page frames are not in this snapshot",
    }
    assert answer.verdict == "1 huge page fewer is free than 21 h ago."
    assert answer.processes is not None
    assert answer.events is not None
    assert missing(diff(before(frames=None), after(frames=None)))["classes of frames"] == (
        "both snapshots: not read"
    )


def test_nothing_is_known_of_an_empty_one() -> None:
    nothing = dict.fromkeys(before().tables())
    answer = diff(before(**nothing), after(**nothing))
    assert answer.verdict == "How many pageblocks are free is not known in both snapshots."
    parts = (answer.frames, answer.classes, answer.orders, answer.processes, answer.events, answer.sharing)
    assert set(parts) == {None}
    assert {"processes", "counters of vmstat", "free blocks and indices"} <= set(missing(answer))


def charged(table: Table, frames: range, inode: int) -> Table:
    codes = np.zeros(len(table), np.uint16)
    codes[frames.start : frames.stop] = 1
    return replace(table, columns={**table.columns, "memcg": Coded(codes, (0, inode))})


def test_page_cache_has_its_cgroup() -> None:
    then = before(frames=charged(frame_table(BEFORE), range(0), 7))
    now = after(frames=charged(frame_table(AFTER), range(1024, 1324), 7))
    rows = turned(diff(then, now), "broken").owners
    assert ("page cache", "cgroup with inode 7") in {(row.kind, row.owner) for row in rows}


def test_text_fits_the_width_of_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    for answer in (diff(before(), after()), diff(before(), after(manifest=OTHER_BOOT))):
        write_text(layout(answer))
        printed = capsys.readouterr().out.splitlines()
        assert len(printed) > 20
        assert max(map(len, printed)) <= PIPE_COLUMNS
