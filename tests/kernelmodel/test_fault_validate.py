"""A planted fault for each invariant of the machine."""

from __future__ import annotations

import pytest

from kernelmodel.anon_vma import AnonVma
from kernelmodel.errors import InvariantError
from kernelmodel.mapping import Mapping
from kernelmodel.vma import File
from kernelmodel.vmflags import MAP_FIXED, MAP_SHARED, PROT_READ
from tests.kernelmodel.one_process import HERE, RW, One
from tests.kernelmodel.rmap.workload import PAGE


@pytest.fixture
def family() -> One:
    """Return a process whose child shares page 0, has a copy of page 1, and a page of a file."""
    one = One()
    one.map()
    for nth in range(2):
        one.machine.write(one.pid, HERE + nth * PAGE, nth)
    one.machine.mmap(one.pid, HERE + 64 * PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, file=File(Mapping("a")))
    one.machine.write(one.pid, HERE + 64 * PAGE, 1)
    child = one.machine.fork(one.pid)
    one.machine.write(child, HERE + PAGE, 1)
    one.machine.validate()
    return one


def broken(one: One, rule_name: str) -> None:
    with pytest.raises(InvariantError) as caught:
        one.machine.validate()
    assert caught.value.invariant == rule_name
    assert caught.value.where


def test_planted_vma_owner(family: One) -> None:
    vma = next(iter(family.machine.owner))
    family.machine.owner[vma] = 99
    broken(family, "vma-owner")


def test_planted_entry_outside_all_vmas(family: One) -> None:
    table = family.machine.tables[family.pid]
    table[HERE // PAGE + 32] = table.pop(HERE // PAGE)
    broken(family, "pte-vma")


def test_planted_entry_of_a_free_frame(family: One) -> None:
    frame = family.machine.frames[family.pfn(HERE + PAGE)]
    family.machine.release(frame)
    broken(family, "pte-frame")


def test_planted_writable_entry_of_a_shared_frame(family: One) -> None:
    family.machine.tables[family.pid][HERE // PAGE].writable = True
    broken(family, "pte-writable")


def test_planted_writable_entry_in_a_read_only_vma(family: One) -> None:
    family.machine.mms[family.pid].mprotect(HERE + PAGE, PAGE, PROT_READ)
    family.machine.write(family.pid, HERE + 64 * PAGE, 1)
    family.machine.tables[family.pid][HERE // PAGE + 1].writable = True
    family.machine.owner = {vma: pid for pid, mm in family.machine.mms.items() for vma in mm}
    broken(family, "pte-writable")


def test_planted_writable_zero_page(family: One) -> None:
    family.machine.read(family.pid, HERE + 3 * PAGE)
    family.machine.tables[family.pid][HERE // PAGE + 3].writable = True
    broken(family, "pte-writable")


def test_planted_index(family: One) -> None:
    family.machine.frames[family.pfn(HERE)].index += 1
    broken(family, "pte-index")


@pytest.mark.parametrize("mapping", [AnonVma(), Mapping("b")], ids=["anon_vma", "file"])
def test_planted_mapping_that_leads_elsewhere(family: One, mapping: AnonVma | Mapping) -> None:
    family.machine.frames[family.pfn(HERE)].mapping = mapping
    broken(family, "pte-reachable")


def test_planted_mapcount(family: One) -> None:
    family.machine.frames[family.pfn(HERE)].mapcount = 1
    broken(family, "mapcount")


def test_planted_exclusive_mark_on_a_shared_frame(family: One) -> None:
    family.machine.frames[family.pfn(HERE)].exclusive = True
    broken(family, "exclusive")


def test_planted_exclusive_mark_on_a_page_of_a_file(family: One) -> None:
    family.machine.frames[family.pfn(HERE + 64 * PAGE)].exclusive = True
    broken(family, "exclusive")


def test_planted_anonymous_frame_that_nobody_maps(family: One) -> None:
    (vma, *_) = family.machine.mms[family.pid]
    assert vma.anon_vma is not None
    family.machine.allocate(vma.anon_vma, 0)
    broken(family, "anon-leak")


def test_planted_page_that_its_file_does_not_know(family: One) -> None:
    frame = family.machine.frames[family.pfn(HERE + 64 * PAGE)]
    assert isinstance(frame.mapping, Mapping)
    frame.mapping.pages.clear()
    broken(family, "page-cache")


@pytest.mark.parametrize("plant", [lambda free: free.append(free[0]), list.pop], ids=["twice", "lost"])
def test_planted_frame_that_is_free_twice_or_lost(family: One, plant) -> None:
    plant(family.machine.free)
    broken(family, "frame-list")


def test_planted_fault_below_is_found_from_above(family: One) -> None:
    (vma, *_) = family.machine.mms[family.pid]
    assert vma.anon_vma is not None
    vma.anon_vma.num_children += 1
    broken(family, "anon-vma-children")
