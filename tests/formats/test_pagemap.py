from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmprobe.formats.pagemap import (
    KINDS,
    NOT_POPULATED,
    decode,
    expand,
    frames,
    kinds,
    populated,
    runs,
    swap_offsets,
    swap_types,
)

NAME = "pagemap"

P, S, FILE, GUARD, WP, ONCE, DIRTY = (1 << bit for bit in (63, 62, 61, 58, 57, 56, 55))


def kind_of(word):  # noqa: PLR0911 - a case, a line
    """One word in plain steps; None where it maps nothing."""
    field = word & (1 << 55) - 1
    swap_type, offset = field & 31, field >> 5
    if word & P:
        return "present"
    if not word & S:
        return "uffd-wp" if word & WP else None
    if word & GUARD:
        return "guard"
    if swap_type == 31:
        if offset > 7:
            return "poisoned"
        names = ((4, "guard"), (2, "poisoned"), (1, "uffd-wp"))
        return next((name for bit, name in names if offset & bit), "marker")
    if field == 0:
        return "frame-entry" if word & FILE else "uffd-wp" if word & WP else "swap"
    if field == 30 | 1 << 5 and word & WP:
        return "uffd-wp"
    return "frame-entry" if swap_type >= 22 else "swap"


def continues(word, other):
    """Whether `other`, on the next page, continues `word`."""
    kind, step = kind_of(word), 0
    if word & (1 << 55) - 1:
        step = {"present": 1, "swap": 32, "frame-entry": 32}.get(kind, 0)
    return other >> 55 == word >> 55 and other == word + step


def slow_runs(vpns, words):
    """(index, length) per run, one word at a time."""
    found = []
    for i, (vpn, word) in enumerate(zip(vpns, words, strict=True)):
        if kind_of(word) is None:
            continue
        if found:
            last = found[-1][0] + found[-1][1] - 1
            if last == i - 1 and vpns[last] + 1 == vpn and continues(words[last], word):
                found[-1][1] += 1
                continue
        found.append([i, 1])
    return [tuple(run) for run in found]


def swap(swap_type, offset, flags=0):
    return S | flags | swap_type | offset << 5


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        (P | 0x1234, "present"),
        (P | S | GUARD, "present"),
        (P, "present"),
        (swap(0, 1), "swap"),
        (swap(21, 9), "swap"),
        (swap(22, 9), "frame-entry"),
        (swap(30, 9), "frame-entry"),
        (swap(28, 0x1234, FILE), "frame-entry"),
        (swap(31, 1, WP), "uffd-wp"),
        (swap(31, 1), "uffd-wp"),
        (swap(31, 2), "poisoned"),
        (swap(31, 3), "poisoned"),
        (swap(31, 4), "guard"),
        (swap(31, 4, GUARD), "guard"),
        (swap(31, 5), "guard"),
        (swap(31, 0), "marker"),
        (swap(31, 0x1234), "poisoned"),  # 5.19 to 6.1: SWP_SWAPIN_ERROR with the frame number
        (swap(31, 0x1230), "poisoned"),
        (swap(30, 1, WP), "uffd-wp"),  # 5.19 to 6.1: the marker's type
        (swap(30, 1), "frame-entry"),
        (swap(30, 2, WP), "frame-entry"),
        (S, "swap"),
        (S | DIRTY, "swap"),
        (S | GUARD, "guard"),
        (S | WP, "uffd-wp"),
        (S | FILE, "frame-entry"),
        (S | FILE | WP, "frame-entry"),
        (WP, "uffd-wp"),  # hugetlb, write-protected and not present
        (WP | DIRTY, "uffd-wp"),
        (0, None),
        (DIRTY, None),  # an untouched page of a new VMA under CONFIG_MEM_SOFT_DIRTY
    ],
)
def test_each_kind_of_word(word, kind):
    words = np.array([word], np.uint64)
    (code,) = kinds(words).tolist()
    assert (KINDS[code] if code != NOT_POPULATED else None) == kind == kind_of(word)
    assert populated(words).tolist() == [kind is not None]


