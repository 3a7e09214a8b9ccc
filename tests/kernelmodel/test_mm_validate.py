"""Each rule that holds in an address space, broken once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernelmodel.errors import InvariantError
from kernelmodel.mapping import Mapping
from kernelmodel.mm import merge as mm_merge
from kernelmodel.mm import mmap as mm_mmap
from kernelmodel.ordered import TREES
from kernelmodel.vma import File, Vma
from tests.kernelmodel.spaces import ANON, DONTUNMAP, FIXED, GROWSDOWN, PAGE, READ, Space

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.mm.address_space import AddressSpace


def populated(tree: str) -> Space:
    """Return a space with anonymous memory at 100 and 101 (touched), a file at 110, shared memory at 120."""
    space = Space(tree)
    space.map(100, 4)
    space.touch(100)
    space.protect(101)
    space.map_file(110, 2, File(Mapping("file")), 5)
    space.map(120, 2, flags=0x21 | FIXED)
    space.mm.validate()
    return space


def vma_at(space: Space, page: int) -> Vma:
    vma = space.mm.vma_lookup(page * PAGE)
    assert vma is not None
    return vma


def unaligned(space: Space) -> None:
    vma_at(space, 110).start += 1


def empty(space: Space) -> None:
    vma_at(space, 110).start += 2 * PAGE


def overlapping(space: Space) -> None:
    vma_at(space, 101).start -= PAGE


def not_linked_back(space: Space) -> None:
    vma_at(space, 110).prev = None


def not_the_last(space: Space) -> None:
    space.mm.mm.vmas.last = vma_at(space, 110)


def under_another_end(space: Space) -> None:
    vma_at(space, 120).end += PAGE


def not_in_the_map(space: Space) -> None:
    space.mm.mm.vmas.map.remove(122 * PAGE)


def gap_not_noted(space: Space) -> None:
    vma_at(space, 110).gap_bytes += PAGE


def counted_twice(space: Space) -> None:
    space.mm.mm.vmas.map_count += 1


def anon_vma_without_link(space: Space) -> None:
    vma_at(space, 110).anon_vma = vma_at(space, 100).anon_vma


def links_without_anon_vma(space: Space) -> None:
    vma_at(space, 100).anon_vma = None


def anon_vma_of_shared_memory(space: Space) -> None:
    donor, shared = vma_at(space, 100), vma_at(space, 120)
    shared.anon_vma, shared.anon_vma_chain = donor.anon_vma, donor.anon_vma_chain


def not_among_those_that_map_the_file(space: Space) -> None:
    vma = vma_at(space, 110)
    assert vma.mapping is not None
    vma.mapping.remove(vma)


def moved_without_a_word_to_the_anon_vma(space: Space) -> None:
    vma_at(space, 101).pgoff += 1


def moved_without_a_word_to_the_file(space: Space) -> None:
    vma_at(space, 110).pgoff += 1


def starts(mm: AddressSpace) -> list[tuple[int, int]]:
    """Return the first pages of neighbours that would merge now."""
    return [(below.start // PAGE, above.start // PAGE) for below, above in mm.unmerged()]


FAULTS = [
    (unaligned, "vma-aligned"),
    (empty, "vma-empty"),
    (overlapping, "vma-order"),
    (not_linked_back, "vma-order"),
    (not_the_last, "vma-order"),
    (under_another_end, "vma-key"),
    (not_in_the_map, "vma-key"),
    (gap_not_noted, "vma-gap"),
    (counted_twice, "map-count"),
    (anon_vma_without_link, "vma-anon-vma"),
    (links_without_anon_vma, "vma-anon-vma"),
    (anon_vma_of_shared_memory, "vma-shared-anon"),
    (not_among_those_that_map_the_file, "vma-mapping"),
    (moved_without_a_word_to_the_anon_vma, "anon-vma-range"),
    (moved_without_a_word_to_the_file, "mapping-range"),
]


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize(("plant", "invariant"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_a_broken_rule_is_named(plant: Callable[[Space], None], invariant: str, tree: str) -> None:
    space = populated(tree)
    plant(space)
    with pytest.raises(InvariantError) as caught:
        space.mm.validate()
    assert caught.value.invariant == invariant


@pytest.mark.parametrize("tree", TREES)
def test_a_summary_that_is_not_the_longest_gap_is_named(tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    space = populated(tree)
    monkeypatch.setattr(type(space.mm.mm.vmas.map), "summary", lambda tree: PAGE)
    with pytest.raises(InvariantError, match="gap-summary: map"):
        space.mm.validate()


@pytest.mark.parametrize("tree", ["rbtree", "avl"])
def test_a_gap_that_changed_without_a_word_to_the_map_is_named(tree: str) -> None:
    space = populated(tree)
    vma = vma_at(space, 120)
    vma.start += PAGE
    vma.gap_bytes += PAGE
    with pytest.raises(InvariantError, match="summary: "):
        space.mm.validate()


@pytest.mark.parametrize("tree", TREES)
def test_what_was_not_merged_is_reported(tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    space = populated(tree)
    assert space.mm.unmerged() == []
    monkeypatch.setattr(mm_mmap, "merge_new_range", lambda mm, merge, next_decides: None)
    space.map(99)
    assert starts(space.mm) == [(99, 100)]
    monkeypatch.setattr(mm_merge, "merge_existing_range", lambda mm, merge: None)
    space.protect(101, prot=3)
    assert len(space.mm.unmerged()) == 3


def test_what_became_alike_in_other_ways_is_reported_too() -> None:
    space = Space()
    space.map(300, 1, flags=ANON | FIXED | GROWSDOWN)
    space.map(297, 2, flags=ANON | FIXED | GROWSDOWN)
    space.touch(299)
    space.map(400, 2)
    space.touch(400)
    space.map(402, prot=READ)
    space.protect(402, prot=3)
    assert space.pages == [(297, 299), (299, 301), (400, 403)]
    child = space.mm.fork()
    child.mmap(403 * PAGE, PAGE, 3, ANON | FIXED)
    assert len(child.unmerged()) == 0
    child.mremap(400 * PAGE, 3 * PAGE, 3 * PAGE, DONTUNMAP, 500 * PAGE)
    assert starts(child) == [(400, 403)]
    assert starts(space.mm) == [(297, 299)]
