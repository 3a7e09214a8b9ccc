"""Smaller parts of the collector: who shares an address space, two readers, ranges, cgroups, choices."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.collect.frames import Frames, zone_ranges
from vmprobe.collect.lanes import Lanes
from vmprobe.collect.options import Options
from vmprobe.collect.sharing import group_by_kcmp, merge_by_evidence
from vmprobe.collect.tasks import Task
from vmprobe.collect.unread import Unread
from vmprobe.errors import UsageError
from vmprobe.formats import stat
from vmprobe.formats.zoneinfo import ZoneRow
from vmprobe.sources.cgroupfs import memory_cgroups
from vmprobe.sources.meter import Meter, Pace
from vmprobe.sources.procfs import Tree

if TYPE_CHECKING:
    from pathlib import Path

STAT = (
    b"%d (x) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 88 4096 2 0 4096 8192 %d 0 0" + b" 0" * 23 + b"\n"
)


def task(pid: int, start_stack: int = 0x7000) -> Task:
    return Task(pid, stat=stat.parse(STAT % (pid, start_stack)))


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0x7000, 0x8000])), max_size=12), st.randoms())
def test_kcmp_groups_are_the_address_spaces(members: list[tuple[int, int]], chance: Any) -> None:
    """Any order that kcmp may give to unequal address spaces leads to the same groups."""
    rank = list(range(8))
    chance.shuffle(rank)
    mm = {pid: rank[number + 4 * (stack == 0x8000)] for pid, (number, stack) in enumerate(members, 1)}
    tasks = [task(pid, stack) for pid, (_, stack) in enumerate(members, 1)]

    def compare(a: int, b: int) -> int:
        return (mm[a] > mm[b]) - (mm[a] < mm[b])

    groups = {frozenset(t.pid for t in group) for group in group_by_kcmp(tasks, compare)[0]}
    assert groups == {frozenset(p for p in mm if mm[p] == number) for number in set(mm.values())}
    assert all((t.mm_evidence == "kcmp") == (list(mm.values()).count(mm[t.pid]) > 1) for t in tasks)


def test_processes_without_ptrace_access_are_never_grouped() -> None:
    """The kernel prints zeros for their addresses; equal zeros are no evidence."""
    tasks = [task(1, 0), task(2, 0)]
    assert len(group_by_kcmp(tasks, lambda _a, _b: 0)[0]) == 2


def test_a_process_that_ends_while_it_is_compared_stands_apart() -> None:
    def gone(_a: int, _b: int) -> int:
        raise ProcessLookupError(3, "gone")

    groups, told = group_by_kcmp([task(1), task(2), task(3)], gone)
    assert len(groups) == 3
    assert told == {1}, "the first was never compared: whoever comes later is"


def test_what_kcmp_told_is_never_asked_again() -> None:
    """Comparing every pair of a thousand forked workers by their entries would take minutes."""

    class Untouchable:
        def __init__(self, pid: int) -> None:
            self.task = task(pid)

        def __getattr__(self, name: str) -> object:
            raise AssertionError(name)

    spaces: list[Any] = [Untouchable(1), Untouchable(2)]
    assert merge_by_evidence(spaces, {1, 2}) == {}
    with pytest.raises(AssertionError, match="vmas"):
        merge_by_evidence(spaces, {1})


def test_a_refusal_in_spite_of_the_capability_has_another_reason() -> None:
    refused = OSError(13, "denied")
    for held, needs in (((), "CAP_SYS_PTRACE"), (("CAP_SYS_PTRACE",), "a sandbox closes it")):
        unread = Unread(held)
        unread.failed("memory", refused, needs="the same user, or CAP_SYS_PTRACE")
        assert unread.manifest()[0]["needs"].endswith(needs)


@pytest.mark.parametrize("percent", [100, 50])
def test_lanes_do_all_the_work_once(percent: int) -> None:
    done: list[int] = []
    steps: list[tuple[int, int]] = []
    works = [lambda i=i: done.append(i) for i in range(20)]
    Lanes(Pace(percent), lambda: None).run(works[:10], works[10:], lambda *n: steps.append(n))
    assert sorted(done) == list(range(20))
    assert steps[-1] == (20, 20)


def test_two_lanes_run_side_by_side_and_one_under_a_pace() -> None:
    both = threading.Barrier(2, timeout=5)
    Lanes(Pace(100), lambda: None).run([both.wait], [both.wait], lambda *_: None)  # type: ignore[list-item]
    names = set()
    note = [lambda: names.add(threading.current_thread().name)] * 4
    Lanes(Pace(99), lambda: None).run(note, note, lambda *_: None)
    assert len(names) == 1


def test_an_error_in_either_lane_or_the_waiting_thread_stops_all() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    for long_reads, walks, tick in (([fail], [], None), ([], [fail], None), ([lambda: None], [], fail)):
        with pytest.raises(ZeroDivisionError):
            Lanes(Pace(100), tick or (lambda: None)).run(long_reads, walks, lambda *_: None)
    assert not [t for t in threading.enumerate() if t.name.startswith("vmprobe-read")]


def test_walks_on_the_calling_thread_are_in_order_and_the_clock_is_looked_at() -> None:
    done: list[int] = []
    ticks: list[int] = []
    steps: list[tuple[int, int]] = []
    me = threading.get_ident()
    works = [lambda i=i: done.append(i if threading.get_ident() == me else -1) for i in range(5)]
    lanes = Lanes(Pace(100), lambda: ticks.append(len(done)))
    lanes.walk(works, lambda *n: steps.append(n))
    assert done == [0, 1, 2, 3, 4]
    assert ticks == [1, 2, 3, 4, 5], "a frozen process is let go in time"
    assert steps == [(i, 5) for i in range(1, 6)]
    assert lanes.nr_started == 0


def test_a_pace_rests_in_proportion_and_wakes_when_cancelled() -> None:
    class Event:
        waited: tuple[float, ...] = ()

        def wait(self, seconds: float) -> None:
            self.waited += (seconds,)

    event: Any = Event()
    Pace(20).rest(0.5, event)
    Pace(100).rest(0.5, event)
    assert event.waited == (2.0,)
    cancelled = threading.Event()
    cancelled.set()
    Pace(1).rest(10.0, cancelled)  # a thousand seconds, if it did not look


def zone(start: int, spanned: int) -> ZoneRow:
    return ZoneRow(0, "Normal", {"start_pfn": start, "spanned": spanned}, (), ())


def test_zone_ranges_cover_zones_and_skip_what_lies_far_between() -> None:
    assert zone_ranges([zone(1, 4095), zone(4096, 1 << 20)]) == [(0, 4096 + (1 << 20) + 28672)]
    assert zone_ranges([zone(0, 1 << 15), zone(1 << 25, 1 << 15)]) == [
        (0, 1 << 15),
        (1 << 25, (1 << 25) + (1 << 15)),
    ]
    assert zone_ranges([zone(0, 0), ZoneRow(0, "Movable", {}, (), ())]) == []
    assert zone_ranges([zone(1 << 15, 1 << 16), zone(0, 1 << 16)]) == [(0, 3 << 15)], "zones may overlap"


def test_frames_of_separate_ranges_keep_their_numbers(tmp_path: Path) -> None:
    """A sparse machine: rows and frame numbers differ behind the gap."""
    with (tmp_path / "kpageflags").open("wb") as file:
        for pfn in (3, 1 << 20):
            file.seek(pfn * 8)
            file.write((1 << 10).to_bytes(8, "little"))
        file.truncate((1 << 20) * 8 + 80)
    frames = Frames(Tree(str(tmp_path), Meter()), [(0, 10), (1 << 20, (1 << 20) + 100)], Unread())
    for work in frames.first_pass():
        work()
    frames.mark_unstable(__import__("numpy").array([3, 11, (1 << 20) + 4, 1 << 30], "uint64"))
    table = frames.table()
    frames.close()
    assert table is not None
    assert frames.ranges == [(0, 10), (1 << 20, (1 << 20) + 10)], "cut where the file ends"
    rows = {pfn: (flags, unstable) for pfn, flags, unstable in table.rows("pfn", "flags", "unstable")}
    assert len(rows) == 20
    assert {pfn for pfn, (flags, _) in rows.items() if flags} == {3, 1 << 20}
    assert {pfn for pfn, (_, unstable) in rows.items() if unstable} == {3, (1 << 20) + 4}


def test_more_than_65535_memory_cgroups_fit(tmp_path: Path) -> None:
    import numpy as np

    inodes = np.arange(1, 70_001, dtype=np.uint64) << np.uint64(33)
    (tmp_path / "kpagecgroup").write_bytes(inodes.tobytes())
    frames = Frames(Tree(str(tmp_path), Meter()), None, Unread())
    for work in frames.middle_pass():
        work()
    table = frames.table()
    frames.close()
    assert table is not None
    assert table.column("memcg").tolist() == inodes.tolist()


def test_memory_cgroups_by_inode_and_path(tmp_path: Path) -> None:
    top = tmp_path / "fs" / "cgroup"
    (top / "a" / "b").mkdir(parents=True)
    (top / "cgroup.controllers").write_text("cpu memory\n")
    found = dict(memory_cgroups(Tree(str(tmp_path), Meter())))
    assert found == {os.stat(top / name).st_ino: f"/{name}" for name in ("", "a", "a/b")}
    (top / "cgroup.controllers").write_text("cpu\n")
    with pytest.raises(FileNotFoundError):
        list(memory_cgroups(Tree(str(tmp_path), Meter())))


@pytest.mark.parametrize(
    "choices",
    [{"pace_percent": 0}, {"cgroups": ("",)}, {"pace_percent": 101}, {"freeze": True},
     {"frames": False, "require_frames": True}, {"freeze": True, "pids": (7,), "freeze_limit_seconds": 0}],
)  # fmt: skip
def test_choices_that_contradict_one_another_are_refused(choices: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Options(**choices)