def test_kinds_are_the_values_of_the_schema():
    from vmprobe.schema import TABLES

    about = TABLES["mappings"].column("kind").about
    assert tuple(about.replace(" or ", ", ").split(", ")) == KINDS
    assert kinds(np.zeros(3, np.uint64)).dtype == np.uint8


FIELDS = st.one_of(
    st.integers(0, 8),
    st.integers(0, 2**40),
    st.builds(lambda t, o: t | o << 5, st.integers(0, 31), st.integers(0, 9)),
)
WORDS = st.builds(
    lambda flags, field: sum(flags) | field,
    st.sets(st.sampled_from([P, S, FILE, GUARD, WP, ONCE, DIRTY])),
    FIELDS,
)


@st.composite
def ranges(draw):
    """Ascending pages and words that often continue one another."""
    vpns, words = [], []
    vpn = draw(st.integers(0, 2**36))
    for _ in range(draw(st.integers(0, 12))):
        word = draw(WORDS)
        for _ in range(draw(st.integers(1, 4))):
            vpns.append(vpn)
            words.append(word)
            vpn += 1
            word += draw(st.sampled_from([0, 1, 32, 32, 1]))
        vpn += draw(st.sampled_from([0, 0, 1, 512]))
    return vpns, words


@settings(deadline=None, max_examples=300)
@given(ranges())
def test_runs_equal_the_slow_ones_and_expand_undoes_them(pages):
    vpns, words = (np.array(column, np.uint64) for column in pages)
    found = runs(vpns, words)
    assert list(zip(found.index.tolist(), found.nr_pages.tolist(), strict=True)) == slow_runs(*pages)
    assert found.nr_pages.dtype == np.uint32
    assert expand(words[found.index], found.nr_pages).tolist() == words[populated(words)].tolist()
    kept = vpns[populated(words)].tolist()
    assert kept == [
        vpns[i] + n
        for i, length in zip(found.index, found.nr_pages.tolist(), strict=True)
        for n in range(length)
    ]


@given(st.lists(WORDS))
def test_kinds_equal_the_slow_ones(words):
    codes = kinds(np.array(words, np.uint64)).tolist()
    assert [None if code == NOT_POPULATED else KINDS[code] for code in codes] == [
        kind_of(word) for word in words
    ]


@pytest.mark.parametrize(
    ("words", "lengths"),
    [
        ([P | 7, P | 8, P | 9], [3]),
        ([P | 7, P | 9], [1, 1]),
        ([P | 7, P | 7], [1, 1]),
        ([P | 8, P | 7], [1, 1]),
        ([P | 7, P | ONCE | 8], [1, 1]),
        ([P, P, P], [3]),
        ([P | FILE, P], [1, 1]),
        ([swap(0, 5), swap(0, 6)], [2]),
        ([swap(0, 5), swap(1, 6)], [1, 1]),
        ([swap(0, 5), swap(0, 5)], [1, 1]),
        ([S, S], [2]),
        ([swap(28, 5), swap(28, 6), swap(29, 7)], [2, 1]),
        ([swap(31, 4), swap(31, 4)], [2]),
        ([swap(31, 4), swap(31, 5)], [1, 1]),
        ([P | 7, 0, P | 8], [1, 1]),
        ([P | 7, DIRTY, P | 8], [1, 1]),
        ([P | (1 << 55) - 1, P | DIRTY], [1, 1]),
        ([], []),
        ([0, DIRTY], []),
    ],
)
def test_what_continues_a_run(words, lengths):
    found = runs(np.arange(len(words), dtype=np.uint64), np.array(words, np.uint64))
    assert found.nr_pages.tolist() == lengths


def test_a_gap_between_pages_ends_a_run():
    found = runs(np.array([10, 12], np.uint64), np.array([P | 7, P | 8], np.uint64))
    assert found.nr_pages.tolist() == [1, 1]


def test_nothing_is_written_to_the_words():
    words = np.array([P | 7, 0, P | 8], np.uint64)
    words.flags.writeable = False
    before = words.copy()
    runs(np.arange(3, dtype=np.uint64), words)
    assert (words == before).all()


