"""The invariants of free areas in a tree, each by name.

================= ============================================================================
parent-link       every node hangs on the parent that it names
tree-order        nodes stand in the order of the tree
own-order         a node knows the largest block that fits into its area
best-order        a node knows the largest block of its subtree
color             the root is black, no red node has a red child, and all ways are as black
height            a node knows its height, and its children's differ by 1 at most
apart             areas are disjoint, and no two touch
area-ends         the slot of an area stands at its first and last frame, and nowhere else
slots             every slot is in the tree or spare, once
free-pages        the counter of free pages is the sum over the areas
================= ============================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.errors import InvariantError
from kernelmodel.free_area.tree import (
    AVL,
    BALANCE,
    BEST,
    BLACK,
    BY_ADDRESS,
    LEFT,
    LENGTH,
    MAX_ORDER,
    NR_FREE,
    NR_SPARE,
    ORDERED_BY,
    OWN,
    PARENT,
    RED,
    RED_BLACK,
    RIGHT,
    ROOT,
    START,
    TAG,
    own_order,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.free_area.tree import Tree


def check(tree: Tree) -> None:
    """Raise InvariantError for the first rule that is broken; O(frames)."""
    slots = _in_order(tree)
    node = tree.node
    start, length = node[slots, START].astype(np.int64), node[slots, LENGTH].astype(np.int64)
    keys = np.stack([start if tree.info[ORDERED_BY] == BY_ADDRESS else length, start], axis=1)
    for before, after, slot in zip(keys[:-1].tolist(), keys[1:].tolist(), slots[1:], strict=True):
        if before >= after:
            raise InvariantError("tree-order", f"slot {slot}", f"{after} stands after {before}")
    for slot in slots:
        own = own_order(int(node[slot, START]), int(node[slot, LENGTH]), int(tree.info[MAX_ORDER]))
        _demand("own-order", slot, int(node[slot, OWN]), own)
        below = max(int(node[node[slot, side], BEST]) for side in (LEFT, RIGHT))
        _demand("best-order", slot, int(node[slot, BEST]), max(own, below))
    if tree.info[BALANCE] == RED_BLACK:
        _colors(tree)
    elif tree.info[BALANCE] == AVL:
        _heights(tree)
    _extents(tree, slots, start, length)


def _demand(invariant: str, slot: int, found: int, due: int) -> None:
    if found != due:
        raise InvariantError(invariant, f"slot {slot}", f"{found}, and {due} was due")


def _walk(tree: Tree) -> list[int]:
    """Return the slots, parents before their children."""
    node = tree.node
    found: list[int] = []
    waiting = [(int(tree.info[ROOT]), 0)]
    while waiting:
        slot, parent = waiting.pop()
        if not slot:
            continue
        if node[slot, PARENT] != parent or len(found) >= len(node):
            detail = f"hangs under {parent} but names {node[slot, PARENT]}"
            raise InvariantError("parent-link", f"slot {slot}", detail)
        found.append(slot)
        waiting += [(int(node[slot, side]), slot) for side in (LEFT, RIGHT)]
    return found


def _in_order(tree: Tree) -> NDArray[np.int64]:
    _walk(tree)
    node, slot = tree.node, int(tree.info[ROOT])
    found: list[int] = []
    above: list[int] = []
    while slot or above:
        while slot:
            above.append(slot)
            slot = int(node[slot, LEFT])
        slot = above.pop()
        found.append(slot)
        slot = int(node[slot, RIGHT])
    return np.array(found, np.int64)


def _colors(tree: Tree) -> None:
    node = tree.node
    if node[tree.info[ROOT], TAG] == RED:
        raise InvariantError("color", f"slot {tree.info[ROOT]}", "the root is red")
    black = {0: 0}
    for slot in reversed(_walk(tree)):
        left, right = (int(node[slot, side]) for side in (LEFT, RIGHT))
        if node[slot, TAG] == RED and RED in (node[left, TAG], node[right, TAG]):
            raise InvariantError("color", f"slot {slot}", "red, and so is a child")
        if black[left] != black[right]:
            raise InvariantError("color", f"slot {slot}", f"{black[left]} black below, and {black[right]}")
        black[slot] = black[left] + (node[slot, TAG] == BLACK)


def _heights(tree: Tree) -> None:
    node = tree.node
    for slot in reversed(_walk(tree)):
        left, right = (int(node[node[slot, side], TAG]) for side in (LEFT, RIGHT))
        if node[slot, TAG] != 1 + max(left, right) or abs(left - right) > 1:
            detail = f"says {node[slot, TAG]} over {left} and {right}"
            raise InvariantError("height", f"slot {slot}", detail)


def _extents(
    tree: Tree, slots: NDArray[np.int64], start: NDArray[np.int64], length: NDArray[np.int64]
) -> None:
    turn = np.argsort(start, kind="stable")
    touch = np.flatnonzero((start + length)[turn][:-1] >= start[turn][1:])
    if len(touch):
        raise InvariantError("apart", f"frame {start[turn][touch[0] + 1]}", "touches the area below it")
    ends = np.zeros(len(tree.at), np.int64)
    ends[start] = ends[start + length - 1] = slots
    wrong = np.flatnonzero(ends != tree.at)
    if len(wrong):
        detail = f"slot {tree.at[wrong[0]]}, and {ends[wrong[0]]} was due"
        raise InvariantError("area-ends", f"frame {wrong[0]}", detail)
    spare = tree.spare[: tree.info[NR_SPARE]]
    everyone = np.sort(np.concatenate((slots, spare)))
    if not np.array_equal(everyone, np.arange(1, len(tree.node))):
        raise InvariantError("slots", "tree", f"{len(slots)} in the tree and {len(spare)} spare")
    if int(length.sum()) != tree.info[NR_FREE]:
        raise InvariantError("free-pages", "node", f"{length.sum()} in areas, {tree.info[NR_FREE]} counted")
