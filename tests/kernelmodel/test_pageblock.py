"""kernelmodel.pageblock against counting frame by frame, and planted faults."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.errors import InvariantError
from kernelmodel.memmap import MemMap
from kernelmodel.movability import Movability
from kernelmodel.pageblock import CONTENT_NAMES, Content, Pageblocks, pageblocks
from tests.oracles import movability as oracle

CODES = [
    Movability.FREE,
    Movability.ANON,
    Movability.FILE,
    Movability.DIRTY,
    Movability.SLAB,
    Movability.UNKNOWN,
]


def counted(ranges: list[tuple[int, int]], codes: list[int], order: int) -> Pageblocks:
    nothing = np.zeros(len(codes), np.bool_)
    frames = MemMap(np.array(ranges, np.int64).reshape(-1, 2), np.zeros(len(codes), np.uint64), None, nothing)
    return pageblocks(frames, np.array(codes, np.uint8), order)


@st.composite
def hosts(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[int]]:
    """Ranges of frames, which may touch and begin anywhere, filled with runs."""
    gaps = draw(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 30)), min_size=1, max_size=4))
    ranges, at = [], 0
    for gap, length in gaps:
        ranges.append((at + gap, at + gap + length))
        at += gap + length
    nr = sum(end - start for start, end in ranges)
    codes: list[int] = []
    while len(codes) < nr:
        codes += [draw(st.sampled_from(CODES))] * draw(st.sampled_from([1, 1, 2, 9]))
    return ranges, codes[:nr]


@given(hosts(), st.integers(0, 4))
def test_pageblocks_hold_what_is_counted_frame_by_frame(
    host: tuple[list[tuple[int, int]], list[int]], order: int
) -> None:
    ranges, codes = host
    found = counted(ranges, codes, order)
    found.validate()
    expected = oracle.pageblocks(ranges, [Movability(code).name for code in codes], order)
    assert dict(zip(found.start_pfn.tolist(), found.counts.tolist(), strict=True)) == expected
    assert [CONTENT_NAMES[Content(c)] for c in found.contents()] == [
        oracle.content(counts) for counts in expected.values()
    ]
    for pfn in range(ranges[-1][1] + 20):
        row = found.row(pfn)
        start = pfn >> order << order
        assert row == (list(expected).index(start) if start in expected else -1)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([8, 0, 0, 0, 0], "free"),
        ([0, 8, 0, 0, 0], "movable only"),
        ([7, 0, 1, 0, 0], "movable only"),
        ([6, 1, 0, 1, 0], "one unmovable page only"),
        ([7, 0, 0, 1, 0], "one unmovable page only"),
        ([6, 0, 0, 1, 1], "mixed"),  # the unknown one may be a second
        ([5, 1, 0, 2, 0], "mixed"),
        ([0, 0, 0, 8, 0], "unmovable"),
        ([0, 0, 0, 1, 7], "unmovable"),  # nothing of it is known to move
        ([7, 0, 0, 0, 1], "unknown"),
        ([0, 0, 0, 0, 8], "unknown"),
    ],
)
def test_a_pageblock_in_a_word(counts: list[int], expected: str) -> None:
    block = Pageblocks(3, np.array([0]), np.array([counts]))
    block.validate()
    assert [CONTENT_NAMES[Content(c)] for c in block.contents()] == [expected] == [oracle.content(counts)]


def test_every_word_is_in_the_table() -> None:
    assert set(CONTENT_NAMES) == set(Content)


def test_no_frames_make_no_pageblocks() -> None:
    found = counted([], [], 9)
    found.validate()
    assert (len(found), found.row(0), found.contents().tolist()) == (0, -1, [])


def test_faults_are_named() -> None:
    good = counted([(3, 40)], [Movability.ANON] * 37, 3)
    assert len(good) == 5
    askew, back, torn = good.start_pfn.copy(), good.start_pfn.copy(), good.counts.copy()
    askew[1] += 1
    back[2] = back[1]
    torn[3, 1] -= 1
    faults = {
        "pageblock-aligned: pfn 9": replace(good, start_pfn=askew),
        "pageblocks-ordered: pfn 8: followed by 8": replace(good, start_pfn=back),
        r"pageblock-sum: pfn 24: \[0, 7, 0, 0, 0\] of 8 frames": replace(good, counts=torn),
    }
    for message, fault in faults.items():
        with pytest.raises(InvariantError, match=message):
            fault.validate()
    negative = good.counts.copy()
    negative[0] = [9, -1, 0, 0, 0]
    with pytest.raises(InvariantError, match="pageblock-sum: pfn 0"):
        replace(good, counts=negative).validate()
