"""vmprobe.analyses.sharing on snapshots of guests, whole, redacted and with parts missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.redacted import redacted, without_names
from vmprobe import load
from vmprobe.analyses.sharing import Study, sharing
from vmprobe.errors import SnapshotError, UsageError
from vmprobe.tables import MemoryTables

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot

FOLDER = Path(__file__).parents[2] / "fixtures" / "snapshots"
SHARED = "6.12-shared"


def fixture(name: str) -> Snapshot:
    return load(FOLDER / f"{name}.vmsnap")


@pytest.fixture(scope="module")
def shared() -> Study:
    return Study(fixture(SHARED))


@pytest.mark.parametrize("name", [SHARED, "6.1-swapping"])
def test_a_redacted_snapshot_gives_the_same_figures(name: str) -> None:
    whole = fixture(name)
    answer = sharing(whole)
    assert answer.mechanisms
    assert without_names(sharing(redacted(whole))) == without_names(answer)


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("comm", {"bash", "sh", "python3"}),
        ("uid", {"uid 0"}),
        ("uid,comm", {"uid 0, bash", "uid 0, sh", "uid 0, python3"}),
        ("cgroup", {"/", "/lab"}),
        ("tree", {"1 bash", "245 bash"}),
        ("267,1", {"1,267"}),
        ("1", {"1"}),
    ],
)
def test_groups_are_charged_for_their_frames_together_with_others(
    shared: Study, group: str, names: set[str]
) -> None:
    answer = sharing(shared, group=group)
    assert {row.group for row in answer.groups} == names
    for row in answer.groups:
        assert row.pss_bytes + row.others_bytes == row.distinct_bytes
        assert row.freed_bytes + row.shared_bytes == row.distinct_bytes
    pss = sum(row.pss_bytes for row in answer.groups)
    if not group[0].isdecimal():
        assert sum(row.processes for row in answer.groups) == answer.totals.processes
        assert 0 <= answer.totals.pss_bytes - pss < len(answer.groups)


def test_each_process_alone_is_a_group(shared: Study) -> None:
    answer = sharing(shared, group="pid")
    rows = {row.pid: row for row in answer.processes}
    assert len(answer.groups) == len(rows) == 17
    for row in answer.groups:
        process = rows[int(row.group.split()[0])]
        assert row.pss_bytes == process.pss_bytes
        assert row.freed_bytes <= process.uss_bytes <= row.distinct_bytes


def test_one_mechanism_is_shown_with_who_takes_part(shared: Study) -> None:
    answer = sharing(shared, mechanism="same-file-other-path")
    assert {row.mechanism for row in answer.mechanisms} == {"same-file-other-path"}
    assert [each.mechanism for each in answer.meanings] == ["same-file-other-path"]
    assert len(answer.processes) == answer.mechanisms[0].processes
    nothing = sharing(shared, mechanism="dax")
    assert (nothing.mechanisms, nothing.processes) == ((), ())
    assert nothing.meanings[0].in_1998


def test_one_process_has_a_part_of_the_whole(shared: Study) -> None:
    whole = {row.mechanism: row for row in sharing(shared).mechanisms}
    answer = sharing(shared, pid=267)
    assert [row.pid for row in answer.processes] == [267]
    assert answer.mechanisms
    for row in answer.mechanisms:
        assert row.frames is not None
        assert row.frames <= (whole[row.mechanism].frames or 0)
        assert row.processes <= whole[row.mechanism].processes


def test_top_leaves_processes_out_and_counts_them(shared: Study) -> None:
    few, every = sharing(shared, top=3), sharing(shared)
    assert few.processes == every.processes[:3]
    assert (few.processes_left_out, every.processes_left_out) == (14, 0)
    assert few.mechanisms == every.mechanisms


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"mechanism": "magic"}, "no mechanism is called magic"),
        ({"group": "comm,colour"}, "colour is no way to group"),
        ({"group": ""}, "nothing is no way to group"),
        ({"group": "267,99999"}, "process 99999 has no memory"),
        ({"pid": 99999}, "process 99999 is not in the snapshot"),
    ],
)
def test_what_is_not_there_is_refused(shared: Study, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        sharing(shared, **asked)


@pytest.mark.parametrize(
    ("without", "words"),
    [("frames", "page frames are"), ("mappings", "table mappings"), ("vmas", "table vmas")],
)
def test_without_frames_or_page_tables_there_is_no_answer(without: str, words: str) -> None:
    whole = fixture(SHARED)
    tables = {name: whole.table(name) for name in whole.tables() if name != without}
    with pytest.raises(SnapshotError, match=words):
        sharing(replace(whole, source=MemoryTables(tables)))


def test_without_map_counts_there_is_no_answer() -> None:
    whole = fixture(SHARED)
    tables = {name: whole.table(name) for name in whole.tables()}
    frames = tables["frames"]
    columns = {name: values for name, values in frames.columns.items() if name != "mapcount"}
    tables["frames"] = replace(frames, columns=columns)
    with pytest.raises(SnapshotError, match="no map counts"):
        sharing(replace(whole, source=MemoryTables(tables)))


def test_evidence_that_is_missing_is_named(shared: Study) -> None:
    assert {row.part for row in sharing(shared).missing} == {"open files", "SysV segments"}
