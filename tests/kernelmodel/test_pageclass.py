"""kernelmodel.pageclass against the slow oracle, and the cases that people argue about."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernelmodel.pageclass import CLASS_INFO, PageClass, classify, inherit_from_head
from kernelmodel.pageflags import MASKS, mask
from tests.oracles.pageclass import class_name

# Most random 64-bit words hit the first rule; words of a few known flags reach the last ones.
few_flags = st.sets(st.sampled_from(sorted(MASKS)), max_size=6).map(lambda names: mask(*names))
words = st.lists(st.one_of(few_flags, st.integers(0, 2**64 - 1)), max_size=40)


def names(found: np.ndarray) -> list[str]:
    return [PageClass(code).name for code in found.tolist()]


@given(words, st.booleans())
@example([1 << bit for bit in range(64)], True)
@example([(1 << a) | (1 << b) for a in range(43) for b in range(a)], True)
@example([(1 << a) | (1 << b) for a in range(43) for b in range(a)], False)
def test_every_word_has_the_class_that_the_oracle_gives(some: list[int], trust_ksm: bool) -> None:
    found = names(classify(np.array(some, np.uint64), trust_ksm=trust_ksm))
    assert found == [class_name(word, trust_ksm=trust_ksm) for word in some]


def test_every_class_can_be_reached() -> None:
    every = [0] + [mask(*pair) for a in MASKS for b in MASKS for pair in ((a, b), (a, b, "KSM"))]
    assert set(names(classify(np.array(every, np.uint64)))) == {c.name for c in PageClass}


def test_the_words_are_left_alone() -> None:
    given_words = np.array([0, 1, 2], np.uint64)
    given_words.flags.writeable = False
    classify(given_words)
    assert given_words.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("SLAB", "ANON", "KSM"), "SLAB"),
        (("BUDDY", "UPTODATE"), "FREE"),
        (("ZERO_PAGE", "RESERVED"), "ZERO"),
        (("ZERO_PAGE", "THP", "COMPOUND_TAIL"), "ZERO"),
        (("RESERVED", "MMAP"), "RESERVED"),
        (("ANON",), "ANON"),
        (("UPTODATE", "LRU", "MMAP", "THP", "COMPOUND_TAIL"), "FILE"),
        (("UPTODATE", "DIRTY", "MMAP", "MLOCKED"), "FILE"),
        (("SWAPBACKED", "SWAPCACHE", "LRU", "UPTODATE"), "SWAPCACHE"),
        (("SWAPBACKED", "LRU"), "SHMEM"),
        (("MMAP",), "DRIVER"),
        (("COMPOUND_TAIL",), "KERNEL"),
        (("HWPOISON", "HUGE"), "HWPOISON"),
        (("KSM",), "KERNEL"),
    ],
)
def test_the_arguable_words(flags: tuple[str, ...], expected: str) -> None:
    assert names(classify(np.array([mask(*flags)], np.uint64))) == [expected]


def test_each_class_has_a_name_of_its_own() -> None:
    assert set(CLASS_INFO) == set(PageClass)
    assert len({info.name for info in CLASS_INFO.values()}) == len(PageClass)


def test_tails_take_the_flags_of_their_own_head_only() -> None:
    head = mask("COMPOUND_HEAD", "THP", "LRU", "SWAPBACKED", "UPTODATE")
    tail = mask("COMPOUND_TAIL", "THP")
    other = mask("COMPOUND_HEAD", "THP", "LRU")
    layout = np.array([tail, head, tail, tail, mask("BUDDY"), tail, other, tail], np.uint64)
    assert names(classify(inherit_from_head(layout))) == [
        "KERNEL", "SHMEM", "SHMEM", "SHMEM", "FREE", "KERNEL", "FILE", "FILE",
    ]  # fmt: skip


def test_a_tail_takes_nothing_from_a_page_that_is_no_head() -> None:
    """Seen in a race: the folio was freed and its first frame given out again."""
    layout = np.array([mask("LRU", "ANON", "SWAPBACKED"), mask("COMPOUND_TAIL", "THP")], np.uint64)
    assert inherit_from_head(layout).tolist() == layout.tolist()


def test_kernels_that_repeat_the_head_are_not_changed() -> None:
    head = mask("COMPOUND_HEAD", "THP", "LRU", "ANON", "SWAPBACKED")
    tail = mask("COMPOUND_TAIL", "THP", "LRU", "ANON", "SWAPBACKED")
    layout = np.array([head, tail, tail, 0], np.uint64)
    assert inherit_from_head(layout).tolist() == layout.tolist()


def test_no_words_at_all() -> None:
    none = np.array([], np.uint64)
    assert classify(none).tolist() == inherit_from_head(none).tolist() == []