def test_golden_kinds_and_runs_equal_the_slow_ones(golden):
    words = decode(golden.read_bytes())
    vpns = np.arange(words.size, dtype=np.uint64)
    listed = words.tolist()
    codes = kinds(words).tolist()
    assert [None if c == NOT_POPULATED else KINDS[c] for c in codes] == [kind_of(word) for word in listed]
    found = runs(vpns, words)
    assert list(zip(found.index.tolist(), found.nr_pages.tolist(), strict=True)) == slow_runs(
        vpns.tolist(), listed
    )
    assert (expand(words[found.index], found.nr_pages) == words[populated(words)]).all()


def _ranges(folder):
    words = decode((folder / "pagemap").read_bytes())
    for row in json.loads((folder / "pagemap.json").read_text()):
        yield row["name"], words[row["first_word"] : row["first_word"] + row["nr_pages"]]


def _shapes(proc):
    folders = sorted(path.parent for path in proc.glob("*/task/pagemap.json"))
    assert folders
    return folders


def test_golden_workload_is_seen_for_what_it_did(proc):
    for folder in _shapes(proc):
        by_name = dict(_ranges(folder))
        for row in json.loads((folder / "workload.json").read_text()):
            if row["name"] not in by_name or row["paged_out"]:
                continue
            codes = kinds(by_name[row["name"]])
            touched = [i for first, end in row["written"] + row["read"] for i in range(first, end)]
            assert {KINDS[codes[i]] for i in touched} <= {"present"}, (folder, row)


def test_golden_markers_stand_where_write_protected_pages_were_never_touched(proc):
    """Type 30 on 6.1, type 31 on 6.12: the same kind."""
    types = set()
    for folder in _shapes(proc):
        words = dict(_ranges(folder))["uffd-wp"]
        assert [KINDS[code] for code in kinds(words)] == ["present"] * 4 + ["uffd-wp"] * 4, folder
        assert (words & np.uint64(WP)).all()
        types |= {int(word) & 31 for word in words[4:]}
    assert types == {30, 31}


def test_golden_paged_out_pages_are_one_swap_run(proc):
    seen = 0
    for folder in _shapes(proc):
        by_name = dict(_ranges(folder))
        for row in json.loads((folder / "workload.json").read_text()):
            if not row["paged_out"]:
                continue
            words = by_name[row["name"]]
            is_swap = kinds(words) == KINDS.index("swap")
            assert is_swap.sum() == row["paged_out"]
            slots = [int(word) >> 5 & 0x3FFFF for word in words[is_swap]]
            assert len(set(slots)) == len(slots)
            found = runs(np.arange(words.size, dtype=np.uint64), words)
            assert found.nr_pages.size < words.size / 4
            seen += 1
    assert seen >= 2


def test_golden_huge_page_is_one_run_of_consecutive_frames(proc):
    found = [words for folder in _shapes(proc) for name, words in _ranges(folder) if name == "thp"]
    assert found
    for words in found:
        pfns = [word & (1 << 55) - 1 for word in words.tolist()]
        assert all(b == a + 1 for a, b in itertools.pairwise(pfns))
        assert runs(np.arange(512, dtype=np.uint64), words).nr_pages.tolist() == [512]


def test_golden_unprivileged_words_hide_their_frames(proc):
    paths = sorted(proc.glob("*/self_unprivileged/pagemap"))
    assert paths
    for path in paths:
        words = decode(path.read_bytes())
        present = words[kinds(words) == KINDS.index("present")]
        assert present.size > 0
        assert not (present & np.uint64((1 << 55) - 1)).any()


def test_golden_untouched_pages_are_no_entries_although_their_words_are_not_zero(proc):
    """Debian has CONFIG_MEM_SOFT_DIRTY: bit 55 alone on every page of a new VMA."""
    for folder in _shapes(proc):
        words = dict(_ranges(folder))["untouched"]
        assert words.all(), folder
        assert not populated(words).any()


@given(st.lists(WORDS))
def test_fields_of_a_word(words):
    array = np.array(words, np.uint64)
    field = (1 << 55) - 1
    assert swap_types(array).tolist() == [word & 31 for word in words]
    assert swap_offsets(array).tolist() == [(word & field) >> 5 for word in words]
    shift = {"present": 0, "frame-entry": 5}
    expected = [(word & field) >> shift[kind_of(word)] if kind_of(word) in shift else 0 for word in words]
    assert frames(array).tolist() == expected
