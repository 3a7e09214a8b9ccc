"""Free areas of any length in a balanced tree, and where in them a block is taken.

``gravity``
    Small requests from the top of memory, large ones from the bottom: what is given back small lies at the
    top, and large areas settle at the bottom, where DMA can reach them (the proposal of 1998).
``first-fit``
    The lowest place that holds the block.
``best-fit``
    The shortest area that holds the block, of several the lowest; in it the lowest place.

::

    order 2, first-fit   |##......##....##|   -->   |##..aaaa##....##|     a: the block, naturally aligned
    order 2, best-fit    |##......##....##|   -->   |##......##..aaaa|     where the area is [10, 16)

Mirrors: nothing that Linux has; the mail of 1998, and Knuth's first fit and best fit.
Fidelity: an address-ordered tree changes the bounds of an area in place; one ordered by length takes the area
out and puts it back. In the beginning the tree is as even as it can be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel._jit import compiled, jit
from kernelmodel.compaction.zone_layout import KIND_MASK, Frame
from kernelmodel.free_area.areas_check import check
from kernelmodel.free_area.interface import Functions
from kernelmodel.free_area.policy import Policy, watermark_allows
from kernelmodel.free_area.tree import (
    AVL,
    BALANCE,
    BEST,
    BLACK,
    BY_ADDRESS,
    BY_LENGTH,
    INSERTIONS,
    LARGE,
    LEFT,
    LENGTH,
    MAX_ORDER,
    MERGES,
    NR_COLUMNS,
    NR_FREE,
    NR_INFO,
    NR_SPARE,
    ORDERED_BY,
    OWN,
    PARENT,
    RED_BLACK,
    REMOVALS,
    RIGHT,
    ROOT,
    ROTATIONS,
    RULE,
    SPLITS,
    START,
    TAG,
    UNBALANCED,
    VISITS,
    WMARK_MIN,
    Tree,
    erase_area,
    insert,
    refresh,
    remove,
    write_area,
)
from kernelmodel.page_alloc.rebuild import FreeBlocks, free_blocks
from kernelmodel.page_alloc.state import NO_PAGE
from kernelmodel.ranges import true_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.free_area.ground import Ground
    from kernelmodel.free_area.interface import Ask

RULES: Final = ("gravity", "first-fit", "best-fit")
GRAVITY: Final = 0
BALANCES: Final = {"rb": RED_BLACK, "avl": AVL, "none": UNBALANCED}


@jit
def end_most(tree: Tree, slot: int, order: int, side: int) -> int:
    """Return the outermost node of a subtree whose area holds a block; 0 where none does."""
    node, info = tree.node, tree.info
    if node[slot, BEST] < order:
        return 0
    while True:
        info[VISITS] += 1
        if node[node[slot, side], BEST] >= order:
            slot = int(node[slot, side])
        elif node[slot, OWN] >= order:
            return slot
        else:
            slot = int(node[slot, 1 - side])


@jit
def next_most(tree: Tree, slot: int, order: int, side: int) -> int:
    """Return the next node away from a side whose area holds a block; 0 where none is left."""
    node, info = tree.node, tree.info
    found = end_most(tree, int(node[slot, 1 - side]), order, side)
    while not found and slot:
        info[VISITS] += 1
        before, slot = slot, int(node[slot, PARENT])
        if not slot or node[slot, side] != before:
            continue
        if node[slot, OWN] >= order:
            return slot
        found = end_most(tree, int(node[slot, 1 - side]), order, side)
    return found


@jit
def place_in(tree: Tree, slot: int, order: int, limit: int, side: int) -> int:
    """Return the outermost naturally aligned place for a block in an area below a limit, or NO_PAGE."""
    start = int(tree.node[slot, START])
    end = min(start + int(tree.node[slot, LENGTH]), limit)
    size = 1 << order
    index = (start + size - 1) & -size if side == LEFT else (end - size) & -size
    return index if start <= index and index + size <= end else NO_PAGE


@jit
def find(tree: Tree, ask: Ask) -> tuple[int, int]:
    """Return the slot of the area and the frame in it that a request gets; (0, NO_PAGE) for none."""
    info = tree.info
    side = RIGHT if info[RULE] == GRAVITY and ask.order < info[LARGE] else LEFT
    slot = end_most(tree, int(info[ROOT]), ask.order, side)
    while slot:
        index = place_in(tree, slot, ask.order, ask.limit, side)
        if index != NO_PAGE:
            return slot, index
        if side == LEFT and info[ORDERED_BY] == BY_ADDRESS:
            # All that follow lie higher.
            return 0, NO_PAGE
        slot = next_most(tree, slot, ask.order, side)
    return 0, NO_PAGE


@jit
def take_out(tree: Tree, slot: int) -> None:
    """Take an area out of the tree, and keep its slot for another."""
    remove(tree, slot)
    tree.spare[tree.info[NR_SPARE]] = slot
    tree.info[NR_SPARE] += 1


@jit
def put_in(tree: Tree, start: int, length: int) -> None:
    """Put a new area into the tree."""
    tree.info[NR_SPARE] -= 1
    slot = int(tree.spare[tree.info[NR_SPARE]])
    write_area(tree, slot, start, length)
    insert(tree, slot)


@jit
def cut(tree: Tree, slot: int, index: int, order: int) -> None:
    """Take frames out of an area; what is left on either side stays one."""
    node, info = tree.node, tree.info
    start = int(node[slot, START])
    end = start + int(node[slot, LENGTH])
    behind = index + (1 << order)
    info[NR_FREE] -= 1 << order
    info[SPLITS] += start < index and behind < end
    erase_area(tree, slot)
    if info[ORDERED_BY] != BY_ADDRESS or (start == index and behind == end):
        take_out(tree, slot)
        slot = 0
    for side in range(2):
        first, last = (start, index) if side == LEFT else (behind, end)
        if first == last:
            continue
        if slot:
            write_area(tree, slot, first, last - first)
            refresh(tree, slot)
            slot = 0
        else:
            put_in(tree, first, last - first)


@jit
def take_area(tree: Tree, ask: Ask) -> int:
    """Take a block for a request; see `kernelmodel.free_area.interface.take`."""
    info = tree.info
    if not watermark_allows(info[NR_FREE], info[WMARK_MIN], ask.order, ask.priority):
        return NO_PAGE
    slot, index = find(tree, ask)
    if slot:
        cut(tree, slot, index, ask.order)
    return index


@jit
def release_area(tree: Tree, index: int, order: int, cpu: int) -> None:  # noqa: ARG001
    """Give a block back; it becomes one area with those that it touches."""
    node, at, info = tree.node, tree.at, tree.info
    start, end = index, index + (1 << order)
    info[NR_FREE] += 1 << order
    left = int(at[start - 1]) if start else 0
    right = int(at[end]) if end < len(at) else 0
    info[MERGES] += (left != 0) + (right != 0)
    kept = 0
    if info[ORDERED_BY] == BY_ADDRESS:
        kept = left or right
    for side in range(2):
        slot = left if side == LEFT else right
        if not slot:
            continue
        start = min(start, int(node[slot, START]))
        end = max(end, int(node[slot, START]) + int(node[slot, LENGTH]))
        erase_area(tree, slot)
        if slot != kept:
            take_out(tree, slot)
    if kept:
        write_area(tree, kept, start, end - start)
        refresh(tree, kept)
    else:
        put_in(tree, start, end - start)


@jit
def area_around(tree: Tree, index: int) -> int:
    """Return the slot of the area that holds a frame, 0 for none: the nearest end of one below it tells."""
    slot = 0
    for frame in range(index, -1, -1):
        tree.info[VISITS] += 1
        slot = int(tree.at[frame])
        if slot:
            break
    start = tree.node[slot, START]
    return slot if slot and start <= index < start + tree.node[slot, LENGTH] else 0


@jit
def claim_area(tree: Tree, index: int, order: int, movable: int) -> bool:  # noqa: ARG001
    """Take one certain block; see `kernelmodel.free_area.interface.claim`."""
    slot = area_around(tree, index)
    if not slot or index + (1 << order) > tree.node[slot, START] + tree.node[slot, LENGTH]:
        return False
    cut(tree, slot, index, order)
    return True


class Areas(Policy):
    """Free areas in a balanced tree.

    Parameters
    ----------
    name, ground, pure
        As for `Policy`.
    rule
        One of `RULES`.
    tree
        One of `BALANCES`; ``none`` lets the tree become as uneven as it will, for comparison.
    large
        For ``gravity``: requests of this order and more come from the bottom.
    """

    state: Tree

    def __init__(
        self,
        name: str,
        ground: Ground,
        *,
        pure: bool = False,
        rule: str = "gravity",
        tree: str = "rb",
        large: int = 4,
    ) -> None:
        state = build(ground, RULES.index(rule), BALANCES[tree], large, pure=pure)
        functions = Functions(take_area, release_area, claim_area)
        super().__init__(name, ground, state, functions, pure=pure)

    @property
    def nr_free(self) -> int:
        """Free pages."""
        return int(self.state.info[NR_FREE])

    def areas(self) -> NDArray[np.int64]:
        """Return the areas by address, half-open, int64 (n, 2)."""
        node = self.state.node
        slot = self.state.at[np.flatnonzero(self.state.at)]
        slot = slot[np.concatenate(([True], slot[1:] != slot[:-1]))] if len(slot) else slot
        start = node[slot, START].astype(np.int64)
        return np.stack([start, start + node[slot, LENGTH]], axis=1)

    def free_blocks(self) -> FreeBlocks:
        """Return the naturally aligned blocks that the areas divide into, by address."""
        return free_blocks(self.areas(), 0, self.ground.nr_frames, self.ground.nr_orders)

    def counters(self) -> dict[str, int]:
        """Return what was done, and the shape of the tree.

        ``splits`` of an area in two and ``merges`` of two in one; ``visits`` of nodes; ``rotations``,
        ``insertions`` and ``removals``; ``nodes`` and ``depth`` now, ``least_depth`` that so many nodes need,
        and ``left_permille``, the share of them that hangs on the left of the root.
        """
        info = self.state.info
        named = {
            "splits": SPLITS, "merges": MERGES, "visits": VISITS, "rotations": ROTATIONS,
            "insertions": INSERTIONS, "removals": REMOVALS,
        }  # fmt: skip
        left, right = (_levels(self.state, int(self.state.node[info[ROOT], side])) for side in (LEFT, RIGHT))
        nodes = sum(left) + sum(right) + (info[ROOT] != 0)
        return {
            **{name: int(info[at]) for name, at in named.items()},
            "nodes": int(nodes),
            "depth": max(len(left), len(right)) + int(info[ROOT] != 0),
            "least_depth": int(nodes).bit_length(),
            "left_permille": 1000 * sum(left) // max(1, sum(left) + sum(right)),
        }

    def validate(self) -> None:
        """Check every invariant of `kernelmodel.free_area.areas_check`; raises InvariantError."""
        check(self.state)


def _levels(tree: Tree, top: int) -> list[int]:
    """Return the number of nodes on each level of a subtree."""
    counts = []
    level = np.array([top] if top else [], np.int64)
    while len(level):
        counts.append(len(level))
        children = tree.node[level][:, [LEFT, RIGHT]].ravel()
        level = children[children != 0]
    return counts


@jit
def insert_all(tree: Tree, slots: NDArray[np.int64]) -> None:
    """Put areas into the tree, one after another."""
    for slot in slots:
        insert(tree, int(slot))


def build(ground: Ground, rule: int, balance: int, large: int, *, pure: bool) -> Tree:
    """Return the tree of a ground."""
    runs = true_runs(ground.content() & np.uint8(KIND_MASK) == Frame.FREE)
    nr_slots = ground.nr_frames // 2 + 2
    tree = Tree(
        np.zeros((nr_slots, NR_COLUMNS), np.int32),
        np.zeros(ground.nr_frames, np.int32),
        np.arange(nr_slots - 1, -1, -1, dtype=np.int32),
        np.zeros(NR_INFO, np.int64),
    )
    tree.node[0, BEST] = -1
    tree.node[0, TAG] = 0 if balance == AVL else BLACK
    sizes = {
        BALANCE: balance,
        ORDERED_BY: BY_LENGTH if RULES[rule] == "best-fit" else BY_ADDRESS,
        MAX_ORDER: ground.nr_orders - 1,
        NR_SPARE: nr_slots - 1 - len(runs),
        RULE: rule,
        LARGE: large,
        WMARK_MIN: ground.wmark_min,
        NR_FREE: int((runs[:, 1] - runs[:, 0]).sum()),
    }
    tree.info[list(sizes)] = list(sizes.values())
    slots = np.arange(1, len(runs) + 1)
    node = tree.node
    node[slots, START], node[slots, LENGTH] = runs[:, 0], runs[:, 1] - runs[:, 0]
    node[slots, OWN] = _own_orders(runs, ground.nr_orders - 1)
    tree.at[runs[:, 0]] = tree.at[runs[:, 1] - 1] = slots
    length = node[slots, LENGTH] if tree.info[ORDERED_BY] == BY_LENGTH else np.zeros(len(slots))
    by_key = slots[np.lexsort((runs[:, 0], length))]
    compiled(insert_all, pure=pure)(tree, by_key[_middles_first(len(slots))])
    tree.info[[VISITS, ROTATIONS, INSERTIONS]] = 0
    return tree


def _own_orders(runs: NDArray[np.int64], max_order: int) -> NDArray[np.int32]:
    """Return the largest order of which a naturally aligned block fits, of each run."""
    own = np.zeros(len(runs), np.int32)
    for order in range(1, max_order + 1):
        size = 1 << order
        own[((runs[:, 0] + size - 1) & -size) + size <= runs[:, 1]] = order
    return own


def _middles_first(nr: int) -> NDArray[np.int64]:
    """Return 0 to `nr` - 1, so that each comes between two that came before it: halves, quarters, ...

    >>> _middles_first(6).tolist()
    [3, 1, 5, 0, 2, 4]
    """
    turn = np.arange(1, 1 << nr.bit_length())
    # Place of each number of a level-order walk in the order of keys.
    level = np.frexp(turn.astype(np.float64))[1] - 1
    height = nr.bit_length()
    place: NDArray[np.int64] = ((2 * (turn - (1 << level)) + 1) << (height - 1 - level)) - 1
    return place[place < nr]
