"""A B-tree of the maple tree's shape.

Mirrors: ``lib/maple_tree.c: mtree_range_walk``; for the nodes see `kernelmodel.ordered.maple_node`.

A leaf has 16 slots, a node above it 16 too, or 10 if summaries are kept (``maple_arange_64``, whose summary
is the largest gap below a slot). A node holds pivots: pivot *i* is the last key below slot *i*; the
last slot needs none, because the parent's pivot bounds it.

Fidelity: a leaf here holds entries alone. In the kernel it covers every address: the holes between ranges
take slots too, so that VMAs with holes between them need twice the leaves; a pivot is the number `last`, and
a node has 256 bytes. Pivots are searched by halves, in the kernel one after the other. No copying for RCU, no
dense nodes, no single entry in place of the root. Fill is the kernel's: it compares the *index* of the last
slot with ``mt_min_slots`` (6 of 16, 4 of 10), so that 7 and 5 slots are the least outside the root. The
kernel lets the right edge of the tree have fewer (``mt_validate``); here it may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

from kernelmodel.errors import ModelError
from kernelmodel.ordered.maple_node import RANGE64_SLOTS, MapleNode, MapleNodes, neighbour
from kernelmodel.ordered.protocol import K, V

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernelmodel.ordered.protocol import Augment


class MapleTree(Generic[K, V]):
    """Distinct keys in the caller's order in leaves of 7 to 16 entries, all equally deep.

    Search costs O(log n) comparisons over few nodes. An insertion or removal also shifts slots within its
    node and, with `augment`, combines the node's slots anew. Do not change the map while iterating over it.

    Parameters
    ----------
    less
        The order: strict, total on the keys in the map.
    augment
        The summary to keep for every slot above the leaves. Summaries are compared with ``==``.

    Examples
    --------
    >>> from operator import lt
    >>> tree = MapleTree(lt)
    >>> for pfn in range(100):
    ...     tree.insert(pfn, pfn * 4096)
    >>> tree.floor(1000), tree.depth()
    ((99, 405504), 2)
    """

    __slots__ = ("_less", "_nodes", "_nr", "counters")

    def __init__(self, less: Callable[[K, K], bool], augment: Augment[K, V] | None = None) -> None:
        self._less = less
        self._nodes = MapleNodes(augment)
        self._nr = 0
        self.counters = self._nodes.counters

    def __len__(self) -> int:
        return self._nr

    def insert(self, key: K, value: V) -> None:
        """Add an entry; KeyError if the key is there."""
        leaf, slot = self._walk(key)
        if self._holds(leaf, slot, key):
            raise KeyError(key)
        leaf.pivots.insert(slot, key)
        leaf.slots.insert(slot, value)
        self._nr += 1
        node = self._nodes.spill(leaf) if len(leaf.slots) > RANGE64_SLOTS else leaf
        if self._nodes.augment is not None:
            self._nodes.propagate(node)

    def remove(self, key: K) -> V:
        """Take an entry out and return its value; KeyError if there is none."""
        leaf, slot = self._find(key)
        del leaf.pivots[slot]
        value: V = leaf.slots.pop(slot)
        self._nr -= 1
        if slot == len(leaf.slots) and slot:
            self._nodes.lower_pivot(leaf)
        node = self._nodes.rebalance(leaf)
        if self._nodes.augment is not None:
            self._nodes.propagate(node)
        return value

    def get(self, key: K) -> V | None:
        """Return the value of `key`, None if there is none."""
        leaf, slot = self._walk(key)
        return leaf.slots[slot] if self._holds(leaf, slot, key) else None

    def floor(self, key: K) -> tuple[K, V] | None:
        """Return the last entry whose key is not after `key`."""
        place = self._floor(key)
        return None if place is None else (place[0].pivots[place[1]], place[0].slots[place[1]])

    def ceiling(self, key: K) -> tuple[K, V] | None:
        """Return the first entry whose key is not before `key`."""
        leaf, slot = self._walk(key)
        # Pivots are exact: only behind the last key of all does the walk end beyond the slots of a leaf.
        return None if slot == len(leaf.slots) else (leaf.pivots[slot], leaf.slots[slot])

    def first(self) -> tuple[K, V] | None:
        """Return the first entry."""
        leaf = self._edge(0)
        return (leaf.pivots[0], leaf.slots[0]) if leaf.slots else None

    def last(self) -> tuple[K, V] | None:
        """Return the last entry."""
        leaf = self._edge(-1)
        return (leaf.pivots[-1], leaf.slots[-1]) if leaf.slots else None

    def items(self, start: K | None = None) -> Iterator[tuple[K, V]]:
        """Iterate entries in order, from the first whose key is not before `start`."""
        leaf: MapleNode[K] | None
        leaf, slot = (self._edge(0), 0) if start is None else self._walk(start)
        while leaf is not None:
            yield from zip(leaf.pivots[slot:], leaf.slots[slot:], strict=True)
            leaf, slot = neighbour(leaf, 1)[0], 0

    def reversed_items(self, start: K | None = None) -> Iterator[tuple[K, V]]:
        """Iterate entries backwards, from the last whose key is not after `start`."""
        if start is None:
            leaf: MapleNode[K] | None = self._edge(-1)
            end = RANGE64_SLOTS
        else:
            place = self._floor(start)
            leaf, end = (None, 0) if place is None else (place[0], place[1] + 1)
        while leaf is not None:
            yield from zip(leaf.pivots[:end][::-1], leaf.slots[:end][::-1], strict=True)
            leaf, end = neighbour(leaf, -1)[0], RANGE64_SLOTS

    def refresh(self, key: K) -> None:
        """Take note that what `measure` returns for this entry has changed; KeyError if there is none."""
        node, _ = self._find(key)
        if self._nodes.augment is None:
            return
        while (parent := node.parent) is not None:
            parent.summaries[parent.slots.index(node)] = self._nodes.fold(node)
            node = parent

    def summary(self) -> Any:
        """Return the summary of all entries, None when empty or without augmentation. O(1)."""
        return None if self._nodes.augment is None or not self._nr else self._nodes.fold(self._nodes.root)

    def prune(self, accept: Callable[[Any], bool]) -> Iterator[tuple[K, V]]:
        """Iterate in order the entries with an accepted summary; ModelError without augmentation."""
        if self._nodes.augment is None:
            raise ModelError("prune needs an augmentation")
        return self._accepted(accept, self._nodes.augment.measure)

    def depth(self) -> int:
        """Return the number of nodes from the root to a leaf, 0 when empty. O(log n)."""
        if not self._nr:
            return 0
        depth, node = 1, self._nodes.root
        while not node.is_leaf:
            depth, node = depth + 1, node.slots[0]
        return depth

    def validate(self) -> None:
        """Check ``parent-link leaf-depth fill length order pivot summary``."""
        self._nodes.check(self._less, self._nr)

    def _walk(self, key: K) -> tuple[MapleNode[K], int]:
        """Return the leaf where `key` belongs, and its first slot whose key is not before `key`."""
        less = self._less
        node, nr, nr_nodes = self._nodes.root, 0, 1
        while True:
            pivots = node.pivots
            low, high = 0, len(pivots)
            while low < high:
                middle = (low + high) >> 1
                nr += 1
                if less(pivots[middle], key):
                    low = middle + 1
                else:
                    high = middle
            if node.is_leaf:
                break
            node = node.slots[low]
            nr_nodes += 1
        counters = self.counters
        counters.nr_comparisons += nr
        counters.nr_visits += nr_nodes
        return node, low

    def _holds(self, leaf: MapleNode[K], slot: int, key: K) -> bool:
        """Tell whether `slot`, where a walk to `key` ended, holds just that."""
        if slot == len(leaf.slots):
            return False
        self.counters.nr_comparisons += 1
        return not self._less(key, leaf.pivots[slot])

    def _find(self, key: K) -> tuple[MapleNode[K], int]:
        leaf, slot = self._walk(key)
        if not self._holds(leaf, slot, key):
            raise KeyError(key)
        return leaf, slot

    def _floor(self, key: K) -> tuple[MapleNode[K], int] | None:
        leaf, slot = self._walk(key)
        if self._holds(leaf, slot, key):
            return leaf, slot
        if slot:
            return leaf, slot - 1
        before, nr_nodes = neighbour(leaf, -1)
        self.counters.nr_visits += nr_nodes
        return None if before is None else (before, len(before.slots) - 1)

    def _edge(self, slot: int) -> MapleNode[K]:
        """Return the leaf that is reached through `slot` of every node."""
        node = self._nodes.root
        self.counters.nr_visits += 1
        while not node.is_leaf:
            node = node.slots[slot]
            self.counters.nr_visits += 1
        return node

    def _accepted(
        self, accept: Callable[[Any], bool], measure: Callable[[K, V], Any]
    ) -> Iterator[tuple[K, V]]:
        waiting = [self._nodes.root]
        while waiting:
            node = waiting.pop()
            self.counters.nr_visits += 1
            if node.is_leaf:
                for key, value in zip(node.pivots, node.slots, strict=True):
                    if accept(measure(key, value)):
                        yield key, value
            else:
                below = zip(node.slots, node.summaries, strict=True)
                waiting += [child for child, summary in below if accept(summary)][::-1]
