"""The maple-shaped tree: how nodes fill, split and join, and its rules, each broken once."""

from __future__ import annotations

from operator import lt
from typing import TYPE_CHECKING, Any

import pytest

from kernelmodel.errors import InvariantError
from kernelmodel.ordered import Augment, MapleTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def of(keys: Iterable[int], augment: Augment[int, int] | None = None) -> Any:
    """Return a tree with these keys inserted in this order."""
    tree: MapleTree[int, int] = MapleTree(lt, augment)
    for key in keys:
        tree.insert(key, 1)
    return tree


def sizes(tree: Any) -> list[Any]:
    """Return the slots in use in each node, level by level."""
    level, found = [tree._nodes.root], []
    while True:
        found.append([len(node.slots) for node in level])
        if level[0].is_leaf:
            return found
        level = [child for node in level for child in node.slots]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (range(16), [[16]]),
        (range(17), [[2], [9, 8]]),
        (range(17)[::-1], [[2], [9, 8]]),
        # The 26th makes 17 in a leaf; its sister has room and is filled up to 15.
        (range(26), [[2], [15, 11]]),
        (range(26)[::-1], [[2], [11, 15]]),
        # Both full: 15 + 17 slots are more than 30.
        (range(32), [[3], [15, 9, 8]]),
        (range(32)[::-1], [[3], [9, 8, 15]]),
        # 13 + 17 are just not.
        ([*range(17), -1, -2, -3, -4, *range(17, 26)], [[2], [15, 15]]),
        # No sister before: the next one is filled.
        ([*range(0, 64, 2)[:17], *range(1, 15, 2)], [[2], [16, 8]]),
        ([*range(0, 64, 2)[:17], *range(1, 17, 2)], [[2], [10, 15]]),
    ],
)
def test_a_full_leaf_pushes_or_splits(keys: Iterable[int], expected: list[list[int]]) -> None:
    tree = of(keys)
    tree.validate()
    assert sizes(tree) == expected


@pytest.mark.parametrize(
    ("nr", "removed", "expected"),
    [
        (17, [16], [[2], [9, 7]]),
        # 9 + 6 go into one leaf, and the root with one slot goes.
        (17, [16, 15], [[15]]),
        (17, [0, 1], [[2], [7, 8]]),
        (17, [0, 1, 2], [[14]]),
        # 15 + 6 do not: they are shared, the odd one to the left.
        (26, range(21, 26), [[2], [11, 10]]),
        # A sister on both sides: the next one is taken.
        (32, range(15, 18), [[2], [15, 14]]),
    ],
)
def test_a_leaf_with_too_few_joins_or_shares(
    nr: int, removed: Iterable[int], expected: list[list[int]]
) -> None:
    tree = of(range(nr))
    for key in removed:
        tree.remove(key)
    tree.validate()
    assert sizes(tree) == expected


def test_of_two_sisters_with_room_the_one_before_is_filled() -> None:
    tree = of(range(0, 320, 10))
    for key in range(0, 60, 10):
        tree.remove(key)
    assert sizes(tree) == [[3], [9, 9, 8]]
    for key in range(151, 159):
        tree.insert(key, 1)
    assert sizes(tree) == [[3], [15, 11, 8]]


def test_what_just_fits_in_one_leaf_goes_into_one() -> None:
    tree = of([*range(17), -1])
    tree.remove(16)
    assert sizes(tree) == [[2], [10, 7]]
    tree.remove(15)
    assert sizes(tree) == [[16]]


