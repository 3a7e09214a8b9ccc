"""The address space on each kind of map against a table of pages, driven by hypothesis."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import count
from operator import or_
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kernelmodel.errors import ModelError, SyscallError
from kernelmodel.mapping import Mapping
from kernelmodel.mm.address_space import AddressSpace
from kernelmodel.mm.types import Layout
from kernelmodel.ordered import TREES
from kernelmodel.vma import File
from tests.oracles.mm import Twin

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 4096
LAYOUT = Layout(
    task_size=160 * PAGE,
    mmap_base=120 * PAGE,
    mmap_legacy_base=60 * PAGE,
    min_address=2 * PAGE,
    start_brk=30 * PAGE,
    guard_gap_bytes=6 * PAGE,
    stack_limit_bytes=16 * PAGE,
)
SHARED, PRIVATE, FIXED, ANON, GROWSDOWN, NORESERVE, NOREPLACE = 1, 2, 0x10, 0x20, 0x100, 0x4000, 0x100000

page_numbers = strategies.integers(2, 24) | strategies.integers(28, 44) | strategies.integers(60, 130)
lengths = strategies.integers(1, 5).map(lambda nr: nr * PAGE) | strategies.integers(1, 3 * PAGE)
placed = page_numbers.map(lambda page: (page, page)) | strategies.tuples(
    page_numbers, strategies.integers(0, 10)
)
wheres = strategies.sampled_from((FIXED, FIXED, FIXED, NOREPLACE, 0))
anon_kinds = strategies.sampled_from((PRIVATE | ANON,) * 5 + (PRIVATE | ANON | NORESERVE, SHARED | ANON))
anon_flags = strategies.builds(or_, anon_kinds, wheres)
file_flags = strategies.builds(or_, strategies.sampled_from((SHARED, PRIVATE)), wheres)
prots = strategies.sampled_from((3, 3, 3, 1, 0, 7))


class Machine(RuleBasedStateMachine):
    """Both do the same; results, errors and VMAs must be equal after each step."""

    tree = "rbtree"
    layout = LAYOUT

    def __init__(self) -> None:
        super().__init__()
        self.model = AddressSpace(TREES[self.tree], self.layout)
        self.twin = Twin(self.layout)
        mapping = Mapping("file")
        self.files = [File(mapping, nr_pages=12), File(mapping, nr_pages=12), File(mapping, writable=False)]
        self.parents: list[AddressSpace] = []
        self.last = 2

    def both(self, call: Callable[[Any], Any]) -> None:
        assert outcome(call, self.model) == outcome(call, self.twin)

    @rule(page=page_numbers, length=lengths, prot=prots, flags=anon_flags)
    def mmap(self, page: int, length: int, prot: int, flags: int) -> None:
        self.both(lambda mm: mm.mmap(page * PAGE, length, prot, flags))

    @rule(place=placed, length=lengths, prot=prots, flags=file_flags, number=strategies.integers(0, 2))
    def mmap_file(self, place: tuple[int, int], length: int, prot: int, flags: int, number: int) -> None:
        page, pgoff = place
        file = self.files[number]
        self.both(lambda mm: mm.mmap(page * PAGE, length, prot, flags, file=file, pgoff=pgoff))

    @rule(length=lengths | strategies.integers(20, 60).map(lambda nr: nr * PAGE))
    def mmap_anywhere(self, length: int) -> None:
        self.both(lambda mm: mm.mmap(0, length, 3, PRIVATE | ANON))

    @rule(page=page_numbers, length=lengths, prot=prots)
    def mmap_stack(self, page: int, length: int, prot: int) -> None:
        self.both(lambda mm: mm.mmap(page * PAGE, length, prot, PRIVATE | ANON | FIXED | GROWSDOWN))

    @rule(page=page_numbers, length=lengths)
    def munmap(self, page: int, length: int) -> None:
        self.both(lambda mm: mm.munmap(page * PAGE, length))

    @rule(page=page_numbers, length=lengths, prot=prots)
    def mprotect(self, page: int, length: int, prot: int) -> None:
        self.both(lambda mm: mm.mprotect(page * PAGE, length, prot))

    @rule(page=page_numbers, length=lengths, advice=strategies.sampled_from((10, 11, 18, 19)))
    def madvise(self, page: int, length: int, advice: int) -> None:
        self.both(lambda mm: mm.madvise(page * PAGE, length, advice))

    @rule(
        page=page_numbers,
        old=lengths | strategies.just(0),
        new=lengths | strategies.none(),
        flags=strategies.sampled_from((3, 3, 7, 7, 5, 1, 0, 2)),
        to=page_numbers,
    )
    def mremap(self, page: int, old: int, new: int | None, flags: int, to: int) -> None:
        length = old if new is None else new
        self.both(lambda mm: mm.mremap(page * PAGE, old, length, flags, to * PAGE))

    @rule(brk=strategies.integers(29 * PAGE, 44 * PAGE))
    def set_brk(self, brk: int) -> None:
        self.both(lambda mm: mm.set_brk(brk))

    @rule(page=page_numbers)
    def touch(self, page: int) -> None:
        self.both(lambda mm: mm.touch(page * PAGE) and None)

    @rule(page=strategies.integers(0, 160))
    def touch_a_mapped_page(self, page: int) -> None:
        mapped = sorted(self.twin.cells)
        if mapped:
            self.touch_page(mapped[page % len(mapped)])

    def touch_page(self, page: int) -> None:
        self.both(lambda mm: mm.touch(page * PAGE) and None)

    @precondition(lambda self: len(self.parents) < 3)
    @rule()
    def fork(self) -> None:
        self.parents.append(self.model)
        self.model, self.twin = self.model.fork(), self.twin.fork()

    @precondition(lambda self: self.parents)
    @rule(number=strategies.integers(0, 2))
    def a_parent_ends(self, number: int) -> None:
        self.parents.pop(number % len(self.parents)).exit()

    @invariant()
    def the_same_vmas(self) -> None:
        assert seen_in_model(self.model) == seen_in_twin(self.twin)

    @invariant()
    def everything_valid(self) -> None:
        for space in (self.model, *self.parents):
            space.validate()

    def teardown(self) -> None:
        for space in (self.model, *self.parents):
            space.exit()
            assert len(space) == 0
        assert not list(self.files[0].mapping.overlapping(0, 1 << 40))


def outcome(call: Callable[[Any], Any], subject: Any) -> Any:
    try:
        return call(subject)
    except SyscallError as error:
        return error.code
    except ModelError:
        return "ENOMEM"


def seen_in_model(space: AddressSpace) -> list[tuple[Any, ...]]:
    files, anons = numbers(), numbers()
    return [
        (vma.start, vma.end, vma.flags, files[vma.file], vma.pgoff, anons[vma.anon_vma], vma.is_fork_child)
        for vma in space
    ]


def seen_in_twin(twin: Twin) -> list[tuple[Any, ...]]:
    files, anons = numbers(), numbers()
    return [
        (start * PAGE, end * PAGE, cell.flags, files[cell.file], cell.index, anons[cell.anon], cell.inherited)
        for start, end, cell in twin.areas()
    ]


def numbers() -> defaultdict[Any, int]:
    """Return a table that numbers things in order of appearance; None is 0."""
    nth = count()
    table: defaultdict[Any, int] = defaultdict(lambda: next(nth))
    assert table[None] == 0
    return table


@pytest.mark.parametrize(("tree", "top_down"), [*((tree, True) for tree in TREES), ("maple", False)])
def test_an_address_space_is_its_pages(tree: str, top_down: bool) -> None:
    layout = replace(LAYOUT, top_down=top_down)
    machine = type("Machine", (Machine,), {"tree": tree, "layout": layout}).TestCase
    machine.settings = settings(settings(), stateful_step_count=40)
    machine().runTest()
