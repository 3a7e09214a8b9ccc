"""A consistent host passes; each planted fault is found and called by its name, and by no other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.consistency import check
from kernelmodel.consistency.violation import MOST_WITNESSES, witnesses
from kernelmodel.page_alloc.rebuild import FreeBlocks
from kernelmodel.pageflags import mask
from lab.plants import PLANTS, Plant, add_free_block
from tests.kernelmodel.hosts import RANGES, draw_host

if TYPE_CHECKING:
    from kernelmodel.host import HostModel

SEEDS = st.integers(0, 1 << 32)


def kinds(model: HostModel) -> set[str]:
    return {violation.kind for violation in check(model).violations}


@given(SEEDS)
def test_a_host_that_is_right_has_nothing_against_it(seed: int) -> None:
    host = draw_host(seed)
    model = host.model()
    found = check(model)
    assert found.violations == ()
    assert [zone.status for zone in found.zones] == ["exact", "exact"]
    assert found.counts is not None
    assert found.counts.nr_match == found.counts.nr_mapped == len(host.counts())
    assert model.entries is not None
    assert len(model.entries) == len(host.entries)
    blocks = [list(zip(f.start_pfn.tolist(), f.order.tolist(), strict=True)) for f in model.free]
    assert blocks == [host.free[0], host.free[1]]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
@given(seed=SEEDS, row=st.integers(0, 1000))
def test_each_of_the_five_faults_is_found_and_named(plant: Plant, seed: int, row: int) -> None:
    model = draw_host(seed).model()
    assert model.entries is not None
    if len(model.entries) and len(model.folios):
        assert plant.named <= kinds(plant.do(model, row)) <= plant.named | plant.beside


def test_on_a_host_that_stands_still_one_free_block_more_is_not_buddyinfos() -> None:
    assert "free-blocks" in kinds(add_free_block(draw_host(1).model(), 0))


def swap_rows(model: HostModel) -> HostModel:
    assert model.tables is not None
    vmas = model.tables.vmas
    last = len(vmas) - 1
    order = np.array([1, 0, *range(2, last + 1)])
    moved = replace(vmas, mm=vmas.mm[order], start_vpn=vmas.start_vpn[order], end_vpn=vmas.end_vpn[order])
    return replace(model, tables=replace(model.tables, vmas=moved))


def change_vma(model: HostModel, row: int, **ends: int) -> HostModel:
    assert model.tables is not None
    vmas = model.tables.vmas
    columns = {name: getattr(vmas, name).copy() for name in ends}
    for name, value in ends.items():
        columns[name][row] = value
    return replace(model, tables=replace(model.tables, vmas=replace(vmas, **columns)))


def change_frame(model: HostModel, row: int, **columns: int) -> HostModel:
    changed = {name: getattr(model.frames, name).copy() for name in columns}
    for name, value in columns.items():
        changed[name][row] = value
    return replace(model, frames=replace(model.frames, **changed))


def host_with_two_vmas() -> HostModel:
    """The first address space drawn that has two VMAs with entries."""
    return next(
        host.model()
        for host in map(draw_host, range(100))
        if sum(vma[0] == 0 for vma in host.vmas) >= 3 and len(host.entries) > 20
    )


def test_faults_of_vmas_are_named() -> None:
    model = host_with_two_vmas()
    assert model.tables is not None
    start, end = model.tables.vmas.start_vpn, model.tables.vmas.end_vpn
    assert "vmas-ordered" in kinds(swap_rows(model))
    assert "vma-empty" in kinds(change_vma(model, 0, end_vpn=int(start[0])))
    assert "run-outside-vma" in kinds(change_vma(model, 0, end_vpn=int(start[0])))
    assert "vmas-overlap" in kinds(change_vma(model, 0, end_vpn=int(start[1]) + 1))
    assert kinds(change_vma(model, 0, end_vpn=int(end[0]))) == set()


def test_runs_that_overlap_are_named() -> None:
    model = host_with_two_vmas()
    assert model.tables is not None
    nr_pages = model.tables.nr_pages.copy()
    nr_pages[0] += int(model.tables.vpn[1] - model.tables.vpn[0])
    found = kinds(replace(model, tables=replace(model.tables, nr_pages=nr_pages)))
    assert "runs-overlap" in found


def test_faults_of_counts_and_folios_are_named() -> None:
    model = host_with_two_vmas()
    assert model.frames.mapcount is not None
    mapped = int(np.flatnonzero(model.frames.mapcount)[0])
    count = int(model.frames.mapcount[mapped])
    for wrong in (count + 1, count - 1):
        assert kinds(change_frame(model, mapped, mapcount=wrong)) == {"count-unexplained"}
        assert kinds(change_frame(model, mapped, mapcount=wrong, unstable=1)) == set()
    single = int(np.flatnonzero(model.frames.words == mask("SLAB"))[0])
    free = int(np.flatnonzero(model.frames.having("BUDDY"))[0])
    assert kinds(change_frame(model, free, words=mask("SLAB"))) >= {"free-block-in-use"}
    assert kinds(change_frame(model, single, words=mask("BUDDY"))) == {"free-frame-lost"}


def first_eight(words: dict[int, int]) -> set[str]:
    """Kinds of violation of a host whose first eight frames are as given, and all others slab."""
    host = draw_host(1)
    host.entries.clear()
    host.free.clear()
    host.words = {pfn: mask("SLAB") for start, end in RANGES for pfn in range(start, end)} | words
    return kinds(host.model())


def test_folios_that_cannot_be_are_named() -> None:
    head, tail = mask("COMPOUND_HEAD", "SLAB"), mask("COMPOUND_TAIL", "SLAB")
    assert first_eight({18: head, 19: tail}) == set()
    assert first_eight({16: tail}) == {"tail-without-head"}
    assert first_eight({19: tail}) == {"tail-without-head"}
    assert first_eight({17: head, 18: tail}) == {"folio-aligned"}
    assert first_eight({16: head, 17: tail, 18: tail}) == {"folio-order"}
    assert first_eight({16: head}) == {"folio-order"}
    # The ranges end between the zones: tails do not continue there.
    assert first_eight({271: head, 1024: tail}) == {"folio-order", "tail-without-head"}


def test_free_blocks_that_overlap_or_do_not_align_are_named() -> None:
    model = next(m for m in (draw_host(seed).model() for seed in range(50)) if (m.free[0].order > 1).any())
    free = model.free[0]
    big = int(np.flatnonzero(free.order > 1)[0])
    start, order = free.start_pfn.copy(), free.order.copy()
    start[big] += 1
    assert "free-block-aligned" in kinds(with_free(model, start, order))
    start, order = np.insert(free.start_pfn, big, free.start_pfn[big]), np.insert(order, big, order[big])
    assert "free-block-overlaps" in kinds(with_free(model, start, order))
    halves = np.insert(free.start_pfn, big + 1, free.start_pfn[big] + (1 << int(free.order[big]) - 1))
    order = np.insert(free.order, big, free.order[big])
    order[big : big + 2] -= 1
    assert "free-block-unmerged" in kinds(with_free(model, halves, order))


def with_free(model: HostModel, start: Any, order: Any) -> HostModel:
    return replace(model, free=(FreeBlocks(start, order, model.free[0].nr_orders), *model.free[1:]))


def test_many_faults_of_a_kind_are_listed_and_the_rest_counted() -> None:
    found = witnesses("kind", np.ones(MOST_WITNESSES + 5, np.bool_), lambda row: (str(row), "wrong"))
    assert len(found) == MOST_WITNESSES + 1
    assert found[-1].detail == "5 more of this kind"
    assert witnesses("kind", np.zeros(3, np.bool_), lambda row: (str(row), "wrong")) == []
