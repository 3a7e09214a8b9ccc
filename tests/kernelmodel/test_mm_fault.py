"""What a write does to a VMA."""

from __future__ import annotations

import pytest

from kernelmodel.mapping import Mapping
from kernelmodel.ordered import TREES
from kernelmodel.vma import File
from tests.kernelmodel.spaces import ANON, FIXED, GROWSDOWN, PAGE, READ, RW, RWX, Space, refused


@pytest.fixture(params=TREES)
def space(request: pytest.FixtureRequest) -> Space:
    return Space(request.param)


def test_a_touched_neighbour_gives_its_anon_vma(space: Space) -> None:
    space.map(100)
    space.map(101, prot=RWX)
    first = space.touch(100).anon_vma
    assert space.touch(101).anon_vma is first
    space.protect(101, prot=RW)
    assert space.pages == [(100, 102)]


def test_the_neighbour_above_comes_first(space: Space) -> None:
    space.map(101)
    space.map(100, prot=RWX)
    space.map(102, prot=RWX)
    below, above = space.touch(100).anon_vma, space.touch(102).anon_vma
    assert below is not above
    assert space.touch(101).anon_vma is above
    child = space.mm.fork()
    child.mmap(103 * PAGE, PAGE, RW, ANON | FIXED)
    # What came by fork is nobody's to share.
    fresh = child.touch(103 * PAGE)
    assert fresh.anon_vma not in {vma.anon_vma for vma in child if vma is not fresh}


def test_a_page_behind_the_end_of_a_file_is_a_fault_after_the_anon_vma(space: Space) -> None:
    space.map_file(100, 4, File(Mapping("file"), nr_pages=2), 0)
    refused("EFAULT", space.touch, 103)
    (vma,) = space.mm
    assert vma.anon_vma is not None


def test_a_stack_grows_to_the_guard_gap_and_to_its_limit(space: Space) -> None:
    space.map(300, 1, flags=ANON | FIXED | GROWSDOWN)
    space.map(270)
    space.touch(290)
    assert space.pages == [(270, 271), (290, 301)]
    assert [vma.pgoff for vma in space.mm] == [270, 290]
    refused("EFAULT", space.touch, 278)
    space.touch(279)
    space.protect(270, prot=0)
    space.touch(272)
    refused("EFAULT", space.touch, 150)
    space.unmap(270)
    refused("EFAULT", space.touch, 268)
    assert space.pages == [(272, 301)]
    space.map(20, 1, flags=ANON | FIXED | GROWSDOWN)
    refused("EFAULT", space.touch, 15)
    space.touch(16)


def test_a_fault_needs_something_to_write_to(space: Space) -> None:
    refused("EFAULT", space.touch, 100)
    space.map(100, prot=READ)
    refused("EFAULT", space.touch, 100)
    refused("EFAULT", space.touch, 99)
    assert space.touch(space.map(0, flags=ANON)).anon_vma is not None
