"""The red-black tree: the kernel's cases one by one, and its rules, each broken once."""

from __future__ import annotations

from operator import gt, lt
from typing import TYPE_CHECKING, Any

import pytest

from kernelmodel.errors import InvariantError
from kernelmodel.ordered import RedBlackTree
from kernelmodel.ordered.rbtree import BLACK, RED

if TYPE_CHECKING:
    from collections.abc import Callable


def draw(node: Any, mirrored: bool) -> str:
    """Return the subtree as ``key colour (left right)``: B is black, r red, - a missing child."""
    if node is None:
        return "-"
    children = [node.right, node.left] if mirrored else [node.left, node.right]
    drawn = f"{node.key}{'rB'[node.tag]}"
    if children == [None, None]:
        return drawn
    return f"{drawn}({' '.join(draw(child, mirrored) for child in children)})"


# Worked out by hand from the drawings in lib/rbtree.c.
CASES = [
    # Insertion: a black root; nothing to do; case 1; cases 1 and 3; cases 2 and 3.
    ([1], [], "1B"),
    ([1, 2], [], "1B(- 2r)"),
    ([2, 1, 3, 4], [], "2B(1B 3B(- 4r))"),
    ([1, 2, 3], [], "2B(1r 3r)"),
    ([1, 3, 2], [], "2B(1r 3r)"),
    ([1, 2, 3, 4, 5, 6, 7, 8], [], "4B(2r(1B 3B) 6r(5B 7B(- 8r)))"),
    # Removal without erase_color: a red leaf; an only child; the last node.
    ([2, 1, 3], [3], "2B(1r -)"),
    ([2, 1, 3, 4], [3], "2B(1B 4B)"),
    ([1], [1], "-"),
    # Case 2 under a red parent, and under black ones up to the root.
    ([1, 2, 3, 4, 5, 6, 7, 8], [1], "4B(2B(- 3r) 6r(5B 7B(- 8r)))"),
    ([2, 1, 3, 4], [4, 1], "2B(- 3r)"),
    # Case 1, then 2.
    ([1, 2, 3, 4, 5, 6], [1], "4B(2B(- 3r) 5B(- 6r))"),
    # Cases 3 and 4; case 4 alone; case 4 with both nephews red.
    ([2, 1, 4, 3], [1], "3B(2B 4B)"),
    ([2, 1, 4, 5], [1], "4B(2B 5B)"),
    ([2, 1, 4, 3, 5], [1], "4B(2B(- 3r) 5B)"),
]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("inserted", "removed", "expected"), CASES, ids=str)
def test_the_kernels_cases(inserted: list[int], removed: list[int], expected: str, mirrored: bool) -> None:
    tree: RedBlackTree[int, None] = RedBlackTree(gt if mirrored else lt)
    for key in inserted:
        tree.insert(key, None)
    for key in removed:
        tree.remove(key)
    assert draw(tree._links.root, mirrored) == expected


@pytest.mark.parametrize(
    ("inserted", "removed", "expected"),
    [
        ([2, 1, 4, 5], 2, "4B(1B 5B)"),
        ([2, 1, 4, 3, 5], 2, "3B(1B 4B(- 5r))"),
        ([2, 1, 5, 3, 6, 4], 2, "3B(1B 5r(4B 6B))"),
        ([1, 2, 3, 4, 5, 6, 7, 8], 4, "5B(2r(1B 3B) 7r(6B 8B))"),
    ],
)
def test_the_successor_takes_the_place_and_the_colour(
    inserted: list[int], removed: int, expected: str
) -> None:
    """Cases 2 and 3 of __rb_erase_augmented: a right child as successor, one further down; with a child."""
    tree: RedBlackTree[int, None] = RedBlackTree(lt)
    for key in inserted:
        tree.insert(key, None)
    tree.remove(removed)
    assert draw(tree._links.root, mirrored=False) == expected


def red_root(root: Any) -> None:
    root.tag = RED


def reds_to_the_left(root: Any) -> None:
    """Red left children under red nodes, every way still with as many black ones."""
    for child in (root.left, root.right):
        assert (child.tag, child.left.tag) == (BLACK, RED)
        child.tag, child.right = RED, None


def reds_to_the_right(root: Any) -> None:
    """The same to the other side."""
    for child in (root.left, root.right):
        assert (child.tag, child.right.tag) == (BLACK, RED)
        child.tag, child.left = RED, None


def a_black_node_too_many(root: Any) -> None:
    assert root.left.left.tag == RED
    root.left.left.tag = BLACK


FAULTS = [
    (red_root, "root-color"),
    (reds_to_the_left, "red-red"),
    (reds_to_the_right, "red-red"),
    (a_black_node_too_many, "black-height"),
]


@pytest.mark.parametrize(("plant", "rule"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_each_fault_is_named(plant: Callable[[Any], None], rule: str) -> None:
    tree: RedBlackTree[int, None] = RedBlackTree(lt)
    for key in (8, 4, 12, 2, 6, 10, 14):
        tree.insert(key, None)
    tree.validate()
    plant(tree._links.root)
    tree._nr = sum(1 for _ in tree.items())
    with pytest.raises(InvariantError) as caught:
        tree.validate()
    assert caught.value.invariant == rule
