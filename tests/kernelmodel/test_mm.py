"""The address space case by case; test_mm_machine.py and the live test look at everything together."""

from __future__ import annotations

import pytest

from kernelmodel.errors import NoMemoryError
from kernelmodel.mapping import Mapping
from kernelmodel.ordered import TREES
from kernelmodel.vma import File, Vma
from tests.kernelmodel.spaces import (
    ANON,
    DOFORK,
    DONTFORK,
    FIXED,
    GROWSDOWN,
    KEEPONFORK,
    MOVE,
    NOREPLACE,
    PAGE,
    READ,
    RW,
    RWX,
    SHARED,
    TO,
    WIPEONFORK,
    Space,
    refused,
)


@pytest.fixture(params=TREES)
def space(request: pytest.FixtureRequest) -> Space:
    return Space(request.param)


def test_neighbours_that_are_alike_are_one(space: Space) -> None:
    space.map(100, 2)
    space.map(102, 2)
    space.map(99)
    assert space.pages == [(99, 104)]
    space.map(104, prot=READ)
    assert space.pages == [(99, 104), (104, 105)]


def test_a_hole_splits_and_its_filling_joins(space: Space) -> None:
    space.map(100, 5)
    space.unmap(102)
    assert space.pages == [(100, 102), (103, 105)]
    assert [vma.pgoff for vma in space.mm] == [100, 103]
    space.map(102)
    assert space.pages == [(100, 105)]


def test_permissions_split_in_three_and_join_again(space: Space) -> None:
    space.map(100, 5)
    space.protect(102)
    assert space.pages == [(100, 102), (102, 103), (103, 105)]
    space.protect(102, prot=RW)
    assert space.pages == [(100, 105)]


def test_each_way_that_a_changed_range_can_go(space: Space) -> None:
    def layout(*prots: int) -> list[tuple[int, int]]:
        space.unmap(100, 20)
        for number, prot in enumerate(prots):
            space.map(100 + 3 * number, 3, prot)
        return space.pages

    assert layout(READ, RWX, RW) == [(100, 103), (103, 106), (106, 109)]
    space.protect(103, 3, RW)
    assert space.pages == [(100, 103), (103, 109)]
    layout(READ, RWX, RW)
    space.protect(103, 3, READ)
    assert space.pages == [(100, 106), (106, 109)]
    layout(READ, RWX, READ)
    space.protect(103, 3, READ)
    assert space.pages == [(100, 109)]
    layout(READ, RWX, READ)
    space.protect(103, 1, READ)
    assert space.pages == [(100, 104), (104, 106), (106, 109)]
    space.protect(105, 1, READ)
    assert space.pages == [(100, 104), (104, 105), (105, 109)]
    layout(READ, RWX, READ)
    space.protect(104, 1, READ)
    assert space.pages == [(100, 103), (103, 104), (104, 105), (105, 106), (106, 109)]


def test_two_anon_vmas_never_become_one(space: Space) -> None:
    space.map(100)
    space.map(102)
    space.touch(100)
    space.touch(102)
    space.map(101)
    assert space.pages == [(100, 102), (102, 103)]


def test_what_fork_passed_on_stays_apart(space: Space) -> None:
    space.map(100)
    space.touch(100)
    child = space.mm.fork()
    child.mmap(101 * PAGE, PAGE, RW, ANON | FIXED)
    space.map(101)
    assert space.pages == [(100, 102)]
    assert len(child) == 2
    child.validate()


def test_never_written_memory_that_becomes_read_only_is_like_any_other(space: Space) -> None:
    space.map(100, prot=READ)
    space.map(101)
    space.map(102)
    space.protect(101)
    assert space.pages == [(100, 102), (102, 103)]
    space.touch(102)
    space.protect(102)
    # It is still counted as committed: its pages are there.
    assert space.pages == [(100, 102), (102, 103)]