@pytest.mark.parametrize(("augment", "most"), [(None, 16), (Augment(lambda key, _: key, max), 10)])
def test_summaries_make_the_nodes_above_narrower(augment: Augment[int, int] | None, most: int) -> None:
    """An arange node has 10 slots, a range node 16; one leaf more than that makes another level."""
    tree = of([], augment)
    widest = 0
    while tree.depth() < 3:
        widest = len(tree._nodes.root.slots)
        tree.insert(len(tree), 1)
    assert widest == most
    assert len(sizes(tree)[0]) == 1
    assert sizes(tree)[1] == [(most + 2) // 2, (most + 1) // 2]


def test_the_floor_may_be_in_the_leaf_before() -> None:
    tree = of(range(0, 340, 10))
    assert sizes(tree)[0][0] > 2
    for leaf in tree._nodes.root.slots[1:]:
        below = leaf.pivots[0] - 1
        tree.counters.nr_visits = 0
        assert tree.floor(below) == (leaf.pivots[0] - 10, 1)
        # Down to the leaf, up to the root again, and down beside it.
        assert tree.counters.nr_visits == 4
    tree.counters.nr_visits = 0
    assert tree.floor(-1) is None
    assert tree.counters.nr_visits == 3


def names_another_parent(tree: Any) -> None:
    tree._nodes.root.slots[1].slots[0].parent = tree._nodes.root


def root_names_a_parent(tree: Any) -> None:
    tree._nodes.root.parent = tree._nodes.root.slots[0]


def a_leaf_beside_a_node(tree: Any) -> None:
    """The root's first slot leads to a leaf, all else as it should be."""
    root = tree._nodes.root
    leaf = root.slots[0].slots[0]
    tree._nr -= sum(len(other.slots) for other in root.slots[0].slots[1:])
    leaf.parent, root.slots[0] = root, leaf
    root.pivots[0], root.summaries[0] = leaf.pivots[-1], tree._nodes.fold(leaf)


def too_few_in_a_leaf(tree: Any) -> None:
    leaf = tree._nodes.root.slots[0].slots[0]
    tree._nr -= len(leaf.slots) - 6
    del leaf.pivots[: len(leaf.slots) - 6], leaf.slots[: len(leaf.slots) - 6]
    tree.refresh(leaf.pivots[0])


def too_many_in_a_leaf(tree: Any) -> None:
    leaf = tree._nodes.root.slots[0].slots[0]
    nr = 17 - len(leaf.slots)
    leaf.pivots[:0] = range(-nr, 0)
    leaf.slots[:0] = [1] * nr
    tree._nr += nr
    tree.refresh(leaf.pivots[0])


def one_slot_in_the_root(tree: Any) -> None:
    root = tree._nodes.root
    tree._nr -= sum(len(leaf.slots) for node in root.slots[1:] for leaf in node.slots)
    del root.slots[1:], root.summaries[1:], root.pivots[:]


def counts_an_entry_more(tree: Any) -> None:
    tree._nr += 1


def keys_change_places(tree: Any) -> None:
    pivots = tree._nodes.root.slots[0].slots[0].pivots
    pivots[2:4] = pivots[3], pivots[2]


def leaves_overlap(tree: Any) -> None:
    """In order within each leaf, but not from one to the next."""
    pivots = tree._nodes.root.slots[0].slots[1].pivots
    pivots[0] = -5


def bounds_too_far(tree: Any) -> None:
    tree._nodes.root.pivots[0] += 1


def bounds_too_near(tree: Any) -> None:
    tree._nodes.root.slots[0].pivots[0] -= 1


def a_pivot_missing(tree: Any) -> None:
    tree._nodes.root.slots[0].pivots.pop()


def stale_summary(tree: Any) -> None:
    tree._nodes.root.slots[0].summaries[1] += 1
    tree._nodes.root.summaries[0] += 1


def a_summary_too_many(tree: Any) -> None:
    tree._nodes.root.summaries.append(0)


FAULTS = [
    (names_another_parent, "parent-link"),
    (root_names_a_parent, "parent-link"),
    (a_leaf_beside_a_node, "leaf-depth"),
    (too_few_in_a_leaf, "fill"),
    (too_many_in_a_leaf, "fill"),
    (one_slot_in_the_root, "fill"),
    (counts_an_entry_more, "length"),
    (keys_change_places, "order"),
    (leaves_overlap, "order"),
    (bounds_too_far, "pivot"),
    (bounds_too_near, "pivot"),
    (a_pivot_missing, "pivot"),
    (stale_summary, "summary"),
    (a_summary_too_many, "summary"),
]


@pytest.mark.parametrize(("plant", "rule"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_each_fault_is_named(plant: Callable[[Any], None], rule: str) -> None:
    tree = of(range(0, 3000, 10), Augment(lambda _, value: value, int.__add__))
    assert tree.depth() == 3
    tree.validate()
    plant(tree)
    with pytest.raises(InvariantError) as caught:
        tree.validate()
    assert caught.value.invariant == rule
