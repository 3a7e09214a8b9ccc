"""The check of the 1998 map: each cause planted, and named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernelmodel.fault import Machine
from kernelmodel.mm.address_space import AddressSpace
from kernelmodel.ordered import RedBlackTree
from kernelmodel.rmap import Cause, Journal, Motion, SingleEntry, Stale, Stored, find_stale, served
from kernelmodel.vmflags import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    PROT_READ,
    PROT_WRITE,
)
from tests.kernelmodel.rmap.workload import PAGE, STACK_END, stack

RW = PROT_READ | PROT_WRITE
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
HERE = 0x1000_0000


class Checked:
    """One process with pages at HERE, a stack, the 1998 map and its check."""

    def __init__(self, nr_pages: int = 6) -> None:
        self.machine = Machine(64)
        mm = AddressSpace(RedBlackTree)
        self.stack = stack()
        mm.insert(self.stack)
        self.pid = self.machine.add(mm)
        self.single, self.journal = SingleEntry(self.machine), Journal(self.machine)
        self.machine.mmap(self.pid, HERE, nr_pages * PAGE, RW, ANON)
        for nth in range(nr_pages):
            self.machine.write(self.pid, HERE + nth * PAGE, nth)

    def pfn(self, nth: int, start: int = HERE) -> int:
        return self.machine.tables[self.pid][start // PAGE + nth].pfn

    def stale(self) -> dict[int, Stale]:
        return {entry.pfn: entry for entry in find_stale(self.machine, self.single, self.journal)}

    def plant(self, nth: int, **changes: object) -> int:
        pfn = self.pfn(nth)
        self.single.entries[pfn] = replace(self.single.entries[pfn], **changes)
        return pfn


@pytest.fixture
def checked() -> Checked:
    return Checked()


def only(checked: Checked, cause: Cause, motions: tuple[Motion, ...], pages: range, moved_pages: int) -> None:
    """Demand that the check names just these pages of HERE, all with this cause and distance."""
    stale = checked.stale()
    assert set(stale) == {checked.pfn(nth) for nth in pages}
    for entry in stale.values():
        assert (entry.cause, entry.motions, entry.moved_bytes) == (cause, motions, moved_pages * PAGE)
        # At the same address, the offset is wrong by what the start moved, the other way.
        assert entry.right_offset == entry.stored.offset - entry.moved_bytes


def test_nothing_is_wrong_at_first(checked: Checked) -> None:
    assert checked.stale() == {}
    assert served(checked.machine, checked.single).permille == 1000


def test_stack_growth(checked: Checked) -> None:
    for address in (STACK_END - PAGE, STACK_END - 4 * PAGE, STACK_END - 7 * PAGE):
        checked.machine.write(checked.pid, address, 1)
    stale = checked.stale()
    old, newer = checked.pfn(-1, STACK_END), checked.pfn(-4, STACK_END)
    assert set(stale) == {old, newer}
    assert stale[old].motions == (Motion.STACK_GROWTH, Motion.STACK_GROWTH)
    assert stale[newer].motions == (Motion.STACK_GROWTH,)
    assert (stale[old].moved_bytes, stale[newer].moved_bytes) == (-5 * PAGE, -3 * PAGE)
    assert stale[old].right_offset == stale[old].stored.offset + 5 * PAGE
    assert {entry.cause for entry in stale.values()} == {Cause.VMA_MOTION}


def test_trimmed_head(checked: Checked) -> None:
    checked.machine.munmap(checked.pid, HERE, 2 * PAGE)
    only(checked, Cause.VMA_MOTION, (Motion.TRIMMED_HEAD,), range(2, 6), 2)


def test_split(checked: Checked) -> None:
    """The part that mprotect changes stays the old VMA; the other gets a new one, also below it."""
    checked.machine.mprotect(checked.pid, HERE, 4 * PAGE, PROT_READ)
    only(checked, Cause.VMA_MOTION, (Motion.SPLIT,), range(4, 6), 4)


def test_split_that_takes_the_vma_from_the_pages_below(checked: Checked) -> None:
    checked.machine.mprotect(checked.pid, HERE + 4 * PAGE, 2 * PAGE, PROT_READ)
    stale = checked.stale()
    assert len(stale) == 6
    assert {entry.motions for entry in stale.values()} == {(Motion.SPLIT,)}
    moved_pages = [stale[checked.pfn(nth)].moved_bytes // PAGE for nth in range(6)]
    assert moved_pages == [0, 0, 0, 0, 4, 4]
    # Offsets below are right, but not from the start of the VMA that is stored: that moved with the others.
    resolved = [checked.single.resolve(checked.pfn(nth)) for nth in range(6)]
    assert resolved == [HERE + (nth + 4) * PAGE for nth in range(6)]


def test_a_hole_makes_two_new_vmas_of_one(checked: Checked) -> None:
    """As munmap cuts today, neither part is the old VMA: the entries below the hole have lost it as well."""
    checked.machine.munmap(checked.pid, HERE + 2 * PAGE, PAGE)
    stale = checked.stale()
    assert {checked.pfn(nth) for nth in (0, 1, 3, 4, 5)} == set(stale)
    assert {entry.motions for entry in stale.values()} == {(Motion.SPLIT,)}
    assert stale[checked.pfn(0)].moved_bytes == 0
    assert stale[checked.pfn(3)].moved_bytes == 3 * PAGE


def test_merge(checked: Checked) -> None:
    checked.machine.mmap(checked.pid, HERE - 2 * PAGE, 2 * PAGE, RW, ANON)
    only(checked, Cause.VMA_MOTION, (Motion.MERGE,), range(6), -2)


def test_a_split_that_is_undone_leaves_the_offsets_right_and_the_vma_wrong(checked: Checked) -> None:
    for prot in (PROT_READ, RW):
        checked.machine.mprotect(checked.pid, HERE + 4 * PAGE, 2 * PAGE, prot)
    assert len(list(checked.machine.mms[checked.pid])) == 2
    stale = checked.stale()
    assert len(stale) == 6
    assert {entry.moved_bytes for entry in stale.values()} == {0}
    assert all(entry.right_offset == entry.stored.offset for entry in stale.values())
    assert stale[checked.pfn(0)].motions == (Motion.SPLIT,)
    assert stale[checked.pfn(5)].motions == (Motion.SPLIT, Motion.MERGE)


def test_a_boundary_that_moves_merges_pages_into_the_neighbour(checked: Checked) -> None:
    for nth in (4, 2):
        checked.machine.mprotect(checked.pid, HERE + nth * PAGE, 2 * PAGE, PROT_READ)
    assert [vma.start for vma in checked.machine.mms[checked.pid]][:2] == [HERE, HERE + 2 * PAGE]
    stale = checked.stale()
    for nth in range(2, 6):
        entry = stale[checked.pfn(nth)]
        assert (entry.motions, entry.moved_bytes) == ((Motion.SPLIT, Motion.MERGE), 2 * PAGE)


def test_an_entry_has_suffered_only_what_came_after_it(checked: Checked) -> None:
    """Reads let the stack grow without a new frame: the entry is as old as the growth before it."""
    checked.machine.write(checked.pid, STACK_END - PAGE, 1)
    checked.machine.read(checked.pid, STACK_END - 3 * PAGE)
    checked.single = SingleEntry(checked.machine)
    assert checked.stale() == {}
    checked.machine.read(checked.pid, STACK_END - 4 * PAGE)
    stale = checked.stale()[checked.pfn(-1, STACK_END)]
    assert (stale.cause, stale.motions) == (Cause.VMA_MOTION, (Motion.STACK_GROWTH,))
    assert stale.moved_bytes == -PAGE


def test_mremap(checked: Checked) -> None:
    target = HERE + 100 * PAGE
    flags = MREMAP_MAYMOVE | MREMAP_FIXED
    checked.machine.mremap(checked.pid, HERE, 6 * PAGE, 6 * PAGE, flags, new_address=target)
    stale = checked.stale()
    assert set(stale) == {checked.pfn(nth, target) for nth in range(6)}
    for entry in stale.values():
        assert (entry.cause, entry.motions) == (Cause.VMA_MOTION, (Motion.MREMAP,))
        # The offset is the same in the new VMA: it is the VMA that is wrong.
        assert entry.right_offset == entry.stored.offset
        assert entry.moved_bytes == 100 * PAGE


def test_motions_are_told_in_their_order(checked: Checked) -> None:
    target = HERE + 100 * PAGE
    checked.machine.munmap(checked.pid, HERE, PAGE)
    flags = MREMAP_MAYMOVE | MREMAP_FIXED
    checked.machine.mremap(checked.pid, HERE + PAGE, 5 * PAGE, 5 * PAGE, flags, new_address=target)
    checked.machine.mprotect(checked.pid, target, 3 * PAGE, PROT_READ)
    stale = checked.stale()
    assert stale[checked.pfn(4, target)].motions == (Motion.TRIMMED_HEAD, Motion.MREMAP, Motion.SPLIT)
    assert stale[checked.pfn(0, target)].motions == (Motion.TRIMMED_HEAD, Motion.MREMAP)


def test_allocation_order_when_the_frame_is_used_again(checked: Checked) -> None:
    pfn = checked.pfn(3)
    old = checked.single.entries[pfn]
    checked.machine.munmap(checked.pid, HERE + 3 * PAGE, PAGE)
    checked.machine.write(checked.pid, STACK_END - PAGE, 1)
    assert checked.pfn(-1, STACK_END) == pfn
    assert checked.single.entries[pfn] != old
    checked.single.entries[pfn] = old
    stale = checked.stale()[pfn]
    assert stale.cause is Cause.ALLOCATION_ORDER
    assert stale.motions == ()
    assert stale.right is not None
    assert stale.right.vma is checked.stack


def test_allocation_order_when_the_frame_is_free(checked: Checked) -> None:
    pfn = checked.pfn(3)
    old = checked.single.entries[pfn]
    checked.machine.munmap(checked.pid, HERE + 3 * PAGE, PAGE)
    checked.single.entries[pfn] = old
    stale = checked.stale()[pfn]
    assert (stale.cause, stale.right) == (Cause.ALLOCATION_ORDER, None)


def test_allocation_order_also_after_motion(checked: Checked) -> None:
    """The VMA of the old entry has moved since: still it is the age of the entry that is wrong."""
    checked.machine.write(checked.pid, STACK_END - PAGE, 1)
    pfn = checked.pfn(-1, STACK_END)
    old = checked.single.entries[pfn]
    checked.machine.write(checked.pid, STACK_END - 5 * PAGE, 1)
    checked.machine.munmap(checked.pid, STACK_END - PAGE, PAGE)
    checked.machine.mmap(checked.pid, HERE + 50 * PAGE, PAGE, RW, ANON)
    checked.machine.write(checked.pid, HERE + 50 * PAGE, 1)
    assert checked.pfn(50) == pfn
    checked.single.entries[pfn] = old
    assert checked.stale()[pfn].cause is Cause.ALLOCATION_ORDER


@pytest.mark.parametrize("offset", [3, 3 * 8, 3 * PAGE // 4, 3 * PAGE + 8, 4 * PAGE, -PAGE, 100 * PAGE])
def test_pointer_arithmetic(checked: Checked, offset: int) -> None:
    """An offset in pages, scaled by another size, off by a constant, or outside the VMA."""
    pfn = checked.plant(3, offset=offset)
    stale = checked.stale()
    assert set(stale) == {pfn}
    assert (stale[pfn].cause, stale[pfn].motions) == (Cause.POINTER_ARITHMETIC, ())
    assert stale[pfn].right_offset == 3 * PAGE


def test_pointer_arithmetic_that_names_another_vma(checked: Checked) -> None:
    pfn = checked.plant(1, vma=checked.stack)
    assert checked.stale()[pfn].cause is Cause.POINTER_ARITHMETIC


def test_pointer_arithmetic_that_names_a_vma_of_another_process(checked: Checked) -> None:
    """The child's VMA has the same bounds and page offsets; yet the page was never there."""
    child = checked.machine.fork(checked.pid)
    checked.machine.write(checked.pid, HERE, 1)
    pfn = checked.pfn(0)
    twin = checked.machine.mms[child].vma_lookup(HERE)
    assert twin is not None
    checked.plant(0, vma=twin)
    assert checked.stale()[pfn].cause is Cause.POINTER_ARITHMETIC


