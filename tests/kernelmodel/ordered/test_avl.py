"""The AVL tree: the four imbalances by hand, and its rules, each broken once."""

from __future__ import annotations

from operator import gt, lt
from typing import TYPE_CHECKING, Any

import pytest

from kernelmodel.errors import InvariantError
from kernelmodel.ordered import AvlTree

if TYPE_CHECKING:
    from collections.abc import Callable


def draw(node: Any, mirrored: bool) -> str:
    """Return the subtree as ``key:height(left right)``; a missing child is -."""
    if node is None:
        return "-"
    children = [node.right, node.left] if mirrored else [node.left, node.right]
    drawn = f"{node.key}:{node.tag}"
    if children == [None, None]:
        return drawn
    return f"{drawn}({' '.join(draw(child, mirrored) for child in children)})"


CASES = [
    # Outer and inner grandchild too high after an insertion: one rotation, two rotations.
    ([3, 2, 1], [], "2:2(1:1 3:1)", 1),
    ([3, 1, 2], [], "2:2(1:1 3:1)", 2),
    ([5, 2, 6, 1, 4, 3], [], "4:3(2:2(1:1 3:1) 5:2(- 6:1))", 2),
    # After a removal: nephews equally high (the height stays), outer, inner.
    ([3, 1, 4, 0, 2], [4], "1:3(0:1 3:2(2:1 -))", 1),
    ([3, 1, 4, 0], [4], "1:2(0:1 3:1)", 1),
    ([3, 1, 4, 2], [4], "2:2(1:1 3:1)", 2),
    # A removal that turns on two levels.
    (
        [8, 5, 11, 3, 7, 10, 12, 2, 4, 6, 9, 1],
        [12],
        "5:4(3:3(2:2(1:1 -) 4:1) 8:3(7:2(6:1 -) 10:2(9:1 11:1)))",
        2,
    ),
]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("inserted", "removed", "expected", "nr_rotations"), CASES, ids=str)
def test_the_imbalances(
    inserted: list[int], removed: list[int], expected: str, nr_rotations: int, mirrored: bool
) -> None:
    tree: AvlTree[int, None] = AvlTree(gt if mirrored else lt)
    for key in inserted:
        tree.insert(key, None)
    if removed:
        assert tree.counters.nr_rotations == 0
    for key in removed:
        tree.remove(key)
    assert draw(tree._links.root, mirrored) == expected
    assert tree.counters.nr_rotations == nr_rotations


def says_a_wrong_height(tree: Any) -> None:
    tree._links.root.tag += 1


def hangs_to_one_side(tree: Any) -> None:
    """All heights as they should be, and the left of the root cut off."""
    root = tree._links.root
    assert root.tag == 3
    root.left = None
    tree._nr -= 1


FAULTS = [(says_a_wrong_height, "height"), (hangs_to_one_side, "balance")]


@pytest.mark.parametrize(("plant", "rule"), FAULTS, ids=[rule for _, rule in FAULTS])
def test_each_fault_is_named(plant: Callable[[Any], None], rule: str) -> None:
    tree: AvlTree[int, None] = AvlTree(lt)
    for key in (2, 1, 3, 4):
        tree.insert(key, None)
    tree.validate()
    plant(tree)
    with pytest.raises(InvariantError) as caught:
        tree.validate()
    assert caught.value.invariant == rule
