"""kernelmodel.movability against the slow oracle, by word and by frame; what people argue about."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernelmodel.memmap import MemMap
from kernelmodel.movability import (
    MOVABILITY_INFO,
    VERDICTS,
    Movability,
    Verdict,
    frame_movability,
    movability,
    suspect_pins,
)
from kernelmodel.pageflags import MASKS, mask
from tests.oracles import movability as oracle

few_flags = st.sets(st.sampled_from(sorted(MASKS)), max_size=6).map(lambda names: mask(*names))
lru_flags = ("LRU", "UPTODATE", "DIRTY", "WRITEBACK", "LOCKED", "ANON", "SWAPBACKED", "SWAPCACHE", "MMAP",
             "UNEVICTABLE", "MLOCKED", "COMPOUND_HEAD", "COMPOUND_TAIL")  # fmt: skip
lru_words = st.sets(st.sampled_from(lru_flags)).map(lambda names: mask(*names))
words = st.lists(st.one_of(few_flags, lru_words, st.integers(0, 2**64 - 1)), max_size=40)
told = st.sampled_from([True, False, None])
zspages = st.sampled_from([0, 5, None])
PAIRS = [(1 << a) | (1 << b) for a in range(43) for b in range(a + 1)]


def names(codes: np.ndarray) -> list[str]:
    return [Movability(code).name for code in codes.tolist()]


@given(words, told, zspages)
@example(PAIRS, True, 0)
@example([pair | mask("LRU") for pair in PAIRS], False, None)
@example([pair | mask("LRU") for pair in PAIRS], None, 5)
def test_every_word_moves_as_the_oracle_says(some: list[int], allowed: bool | None, nr: int | None) -> None:
    found = movability(np.array(some, np.uint64), unevictable_allowed=allowed, nr_zspages=nr)
    assert names(found) == [oracle.movability(word, allowed, nr) for word in some]


def test_each_code_has_the_verdict_of_the_oracle_and_a_reason_of_its_own() -> None:
    assert set(MOVABILITY_INFO) == set(Movability)
    assert {code.name: info.verdict.word for code, info in MOVABILITY_INFO.items()} == {
        name: verdict for verdict, of_it in oracle.VERDICTS.items() for name in of_it
    }
    assert [Verdict(v) for v in VERDICTS] == [MOVABILITY_INFO[code].verdict for code in Movability]
    assert len({info.reason for info in MOVABILITY_INFO.values()}) == len(Movability)


FILE = ("LRU", "UPTODATE")
UNMAPPED = ("LRU", "UPTODATE", "ANON", "SWAPBACKED")
ANON = (*UNMAPPED, "MMAP")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("BUDDY", "UPTODATE"), "FREE"),
        ((*ANON, "DIRTY"), "ANON"),  # no file system has a say
        ((*ANON, "SWAPCACHE"), "ANON"),
        (("LRU", "SWAPBACKED", "SWAPCACHE"), "ANON"),
        ((*ANON, "KSM"), "ANON"),
        (("LRU", "SWAPBACKED", "DIRTY"), "SHMEM"),
        (FILE, "FILE"),
        ((*FILE, "DIRTY"), "DIRTY"),
        ((*FILE, "DIRTY", "COMPOUND_TAIL"), "DIRTY_LARGE"),
        ((*FILE, "DIRTY", "WRITEBACK"), "WRITEBACK"),
        ((*ANON, "WRITEBACK", "LOCKED"), "WRITEBACK"),
        ((*FILE, "LOCKED"), "LOCKED"),
        ((*ANON, "COMPOUND_HEAD", "THP"), "LARGE"),
        ((*ANON, "UNEVICTABLE", "MLOCKED"), "UNEVICTABLE"),
        (("ANON", "SWAPBACKED"), "OFF_LRU"),
        (("UPTODATE", "MMAP"), "OFF_LRU"),
        (("UPTODATE", "DIRTY", "MMAP", "MLOCKED"), "SECRET_OR_MLOCKED"),
        (("SLAB", "LRU", "ANON"), "SLAB"),
        (("HUGE", "ANON", "MMAP"), "HUGETLB"),
        (("ZERO_PAGE", "RESERVED"), "ZERO"),
        (("OFFLINE",), "OFFLINE"),
        (("OFFLINE", "UPTODATE"), "MOVABLE_OPS"),
        (("MMAP",), "DRIVER"),
        (("PRIVATE",), "KERNEL"),
        (("UPTODATE",), "CACHE_OR_KERNEL"),
        (("COMPOUND_TAIL",), "KERNEL"),
        ((), "UNKNOWN"),
    ],
)
def test_the_arguable_words(flags: tuple[str, ...], expected: str) -> None:
    word = np.array([mask(*flags)], np.uint64)
    assert names(movability(word, unevictable_allowed=True, nr_zspages=0)) == [expected]


def test_what_the_host_does_not_tell_is_a_condition_or_unknown() -> None:
    some = np.array([mask(*ANON, "UNEVICTABLE"), mask("MMAP"), mask("PRIVATE")], np.uint64)

    def of(allowed: bool | None, nr: int | None) -> list[str]:
        return names(movability(some, unevictable_allowed=allowed, nr_zspages=nr))

    assert of(False, 0) == ["UNEVICTABLE_KEPT", "DRIVER", "KERNEL"]
    assert of(None, None) == ["UNEVICTABLE_UNTOLD", "ZSMALLOC_OR_DRIVER", "ZSMALLOC_OR_DRIVER"]
    assert of(True, 96) == ["UNEVICTABLE", "ZSMALLOC_OR_DRIVER", "ZSMALLOC_OR_DRIVER"]


@st.composite
def hosts(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[int], list[bool] | None]:
    """Ranges of frames that may touch, runs of words that repeat, and which of them could be read."""
    gaps = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 20)), min_size=1, max_size=4))
    ranges, at = [], 0
    for gap, length in gaps:
        ranges.append((at + gap, at + gap + length))
        at += gap + length
    nr = sum(end - start for start, end in ranges)
    kinds = [0, mask("BUDDY"), mask(*ANON), mask(*ANON, "COMPOUND_HEAD"), mask("COMPOUND_TAIL", "THP"),
             mask(*FILE, "COMPOUND_HEAD", "DIRTY"), mask("SLAB")]  # fmt: skip
    some = draw(st.lists(st.sampled_from(kinds), min_size=nr, max_size=nr))
    known = draw(st.none() | st.lists(st.booleans(), min_size=nr, max_size=nr))
    return ranges, some, known


def frames(ranges: list[tuple[int, int]], some: list[int], known: list[bool] | None = None) -> MemMap:
    return MemMap(
        np.array(ranges, np.int64).reshape(-1, 2),
        np.array(some, np.uint64),
        None,
        np.zeros(len(some), np.bool_),
        None if known is None else np.array(known, np.bool_),
    )


@given(hosts(), st.none() | st.lists(st.integers(0, 60), min_size=2, max_size=6, unique=True), told, zspages)
def test_every_frame_of_a_host_moves_as_the_oracle_says(
    host: tuple[list[tuple[int, int]], list[int], list[bool] | None],
    edges: list[int] | None,
    allowed: bool | None,
    nr: int | None,
) -> None:
    ranges, some, known = host
    ram = None if edges is None else list(zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False))
    found = frame_movability(
        frames(ranges, some, known),
        None if ram is None else np.array(ram, np.int64).reshape(-1, 2),
        unevictable_allowed=allowed,
        nr_zspages=nr,
    )
    assert names(found) == oracle.frames(ranges, some, known=known, ram=ram, allowed=allowed, zspages=nr)


def test_a_host_without_frames() -> None:
    none = frame_movability(frames([], []), None, unevictable_allowed=None, nr_zspages=None)
    assert (none.dtype, none.tolist()) == (np.uint8, [])


def refined(flags: tuple[str, ...], counted: int, found: int | None) -> str:
    word = np.array([mask(*flags)], np.uint64)
    codes = movability(word, unevictable_allowed=True, nr_zspages=0)
    before = codes.copy()
    after = suspect_pins(codes, word, np.array([counted]), None if found is None else np.array([found]))
    assert after.dtype == np.uint8
    assert codes.tolist() == before.tolist()
    return names(after)[0]


@pytest.mark.parametrize(
    ("flags", "counted", "found", "expected"),
    [
        (ANON, 1, 1, "ANON"),
        (ANON, 1, 2, "ANON"),
        (ANON, 2, 1, "HIDDEN_MAPPERS"),
        (ANON, 2, None, "ANON"),
        (UNMAPPED, 0, 0, "HELD"),
        (UNMAPPED, 0, None, "HELD"),
        (ANON, 0, 0, "ANON"),  # mapped between the readings of both files
        (("ANON", "SWAPBACKED"), 0, 0, "HELD"),
        ((*UNMAPPED, "LOCKED"), 0, 0, "HELD"),
        ((*UNMAPPED, "SWAPCACHE"), 0, 0, "ANON"),  # the swap cache is what holds it
        ((*UNMAPPED, "COMPOUND_TAIL"), 0, 0, "LARGE"),  # other pages of the folio may be mapped
        ((*ANON, "COMPOUND_TAIL"), 3, 2, "HIDDEN_MAPPERS"),
        (("LRU", "SWAPBACKED"), 2, 0, "SHMEM"),
        (FILE, 0, 0, "FILE"),
        (FILE, 2, 1, "FILE"),
        (("SLAB", "ANON"), 0, 0, "SLAB"),
        (("BUDDY", "ANON"), 0, 0, "FREE"),
    ],
)
def test_what_counts_say_of_pins(flags: tuple[str, ...], counted: int, found: int, expected: str) -> None:
    assert refined(flags, counted, found) == expected