def test_pointer_arithmetic_is_told_from_motion_of_the_same_distance(checked: Checked) -> None:
    """All entries of the VMA are wrong by two pages; one of them was wrong by one page before that."""
    pfn = checked.plant(4, offset=5 * PAGE)
    checked.machine.munmap(checked.pid, HERE, 2 * PAGE)
    causes = {checked.stale()[checked.pfn(nth)].cause for nth in (2, 3, 5)}
    assert causes == {Cause.VMA_MOTION}
    assert checked.stale()[pfn].cause is Cause.POINTER_ARITHMETIC


def test_pages_that_were_let_go_leave_no_entries(checked: Checked) -> None:
    checked.machine.munmap(checked.pid, HERE, 6 * PAGE)
    assert checked.stale() == {}
    assert checked.single.entries == {}


def test_the_journal_knows_bounds_of_the_past(checked: Checked) -> None:
    clock = checked.machine.clock
    start = checked.stack.start
    checked.machine.write(checked.pid, start - PAGE, 1)
    assert checked.journal.area_at(checked.stack, clock).start == start
    assert checked.journal.area_at(checked.stack, checked.machine.clock).start == start - PAGE


def test_the_journal_says_when_a_page_was_unmapped(checked: Checked) -> None:
    clock = checked.machine.clock
    vma = checked.machine.mms[checked.pid].vma_lookup(HERE)
    assert vma is not None
    checked.machine.munmap(checked.pid, HERE, PAGE)
    assert checked.journal.follow(vma, HERE, clock).vma is None


def test_an_entry_of_a_vma_that_is_gone_leads_nowhere(checked: Checked) -> None:
    pfn = checked.pfn(0)
    checked.machine.munmap(checked.pid, HERE + 2 * PAGE, PAGE)
    assert isinstance(checked.single.entries[pfn], Stored)
    assert checked.single.mappings_of(pfn) == []
    assert checked.single.cost().nr_false_visits == 1
