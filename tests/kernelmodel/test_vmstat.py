"""kernelmodel.vmstat against the C once more, and against figures that a kernel printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel import vmstat
from tests.oracles import vmstat as oracle

if TYPE_CHECKING:
    from collections.abc import Callable

NR_BLOCKS = st.one_of(st.integers(0, 3), st.integers(0, 1 << 20))
ZONES = st.lists(NR_BLOCKS, min_size=1, max_size=14)
INDICES: list[tuple[Callable[..., Any], Callable[[list[int], int], int]]] = [
    (vmstat.unusable_free_index_permille, oracle.unusable_free_index),
    (vmstat.fragmentation_index_permille, oracle.fragmentation_index),
    (vmstat.extfrag_for_order_percent, oracle.extfrag_for_order),
]

PRINTED = [
    (
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 3],
        "0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.066 0.200",
        "-1.000 " * 10 + "-1.000",
    ),
    (
        [2, 1, 4, 2, 5, 4, 4, 4, 5, 3, 751],
        "0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.001 0.002 0.004",
        "-1.000 " * 10 + "-1.000",
    ),
    (
        [101527, 44334, 13587, 4532, 2048, 1328, 726, 348, 165, 139, 1888],
        "0.000 0.040 0.076 0.098 0.112 0.125 0.142 0.161 0.179 0.196 0.224",
        "-1.000 " * 10 + "-1.000",
    ),
]
"""Free blocks, unusable_index and extfrag_index of three zones of Linux 6.18."""


@pytest.mark.parametrize(("found", "expected"), INDICES, ids=lambda f: f.__name__)
@given(ZONES)
def test_each_order_is_as_the_c_says(
    found: Callable[..., Any], expected: Callable[[list[int], int], int], zone: list[int]
) -> None:
    assert found(zone).tolist() == [expected(zone, order) for order in range(len(zone))]


@given(st.lists(st.lists(NR_BLOCKS, min_size=6, max_size=6), min_size=1, max_size=4))
def test_many_zones_at_once_are_each_as_alone(zones: list[list[int]]) -> None:
    for index, _ in INDICES:
        assert index(np.array(zones)).tolist() == [index(zone).tolist() for zone in zones]


@given(st.integers(-5000, 5000))
def test_figures_are_printed_with_the_division_of_c(index: int) -> None:
    assert vmstat.debugfs_text(index) == oracle.printed(index)


@pytest.mark.parametrize(("zone", "unusable", "extfrag"), PRINTED)
def test_lines_are_those_that_a_kernel_printed(zone: list[int], unusable: str, extfrag: str) -> None:
    for index, line in (
        (vmstat.unusable_free_index_permille, unusable),
        (vmstat.fragmentation_index_permille, extfrag),
    ):
        assert [vmstat.debugfs_text(each) for each in index(zone).tolist()] == line.split()


def altered(zone: list[int], order: int, *, plus: int, sentinel: int) -> int:
    """A fragmentation index with other constants than the kernel's: FreeBSD has neither of the two."""
    info = oracle.fill_contig_page_info(zone, order)
    if not info["free_blocks_total"]:
        return 0
    if info["free_blocks_suitable"]:
        return sentinel
    return 1000 - (plus + info["free_pages"] * 1000 // (1 << order)) // info["free_blocks_total"]


def test_another_formula_is_told_from_the_kernels() -> None:
    """The constants of the formula can be seen in single cells: 1000 a request of its own size, -1000."""
    few = [3, 0, 0, 0]
    found = vmstat.fragmentation_index_permille(few).tolist()
    assert found == [-1000, 167, 417, 542]
    assert found == [altered(few, order, plus=1000, sentinel=-1000) for order in range(4)]
    assert found[1:] != [altered(few, order, plus=0, sentinel=-1000) for order in range(1, 4)]
    assert found[1:] != [altered(few, order, plus=1, sentinel=-1000) for order in range(1, 4)]
    assert found[0] != altered(few, 0, plus=1000, sentinel=0)


def test_one_free_page_is_enough_for_itself() -> None:
    assert vmstat.fragmentation_index_permille([1, 0]).tolist() == [-1000, -500]


def test_nothing_free_is_all_unusable_and_no_fragmentation() -> None:
    nothing = [0, 0, 0]
    assert vmstat.unusable_free_index_permille(nothing).tolist() == [1000] * 3
    assert vmstat.fragmentation_index_permille(nothing).tolist() == [0] * 3
    assert vmstat.extfrag_for_order_percent(nothing).tolist() == [0] * 3


@given(st.lists(st.tuples(st.integers(1, 1 << 24), ZONES), min_size=1, max_size=5), st.integers(0, 13))
def test_the_score_of_a_node_is_as_the_c_says(zones: list[tuple[int, list[int]]], order: int) -> None:
    assert vmstat.fragmentation_score_node(zones, order) == oracle.score_node(zones, order)


def test_a_score_rounds_down_in_every_zone() -> None:
    """Two zones of equal size with half of their memory in small blocks: 2 * floor(49.95), not 99 or 100."""
    zones = [(500, [1024, 0])] * 2
    assert vmstat.fragmentation_score_node(zones, 1) == 98
    # Node present pages plus one is what the kernel divides by.
    assert vmstat.fragmentation_score_zone_weighted([1024, 0], 1, 1000, 1000) == 99


@given(st.integers(0, 100))
def test_marks_are_as_the_c_says_with_and_without_the_cap(proactiveness: int) -> None:
    for capped, mark in ((True, oracle.wmark), (False, oracle.wmark_uncapped)):
        assert vmstat.fragmentation_score_wmark(proactiveness, capped=capped) == (
            mark(proactiveness, True),
            mark(proactiveness, False),
        )


def test_marks_differ_between_kernels_above_80_alone() -> None:
    differ = [
        each
        for each in range(101)
        if vmstat.fragmentation_score_wmark(each, capped=True)
        != vmstat.fragmentation_score_wmark(each, capped=False)
    ]
    assert differ == list(range(81, 101))
