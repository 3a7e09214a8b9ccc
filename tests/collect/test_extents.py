"""Runs of page-table entries against the words they stand for, whatever the size of the slabs."""

from __future__ import annotations

import itertools
import os
import tempfile
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import vmprobe.collect.extents as module
import vmprobe.sources.pagemap as source
from vmprobe.collect.extents import NO_VMA, VmaIndex, read_extents, recheck
from vmprobe.formats import pagemap
from vmprobe.formats.maps import MapsRow
from vmprobe.sources.meter import Meter
from vmprobe.sources.pagemap import coalesced

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
PRESENT, SWAP, MARKER = 1 << 63, 1 << 62, 31 | 4 << 5
NR_PAGES = 60

words = st.one_of(
    st.just(0),
    st.just(1 << 55),  # soft-dirty alone: nothing is mapped
    st.integers(1, 9).map(lambda pfn: PRESENT | pfn),
    st.integers(1, 9).map(lambda pfn: PRESENT | 1 << 56 | pfn),
    st.integers(1, 9).map(lambda slot: SWAP | slot << 5 | 2),
    st.just(SWAP | 1 << 58 | MARKER),
)
tables = st.lists(words, min_size=NR_PAGES, max_size=NR_PAGES)
cuts = st.sets(st.integers(1, NR_PAGES - 1), max_size=6)


def vmas(at: set[int], *, holes: bool) -> list[MapsRow]:
    """Cut the pages into VMAs; with holes, every second piece belongs to none."""
    ends = [0, *sorted(at), NR_PAGES]
    rows = [MapsRow(a * PAGE, b * PAGE, "rw-p", 0, "00:00", 0, "") for a, b in itertools.pairwise(ends)]
    return rows[::2] if holes else rows


class Words:
    """A pagemap in a file."""

    def __init__(self, values: list[int]) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the test
        self.put(values)

    def put(self, values: list[int]) -> None:
        self.file.seek(0)
        self.file.write(np.array(values, np.uint64).tobytes())
        self.file.flush()


def spelled(extents: module.Extents) -> dict[int, tuple[int, int]]:
    """Return word and VMA of every page that a run covers."""
    found: dict[int, tuple[int, int]] = {}
    columns = (extents.vpn, extents.word, extents.nr_pages, extents.vma)
    for vpn, word, nr, vma in zip(*(column.tolist() for column in columns), strict=True):
        each = pagemap.expand(np.array([word], np.uint64), np.array([nr]))
        for i, value in enumerate(each.tolist()):
            assert vpn + i not in found
            found[vpn + i] = (value, vma)
    return found


@given(tables, cuts, st.booleans(), st.integers(1, 70), st.integers(0, 5))
def test_runs_spell_the_words_and_never_cross_a_vma(
    values: list[int], at: set[int], holes: bool, slab: int, gap: int
) -> None:
    rows = vmas(at, holes=holes)
    before = source.SLAB_WORDS
    source.SLAB_WORDS = slab  # type: ignore[misc]
    table = Words(values)
    try:
        listed = coalesced([(r.start // PAGE, r.end // PAGE) for r in rows], gap)
        extents = read_extents(table.file.fileno(), listed, VmaIndex(rows, PAGE), Meter(), "pagemap")
    finally:
        source.SLAB_WORDS = before  # type: ignore[misc]
        table.file.close()
    expected = {}
    covered = {p: i for i, r in enumerate(rows) for p in range(r.start // PAGE, r.end // PAGE)}
    reached = set()
    for low, high in coalesced([(r.start // PAGE, r.end // PAGE) for r in rows], gap):
        reached |= set(range(low, high))
    for page, word in enumerate(values):
        if page in reached and word >> 62:
            expected[page] = (word, covered.get(page, NO_VMA))
    assert spelled(extents) == expected


@given(tables, st.dictionaries(st.integers(0, NR_PAGES - 1), words, max_size=8), st.integers(1, 70))
def test_a_second_look_counts_and_marks_exactly_what_differs(
    values: list[int], changes: dict[int, int], slab: int
) -> None:
    rows = vmas(set(), holes=False)
    table = Words(values)
    before = source.SLAB_WORDS
    source.SLAB_WORDS = slab  # type: ignore[misc]
    try:
        extents = read_extents(table.file.fileno(), [(0, NR_PAGES)], VmaIndex(rows, PAGE), Meter(), "pagemap")
        later = [changes.get(page, word) for page, word in enumerate(values)]
        table.put(later)
        nr_changed, frames = recheck(table.file.fileno(), [(0, NR_PAGES)], extents, Meter())
    finally:
        source.SLAB_WORDS = before  # type: ignore[misc]
        table.file.close()
    keeping_books = 1 << 55 | 1 << 56
    mapped = [(a if a >> 62 else 0, b if b >> 62 else 0) for a, b in zip(values, later, strict=True)]
    differing = {p for p, (a, b) in enumerate(mapped) if (a ^ b) & ~keeping_books}
    assert nr_changed == len(differing)
    marked = set()
    for vpn, nr, unstable in zip(
        extents.vpn.tolist(), extents.nr_pages.tolist(), extents.unstable.tolist(), strict=True
    ):
        pages = set(range(vpn, vpn + nr))
        assert unstable == bool(pages & differing), (vpn, nr)
        marked |= pages if unstable else set()
    appeared = {p for p, (a, _) in enumerate(mapped) if not a}
    assert differing - appeared <= marked
    assert set(frames.tolist()) == {w & 0xFF for p in differing for w in mapped[p] if w >> 63}


def test_a_file_that_ends_early_has_changed(tmp_path: Path) -> None:
    """An address space that is gone reads as nothing: every entry differs."""
    table = Words([PRESENT | pfn for pfn in (7, 8, 9, 10)])
    extents = read_extents(table.file.fileno(), [(0, 4)], VmaIndex([], PAGE), Meter(), "pagemap")
    os.ftruncate(table.file.fileno(), 16)
    nr_changed, frames = recheck(table.file.fileno(), [(0, 4)], extents, Meter())
    assert nr_changed == 2
    assert {9, 10} <= set(frames.tolist()) <= {7, 8, 9, 10}, "their map counts fell, too"
    table.file.close()
