"""The nodes of the maple-shaped B-tree: spilling over, splitting, joining, summaries, the rules of fill.

Mirrors: ``include/linux/maple_tree.h: MAPLE_RANGE64_SLOTS, MAPLE_ARANGE64_SLOTS``; ``lib/maple_tree.c:
mt_min_slots, mas_split, mab_calc_split, mas_push_data, mas_rebalance, mt_validate``, as of 6.12.

Fidelity: see `kernelmodel.ordered.maple`.
"""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Generic

from kernelmodel.errors import InvariantError
from kernelmodel.ordered.protocol import Counters, K, V

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.ordered.protocol import Augment

RANGE64_SLOTS: Final = 16
"""Slots of a leaf, and of a node above without summaries."""
ARANGE64_SLOTS: Final = 10
"""Slots of a node above the leaves that keeps a summary a slot."""
MIN_SLOTS: Final = {RANGE64_SLOTS: RANGE64_SLOTS // 2 - 1, ARANGE64_SLOTS: ARANGE64_SLOTS // 2}
"""Slots that a node other than the root has in use at least, by the slots it has."""


class MapleNode(Generic[K]):
    """A node: in a leaf a pivot is the key of its slot and the slot holds the value."""

    __slots__ = ("is_leaf", "parent", "pivots", "slots", "summaries")

    def __init__(self, parent: MapleNode[K] | None, *, is_leaf: bool) -> None:
        self.is_leaf = is_leaf
        self.parent = parent
        self.pivots: list[K] = []
        self.slots: list[Any] = []
        self.summaries: list[Any] = []


class MapleNodes(Generic[K, V]):
    """The root and what is done to the nodes below it.

    Parameters
    ----------
    augment
        The summary to keep for every slot above the leaves. Summaries are compared with ``==``.
    """

    __slots__ = ("augment", "counters", "nr_slots", "root")

    def __init__(self, augment: Augment[K, V] | None) -> None:
        self.augment = augment
        self.counters = Counters()
        self.nr_slots = RANGE64_SLOTS if augment is None else ARANGE64_SLOTS
        self.root: MapleNode[K] = MapleNode(None, is_leaf=True)

    def spill(self, node: MapleNode[K]) -> MapleNode[K]:
        """Mend a node with a slot too many, and those above; return the topmost node that was changed."""
        while len(node.slots) > (nr_slots := self._nr_slots(node)):
            parent = node.parent or self._new_root()
            slot = parent.slots.index(node)
            if not (
                self._push(parent, slot, nr_slots, left=True)
                or self._push(parent, slot, nr_slots, left=False)
            ):
                self._split(parent, slot, (len(node.slots) + 1) // 2)
                self.counters.nr_rotations += 1
            node = parent
        return node

    def rebalance(self, node: MapleNode[K]) -> MapleNode[K]:
        """Mend a node with too few slots, and those above; return the topmost node that was changed.

        Its slots are shared with the next sister, or the one before where there is no next; what fits in one
        node goes into one.
        """
        while (parent := node.parent) is not None:
            nr_slots = self._nr_slots(node)
            if len(node.slots) >= MIN_SLOTS[nr_slots]:
                return node
            slot = parent.slots.index(node)
            if slot == len(parent.slots) - 1:
                slot -= 1
            nr = len(parent.slots[slot].slots) + len(parent.slots[slot + 1].slots)
            self._share(parent, slot, nr if nr <= nr_slots else (nr + 1) // 2)
            node = parent
        if len(node.slots) == 1 and not node.is_leaf:
            node = self.root = node.slots[0]
            node.parent = None
        return node

    def lower_pivot(self, leaf: MapleNode[K]) -> None:
        """Set the pivot that bounds `leaf` to its last key, after the one behind it was taken out."""
        node = leaf
        while (parent := node.parent) is not None:
            slot = parent.slots.index(node)
            if slot < len(parent.pivots):
                parent.pivots[slot] = leaf.pivots[-1]
                return
            node = parent

    def fold(self, node: MapleNode[K]) -> Any:
        """Return the summary of a node that is not empty, from its slots."""
        assert self.augment is not None
        combine = self.augment.combine
        if node.is_leaf:
            return reduce(combine, map(self.augment.measure, node.pivots, node.slots))
        return reduce(combine, node.summaries)

    def propagate(self, node: MapleNode[K]) -> None:
        """Recompute the summaries of the slots above `node`, until one does not change."""
        while (parent := node.parent) is not None:
            slot = parent.slots.index(node)
            summary = self.fold(node)
            if summary == parent.summaries[slot]:
                return
            parent.summaries[slot] = summary
            node = parent

    def _nr_slots(self, node: MapleNode[K]) -> int:
        return RANGE64_SLOTS if node.is_leaf else self.nr_slots

    def _new_root(self) -> MapleNode[K]:
        """Put a node above the root, with one slot for the moment."""
        old = self.root
        old.parent = self.root = MapleNode(None, is_leaf=False)
        self.root.slots.append(old)
        if self.augment is not None:
            self.root.summaries.append(None)
        return self.root

    def _push(self, parent: MapleNode[K], slot: int, nr_slots: int, *, left: bool) -> bool:
        """Fill the sister to one side with slots of a node that has too many, unless both get full.

        Keeps the tree low, and fills the nodes behind an ascending stream of keys.
        """
        if left:
            slot -= 1
        if slot < 0 or slot + 1 == len(parent.slots):
            return False
        nr = len(parent.slots[slot].slots) + len(parent.slots[slot + 1].slots)
        if nr > 2 * nr_slots - 2:
            return False
        self._share(parent, slot, nr_slots - 1 if left else nr - (nr_slots - 1))
        return True

    def _share(self, parent: MapleNode[K], slot: int, nr_left: int) -> None:
        """Divide what is below two neighbouring slots anew, `nr_left` to the left; none may be left over."""
        self._join(parent, slot)
        if nr_left < len(parent.slots[slot].slots):
            self._split(parent, slot, nr_left)
        elif self.augment is not None:
            parent.summaries[slot] = self.fold(parent.slots[slot])
        self.counters.nr_rotations += 1

    def _join(self, parent: MapleNode[K], slot: int) -> None:
        """Move all from the node below `slot` + 1 into the one below `slot`, whatever fits."""
        node: MapleNode[K] = parent.slots[slot]
        right: MapleNode[K] = parent.slots.pop(slot + 1)
        pivot = parent.pivots.pop(slot)
        if not node.is_leaf:
            node.pivots.append(pivot)
            _adopt(node, right.slots)
        node.pivots += right.pivots
        node.slots += right.slots
        node.summaries += right.summaries
        if self.augment is not None:
            del parent.summaries[slot + 1]

    def _split(self, parent: MapleNode[K], slot: int, nr_left: int) -> None:
        """Leave `nr_left` slots to the node below `slot` and give the rest to a new node behind it."""
        node: MapleNode[K] = parent.slots[slot]
        right: MapleNode[K] = MapleNode(parent, is_leaf=node.is_leaf)
        parent.pivots.insert(slot, node.pivots[nr_left - 1])
        parent.slots.insert(slot + 1, right)
        right.pivots, right.slots = node.pivots[nr_left:], node.slots[nr_left:]
        right.summaries = node.summaries[nr_left:]
        del node.slots[nr_left:], node.summaries[nr_left:]
        del node.pivots[nr_left if node.is_leaf else nr_left - 1 :]
        if not node.is_leaf:
            _adopt(right, right.slots)
        if self.augment is not None:
            parent.summaries[slot] = self.fold(node)
            parent.summaries.insert(slot + 1, self.fold(right))

    def check(self, less: Callable[[K, K], bool], nr: int) -> None:
        """Check ``parent-link``, ``leaf-depth``, ``fill``, ``length``, ``order``, ``pivot``, ``summary``.

        Parameters
        ----------
        less
            The order of the keys.
        nr
            How many entries there must be.
        """
        nodes = self._linked_nodes()
        for node in nodes:
            self._check_fill(node)
        leaves = [node for node in nodes if node.is_leaf]
        if (found := sum(len(leaf.slots) for leaf in leaves)) != nr:
            raise InvariantError("length", "tree", f"{found} entries in the leaves, {nr} counted")
        keys = [key for leaf in leaves for key in leaf.pivots]
        for before, key in pairwise(keys):
            if not less(before, key):
                raise InvariantError("order", repr(key), f"stands after {before!r}")
        last: dict[MapleNode[K], K] = {leaf: leaf.pivots[-1] for leaf in leaves if leaf.pivots}
        for node in reversed(nodes):
            if node.is_leaf:
                continue
            last[node] = last[node.slots[-1]]
            for pivot, child in zip(node.pivots, node.slots[:-1], strict=True):
                if less(pivot, last[child]) or less(last[child], pivot):
                    detail = f"{pivot!r} bounds a slot whose last key is {last[child]!r}"
                    raise InvariantError("pivot", _name(node), detail)
            if self.augment is not None and node.summaries != (sums := [*map(self.fold, node.slots)]):
                raise InvariantError("summary", _name(node), f"holds {node.summaries!r} for {sums!r}")

    def _linked_nodes(self) -> list[MapleNode[K]]:
        """Return all nodes, level by level, leaves in order; check links and that leaves are equally deep."""
        level: list[MapleNode[K]] = [self.root]
        nodes: list[MapleNode[K]] = []
        if self.root.parent is not None:
            raise InvariantError("parent-link", _name(self.root), "the root names a parent")
        while True:
            nodes += level
            nr_leaves = sum(node.is_leaf for node in level)
            if nr_leaves == len(level):
                return nodes
            if nr_leaves:
                detail = f"{nr_leaves} leaves beside {len(level) - nr_leaves} nodes that are none"
                raise InvariantError("leaf-depth", _name(level[0]), detail)
            for node in level:
                for child in node.slots:
                    if child.parent is not node:
                        raise InvariantError("parent-link", _name(child), f"does not name {_name(node)}")
            level = [child for node in level for child in node.slots]

    def _check_fill(self, node: MapleNode[K]) -> None:
        most, nr = self._nr_slots(node), len(node.slots)
        least = MIN_SLOTS[most]
        if node is self.root:
            least = 0 if node.is_leaf else 2
        if not least <= nr <= most:
            raise InvariantError("fill", _name(node), f"{nr} slots in use, {least} to {most} allowed")
        if len(node.pivots) != (nr if node.is_leaf else nr - 1):
            raise InvariantError("pivot", _name(node), f"{len(node.pivots)} pivots for {nr} slots")


def neighbour(leaf: MapleNode[K], step: int) -> tuple[MapleNode[K] | None, int]:
    """Return the leaf after (`step` 1) or before (-1) `leaf`, and how many nodes were looked at."""
    node, climbed = leaf, 0
    while (parent := node.parent) is not None:
        climbed += 1
        slot = parent.slots.index(node) + step
        if 0 <= slot < len(parent.slots):
            node = parent.slots[slot]
            while not node.is_leaf:
                node = node.slots[0 if step > 0 else -1]
            return node, 2 * climbed
        node = parent
    return None, climbed


def _adopt(parent: MapleNode[K], children: list[Any]) -> None:
    for child in children:
        child.parent = parent


def _name(node: MapleNode[K]) -> str:
    kind = "leaf" if node.is_leaf else "node"
    return f"{kind} of pivots from {node.pivots[0]!r}" if node.pivots else f"{kind} without pivots"