def test_files_join_by_offset_and_by_open(space: Space) -> None:
    mapping = Mapping("file")
    one, two = File(mapping), File(mapping)
    space.map_file(100, 2, one, 10)
    space.map_file(102, 2, one, 12)
    space.map_file(104, 1, one, 15)
    space.map_file(105, 1, two, 16)
    assert space.pages == [(100, 104), (104, 105), (105, 106)]
    assert [vma.start // PAGE for vma in mapping.overlapping(12, 15)] == [100, 104]
    space.unmap(101, 2)
    assert space.pages == [(100, 101), (103, 104), (104, 105), (105, 106)]
    assert [vma.start // PAGE for vma in mapping.overlapping(11, 13)] == [103]


def test_mappings_of_a_stacking_file_system_stay_apart(space: Space) -> None:
    mapping = Mapping("upper/file")
    overlay = File(Mapping("file"), backing=File(mapping))
    space.map_file(100, 2, overlay, 0)
    space.map_file(102, 2, overlay, 2)
    assert space.pages == [(100, 102), (102, 104)]
    assert len(list(mapping.overlapping(0, 3))) == 2
    space.protect(102, 2)
    space.protect(102, 2, RW)
    assert space.pages == [(100, 104)]


def test_a_file_opened_for_reading_cannot_be_written_through(space: Space) -> None:
    readonly = File(Mapping("file"), writable=False)
    refused("EACCES", space.map_file, 100, 1, readonly, 0, kind=SHARED)
    space.map_file(100, 2, readonly, 0, prot=READ, kind=SHARED)
    refused("EACCES", space.protect, 100, 1, RW)
    space.map_file(102, 1, readonly, 0)
    assert space.touch(102).anon_vma is not None


def test_shared_memory_has_no_anon_vma_and_an_end(space: Space) -> None:
    space.map(100, 2, flags=0x21 | FIXED)
    assert space.touch(100).anon_vma is None
    space.remap(100, 2, 4, 0)
    refused("EFAULT", space.touch, 102)
    assert space.remap(100, 0, 1, TO, to=200) == 200
    first, second = space.mm
    assert first.file is second.file


def test_fixed_mappings(space: Space) -> None:
    space.map(100, 4)
    space.map(101, 2, READ)
    assert space.pages == [(100, 101), (101, 103), (103, 104)]
    refused("EEXIST", space.map, 103, 2, RW, ANON | NOREPLACE)
    assert space.map(104, 1, RW, ANON | NOREPLACE) == 104
    refused("EINVAL", space.mm.mmap, 1, PAGE, RW, ANON | FIXED)
    refused("ENOMEM", space.map, 4095, 2)


def test_what_cannot_be_mapped(space: Space) -> None:
    file = File(Mapping("file"))
    refused("EINVAL", space.map, 100, 0)
    refused("EINVAL", space.map, 100, 1, RW, 0x20 | FIXED)
    refused("EINVAL", space.map, 100, 1, RW, 0x02 | FIXED)
    refused("EINVAL", space.map, 100, 1, RW, ANON | FIXED, file=file)
    refused("EINVAL", space.map, 100, 1, RW, 0x21 | FIXED | GROWSDOWN)
    refused("EINVAL", space.map, 100, 1, RW, 0x02 | FIXED | GROWSDOWN, file=file)
    refused("ENOMEM", space.map, 0, 5000, RW, ANON)
    assert space.pages == []


def test_what_cannot_be_unmapped_protected_or_advised(space: Space) -> None:
    refused("EINVAL", space.mm.munmap, 1, PAGE)
    refused("EINVAL", space.mm.munmap, PAGE, 0)
    refused("EINVAL", space.mm.munmap, 4095 * PAGE, 2 * PAGE)
    refused("EINVAL", space.mm.mprotect, 1, PAGE, RW)
    refused("EINVAL", space.mm.madvise, 1, PAGE, DONTFORK)
    refused("EINVAL", space.mm.madvise, PAGE, PAGE, 4)
    space.unmap(100)
    space.map(100)
    space.map(102)
    refused("ENOMEM", space.protect, 100, 3)
    assert [vma.flags & 7 for vma in space.mm] == [READ, RW]
    refused("ENOMEM", space.mm.madvise, 100 * PAGE, 3 * PAGE, DONTFORK)
    assert len(space.mm.fork()) == 0
    space.map(104, flags=0x21 | FIXED)
    refused("EINVAL", space.mm.madvise, 104 * PAGE, PAGE, WIPEONFORK)
    space.protect(100, 0)
    space.mm.madvise(100 * PAGE, 0, DOFORK)


def test_the_heap(space: Space) -> None:
    mm = space.mm
    assert mm.set_brk(511 * PAGE) == 512 * PAGE
    assert mm.set_brk(514 * PAGE + 1) == mm.brk == 514 * PAGE + 1
    assert space.pages == [(512, 515)]
    assert mm.set_brk(514 * PAGE + 9) == 514 * PAGE + 9
    assert mm.set_brk(513 * PAGE) == 513 * PAGE
    assert space.pages == [(512, 513)]
    space.map(516)
    assert mm.set_brk(516 * PAGE) == 513 * PAGE
    assert mm.set_brk(515 * PAGE) == 515 * PAGE
    space.unmap(512, 3)
    assert mm.set_brk(513 * PAGE) == 515 * PAGE
    assert mm.set_brk(5000 * PAGE) == 515 * PAGE
    space.map(511)
    space.unmap(516)
    assert mm.set_brk(516 * PAGE) == 516 * PAGE
    assert space.pages == [(511, 512), (515, 516)]


def test_a_heap_does_not_begin_in_what_lies_below(space: Space) -> None:
    space.map(511)
    space.mm.set_brk(513 * PAGE)
    assert space.pages == [(511, 512), (512, 513)]


def test_a_full_table_of_vmas_refuses() -> None:
    space = Space(max_map_count=7)
    space.map(100, 9)
    for page in (101, 103, 105):
        space.protect(page)
    assert len(space.mm) == 7
    with pytest.raises(NoMemoryError):
        space.protect(108)
    with pytest.raises(NoMemoryError):
        space.protect(107)
    with pytest.raises(NoMemoryError):
        space.unmap(107)
    space.unmap(108)
    # The kernel's test lets mmap go one beyond.
    space.map(200)
    with pytest.raises(NoMemoryError):
        space.map(300)
    with pytest.raises(NoMemoryError):
        space.remap(100, 1, 1, TO, to=200)
    assert space.mm.set_brk(514 * PAGE) == 512 * PAGE
    assert len(space.mm) == 8


def test_a_heap_that_cannot_be_cut_stays() -> None:
    space = Space(max_map_count=1)
    space.mm.set_brk(514 * PAGE)
    space.map(514)
    assert space.mm.set_brk(513 * PAGE) == 514 * PAGE
    assert space.pages == [(512, 515)]


def test_a_full_table_stops_a_move(space: Space) -> None:
    space = Space(max_map_count=5)
    space.map(100)
    space.map(101, prot=READ)
    with pytest.raises(NoMemoryError):
        space.remap(100, 1, 2, MOVE)


def test_fork_copies_all_but_what_was_advised_against(space: Space) -> None:
    file = File(Mapping("file"))
    space.map(100, 6)
    space.map_file(200, 1, file, 7)
    space.touch(100)
    space.mm.madvise(101 * PAGE, PAGE, DONTFORK)
    space.mm.madvise(103 * PAGE, PAGE, WIPEONFORK)
    space.mm.set_brk(513 * PAGE)
    child = space.mm.fork()
    assert [(vma.start // PAGE, vma.end // PAGE, vma.is_fork_child) for vma in child] == [
        (100, 101, True),
        (102, 103, True),
        (103, 104, False),
        (104, 106, True),
        (200, 201, False),
        (512, 513, False),
    ]
    assert child.brk == 513 * PAGE
    wiped = child.vma_lookup(103 * PAGE)
    assert wiped is not None
    assert (wiped.anon_vma, wiped.pgoff) == (None, 103)
    assert len(list(file.mapping.overlapping(7, 7))) == 2
    child.validate()
    space.mm.madvise(101 * PAGE, PAGE, DOFORK)
    space.mm.madvise(103 * PAGE, PAGE, KEEPONFORK)
    assert space.pages[0] == (100, 106)


def test_the_anon_vma_of_a_parent_sees_the_child_and_not_the_other_way(space: Space) -> None:
    space.map(100, 2)
    mine = space.touch(100).anon_vma
    child = space.mm.fork()
    (theirs,) = (vma.anon_vma for vma in child)
    assert mine is not None
    assert theirs is not None
    assert theirs.parent is mine
    assert len(list(mine.overlapping(100, 101))) == 2
    assert len(list(theirs.overlapping(100, 101))) == 1
    child.mprotect(101 * PAGE, PAGE, READ)
    assert len(list(mine.overlapping(100, 101))) == 3
    assert len(list(mine.overlapping(100, 100))) == 2
    child.exit()
    assert len(child) == 0
    assert len(list(mine.overlapping(100, 101))) == 1
    space.mm.validate()


def test_a_vma_is_inserted_as_it_is_or_not_at_all(space: Space) -> None:
    space.map(100)
    space.mm.insert(Vma(101 * PAGE, 102 * PAGE, 0x10_0073, 101))
    assert space.pages == [(100, 101), (101, 102)]
    assert len(space.mm.unmerged()) == 1
    refused("ENOMEM", space.mm.insert, Vma(99 * PAGE, 101 * PAGE, 0, 99))
    found = space.mm.find_vma(50 * PAGE)
    assert found is not None
    assert found.start == 100 * PAGE
    assert space.mm.vma_lookup(50 * PAGE) is None
    assert space.mm.find_vma(102 * PAGE) is None
