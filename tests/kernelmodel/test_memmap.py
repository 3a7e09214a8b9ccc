"""Frames, folios, page tables and reverse entries against their slow twins; planted faults."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.folio import Folios, folios
from kernelmodel.memmap import MemMap
from kernelmodel.page_tables import PageTables, VmaTable
from kernelmodel.rmap.csr import reverse_entries
from tests.kernelmodel.hosts import draw_host
from tests.oracles import memmap as oracle

HEAD, TAIL = oracle.HEAD, oracle.TAIL


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[int]]:
    """Ranges of frames that may touch, and a word for each frame."""
    gaps = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), min_size=1, max_size=4))
    ranges, at = [], 0
    for gap, length in gaps:
        ranges.append((at + gap, at + gap + length))
        at += gap + length
    nr = sum(end - start for start, end in ranges)
    return ranges, draw(st.lists(st.sampled_from([0, 32, HEAD, TAIL]), min_size=nr, max_size=nr))


def frames(ranges: list[tuple[int, int]], words: list[int]) -> MemMap:
    return MemMap(np.array(ranges), np.array(words, np.uint64), None, np.zeros(len(words), np.bool_))


@given(layouts())
def test_rows_pfns_runs_and_folios_are_the_twins(layout: tuple[list[tuple[int, int]], list[int]]) -> None:
    ranges, words = layout
    made = frames(ranges, words)
    made.validate()
    pfns = oracle.pfns(ranges)
    assert made.pfns(np.arange(len(words))).tolist() == pfns
    every = np.arange(-1, ranges[-1][1] + 2)
    assert made.rows(every).tolist() == [pfns.index(p) if p in pfns else -1 for p in every.tolist()]
    chosen = [word != 0 for word in words]
    assert [tuple(r) for r in made.runs(np.array(chosen)).tolist()] == oracle.runs(ranges, chosen)
    found = folios(made)
    assert list(zip(found.head_pfn.tolist(), found.nr_pages.tolist(), strict=True)) == oracle.folios(
        ranges, words
    )
    for pfn in pfns:
        head = next(((h, n) for h, n in oracle.folios(ranges, words) if h <= pfn < h + n), (pfn, 1))
        assert found.find(pfn) == head


def test_frames_of_an_empty_host() -> None:
    none = MemMap(np.empty((0, 2), np.int64), np.empty(0, np.uint64), None, np.empty(0, np.bool_))
    none.validate()
    assert none.rows(np.array([0])).tolist() == [-1]
    assert none.runs(np.empty(0, np.bool_)).tolist() == []
    assert len(folios(none)) == 0
    assert Folios(np.empty(0, np.int64), np.empty(0, np.int64)).find(7) == (7, 1)


def test_frames_that_do_not_fit_their_ranges_are_named() -> None:
    good = frames([(2, 5), (9, 11)], [0] * 5)
    with pytest.raises(InvariantError, match="frame-columns: unstable"):
        replace(good, unstable=np.zeros(4, np.bool_)).validate()
    for ranges in ([(9, 11), (2, 5)], [(2, 5), (4, 6)], [(2, 5), (7, 7), (8, 10)]):
        with pytest.raises(InvariantError, match="frame-ranges"):
            replace(good, ranges=np.array(ranges)).validate()


@given(st.integers(0, 1 << 32))
def test_page_tables_and_reverse_entries_are_the_twins(seed: int) -> None:
    host = draw_host(seed)
    tables = host.tables()
    tables.validate()
    entries = reverse_entries(tables)
    entries.validate()
    expected = oracle.reverse(host.entries)
    assert entries.pfn.tolist() == sorted(expected)
    for pfn, mappers in expected.items():
        found = [(host.vmas[vma][0], host.vmas[vma][1] + offset) for vma, offset in entries.mappings_of(pfn)]
        assert sorted(found) == mappers
    assert entries.mappings_of(0) == []
    asked = [(mm, vpn) for mm in range(4) for vpn in range(0, 400, 7)]
    there = tables.lookup(*np.array(asked).T)
    assert there.tolist() == [host.entries.get(key, -1) for key in asked]


def test_thousands_of_address_spaces_are_kept_apart() -> None:
    """Pages at the top of user memory: 35 bits, and the numbers of address spaces above them."""
    mm = np.array([0, 1023, 1024, 2048, 4096, 100_000])
    top = np.full(6, (1 << 35) - 1)
    vmas = VmaTable(mm, top - 5, top, None, np.ones(6, np.bool_))
    tables = PageTables(np.arange(6), top - 1, np.arange(6) + 70, np.ones(6, np.int64), vmas)
    tables.validate()
    assert tables.lookup(mm, top - 1).tolist() == [70, 71, 72, 73, 74, 75]
    beyond = np.array([1 << 35, -1, top[0] + 1, top[0] - 2, 1 << 51])
    assert tables.lookup(np.full(5, 1023), beyond).tolist() == [-1] * 5
    assert tables.lookup(np.array([100_001, 1 << 60]), top[:2] - 1).tolist() == [-1, -1]
    with pytest.raises(ModelError, match="too many for int64"):
        replace(tables, vmas=replace(vmas, mm=mm + (1 << 28))).validate()


def test_faults_of_page_tables_are_named() -> None:
    tables = next(t for t in (draw_host(seed).tables() for seed in range(20)) if len(t.vma) > 3)
    with pytest.raises(InvariantError, match="runs-ordered"):
        replace(tables, nr_pages=tables.nr_pages + 1000).validate()
    start = tables.vmas.start_vpn.copy()
    start[tables.vma[0]] = tables.vpn[0] + 1
    with pytest.raises(InvariantError, match="run-inside-vma"):
        replace(tables, vmas=replace(tables.vmas, start_vpn=start)).validate()


def test_faults_of_reverse_entries_are_named() -> None:
    entries = reverse_entries(next(t for t in (draw_host(s).tables() for s in range(20)) if len(t.vma) > 3))
    with pytest.raises(InvariantError, match="frames-ordered"):
        replace(entries, pfn=entries.pfn[::-1]).validate()
    with pytest.raises(InvariantError, match="rows-cover"):
        replace(entries, first=entries.first[:-1], pfn=entries.pfn[:-1]).validate()
    with pytest.raises(InvariantError, match="entry-inside-vma"):
        replace(entries, offset_pages=entries.offset_pages - 1000).validate()
