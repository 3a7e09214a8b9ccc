"""anon_vma trees against the plain truth: who holds which page."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kernelmodel.anon_vma import (
    AnonVma,
    AnonVmaChain,
    anon_vma_clone,
    anon_vma_fork,
    anon_vma_post_update,
    anon_vma_pre_update,
    anon_vma_prepare,
    unlink_anon_vmas,
    validate_anon_vmas,
)
from kernelmodel.errors import InvariantError

PAGE = 4096


@dataclass(eq=False)
class Area:
    """A VMA as far as this module looks at it, with the pages that are present in it."""

    start: int
    end: int
    pgoff: int
    anon_vma: AnonVma | None = None
    anon_vma_chain: list[AnonVmaChain] = field(default_factory=list)
    held: dict[int, Page] = field(default_factory=dict)

    def split(self, address: int) -> Area:
        """Cut off what lies above `address`, as __split_vma does."""
        above = Area(address, self.end, self.pgoff + (address - self.start) // PAGE, self.anon_vma)
        anon_vma_clone(above, self)
        anon_vma_pre_update(self)
        self.end = address
        anon_vma_post_update(self)
        above.held = {index: page for index, page in self.held.items() if index >= above.pgoff}
        self.held = {index: page for index, page in self.held.items() if index < above.pgoff}
        return above

    def fork(self) -> Area:
        child = Area(self.start, self.end, self.pgoff)
        anon_vma_fork(child, self)
        child.held = dict(self.held)
        return child

    def write(self, index: int) -> None:
        """Fault a page in, or copy it, at a linear page offset."""
        self.held[index] = Page(anon_vma_prepare(self), index)


@dataclass(eq=False)
class Page:
    """An anonymous page: the anon_vma and the index that its folio names."""

    anon_vma: AnonVma
    index: int

    def reached(self) -> list[Area]:
        return [avc.vma for avc in self.anon_vma.overlapping(self.index, self.index)]


def area(nr_pages: int = 4, pgoff: int = 100) -> Area:
    return Area(pgoff * PAGE, (pgoff + nr_pages) * PAGE, pgoff)


def reaches(page: Page, *areas: Area) -> bool:
    return {id(found) for found in page.reached()} == {id(wanted) for wanted in areas}


class Trees(RuleBasedStateMachine):
    """VMAs come, fork, split, merge and go; whoever holds a page must be found from it."""

    def __init__(self) -> None:
        super().__init__()
        self.areas: list[Area] = [area()]

    @rule(pick=st.randoms(use_true_random=False), nr_pages=st.integers(1, 6))
    @precondition(lambda self: len(self.areas) < 24)
    def appear(self, pick, nr_pages):
        self.areas.append(area(nr_pages, pgoff=pick.randrange(90, 110)))

    @rule(pick=st.randoms(use_true_random=False))
    @precondition(lambda self: self.areas)
    def write(self, pick):
        chosen = pick.choice(self.areas)
        chosen.write(pick.randrange(chosen.pgoff, chosen.pgoff + (chosen.end - chosen.start) // PAGE))

    @rule(pick=st.randoms(use_true_random=False))
    @precondition(lambda self: self.areas and len(self.areas) < 24)
    def fork(self, pick):
        self.areas.append(pick.choice(self.areas).fork())

    @rule(pick=st.randoms(use_true_random=False))
    @precondition(lambda self: self.areas and len(self.areas) < 24)
    def split(self, pick):
        chosen = pick.choice(self.areas)
        nr_pages = (chosen.end - chosen.start) // PAGE
        if nr_pages > 1:
            self.areas.append(chosen.split(chosen.start + pick.randrange(1, nr_pages) * PAGE))

    @rule(pick=st.randoms(use_true_random=False))
    @precondition(lambda self: self.areas)
    def share_with_neighbour(self, pick):
        """Fault in a neighbour of a VMA with a single link, as find_mergeable_anon_vma lets it."""
        old = pick.choice(self.areas)
        if len(old.anon_vma_chain) != 1:
            return
        new = Area(old.end, old.end + 2 * PAGE, old.pgoff + (old.end - old.start) // PAGE)
        anon_vma_prepare(new, old.anon_vma)
        new.write(new.pgoff)
        self.areas.append(new)

    @rule(pick=st.randoms(use_true_random=False))
    @precondition(lambda self: self.areas)
    def merge(self, pick):
        """Let a VMA take in the one above, which has the same anon_vma."""
        lower = pick.choice(self.areas)
        for upper in self.areas:
            alike = lower.anon_vma is not None and upper.anon_vma is lower.anon_vma
            if (
                alike
                and upper.start == lower.end
                and lower.pgoff * PAGE - lower.start == (upper.pgoff * PAGE - upper.start)
            ):
                unlink_anon_vmas(upper)
                anon_vma_pre_update(lower)
                lower.end = upper.end
                anon_vma_post_update(lower)
                lower.held |= upper.held
                self.areas.remove(upper)
                return

    @rule(pick=st.randoms(use_true_random=False))
    @precondition(lambda self: self.areas)
    def unmap(self, pick):
        gone = pick.choice(self.areas)
        unlink_anon_vmas(gone)
        assert gone.anon_vma is None
        assert not gone.anon_vma_chain
        self.areas.remove(gone)

    @invariant()
    def every_holder_is_reached(self):
        for holder in self.areas:
            for page in holder.held.values():
                assert any(found is holder for found in page.reached())

    @invariant()
    def valid(self):
        validate_anon_vmas(self.areas)


TestTrees = Trees.TestCase


def test_a_page_of_the_parent_is_found_in_the_child_and_not_the_other_way_round() -> None:
    parent = area()
    parent.write(100)
    child = parent.fork()
    child.write(101)
    assert reaches(parent.held[100], parent, child)
    assert reaches(child.held[101], child)


def test_a_page_in_a_grandchild_is_found_when_those_between_have_exited() -> None:
    parent = area()
    parent.write(100)
    child = parent.fork()
    child.write(101)
    grandchild = child.fork()
    unlink_anon_vmas(parent)
    unlink_anon_vmas(child)
    assert reaches(grandchild.held[100], grandchild)
    assert reaches(grandchild.held[101], grandchild)
    validate_anon_vmas([grandchild])


def test_an_anon_vma_that_nobody_uses_is_taken_over_by_the_next_child() -> None:
    """The chain of a process that forks and exits, again and again, stays short."""
    process = area()
    process.write(100)
    for _ in range(50):
        child = process.fork()
        unlink_anon_vmas(process)
        process = child
        process.write(101)
    assert len(process.anon_vma_chain) == 3
    assert reaches(process.held[100], process)
    validate_anon_vmas([process])


def test_an_anon_vma_with_two_children_is_not_taken_over() -> None:
    root = area()
    root.write(100)
    middle = root.fork()
    children = [middle.fork(), middle.fork()]
    unused = middle.anon_vma
    assert unused is not None
    unlink_anon_vmas(middle)
    assert (unused.num_children, unused.num_active_vmas) == (2, 0)
    grandchild = children[0].fork()
    assert grandchild.anon_vma is not unused
    assert len(grandchild.anon_vma_chain) == len(children[0].anon_vma_chain) + 1
    validate_anon_vmas([root, *children, grandchild])


def test_a_root_is_never_taken_over_by_a_child_of_its_vma() -> None:
    root = area()
    root.write(100)
    child = root.fork()
    assert child.anon_vma is not root.anon_vma
    assert child.anon_vma is not None
    assert child.anon_vma.parent is root.anon_vma
    assert child.anon_vma.root is root.anon_vma


def test_a_parent_without_pages_links_nothing() -> None:
    child = area().fork()
    assert child.anon_vma is None
    assert not child.anon_vma_chain


def test_the_chain_is_ordered_from_the_newest_to_the_root() -> None:
    root = area()
    root.write(100)
    child = root.fork()
    grandchild = child.fork()
    expected = [grandchild.anon_vma, child.anon_vma, root.anon_vma]
    assert [avc.anon_vma for avc in grandchild.anon_vma_chain] == expected


def test_a_second_prepare_changes_nothing() -> None:
    owner = area()
    first = anon_vma_prepare(owner)
    assert anon_vma_prepare(owner, AnonVma()) is first
    assert len(owner.anon_vma_chain) == 1
    assert first.num_active_vmas == 1


def family() -> list[Area]:
    """Return a parent, its child and a neighbour of the parent, all valid."""
    parent = area()
    parent.write(100)
    return [parent, parent.fork(), parent.split(parent.start + 2 * PAGE)]


def broken(rule_name: str, areas: list[Area]) -> None:
    with pytest.raises(InvariantError) as caught:
        validate_anon_vmas(areas)
    assert caught.value.invariant == rule_name
    assert caught.value.where


def test_a_family_is_valid() -> None:
    validate_anon_vmas(family())


def test_moved_bounds_without_update_are_found() -> None:
    areas = family()
    areas[0].start -= PAGE
    areas[0].pgoff -= 1
    broken("anon-vma-range", areas)


def test_a_link_that_its_vma_does_not_know_is_found() -> None:
    areas = family()
    areas[1].anon_vma_chain.pop()
    broken("anon-vma-link", areas)


def test_a_link_in_the_wrong_tree_is_found() -> None:
    areas = family()
    parent_avc, child_avc = areas[0].anon_vma_chain[0], areas[1].anon_vma_chain[0]
    parent_avc.anon_vma = child_avc.anon_vma
    broken("anon-vma-link", areas[1:])


def test_two_links_of_one_vma_are_found() -> None:
    areas = family()
    assert areas[0].anon_vma is not None
    avc = AnonVmaChain(areas[0], areas[0].anon_vma)
    areas[0].anon_vma_chain.append(avc)
    areas[0].anon_vma.tree.insert(100, 101, avc)
    broken("anon-vma-twice", areas)


def test_a_wrong_number_of_active_vmas_is_found() -> None:
    areas = family()
    assert areas[0].anon_vma is not None
    areas[0].anon_vma.num_active_vmas += 1
    broken("anon-vma-active", areas)


def test_a_wrong_number_of_children_is_found() -> None:
    areas = family()
    assert areas[0].anon_vma is not None
    areas[0].anon_vma.num_children -= 1
    broken("anon-vma-children", areas)


def test_another_root_is_found() -> None:
    areas = family()
    assert areas[1].anon_vma is not None
    areas[1].anon_vma.root = AnonVma()
    broken("anon-vma-root", areas)


def test_a_vma_missing_at_the_parent_is_found() -> None:
    areas = family()
    link = areas[1].anon_vma_chain.pop()
    link.anon_vma.tree.remove(100, 103, link)
    broken("anon-vma-ancestor", areas)


def test_a_vma_without_a_link_to_its_anon_vma_is_found() -> None:
    areas = family()
    areas[1].anon_vma = AnonVma()
    broken("vma-anon-vma", areas)


def test_a_vma_with_links_and_no_anon_vma_is_found() -> None:
    areas = family()
    areas[1].anon_vma = None
    broken("vma-anon-vma", areas)


@pytest.mark.parametrize("count", ["num_children", "num_active_vmas"])
def test_an_anon_vma_that_dies_while_it_is_counted_on_is_found(count: str) -> None:
    owner = area()
    owner.write(100)
    anon_vma = owner.anon_vma
    setattr(anon_vma, count, getattr(anon_vma, count) + 1)
    with pytest.raises(InvariantError, match="anon-vma-freed"):
        unlink_anon_vmas(owner)
