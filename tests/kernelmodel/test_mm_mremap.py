"""Growing, shrinking and moving."""

from __future__ import annotations

import pytest

from kernelmodel.ordered import TREES
from kernelmodel.vma import Vma
from tests.kernelmodel.spaces import DONTUNMAP, MOVE, PAGE, READ, TO, Space, refused


@pytest.fixture(params=TREES)
def space(request: pytest.FixtureRequest) -> Space:
    return Space(request.param)


def test_an_untouched_mapping_takes_its_offset_from_where_it_goes(space: Space) -> None:
    space.map(100)
    space.map(200)
    assert space.remap(200, 1, 1, TO, to=101) == 101
    assert space.pages == [(100, 102)]


def test_a_touched_mapping_keeps_its_offset(space: Space) -> None:
    space.map(100)
    space.map(200)
    space.touch(200)
    space.remap(200, 1, 1, TO, to=101)
    assert space.pages == [(100, 101), (101, 102)]
    assert [vma.pgoff for vma in space.mm] == [100, 200]
    space.remap(101, 1, 1, TO, to=200)
    space.map(199)
    assert space.pages == [(100, 101), (199, 201)]


def test_remapping_within_one_vma(space: Space) -> None:
    space.map(100, 4)
    assert space.remap(100, 4, 4) == 100
    assert space.remap(100, 4, 2) == 100
    assert space.pages == [(100, 102)]
    assert space.remap(100, 2, 5) == 100
    space.map(105, prot=READ)
    refused("ENOMEM", space.remap, 100, 5, 6)
    refused("ENOMEM", space.remap, 100, 4, 5)
    assert space.remap(100, 5, 6, MOVE) == 2042
    assert space.pages == [(105, 106), (2042, 2048)]
    assert space.remap(2044, 4, 1, TO, to=200) == 200
    assert space.pages == [(105, 106), (200, 201), (2042, 2044)]


def test_an_extension_meets_what_lies_behind_it(space: Space) -> None:
    space.map(100)
    space.map(102)
    space.touch(102)
    space.remap(100, 1, 2)
    assert space.pages == [(100, 103)]


def test_remapping_many_vmas_with_the_hole_between_them(space: Space) -> None:
    space.map(100, 2)
    space.map(103, 2, READ)
    assert space.remap(101, 3, 3, TO, to=200) == 200
    assert space.pages == [(100, 101), (104, 105), (200, 201), (202, 203)]


def test_what_cannot_be_remapped(space: Space) -> None:
    space.map(100, 4)
    space.mm.insert(Vma(300 * PAGE, 301 * PAGE, 0x4_0073, 300))
    refused("EINVAL", space.remap, 100, 1, 1, 8)
    refused("EINVAL", space.remap, 100, 1, 1, 2, to=200)
    refused("EINVAL", space.remap, 100, 1, 0)
    refused("EINVAL", space.remap, 100, 1, 2, DONTUNMAP, to=200)
    refused("EINVAL", space.remap, 100, 2, 2, TO, to=101)
    refused("EINVAL", space.remap, 100, 1, 1, TO, to=4096)
    refused("EINVAL", space.mm.mremap, 1, PAGE, PAGE, 0)
    refused("EINVAL", space.mm.mremap, 100 * PAGE, PAGE, PAGE, TO, 1)
    refused("EINVAL", space.remap, 100, 0, 1, MOVE)
    refused("EINVAL", space.remap, 300, 1, 1, DONTUNMAP, to=200)
    refused("EFAULT", space.remap, 300, 1, 2, MOVE)
    refused("EFAULT", space.remap, 99, 2, 2, TO, to=200)
    refused("EFAULT", space.remap, 99, 2, 3, TO, to=200)
    refused("EFAULT", space.remap, 103, 2, 3, MOVE)
    assert space.pages == [(100, 104), (300, 301)]


def test_dontunmap_leaves_the_range_and_takes_the_pages(space: Space) -> None:
    space.map(100, 2)
    old = space.touch(100)
    anon_vma = old.anon_vma
    assert space.remap(100, 2, 2, DONTUNMAP, to=200) == 200
    new = space.mm.vma_lookup(200 * PAGE)
    assert new is not None
    assert (old.anon_vma, new.anon_vma, new.pgoff) == (None, anon_vma, 100)
    assert space.pages == [(100, 102), (200, 202)]
