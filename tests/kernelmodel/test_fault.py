"""The machine against its slow twin, and its rules one by one."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kernelmodel.errors import ModelError, NoMemoryError, SyscallError
from kernelmodel.fault.types import ZERO_PFN, Area, VmaChange
from kernelmodel.mapping import Mapping
from kernelmodel.mm.address_space import AddressSpace
from kernelmodel.mm.types import MergeRules
from kernelmodel.ordered import RedBlackTree
from kernelmodel.vma import File
from kernelmodel.vmflags import (
    MADV_DONTFORK,
    MADV_WIPEONFORK,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    MREMAP_DONTUNMAP,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
)
from tests.kernelmodel.one_process import ANON, HERE, RW, One
from tests.kernelmodel.rmap.workload import PAGE, Workload, stack


class MachineAndTwin(RuleBasedStateMachine):
    """Whatever processes do, they see what the twin says, and share the frames that the twin shares."""

    def __init__(self) -> None:
        super().__init__()
        self.workload: Workload | None = None

    @rule(data=st.data(), nr_steps=st.integers(1, 10))
    def step(self, data, nr_steps):
        if self.workload is None:
            self.workload = Workload(lambda n: 0)
        self.workload.choose = lambda n: data.draw(st.integers(0, n - 1))
        for _ in range(nr_steps):
            self.workload.step()

    @invariant()
    def same(self):
        if self.workload is not None:
            self.workload.machine.validate()
            self.workload.check()
            self.workload.machine.validate()


TestMachineAndTwin = MachineAndTwin.TestCase
TestMachineAndTwin.settings = settings(stateful_step_count=20)


@pytest.fixture
def one() -> One:
    return One()


def test_reading_what_was_never_written_maps_the_zero_page_and_makes_no_anon_vma(one: One) -> None:
    one.map()
    assert one.machine.read(one.pid, HERE) == 0
    assert one.pfn(HERE) == ZERO_PFN
    assert not one.machine.frames
    (vma,) = one.machine.mms[one.pid]
    assert vma.anon_vma is None


def test_the_first_write_gives_an_exclusive_frame_with_the_linear_offset(one: One) -> None:
    one.map()
    one.machine.read(one.pid, HERE + PAGE)
    one.machine.write(one.pid, HERE + PAGE, 7)
    frame = one.machine.frames[one.pfn(HERE + PAGE)]
    (vma,) = one.machine.mms[one.pid]
    assert frame.mapping is vma.anon_vma
    assert frame.index == HERE // PAGE + 1
    assert frame.exclusive
    assert frame.mapcount == 1


def test_the_last_owner_takes_the_frame_over_without_a_copy(one: One) -> None:
    one.map()
    one.machine.write(one.pid, HERE, 7)
    child = one.machine.fork(one.pid)
    pfn = one.pfn(HERE)
    assert one.pfn(HERE, child) == pfn
    assert not one.machine.frames[pfn].exclusive
    one.machine.exit(one.pid)
    one.machine.write(child, HERE, 8)
    frame = one.machine.frames[pfn]
    assert one.pfn(HERE, child) == pfn
    assert frame.exclusive
    # folio_move_anon_rmap: to the child's own anon_vma, so that no walk looks at the parent's VMAs again.
    (vma,) = one.machine.mms[child]
    assert frame.mapping is vma.anon_vma


def test_frames_are_born_one_after_another(one: One) -> None:
    one.map()
    for nth in range(3):
        one.machine.write(one.pid, HERE + nth * PAGE, 1)
    born = [one.machine.frames[one.pfn(HERE + nth * PAGE)].born for nth in range(3)]
    assert sorted(set(born)) == born


def test_a_writer_copies_while_another_process_has_the_page(one: One) -> None:
    one.map()
    one.machine.write(one.pid, HERE, 7)
    child = one.machine.fork(one.pid)
    one.machine.write(one.pid, HERE + 8, 8)
    assert [one.machine.read(child, HERE + offset) for offset in (0, 8)] == [7, 0]
    assert [one.machine.read(one.pid, HERE + offset) for offset in (0, 8)] == [7, 8]
    assert one.pfn(HERE) != one.pfn(HERE, child)


def test_fork_leaves_pages_of_files_to_a_later_fault_unless_the_vma_has_an_anon_vma(one: One) -> None:
    file = File(Mapping("a"))
    one.map(flags=MAP_PRIVATE, file=file)
    one.machine.read(one.pid, HERE)
    child = one.machine.fork(one.pid)
    assert one.pte(HERE, child) is None
    one.machine.write(one.pid, HERE + PAGE, 1)
    child = one.machine.fork(one.pid)
    assert one.pfn(HERE, child) == one.pfn(HERE)


def test_a_private_write_does_not_reach_the_file_and_a_shared_one_does(one: One) -> None:
    file = File(Mapping("a"))
    private = one.map(flags=MAP_PRIVATE, file=file)
    shared = one.machine.mmap(one.pid, 0, 2 * PAGE, RW, MAP_SHARED, file=file)
    one.machine.write(one.pid, shared, 1)
    one.machine.write(one.pid, shared + PAGE, 1)
    assert one.machine.read(one.pid, private) == 1
    for start in (private, private + PAGE):  # one was read before, the other not
        one.machine.write(one.pid, start + 8, 2)
        assert one.machine.read(one.pid, start) == 1
    assert one.machine.read(one.pid, shared + 8) == 0
    one.machine.write(one.pid, shared, 3)
    assert one.machine.read(one.pid, private) == 1


def test_what_may_only_be_written_can_be_read_too(one: One) -> None:
    one.map(prot=PROT_WRITE)
    assert one.machine.read(one.pid, HERE) == 0


@pytest.mark.parametrize("prot", [PROT_NONE, PROT_READ])
def test_a_write_without_permission_is_refused(one: One, prot: int) -> None:
    one.map(prot=prot)
    with pytest.raises(SyscallError, match="EFAULT"):
        one.machine.write(one.pid, HERE, 1)


@pytest.mark.parametrize("address", [HERE - PAGE, HERE + 4 * PAGE, 1 << 40])
def test_an_access_to_nothing_is_refused(one: One, address: int) -> None:
    one.map()
    for access in (one.machine.read, lambda pid, at: one.machine.write(pid, at, 1)):
        with pytest.raises(SyscallError, match="EFAULT"):
            access(one.pid, address)


def test_nothing_can_be_read_behind_the_end_of_a_file(one: One) -> None:
    one.map(flags=MAP_PRIVATE, file=File(Mapping("a"), nr_pages=1))
    assert one.machine.read(one.pid, HERE) == 0
    with pytest.raises(SyscallError, match="end of the file"):
        one.machine.read(one.pid, HERE + PAGE)


def test_nothing_may_be_done_without_permission(one: One) -> None:
    one.map(prot=PROT_NONE)
    with pytest.raises(SyscallError, match="not accessible"):
        one.machine.read(one.pid, HERE)


def test_mprotect_takes_the_write_permission_from_entries(one: One) -> None:
    one.map()
    one.machine.write(one.pid, HERE, 1)
    one.machine.mprotect(one.pid, HERE, PAGE, PROT_READ)
    pte = one.pte(HERE)
    assert pte is not None
    assert not pte.writable
    one.machine.mprotect(one.pid, HERE, PAGE, RW)
    one.machine.write(one.pid, HERE, 2)
    assert pte.writable


def test_mprotect_that_meets_a_hole_has_changed_what_lies_before_it(one: One) -> None:
    one.map(nr_pages=1)
    one.machine.write(one.pid, HERE, 1)
    with pytest.raises(SyscallError, match="ENOMEM"):
        one.machine.mprotect(one.pid, HERE, 2 * PAGE, PROT_READ)
    one.machine.validate()


def test_mremap_carries_frames_and_keeps_their_index(one: One) -> None:
    one.map(nr_pages=2)
    one.machine.write(one.pid, HERE + PAGE, 5)
    pfn, target = one.pfn(HERE + PAGE), HERE + 64 * PAGE
    flags = MREMAP_MAYMOVE | MREMAP_FIXED
    assert one.machine.mremap(one.pid, HERE, 2 * PAGE, 2 * PAGE, flags, new_address=target) == target
    assert one.pte(HERE + PAGE) is None
    assert one.pfn(target + PAGE) == pfn
    assert one.machine.frames[pfn].index == HERE // PAGE + 1
    assert one.machine.read(one.pid, target + PAGE) == 5
    one.machine.validate()


def test_mremap_dontunmap_leaves_an_empty_mapping_behind(one: One) -> None:
    one.map(nr_pages=1)
    one.machine.write(one.pid, HERE, 5)
    there = one.machine.mremap(one.pid, HERE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP)
    assert one.machine.read(one.pid, there) == 5
    assert one.machine.read(one.pid, HERE) == 0
    one.machine.validate()


def test_an_mremap_that_is_refused_changes_nothing(one: One) -> None:
    one.map(nr_pages=1)
    one.machine.write(one.pid, HERE, 5)
    with pytest.raises(SyscallError):
        one.machine.mremap(one.pid, HERE, PAGE, PAGE, MREMAP_FIXED, new_address=0)
    assert one.machine.read(one.pid, HERE) == 5
    one.machine.validate()


def test_an_mremap_of_old_that_fails_leaves_a_hole_at_its_target() -> None:
    """Before 6.17 the target was unmapped first, and then the source was looked at."""
    one = One()
    one.pid = one.machine.add(AddressSpace(RedBlackTree, rules=MergeRules(mremap_many=False)))
    one.map(nr_pages=2)
    one.machine.write(one.pid, HERE, 5)
    source = one.machine.mmap(one.pid, HERE + 8 * PAGE, PAGE, RW, ANON | MAP_FIXED)
    flags = MREMAP_MAYMOVE | MREMAP_FIXED
    with pytest.raises(SyscallError, match="EFAULT"):
        one.machine.mremap(one.pid, source, 2 * PAGE, 2 * PAGE, flags, new_address=HERE)
    assert not one.machine.frames
    one.machine.validate()


def test_fork_skips_and_wipes_where_it_was_told_to(one: One) -> None:
    one.map(nr_pages=2)
    for nth, advice in enumerate((MADV_DONTFORK, MADV_WIPEONFORK)):
        one.machine.write(one.pid, HERE + nth * PAGE, 5)
        one.machine.madvise(one.pid, HERE + nth * PAGE, PAGE, advice)
    child = one.machine.fork(one.pid)
    with pytest.raises(SyscallError):
        one.machine.read(child, HERE)
    assert one.machine.read(child, HERE + PAGE) == 0


def test_a_stack_grows_to_a_read_as_well(one: One) -> None:
    vma = stack()
    one.machine.mms[one.pid].insert(vma)
    start = vma.start
    assert one.machine.read(one.pid, start - 3 * PAGE) == 0
    assert vma.start == start - 3 * PAGE


def test_the_heap_gives_its_frames_back(one: One) -> None:
    base = one.machine.mms[one.pid].brk
    one.machine.set_brk(one.pid, base + 2 * PAGE)
    one.machine.write(one.pid, base + PAGE, 1)
    one.machine.set_brk(one.pid, base + 1)
    assert not one.machine.frames
    one.machine.validate()


def test_a_mapping_over_another_drops_its_pages(one: One) -> None:
    one.map()
    one.machine.write(one.pid, HERE, 1)
    one.map()
    assert one.machine.read(one.pid, HERE) == 0


def test_memory_runs_out_and_comes_back() -> None:
    one = One(nr_frames=3)
    one.map()
    one.machine.write(one.pid, HERE, 1)
    one.machine.write(one.pid, HERE + PAGE, 2)
    with pytest.raises(NoMemoryError):
        one.machine.write(one.pid, HERE + 2 * PAGE, 3)
    one.machine.validate()
    freed = one.pfn(HERE)
    one.machine.munmap(one.pid, HERE, PAGE)
    one.machine.write(one.pid, HERE + 2 * PAGE, 3)
    assert one.pfn(HERE + 2 * PAGE) == freed


def test_a_page_cache_is_freed_once_nobody_maps_it(one: One) -> None:
    file = File(Mapping("a"))
    one.map(flags=MAP_SHARED, file=file)
    one.machine.write(one.pid, HERE, 1)
    with pytest.raises(ModelError, match="is mapped"):
        one.machine.evict(file.mapping)
    one.machine.munmap(one.pid, HERE, 4 * PAGE)
    assert len(one.machine.frames) == 1
    one.machine.evict(file.mapping)
    assert not one.machine.frames
    one.machine.validate()


def test_changes_of_vmas_are_told_with_their_bounds(one: One) -> None:
    told: list[VmaChange] = []

    class Listener:
        def vmas_changed(self, change: VmaChange) -> None:
            told.append(change)

    one.machine.vma_observers.append(Listener())
    one.map(nr_pages=3)
    one.machine.munmap(one.pid, HERE, PAGE)
    one.machine.munmap(one.pid, HERE, PAGE)
    mapped, trimmed = told
    assert (mapped.cause, trimmed.cause) == ("mmap", "munmap")
    assert list(mapped.after.values()) == [Area(HERE, HERE + 3 * PAGE, HERE // PAGE)]
    assert list(trimmed.after.values()) == [Area(HERE + PAGE, HERE + 3 * PAGE, HERE // PAGE + 1)]
