"""Runs of rows against sets and lists of single rows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.memmap import MemMap
from kernelmodel.sharing.runs import coverage, row_runs, segments, unions

NR_ROWS = 24
RUNS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, NR_ROWS - 6), st.integers(1, 6), st.booleans()), max_size=30
)
RANGES = [(3, 8), (8, 10), (15, 20)]


def columns(rows: list[tuple[int, ...]], width: int) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, width).T


@given(RUNS)
def test_unions_are_sets(runs: list[tuple[int, int, int, bool]]) -> None:
    owner, first, nr, _ = columns(runs, 4)
    found = unions(owner, first, nr)
    rows = [(o, row) for o, a, b in zip(*(c.tolist() for c in found), strict=True) for row in range(a, b)]
    assert rows == sorted({(o, row) for o, a, nr, _ in runs for row in range(a, a + nr)})
    touching = (found.owner[1:] == found.owner[:-1]) & (found.start[1:] <= found.end[:-1])
    assert not touching.any()


@given(RUNS, st.integers(1, 4))
def test_unions_are_the_same_piece_by_piece(runs: list[tuple[int, int, int, bool]], nr_runs: int) -> None:
    owner, first, nr, _ = columns(sorted(runs), 4)
    whole = unions(owner, first, nr)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kernelmodel.sharing.runs.PIECE_RUNS", nr_runs)
        pieces = unions(owner, first, nr)
    assert [part.tolist() for part in pieces] == [part.tolist() for part in whole]


def test_empty_runs_cover_nothing() -> None:
    found = unions(np.array([1, 1]), np.array([3, 5]), np.array([0, 2]))
    assert [part.tolist() for part in found] == [[1], [5], [7]]


def test_the_last_row_of_one_owner_does_not_touch_the_first_of_the_next() -> None:
    owner, start, end = np.array([[0, 1], [3, 0], [5, 2]])
    for found in (unions(owner, start, end - start), segments(owner, start, end, owner == 0)):
        assert [part.tolist() for part in found[:3]] == [[0, 1], [3, 0], [5, 2]]


@given(RUNS)
def test_coverage_counts_and_weighs(runs: list[tuple[int, int, int, bool]]) -> None:
    owner, first, nr, _ = columns(runs, 4)
    counts = Counter(row for _, a, nr, _ in runs for row in range(a, a + nr))
    weights = Counter[int]()
    for o, a, length, _ in runs:
        weights.update(dict.fromkeys(range(a, a + length), o - 1))
    assert coverage(first, first + nr, NR_ROWS).tolist() == [counts[row] for row in range(NR_ROWS)]
    weighed = coverage(first, first + nr, NR_ROWS, owner - 1)
    assert weighed.tolist() == [weights[row] for row in range(NR_ROWS)]
    assert (coverage(first, first + nr, NR_ROWS).dtype, weighed.dtype) == (np.int32, np.int64)


@given(RUNS)
def test_segments_tell_how_deep_runs_lie(runs: list[tuple[int, int, int, bool]]) -> None:
    owner, first, nr, chosen = columns(runs, 4)
    found = segments(owner, first, first + nr, chosen.astype(np.bool_))
    rows = [
        ((o, row), depth, of_chosen)
        for o, a, b, depth, of_chosen in zip(*(c.tolist() for c in found), strict=True)
        for row in range(a, b)
    ]
    depths = Counter((o, row) for o, a, nr, _ in runs for row in range(a, a + nr))
    chosen_depths = Counter((o, row) for o, a, nr, is_chosen in runs if is_chosen for row in range(a, a + nr))
    assert rows == [(key, depth, chosen_depths[key]) for key, depth in sorted(depths.items())]
    assert (found.start < found.end).all()


@given(st.lists(st.tuples(st.integers(0, 22), st.integers(1, 22)), max_size=20))
def test_rows_of_runs_that_leave_the_ranges(runs: list[tuple[int, int]]) -> None:
    frames = MemMap(np.array(RANGES), np.zeros(12, np.uint64), None, np.zeros(12, np.bool_))
    pfn, nr_pages = columns(runs, 2)
    found = row_runs(frames, pfn, nr_pages)
    row_of = {pfn: row for row, pfn in enumerate(p for a, b in RANGES for p in range(a, b))}
    rows = [(r, row) for r, a, b in zip(*(c.tolist() for c in found[:3]), strict=True) for row in range(a, b)]
    wanted = [(i, row_of.get(p)) for i, (first, nr) in enumerate(runs) for p in range(first, first + nr)]
    assert rows == [(i, row) for i, row in wanted if row is not None]
    assert found.nr_outside == sum(row is None for _, row in wanted)
