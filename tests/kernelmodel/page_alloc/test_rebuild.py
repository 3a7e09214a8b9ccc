"""Free blocks from free frames, against the frame by frame search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.page_alloc.rebuild import FreeBlocks, free_blocks
from tests.oracles.page_alloc import greedy_blocks


def blocks_of(pairs: list[tuple[int, int]], nr_orders: int = 4) -> FreeBlocks:
    start, order = zip(*pairs, strict=True)
    return FreeBlocks(np.array(start, np.int64), np.array(order, np.uint8), nr_orders)


@given(
    free=st.sets(st.integers(0, 200)),
    cuts=st.sets(st.integers(0, 200), max_size=5),
    bounds=st.tuples(st.integers(0, 200), st.integers(0, 200)),
    nr_orders=st.integers(1, 6),
)
def test_blocks_are_those_of_the_slow_search(
    free: set[int], cuts: set[int], bounds: tuple[int, int], nr_orders: int
) -> None:
    edges: list[tuple[int, int]] = []
    for pfn in sorted(free):
        if edges and edges[-1][1] == pfn and pfn not in cuts:
            edges[-1] = (edges[-1][0], pfn + 1)
        else:
            edges.append((pfn, pfn + 1))
    start, end = min(bounds), max(bounds)
    found = free_blocks(np.array(edges, np.int64).reshape(-1, 2), start, end, nr_orders)
    expected = greedy_blocks(free, start, end, nr_orders)
    assert list(zip(found.start_pfn.tolist(), found.order.tolist(), strict=True)) == expected
    assert found.counts().tolist() == [[o for _, o in expected].count(order) for order in range(nr_orders)]
    assert found.nr_pages() == sum(1 << order for _, order in expected)
    found.validate()


def test_ranges_that_touch_are_one() -> None:
    found = free_blocks(np.array([[0, 3], [3, 512], [512, 1024]]), 0, 4096)
    assert (found.start_pfn.tolist(), found.order.tolist()) == ([0], [10])


@pytest.mark.parametrize("ranges", [[[4, 4]], [[5, 4]], [[0, 4], [3, 8]], [[8, 9], [0, 1]]])
def test_ranges_that_are_none_are_refused(ranges: list[list[int]]) -> None:
    with pytest.raises(ModelError):
        free_blocks(np.array(ranges), 0, 100)


@pytest.mark.parametrize(
    ("invariant", "pairs"),
    [
        ("order-range", [(0, 4)]),
        ("natural-alignment", [(2, 2)]),
        ("no-overlap", [(0, 2), (2, 1)]),
        ("merged-buddies", [(0, 2), (4, 2)]),
    ],
)
def test_each_planted_fault_is_found(invariant: str, pairs: list[tuple[int, int]]) -> None:
    with pytest.raises(InvariantError) as caught:
        blocks_of(pairs).validate()
    assert caught.value.invariant == invariant


def test_neighbours_that_are_no_buddies_pass() -> None:
    blocks_of([(4, 2), (8, 2), (16, 3), (24, 3)]).validate()
