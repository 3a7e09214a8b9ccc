"""The rules that every binary tree has, each broken once."""

from __future__ import annotations

from operator import lt
from typing import TYPE_CHECKING, Any

import pytest

from kernelmodel.errors import InvariantError
from kernelmodel.ordered import Augment, AvlTree, RedBlackTree
from kernelmodel.ordered.links import next_node, prev_node

if TYPE_CHECKING:
    from collections.abc import Callable


def names_another_parent(tree: Any) -> None:
    tree._links.root.left.right.parent = tree._links.root


def root_names_a_parent(tree: Any) -> None:
    tree._links.root.parent = tree._links.root.left


def counts_an_entry_more(tree: Any) -> None:
    tree._nr += 1


def keys_change_places(tree: Any) -> None:
    low, high = tree._links.root.left, tree._links.root
    low.key, high.key = high.key, low.key


def the_first_two_change_places(tree: Any) -> None:
    node = tree._links.root
    while node.left.left is not None:
        node = node.left
    assert (node.key, node.left.key, node.right) == (0, -1, None)
    node.key, node.left.key = -1, 0


def a_key_twice(tree: Any) -> None:
    node = tree._links.root
    node.key = next_node(node).key


def stale_summary(tree: Any) -> None:
    tree._links.root.left.summary += 1


FAULTS = [
    (names_another_parent, "parent-link"),
    (root_names_a_parent, "parent-link"),
    (counts_an_entry_more, "length"),
    (keys_change_places, "order"),
    (the_first_two_change_places, "order"),
    (a_key_twice, "order"),
    (stale_summary, "summary"),
]


@pytest.mark.parametrize("kind", [RedBlackTree, AvlTree])
@pytest.mark.parametrize(("plant", "rule"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_each_fault_is_named(kind: Any, plant: Callable[[Any], None], rule: str) -> None:
    tree = kind(lt, Augment(lambda _, value: value, int.__add__))
    for key in (*range(31), -1):
        tree.insert(key, 10)
    tree.validate()
    plant(tree)
    with pytest.raises(InvariantError) as caught:
        tree.validate()
    assert caught.value.invariant == rule


def test_steps_to_both_sides_and_off_the_end() -> None:
    tree: RedBlackTree[int, None] = RedBlackTree(lt)
    for key in range(20):
        tree.insert(key, None)
    node = tree._links.root
    while node is not None and node.left is not None:
        node = node.left
    for key in range(20):
        assert node is not None
        assert node.key == key
        before, node = node, next_node(node)
        assert node is None or prev_node(node) is before
    assert node is None
