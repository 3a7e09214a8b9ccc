"""vmprobe.bridge: runs, histogram and holes against plain loops over frames."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.pageflags import describe, mask
from tests.synthetic import NR_FRAMES, RUNS, frames, rows, snapshot
from vmprobe.bridge.memmap import flag_counts, frame_histogram, frame_runs
from vmprobe.bridge.resources import frames_inside, ram_ranges
from vmprobe.errors import SnapshotError
from vmprobe.schema import TABLES
from vmprobe.tables import Table

WORDS = [(), ("BUDDY",), ("LRU", "ANON"), ("SLAB",)]
run_lists = st.lists(st.tuples(st.sampled_from(WORDS), st.integers(1, 5)), min_size=1, max_size=12)


@given(run_lists, st.sets(st.integers(0, 59)))
def test_runs_and_histogram_agree_with_a_loop(
    runs: list[tuple[tuple[str, ...], int]], marked: set[int]
) -> None:
    words = [mask(*names) for names, count in runs for _ in range(count)]
    unstable = tuple(sorted(row for row in marked if row < len(words)))
    shot = snapshot(frames=frames(runs, unstable), manifest={"frame_ranges": [[100, 100 + len(words)]]})
    found = frame_histogram(shot)
    assert dict(zip(found.words.tolist(), found.nr_frames.tolist(), strict=True)) == Counter(words)
    pieces = frame_runs(shot)
    spread = [
        (start + i, word)
        for start, length, word in zip(
            pieces.start_pfn.tolist(), pieces.nr_frames.tolist(), pieces.words.tolist(), strict=True
        )
        for i in range(length)
    ]
    assert spread == list(enumerate(words, 100))
    assert int(pieces.nr_unstable.sum()) == len(unstable)


def test_runs_end_where_a_range_of_frames_ends() -> None:
    shot = snapshot(frames=frames([((), 8)]), manifest={"frame_ranges": [[0, 3], [10, 15]]})
    pieces = frame_runs(shot)
    assert list(zip(pieces.start_pfn.tolist(), pieces.nr_frames.tolist(), strict=True)) == [(0, 3), (10, 5)]


@pytest.mark.parametrize("ranges", [[], [[0, 7]], [[0, 9]], [[0, 8], [9, 9]], [[0, 9], [10, 9]]])
def test_ranges_that_do_not_fit_the_table_are_an_error(ranges: list[list[int]]) -> None:
    shot = snapshot(frames=frames([((), 8)]), manifest={"frame_ranges": ranges})
    with pytest.raises(SnapshotError, match="frame_ranges"):
        frame_runs(shot)


def test_frames_without_a_word_are_counted_apart() -> None:
    flags = np.array([0, 1 << 10, 1 << 10, 0, 0], np.uint64)
    valid = {"flags": np.array([True, True, False, False, True])}
    table = Table(TABLES["frames"], {"flags": flags}, 5, valid)
    pieces = frame_runs(snapshot(frames=table))
    assert pieces.nr_unread == 2
    assert list(zip(pieces.words.tolist(), pieces.start_pfn.tolist(), strict=True)) == [
        (0, 0), (1 << 10, 1), (0, 4),
    ]  # fmt: skip


def test_flag_counts_name_every_flag() -> None:
    counts = flag_counts(snapshot())
    assert counts["BUDDY"] == 1024
    assert counts["KSM"] == 20
    assert counts["NOPAGE"] == 0
    odd = snapshot(frames=frames([((), 2)]))
    assert "bit27" not in flag_counts(odd)
    strange = Table(TABLES["frames"], {"flags": np.array([1 << 27, 0], np.uint64)}, 2)
    assert flag_counts(snapshot(frames=strange))[describe(1 << 27)] == 1


def test_ram_ranges_join_and_know_when_they_are_hidden() -> None:
    ranges = ram_ranges(snapshot())
    assert ranges is not None
    assert ranges.tolist() == [[0, 3584]]
    assert ram_ranges(snapshot(without=("resources",))) is None
    names = "depth start last name"
    zeros = rows("resources", names, (0, 0, 0, "System RAM"), (0, 0, 0, "System RAM"))
    assert ram_ranges(snapshot(resources=zeros)) is None
    several = rows(
        "resources",
        names,
        (0, 0x9000, 0x9FFF, "System RAM"),
        (0, 0x2000, 0x3FFF, "System RAM (kmem)"),
        (0, 0x4800, 0x57FF, "System RAM"),
        (1, 0x2000, 0x2FFF, "System RAM"),
        (0, 0x8000, 0x8FFF, "Reserved"),
        (0, 0x9000, 0x7000, "System RAM"),
    )
    ranges = ram_ranges(snapshot(resources=several))
    assert ranges is not None
    assert ranges.tolist() == [[2, 6], [9, 10]]


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 10)), max_size=5),
    st.integers(0, 80),
    st.integers(0, 80),
)
def test_frames_inside_agrees_with_sets(some: list[tuple[int, int]], start: int, length: int) -> None:
    inside = {pfn for low, size in some for pfn in range(low, low + size)}
    edges = [p for p in range(90) if (p in inside) != (p - 1 in inside)]
    ranges = np.array(edges, np.int64).reshape(-1, 2)
    if not len(ranges):
        return
    found = frames_inside(ranges, np.array([start]), np.array([start + length]))
    assert found.tolist() == [len(inside & set(range(start, start + length)))]


def test_the_made_up_host_adds_up() -> None:
    assert sum(count for _, count in RUNS) == NR_FRAMES
