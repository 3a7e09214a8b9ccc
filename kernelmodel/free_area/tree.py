"""Free areas in a balanced tree: nodes in one array, ordered and balanced as the tree's numbers say.

An area is a run of free frames that no other touches. Its slot stands at its first and its last frame, so
that what is given back finds its neighbours without a search. Slot 0 is no area: the child that is missing::

    frames   . . # # # . # . .        . free, # used
    at       1 1 0 0 0 2 0 3 3     slot 1: start 0, length 2; slot 2: 5, 1; slot 3: 7, 2

Mirrors: ``lib/rbtree.c``, as `kernelmodel.ordered.rbtree` and `kernelmodel.ordered.avl`, whose turns these
are; ``include/linux/rbtree_augmented.h`` for the largest order below each node.
Fidelity: left and right are one piece of code with the side as a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kernelmodel._jit import jit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Columns of `Tree.node`; the sides of a node are 0 and 1.
LEFT: Final = 0
RIGHT: Final = 1
PARENT: Final = 2
TAG: Final = 3
"""Colour of a red-black tree, height of an AVL tree."""
START: Final = 4
LENGTH: Final = 5
OWN: Final = 6
"""Largest order of which a naturally aligned block fits into the area."""
BEST: Final = 7
"""The largest of these in the subtree."""
NR_COLUMNS: Final = 8

RED: Final = 0
BLACK: Final = 1

# What a tree is balanced as, and ordered by.
RED_BLACK: Final = 0
AVL: Final = 1
UNBALANCED: Final = 2
BY_ADDRESS: Final = 0
BY_LENGTH: Final = 1

# Numbers of `Tree.info`.
ROOT: Final = 0
BALANCE: Final = 1
ORDERED_BY: Final = 2
MAX_ORDER: Final = 3
NR_SPARE: Final = 4
RULE: Final = 5
LARGE: Final = 6
WMARK_MIN: Final = 7
NR_FREE: Final = 8
SPLITS: Final = 9
MERGES: Final = 10
VISITS: Final = 11
ROTATIONS: Final = 12
INSERTIONS: Final = 13
REMOVALS: Final = 14
NR_INFO: Final = 15


class Tree(NamedTuple):
    """The areas.

    Parameters
    ----------
    node
        int32 (slots, 8), a row an area; the columns are named above.
    at
        int32 (frames), slot at the first and the last frame of each area, 0 elsewhere.
    spare
        int32 (slots), the first ``info[NR_SPARE]`` are slots that are not in use.
    info
        int64, the numbers named above.
    """

    node: NDArray[np.int32]
    at: NDArray[np.int32]
    spare: NDArray[np.int32]
    info: NDArray[np.int64]


@jit
def own_order(start: int, length: int, max_order: int) -> int:
    """Return the largest order of which a naturally aligned block fits into an area.

    >>> own_order(3, 6, 10), own_order(4, 4, 10), own_order(0, 4096, 10)
    (2, 2, 10)
    """
    order = 0
    while order < max_order and ((start + (2 << order) - 1) & -(2 << order)) + (2 << order) <= start + length:
        order += 1
    return order


@jit
def fold(tree: Tree, slot: int) -> int:
    """Return the largest order in the subtree of a node."""
    node = tree.node
    return int(max(node[slot, OWN], node[node[slot, LEFT], BEST], node[node[slot, RIGHT], BEST]))


@jit
def refresh(tree: Tree, slot: int) -> None:
    """Bring the largest orders from a node upwards up to date, until one does not change."""
    node = tree.node
    while slot:
        best = fold(tree, slot)
        if best == node[slot, BEST]:
            return
        node[slot, BEST] = best
        slot = int(node[slot, PARENT])


@jit
def change_child(tree: Tree, old: int, new: int, parent: int) -> None:
    """Let a parent, or the root, have another child."""
    if not parent:
        tree.info[ROOT] = new
    elif tree.node[parent, LEFT] == old:
        tree.node[parent, LEFT] = new
    else:
        tree.node[parent, RIGHT] = new


@jit
def rotate(tree: Tree, slot: int, side: int) -> int:
    """Let a node sink to one side, and the child of the other side rise in its place; return that."""
    node = tree.node
    rising = int(node[slot, 1 - side])
    child, parent = int(node[rising, side]), int(node[slot, PARENT])
    node[slot, 1 - side] = child
    node[rising, side] = slot
    if child:
        node[child, PARENT] = slot
    node[rising, PARENT] = parent
    change_child(tree, slot, rising, parent)
    node[slot, PARENT] = rising
    node[rising, BEST] = node[slot, BEST]
    node[slot, BEST] = fold(tree, slot)
    tree.info[ROTATIONS] += 1
    return rising


@jit
def side_of(tree: Tree, slot: int, parent: int) -> int:
    """Return the side of its parent that a node hangs on."""
    return LEFT if tree.node[parent, LEFT] == slot else RIGHT


@jit
def color_inserted(tree: Tree, slot: int) -> None:
    """Take colours and turns until no red node has a red parent."""
    node = tree.node
    parent = int(node[slot, PARENT])
    while parent and node[parent, TAG] == RED:
        gparent = int(node[parent, PARENT])
        side = side_of(tree, parent, gparent)
        uncle = int(node[gparent, 1 - side])
        if node[uncle, TAG] == BLACK:
            if slot == node[parent, 1 - side]:
                rotate(tree, parent, side)
            top = rotate(tree, gparent, 1 - side)
            node[top, TAG] = BLACK
            node[gparent, TAG] = RED
            return
        node[parent, TAG] = node[uncle, TAG] = BLACK
        node[gparent, TAG] = RED
        slot = gparent
        parent = int(node[slot, PARENT])
    if not parent:
        node[slot, TAG] = BLACK


@jit
def color_removed(tree: Tree, parent: int) -> None:
    """Give ways through a place under a parent the black node back that they lack."""
    node = tree.node
    slot = 0
    while True:
        side = side_of(tree, slot, parent)
        sibling = int(node[parent, 1 - side])
        if node[sibling, TAG] == RED:
            node[rotate(tree, parent, side), TAG] = BLACK
            node[parent, TAG] = RED
            sibling = int(node[parent, 1 - side])
        inner, outer = int(node[sibling, side]), int(node[sibling, 1 - side])
        if node[outer, TAG] == RED or node[inner, TAG] == RED:
            if node[outer, TAG] == BLACK:
                outer = sibling
                sibling = rotate(tree, sibling, 1 - side)
            rotate(tree, parent, side)
            node[sibling, TAG] = node[parent, TAG]
            node[parent, TAG] = node[outer, TAG] = BLACK
            return
        node[sibling, TAG] = RED
        if node[parent, TAG] == RED or not node[parent, PARENT]:
            node[parent, TAG] = BLACK
            return
        slot, parent = parent, int(node[parent, PARENT])


@jit
def measure(tree: Tree, slot: int) -> None:
    """Set the height of a node from those of its children."""
    node = tree.node
    node[slot, TAG] = 1 + max(node[node[slot, LEFT], TAG], node[node[slot, RIGHT], TAG])


@jit
def retrace(tree: Tree, slot: int) -> None:
    """Restore heights and balance from a node upwards, until a height stays as it was."""
    node = tree.node
    while slot:
        before = node[slot, TAG]
        lean = node[node[slot, LEFT], TAG] - node[node[slot, RIGHT], TAG]
        if -1 <= lean <= 1:
            measure(tree, slot)
        else:
            side = LEFT if lean > 0 else RIGHT
            child = int(node[slot, side])
            if node[node[child, 1 - side], TAG] > node[node[child, side], TAG]:
                rotate(tree, child, side)
                measure(tree, child)
            sunk = slot
            slot = rotate(tree, slot, 1 - side)
            measure(tree, sunk)
            measure(tree, slot)
        if node[slot, TAG] == before:
            return
        slot = int(node[slot, PARENT])


@jit
def stands_before(tree: Tree, start: int, length: int, slot: int) -> bool:
    """Tell whether an area comes before that of a node."""
    node = tree.node
    if tree.info[ORDERED_BY] == BY_ADDRESS or length == node[slot, LENGTH]:
        return bool(start < node[slot, START])
    return bool(length < node[slot, LENGTH])


@jit
def write_area(tree: Tree, slot: int, start: int, length: int) -> None:
    """Write down where the area of a slot lies; what is written at the frames of the old one is gone."""
    node, at = tree.node, tree.at
    node[slot, START], node[slot, LENGTH] = start, length
    node[slot, OWN] = own_order(start, length, tree.info[MAX_ORDER])
    at[start] = at[start + length - 1] = slot


@jit
def erase_area(tree: Tree, slot: int) -> None:
    """Take away what is written at the frames of an area."""
    start = tree.node[slot, START]
    tree.at[start] = tree.at[start + tree.node[slot, LENGTH] - 1] = 0


@jit
def insert(tree: Tree, slot: int) -> None:
    """Put the area of a slot, which `write_area` wrote, into the tree."""
    node, info = tree.node, tree.info
    start, length = int(node[slot, START]), int(node[slot, LENGTH])
    parent, side, below = 0, LEFT, int(info[ROOT])
    while below:
        info[VISITS] += 1
        parent = below
        side = LEFT if stands_before(tree, start, length, below) else RIGHT
        below = int(node[below, side])
    node[slot, LEFT] = node[slot, RIGHT] = 0
    node[slot, PARENT] = parent
    node[slot, BEST] = node[slot, OWN]
    if parent:
        node[parent, side] = slot
        refresh(tree, parent)
    else:
        info[ROOT] = slot
    info[INSERTIONS] += 1
    if info[BALANCE] == RED_BLACK:
        node[slot, TAG] = RED
        color_inserted(tree, slot)
    elif info[BALANCE] == AVL:
        node[slot, TAG] = 1
        retrace(tree, parent)


@jit
def remove(tree: Tree, slot: int) -> None:
    """Take the area of a slot out of the tree; its successor takes its place if it has two children."""
    node, info = tree.node, tree.info
    left, right, above = int(node[slot, LEFT]), int(node[slot, RIGHT]), int(node[slot, PARENT])
    successor = 0
    if left and right:
        successor = right
        while node[successor, LEFT]:
            info[VISITS] += 1
            successor = int(node[successor, LEFT])
        child, parent, tag = int(node[successor, RIGHT]), int(node[successor, PARENT]), node[successor, TAG]
        if parent == slot:
            parent = successor
        else:
            node[parent, LEFT] = child
            node[successor, RIGHT] = right
            node[right, PARENT] = successor
        node[successor, LEFT] = left
        node[left, PARENT] = successor
        node[successor, TAG], node[successor, BEST] = node[slot, TAG], node[slot, BEST]
        node[successor, PARENT] = above
        change_child(tree, slot, successor, above)
    else:
        child, parent, tag = left + right, above, node[slot, TAG]
        change_child(tree, slot, child, above)
    if child:
        node[child, PARENT] = parent
    if parent != successor:
        refresh(tree, parent)
    refresh(tree, successor)
    info[REMOVALS] += 1
    if info[BALANCE] == AVL:
        retrace(tree, parent)
    elif info[BALANCE] == RED_BLACK:
        if child:
            node[child, TAG] = BLACK
        elif tag == BLACK and parent:
            color_removed(tree, parent)
