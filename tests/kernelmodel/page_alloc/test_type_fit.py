"""Types fitted to free lists: trade by trade as the slow search does, and right where contents mislead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.migratetype import Migratetype
from kernelmodel.page_alloc import type_fit
from kernelmodel.page_alloc.evidence import BlockEvidence
from kernelmodel.page_alloc.pageblock_flags import infer_migratetypes
from kernelmodel.page_alloc.rebuild import free_blocks
from kernelmodel.page_alloc.type_fit import Fit, FreeLists, free_lists
from tests.oracles import type_fit as slow

NR_ORDERS = 4
PAGEBLOCK_ORDER = 2
U, M, R = Migratetype.UNMOVABLE, Migratetype.MOVABLE, Migratetype.RECLAIMABLE


@st.composite
def zones(draw: st.DrawFn) -> tuple[FreeLists, np.ndarray, np.ndarray]:
    """Draw free lists that some types fit more or less, what speaks against each type, and a first guess."""
    nr_blocks, nr_types = draw(st.integers(2, 8)), draw(st.integers(2, 4))
    numbers = st.integers(0, 6)
    found = np.array(draw(st.lists(st.tuples(*[numbers] * 3), min_size=nr_blocks, max_size=nr_blocks)))
    hidden, guess = (
        np.array(draw(st.lists(st.integers(0, nr_types - 1), min_size=nr_blocks, max_size=nr_blocks)))
        for _ in range(2)
    )
    counted = np.array([found[hidden == kind].sum(axis=0) for kind in range(nr_types)])
    counted += np.array(
        draw(st.lists(st.tuples(*[st.integers(-1, 1)] * 3), min_size=nr_types, max_size=nr_types))
    )
    cost = draw(
        st.lists(st.tuples(*[st.integers(0, 3000)] * nr_types), min_size=nr_blocks, max_size=nr_blocks)
    )
    lists = FreeLists(np.maximum(counted, -1), 2 * found, 2)
    return lists, np.array(cost, np.int64), guess.astype(np.uint8)


def slow_zone(lists: FreeLists, cost: np.ndarray) -> slow.Zone:
    return slow.Zone(
        lists.found.tolist(), lists.counted.tolist(), cost.tolist(), lists.weight().tolist(), lists.parts
    )


@given(zone=zones())
def test_trades_are_those_of_the_slow_search(zone: tuple[FreeLists, np.ndarray, np.ndarray]) -> None:
    lists, cost, types = zone
    expected = slow.fit(slow_zone(lists, cost), types.tolist())
    fit = Fit(types, cost, lists)
    fit.run()
    assert types.tolist() == expected
    # None mends anything, and the alternatives are the likeliest that are left.
    left = slow.trades(slow_zone(lists, cost), expected)
    found = fit.alternatives(500)
    taken = set[int]()
    for worse, one, other in left:
        if worse <= 500 and not {one, other} & taken:
            taken |= {one, other}
            assert tuple(found.pop(0)) == (worse, one, other)
    assert not found


@given(seed=st.integers(0, 2**32 - 1), candidates=st.sampled_from([1, 4, 64]))
def test_a_search_among_few_never_fits_worse(seed: int, candidates: int) -> None:
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 5, (40, 3))
    hidden, types = rng.integers(0, 3, (2, 40)).astype(np.uint8)
    types[:] = rng.permutation(hidden)
    counted = np.array([found[hidden == kind].sum(axis=0) for kind in range(3)])
    lists, cost = FreeLists(counted, found, 1), rng.integers(0, 2000, (40, 3))
    zone, before = slow_zone(lists, cost), types.tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type_fit, "NR_CANDIDATES", candidates)
        Fit(types, cost, lists).run()
    assert slow.misfit(zone, types.tolist()) <= slow.misfit(zone, before)
    assert np.bincount(types, minlength=3).tolist() == np.bincount(before, minlength=3).tolist()


@given(free=st.sets(st.integers(8, 63)), pageblock_order=st.integers(1, 4))
def test_free_blocks_are_shared_out_by_frames(free: set[int], pageblock_order: int) -> None:
    ranges = np.array([(pfn, pfn + 1) for pfn in sorted(free)], np.int64).reshape(-1, 2)
    blocks = free_blocks(ranges, 8, 64, NR_ORDERS)
    first, nr = 8 >> pageblock_order, (64 >> pageblock_order) - (8 >> pageblock_order)
    lists = free_lists(np.zeros((6, NR_ORDERS), np.int64), blocks, first, nr, pageblock_order)
    pairs = list(zip(blocks.start_pfn.tolist(), blocks.order.tolist(), strict=True))
    found, parts = slow.free_parts(pairs, first, nr, pageblock_order, NR_ORDERS)
    assert lists.parts == parts
    assert lists.found.tolist() == found.tolist()
    assert (lists.found.sum(axis=0) // parts).tolist() == blocks.counts().tolist()


@given(data=st.data(), nr_groups=st.integers(1, 8), size=st.sampled_from([2, 4]))
def test_pageblocks_under_one_free_block_have_one_type(
    data: st.DataObject, nr_groups: int, size: int
) -> None:
    # Between two large free blocks lies one that is in use, or none.
    gaps = data.draw(st.lists(st.integers(0, 1), min_size=nr_groups, max_size=nr_groups))
    pageblock_order = 10 - (size.bit_length() - 1)
    starts = np.cumsum([0, *((1 + gap) * size for gap in gaps[:-1])]) << pageblock_order
    ranges = np.stack((starts, starts + 1024), axis=1)
    nr = int(starts[-1] + 1024) >> pageblock_order
    lists = free_lists(np.zeros((6, 11), np.int64), free_blocks(ranges, 0, 1 << 20), 0, nr, pageblock_order)
    types = np.array(data.draw(st.lists(st.sampled_from([U, M, R]), min_size=nr, max_size=nr)), np.uint8)
    last = np.array(data.draw(st.lists(st.booleans(), min_size=nr, max_size=nr)))
    (groups,) = (each for each in lists.groups() if len(each))
    assert (groups[:, 0] << pageblock_order).tolist() == starts.tolist()
    before = types.copy()
    type_fit.keep_together(types, lists, last)
    inside = np.zeros(nr, np.bool_)
    inside[groups] = True
    assert (types[~inside] == before[~inside]).all()
    for kind in (U, M, R):
        had = int((before[groups] == kind).sum())
        assert int((types[groups] == kind).sum()) == had
        assert int((types[groups] == kind).all(axis=1).sum()) >= had // size


def test_the_rarer_type_is_where_free_memory_is_in_pieces() -> None:
    # Free: pageblocks 0 to 7, then 10 and 11, then 14 to 17.
    ranges = np.array([[0, 4096], [5120, 6144], [7168, 9216]])
    lists = free_lists(np.zeros((6, 11), np.int64), free_blocks(ranges, 0, 9216), 0, 18, 9)
    types = np.full(18, M, np.uint8)
    types[[0, 7]] = U
    type_fit.keep_together(types, lists, np.zeros(18, np.bool_))
    assert np.flatnonzero(types == U).tolist() == [10, 11]
    other = types.copy()
    type_fit.keep_together(other, lists, types == U)
    assert np.flatnonzero(other == U).tolist() == [14, 15]


def test_what_differs_in_all_types_together_is_worth_less() -> None:
    found = np.array([[9, 4, 1], [1, 0, 0]])
    same = FreeLists(np.array([[9, 4, 1], [1, 0, 0]]), found, 1).weight()
    assert same.tolist() == [250, 500, 750], "a large block is worth more"
    # Two blocks of order 1 went: four pages that may be anywhere, as one block of order 2 for instance.
    moved = FreeLists(np.array([[9, 2, 1], [1, 0, 0]]), found, 1).weight()
    assert moved.tolist() == [50, 166, 375]
    # Where one type was not counted nobody knows what differs.
    assert FreeLists(np.array([[9, -1, 1], [1, 0, 0]]), found, 1).weight().tolist() == same.tolist()


def host_with_a_history() -> tuple[BlockEvidence, np.ndarray, FreeLists]:
    """Return a zone of 40 pageblocks: six Reclaimable ones hold page cache, six Movable ones are free."""
    rng = np.random.default_rng(1998)
    types = np.full(40, M, np.uint8)
    types[:4], types[10:20] = U, R
    counts = np.zeros((40, 6), np.int64)  # free movable unmovable slab reserved unknown
    counts[types == M] = [(free, 512 - free, 0, 0, 0, 0) for free in rng.integers(0, 400, 26)]
    counts[types == U] = (200, 0, 300, 12, 0, 0)
    counts[types == R] = (100, 0, 0, 412, 0, 0)
    counts[10:16] = [(512 - cache - 6, cache, 0, 6, 0, 0) for cache in range(60, 300, 40)]
    counts[30:36] = (512, 0, 0, 0, 0, 0)
    # Free frames of a block in as many blocks as its binary digits say, which tells most of them apart.
    found = (counts[:, :1] >> np.arange(10)) & 1
    counted = np.array([found[types == kind].sum(axis=0) for kind in range(6)])
    return BlockEvidence(*counts.T), types, FreeLists(counted, found, 1)


def test_free_lists_tell_what_contents_do_not() -> None:
    evidence, types, lists = host_with_a_history()
    totals = np.bincount(types, minlength=6).tolist()
    by_contents = infer_migratetypes(evidence, 0, totals)
    assert (by_contents.block_type != types).sum() >= 8
    assert (by_contents.other_type == by_contents.block_type).all()
    fitted = infer_migratetypes(evidence, 0, totals, lists)
    assert fitted.block_type.tolist() == types.tolist()
    assert (fitted.confidence_permille[10:16] >= 600).all(), "no other fit is as good"
    # Without totals nothing can be traded.
    alone = infer_migratetypes(evidence, 0, None, lists)
    assert alone.block_type.tolist() == infer_migratetypes(evidence, 0).block_type.tolist()


def test_what_fits_as_well_is_in_doubt() -> None:
    evidence, types, lists = host_with_a_history()
    totals = np.bincount(types, minlength=6).tolist()
    # A Movable block with the contents of a Reclaimable one: nothing tells the two apart.
    twin = BlockEvidence(*(column.copy() for column in evidence))
    for column in twin:
        column[38] = column[12]
    found = lists.found.copy()
    found[38] = found[12]
    counted = np.array([found[types == kind].sum(axis=0) for kind in range(6)])
    fitted = infer_migratetypes(twin, 0, totals, FreeLists(counted, found, 1))
    pair = [12, 38]
    assert sorted(fitted.block_type[pair].tolist()) == [M, R]
    assert fitted.other_type[pair].tolist() == fitted.block_type[pair[::-1]].tolist()
    assert (fitted.confidence_permille[pair] < 300).all()
    assert np.bincount(fitted.other_type, minlength=6).tolist() == totals
