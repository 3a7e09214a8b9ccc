"""vmprobe.analyses.show: figures added up by hand, every part missing once, text and JSON in agreement."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from tests.synthetic import CLASSES, MANIFEST, NR_FRAMES, NR_RAM, PAGE, rows, snapshot, tables
from vmprobe.analyses.parts import Facts, Grid, Kind
from vmprobe.analyses.show import show
from vmprobe.analyses.show_layout import layout
from vmprobe.render.jsontext import dumps
from vmprobe.render.text import cell, print_parts
from vmprobe.units import count_text

TASKS = "pid ppid comm uid mm mm_evidence nr_threads rss_pages kernel_thread frozen state error"


def test_frames_are_those_counted_by_hand() -> None:
    found = show(snapshot()).frames
    assert found is not None
    assert {row.name: row.nr_frames for row in found.classes} == CLASSES
    assert all(row.nr_bytes == row.nr_frames * PAGE for row in found.classes)
    assert sum(row.nr_frames for row in found.classes) + found.nr_unread == found.nr_frames == NR_FRAMES
    assert sum(row.share_percent for row in found.classes if row.share_percent is not None) == pytest.approx(
        100
    )
    assert [row.share_percent for row in found.classes if row.name == "hole"] == [None]
    free = next(row for row in found.classes if row.name == "free")
    assert free.share_percent == pytest.approx(100 * 1024 / NR_RAM)
    assert (found.nr_unstable, free.nr_unstable) == (7, 2)


def test_the_unknown_frames_are_bounded() -> None:
    found = show(snapshot()).frames
    assert found is not None
    bounds = found.unknown
    assert (bounds.nr_frames, bounds.holes_at_most) == (1207, 0)
    # 260 present frames are not managed; 101 of these are reserved and will never be.
    assert (bounds.per_cpu_free_at_most, bounds.not_given_at_most) == (150, 159)
    assert bounds.kernel_at_least == 1207 - 150 - 159


def test_holes_that_nobody_shows_are_bounded_by_the_zones() -> None:
    found = show(snapshot(without=("resources",))).frames
    assert found is not None
    assert found.unknown.nr_frames == 1207 + 512
    assert found.unknown.holes_at_most == NR_FRAMES - 3560
    assert found.unknown.kernel_at_least == 1719 - 150 - 260 - 536


def test_what_cannot_be_bounded_is_absent_and_not_zero() -> None:
    found = show(snapshot(without=("zones", "resources"))).frames
    assert found is not None
    bounds = found.unknown
    assert {bounds.per_cpu_free_at_most, bounds.not_given_at_most, bounds.holes_at_most} == {None}
    assert bounds.kernel_at_least is None


def test_processes_count_each_address_space_once() -> None:
    found = show(snapshot()).processes
    assert found is not None
    assert [(row.pid, row.nr_processes, row.resident_pages, row.counted_from) for row in found.largest] == [
        (70, 2, 512, "page tables"),
        (90, 1, 80, "page tables"),
        (1, 1, 40, "stat"),
    ]
    assert [row.swapped_pages for row in found.largest] == [3, 0, None]
    assert (found.nr_processes, found.nr_kernel_threads, found.nr_mms, found.nr_without_figure) == (
        6,
        1,
        2,
        1,
    )
    assert [(row.pids, row.evidence) for row in found.shared] == [((70, 71), "kcmp")]
    assert [(row.error, row.nr_processes) for row in found.errors] == [
        ("Permission denied", 1),
        ("vanished", 1),
    ]


def test_without_mappings_the_kernels_own_figure_stands_in_and_says_so() -> None:
    found = show(snapshot(without=("mappings",))).processes
    assert found is not None
    assert [(row.pid, row.resident_pages, row.counted_from) for row in found.largest] == [
        (70, 500, "stat"),
        (90, 90, "stat"),
        (1, 40, "stat"),
    ]
    assert {row.swapped_pages for row in found.largest} == {None}


def test_an_address_space_that_was_read_and_is_empty_has_zero_pages() -> None:
    idle = rows("tasks", TASKS, (5, 1, "idle", 0, 9, None, 1, 77, False, False, "S", None))
    found = show(snapshot(tasks=idle)).processes
    assert found is not None
    assert [(row.resident_pages, row.counted_from) for row in found.largest] == [(0, "page tables")]


def test_only_as_many_processes_as_asked_for() -> None:
    found = show(snapshot(), largest=1).processes
    assert found is not None
    assert [row.pid for row in found.largest] == [70]


@pytest.mark.parametrize("table", sorted(tables()))
def test_any_table_can_be_missing(table: str) -> None:
    answer = show(snapshot(without=(table,)))
    part = {"zones": "zones", "free_areas": "free_areas", "frames": "frames", "tasks": "processes"}.get(table)
    if part is not None:
        assert getattr(answer, part) is None
    named = {"zones", "free_areas", "frames", "tasks", "mappings"} & {table}
    assert {row.part for row in answer.missing} == named
    layout(answer)


def test_nothing_but_a_manifest_is_still_an_answer() -> None:
    bare = snapshot(without=tuple(tables()), manifest={"volatility": {}, "sources": [], "unread": []})
    answer = show(bare)
    assert len(answer.missing) == 5
    assert answer.drift.frames_compared is None
    assert layout(answer).parts


def test_the_reason_is_given_for_what_is_missing() -> None:
    refused = {
        "what": "kpageflags",
        "reason": "Permission denied",
        "needs": "root",
        "lost": "frames.flags",
        "count": 1,
    }
    answer = show(snapshot(without=("frames",), manifest={"unread": [refused]}))
    assert answer.missing[0].reason == "not in this snapshot: kpageflags: Permission denied; needs root"
    options = MANIFEST["options"] | {"frames": False}
    answer = show(snapshot(without=("frames",), manifest={"options": options}))
    assert answer.missing[0].reason == "not in this snapshot: it was taken without frames"


def test_cost_is_sorted_and_a_rate_needs_time() -> None:
    rows_ = show(snapshot()).cost
    assert [row.name for row in rows_] == ["kpageflags", "kpagecount", "maps", "pagemap-scan", "buddyinfo"]
    assert rows_[0].bytes_per_second == 131072
    assert rows_[-1].bytes_per_second is None


def numbers(value: Any) -> list[int]:
    """Return every integer of a JSON document."""
    if isinstance(value, dict):
        return [n for item in value.values() for n in numbers(item)]
    if isinstance(value, list):
        return [n for item in value for n in numbers(item)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []


def test_text_and_json_tell_the_same_numbers() -> None:
    answer = show(snapshot())
    document = json.loads(dumps(answer), parse_constant=pytest.fail)
    known = {count_text(number) for number in numbers(document)}
    stream = io.StringIO()
    print_parts(layout(answer), Console(file=stream, width=200))
    shown = stream.getvalue()
    checked = 0
    for part in layout(answer).parts:
        if isinstance(part, Grid):
            cells = [(v, c.kind) for row in part.rows for v, c in zip(row, part.columns, strict=True)]
        elif isinstance(part, Facts):
            cells = [(fact.value, fact.kind) for fact in part.facts]
        else:
            continue
        for value, kind in cells:
            assert cell(value, kind) in shown
            if kind is Kind.COUNT and value is not None:
                assert count_text(value) in known
                checked += 1
    assert checked > 40
