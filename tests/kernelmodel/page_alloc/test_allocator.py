"""The allocator from outside: what each kernel rule does, what is refused, numba against plain Python."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kernelmodel.errors import ModelError
from kernelmodel.geometry import Geometry
from kernelmodel.page_alloc import state, stream
from kernelmodel.page_alloc.allocator import BuddyAllocator
from kernelmodel.page_alloc.layout import Layout, Tuning, UsedBlocks
from kernelmodel.page_alloc.rebuild import FreeBlocks, free_blocks
from tests.kernelmodel.page_alloc.zones import GEOMETRY, TUNING, Shape, layout_of, pair_of

ROOT = Path(__file__).parents[3]
MOVABLE, UNMOVABLE, RECLAIMABLE = state.MOVABLE, state.UNMOVABLE, state.RECLAIMABLE


def zone(
    ranges: list[list[int]], types: list[int], tuning: Tuning | None = None, managed: int = 4096
) -> BuddyAllocator:
    """Return a zone with pageblocks of 16 frames and the given free ranges."""
    end = len(types) << GEOMETRY.pageblock_order
    free = free_blocks(np.array(ranges, np.int64).reshape(-1, 2), 0, end, GEOMETRY.nr_orders)
    used = np.setdiff1d(np.arange(end), np.concatenate([np.arange(*pair) for pair in ranges]))
    blocks = UsedBlocks(used, np.zeros(used.size, np.uint8), np.zeros(used.size, np.bool_))
    layout = Layout(0, end, managed, free, np.array(types, np.uint8), blocks, GEOMETRY)
    return BuddyAllocator(layout, tuning, pure=True)


def ranges_of(buddy: BuddyAllocator) -> list[tuple[int, int]]:
    free = buddy.free_blocks()
    return list(zip(free.start_pfn.tolist(), free.order.tolist(), strict=True))


def test_a_split_gives_the_low_part_and_keeps_the_upper_halves() -> None:
    buddy = zone([[0, 64]], [MOVABLE] * 4)
    assert buddy.alloc(1, MOVABLE) == 0
    assert ranges_of(buddy) == [(2, 1), (4, 2), (8, 3), (16, 4), (32, 5)]


def test_a_freed_page_is_the_next_to_be_taken() -> None:
    buddy = zone([[0, 64]], [MOVABLE] * 4)
    first, second = buddy.alloc(2, MOVABLE), buddy.alloc(2, MOVABLE)
    assert buddy.alloc(2, MOVABLE) == 8
    buddy.free(first, 2)
    assert buddy.alloc(2, MOVABLE) == first != second


def test_a_page_whose_pair_may_soon_merge_waits_at_the_end() -> None:
    # The buddy of [0, 2) one order up is free: whoever frees 1 next would make [0, 4) whole.
    buddy = zone([[2, 4], [8, 9]], [MOVABLE] * 4)
    buddy.free(0, 0)
    assert buddy.alloc(0, MOVABLE) == 8


def test_movable_comes_from_reclaimable_first_and_steals_only_what_it_needs() -> None:
    buddy = zone([[0, 1], [16, 17]], [RECLAIMABLE, UNMOVABLE, MOVABLE, MOVABLE])
    assert [buddy.alloc(0, MOVABLE) for _ in range(3)] == [0, 16, state.NO_PAGE]
    assert buddy.zone.block_type.tolist() == [RECLAIMABLE, UNMOVABLE, MOVABLE, MOVABLE]
    assert buddy.zone.info[state.NR_STEALS] == 2


def test_unmovable_claims_a_pageblock_that_is_half_free() -> None:
    buddy = zone([[0, 8], [8, 9]], [MOVABLE] * 4)
    assert buddy.alloc(0, UNMOVABLE) == 8
    assert buddy.zone.block_type.tolist()[:2] == [UNMOVABLE, MOVABLE]
    assert buddy.free_counts()[3, UNMOVABLE] == 1


def test_a_whole_pageblock_is_claimed_even_where_fragmentation_is_forbidden() -> None:
    buddy = zone([[0, 16], [32, 40]], [MOVABLE] * 4, Tuning(defrag_mode=True))
    flags = state.ALLOC_WMARK_LOW | state.ALLOC_NOFRAGMENT
    assert buddy.alloc(4, UNMOVABLE, flags) == 0
    assert buddy.alloc(0, UNMOVABLE, flags) == state.NO_PAGE
    assert zone([[32, 40]], [MOVABLE] * 4).alloc(0, UNMOVABLE, flags) == 32


def test_falling_back_boosts_the_watermarks_and_kswapd_takes_it_off() -> None:
    buddy = zone([[0, 4]], [MOVABLE] * 4, replace(Tuning(), wmark_high=100))
    assert buddy.alloc(0, RECLAIMABLE, state.ALLOC_NO_WATERMARKS | state.ALLOC_KSWAPD) == 0
    # Three orders were tried, at most the high watermark times 1.5 is added.
    assert buddy.boost == 16
    assert buddy.zone.info[state.NR_KSWAPD_WAKEUPS] == 1
    buddy.decay_boost(10)
    assert buddy.boost == 6
    buddy.decay_boost(10)
    assert buddy.boost == 0


def test_free_pages_below_the_watermark_are_not_given() -> None:
    buddy = zone(
        [[0, 32]], [MOVABLE] * 4, replace(Tuning(), wmark_low=20, wmark_high=30, lowmem_reserve=(0, 0, 9))
    )
    assert buddy.alloc(0, MOVABLE, highest_zone=2) == 0
    assert buddy.alloc(2, MOVABLE, highest_zone=2) == state.NO_PAGE
    assert buddy.alloc(2, MOVABLE, highest_zone=1) != state.NO_PAGE


def test_cpus_keep_pages_until_they_are_drained() -> None:
    buddy = zone([[0, 64]], [MOVABLE] * 4, replace(TUNING, wmark_min=0, wmark_low=0, wmark_high=0))
    assert buddy.alloc(0, MOVABLE, cpu=1) == 0
    assert (buddy.nr_free_pages, buddy.nr_pcp_pages) == (61, 2)
    assert buddy.alloc(0, MOVABLE, cpu=0) == 3
    buddy.free(3, 0, cpu=1)
    assert buddy.alloc(0, MOVABLE, cpu=1) == 3
    assert buddy.drain() == buddy.nr_free_pages - 58 == 4
    buddy.validate()


def test_memory_brought_online_goes_behind_everything() -> None:
    buddy = zone([[16, 32]], [MOVABLE] * 4, TUNING)
    for pfn in range(16):
        buddy.free(pfn, 0, fpi_flags=state.FPI_TO_TAIL)
    assert buddy.nr_pcp_pages == 0
    assert ranges_of(buddy) == [(0, 5)]


def test_a_high_order_atomic_request_reserves_its_pageblock() -> None:
    buddy = zone([[0, 64]], [MOVABLE] * 4, managed=2000)
    flags = state.ALLOC_HIGHATOMIC | state.ALLOC_NON_BLOCK | state.ALLOC_MIN_RESERVE
    pfn = buddy.alloc(2, UNMOVABLE, flags)
    assert buddy.zone.block_type[pfn >> 4] == state.HIGHATOMIC
    assert not buddy.unreserve_highatomic(MOVABLE)
    assert buddy.unreserve_highatomic(MOVABLE, force=True)
    assert buddy.zone.block_type[pfn >> 4] == MOVABLE


def test_buddies_of_unlike_types_merge_under_the_type_of_the_page_freed() -> None:
    buddy = zone([[0, 16]], [MOVABLE, UNMOVABLE, state.CMA, MOVABLE])
    for pfn in range(16, 32):
        buddy.free(pfn, 0)
    assert ranges_of(buddy) == [(0, 5)]
    assert buddy.zone.block_type.tolist()[:2] == [UNMOVABLE, UNMOVABLE]
    for pfn in range(32, 64):
        buddy.free(pfn, 0)
    assert ranges_of(buddy) == [(0, 5), (32, 4), (48, 4)]
    buddy.validate()


@pytest.mark.parametrize(
    ("pfn", "order"), [(0, 0), (33, 1), (32, 1), (-5, 0), (10_000, 0), (32, 40), (32, -1)]
)
def test_freeing_what_is_not_allocated_is_refused(pfn: int, order: int) -> None:
    buddy = zone([[0, 32]], [MOVABLE] * 4)
    with pytest.raises(ModelError, match="no block of that order"):
        buddy.free(pfn, order)
    buddy.free(32, 0)
    with pytest.raises(ModelError, match="no block of that order"):
        buddy.free(32, 0)
    buddy.validate()


@pytest.mark.parametrize(
    "row",
    [
        (9, 0, 0, 0, 0, 0),
        (stream.OP_ALLOC, 7, 0, 0, 0, 0),
        (stream.OP_ALLOC, -1, 0, 0, 0, 0),
        (stream.OP_ALLOC, 0, state.HIGHATOMIC, 0, 0, 0),
        (stream.OP_ALLOC, 0, 0, 0, 2, 0),
        (stream.OP_ALLOC, 0, 0, 0, -1, 0),
        (stream.OP_ALLOC, 0, 0, 0, 0, state.MAX_ZONE_TYPES),
        (stream.OP_FREE_RESULT, 1, 0, 0, 0, 0),
        (stream.OP_FREE_RESULT, -1, 0, 0, 0, 0),
        (stream.OP_UNRESERVE, 0, 3, 0, 0, 0),
    ],
)
def test_rows_that_are_no_operation_are_refused_and_the_ones_before_done(row: tuple[int, ...]) -> None:
    buddy = zone([[0, 32]], [MOVABLE] * 4)
    with pytest.raises(ModelError, match=r"operation 1, .*no such operation"):
        buddy.run(np.array([(stream.OP_ALLOC, 3, MOVABLE, 0, 0, 0), row]))
    assert buddy.nr_free_pages == 24


def test_a_stream_frees_what_it_allocated() -> None:
    buddy = zone([[0, 8]], [MOVABLE] * 4)
    rows = [
        (stream.OP_ALLOC, 3, MOVABLE, 0, 0, 0),
        (stream.OP_ALLOC, 0, MOVABLE, 0, 0, 0),
        (stream.OP_FREE_RESULT, 1, 0, 0, 0, 0),
        (stream.OP_FREE_RESULT, 0, 0, 0, 0, 0),
        (stream.OP_FREE, 9, 0, 0, 0, 0),
        (stream.OP_DRAIN, 0, 0, 0, 0, 0),
        (stream.OP_DECAY, 0, 0, 0, 0, 0),
    ]
    assert buddy.run(np.array(rows)).tolist() == [0, -1, 0, 8, 1, 0, 0]
    assert ranges_of(buddy) == [(0, 3), (9, 0)]


def blocks(*pairs: tuple[int, int]) -> FreeBlocks:
    start, order = np.array(pairs, np.int64).T
    return FreeBlocks(start, order.astype(np.uint8), GEOMETRY.nr_orders)


@pytest.mark.parametrize(
    ("free", "message"),
    [
        (blocks((0, 5), (16, 4)), "overlap"),
        (blocks((2, 2)), "unaligned"),
        (blocks((64, 4)), "not in the zone"),
        (blocks((32, 5)), "do not merge"),
    ],
)
def test_layouts_that_contradict_themselves_are_refused(free: FreeBlocks, message: str) -> None:
    types = np.array([MOVABLE, UNMOVABLE, MOVABLE, state.CMA], np.uint8)
    with pytest.raises(ModelError, match=message):
        BuddyAllocator(Layout(0, 64, 64, free, types, geometry=GEOMETRY), pure=True)


def test_a_layout_names_one_type_a_pageblock() -> None:
    with pytest.raises(ModelError, match="3 pageblock types for 4"):
        BuddyAllocator(
            Layout(5, 60, 64, blocks((16, 4)), np.zeros(3, np.uint8), geometry=GEOMETRY), pure=True
        )


def test_a_zone_is_limited_by_its_links() -> None:
    layout = Layout(0, 1 << 31, 1, blocks((0, 0)), np.zeros(1 << 22, np.uint8), geometry=Geometry())
    with pytest.raises(ModelError, match="31 bits"):
        BuddyAllocator(layout, pure=True)


def test_free_blocks_of_several_types_take_the_first_ones() -> None:
    types = np.array([MOVABLE, UNMOVABLE, RECLAIMABLE, UNMOVABLE], np.uint8)
    buddy = BuddyAllocator(Layout(0, 64, 64, blocks((0, 5), (48, 4)), types, geometry=GEOMETRY), pure=True)
    assert buddy.zone.block_type.tolist() == [MOVABLE, MOVABLE, RECLAIMABLE, UNMOVABLE]
    buddy.validate()


def test_limits_below_four_batches_are_refused() -> None:
    with pytest.raises(ModelError, match="four batches"):
        Tuning(pcp_batch=3, pcp_high_min=11, pcp_high_max=60)


def seeded_stream(nr_ops: int, seed: int) -> np.ndarray:
    """Return a stream over all kinds of operation; frees take back what was allocated."""
    rng = np.random.default_rng(seed)
    ops = np.zeros((nr_ops, 6), np.int64)
    live: list[int] = []
    for number, row in enumerate(ops):
        kind = rng.random()
        row[4] = rng.integers(2)
        if kind < 0.45 and live:
            row[:2] = stream.OP_FREE_RESULT, live.pop(int(rng.integers(len(live))))
        elif kind < 0.98:
            flags = int(rng.integers(3)) | sum(
                1 << bit for bit in (2, 3, 4, 5, 7, 8, 9, 11) if rng.random() < 0.1
            )
            row[:4] = stream.OP_ALLOC, min(rng.geometric(0.5) - 1, 6), rng.integers(3), flags
            row[5] = rng.integers(5)
            live.append(number)
        else:
            row[:3] = rng.integers(stream.OP_DRAIN, stream.OP_UNRESERVE + 1), 0, rng.integers(3)
    return ops


def digest_of(buddy: BuddyAllocator, results: np.ndarray) -> str:
    import hashlib

    return hashlib.sha256(b"".join(array.tobytes() for array in (*buddy.zone, results))).hexdigest()


BIG = Shape(start=5, end=3_000, types=(0, 1, 1, 2, 3, 4), free_share=0.4, seed=1998)


@pytest.mark.slow
def test_compiled_and_plain_code_leave_the_same_state() -> None:
    pytest.importorskip("numba")
    ops = seeded_stream(20_000, 1998)
    digests = []
    for pure in (True, False):
        buddy, _ = pair_of(BIG, pure=pure)
        results = buddy.run(ops)
        buddy.validate()
        digests.append(digest_of(buddy, results))
        assert buddy.zone.info[state.NR_STEALS]
        assert buddy.zone.info[state.NR_CLAIMS]
        assert (results == state.NO_PAGE).any()
    assert digests[0] == digests[1]


CHILD = """
import sys
sys.modules["numba"] = None
from kernelmodel._jit import HAVE_NUMBA
from tests.kernelmodel.page_alloc.test_allocator import BIG, digest_of, seeded_stream
from tests.kernelmodel.page_alloc.zones import pair_of
buddy, _ = pair_of(BIG, pure=False)
results = buddy.run(seeded_stream(2_000, 7))
buddy.validate()
print(HAVE_NUMBA, digest_of(buddy, results))
"""


@pytest.mark.live
def test_without_numba_the_same_call_runs_plain() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, check=True)
    buddy, _ = pair_of(BIG)
    results = buddy.run(seeded_stream(2_000, 7))
    assert done.stdout.split() == ["False", digest_of(buddy, results)]


@pytest.mark.live
def test_importing_does_not_load_numba() -> None:
    code = "import sys, kernelmodel.page_alloc.allocator; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_a_layout_may_be_used_twice() -> None:
    layout = layout_of(BIG)
    first, second = (BuddyAllocator(layout, TUNING, pure=True) for _ in range(2))
    first.run(seeded_stream(50, 1))
    second.validate()
    assert second.free_blocks().counts().tolist() == layout.free.counts().tolist()
