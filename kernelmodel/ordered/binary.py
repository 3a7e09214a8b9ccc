"""The ordered map over a binary search tree; how the tree is balanced comes from outside.

Mirrors: ``include/linux/rbtree.h: rb_find, rb_find_first``; ``lib/rbtree.c: rb_first, rb_last``.

Fidelity: the kernel's caller walks down with its own comparison of two or three results; here `less` is
called once a level, and once more at the end to tell equal from greater.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic

from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.ordered.links import Links, Node, next_node, prev_node
from kernelmodel.ordered.protocol import K, V

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernelmodel.ordered.links import Balance
    from kernelmodel.ordered.protocol import Augment


class BinaryTree(Generic[K, V]):
    """A binary search tree whose subclasses say how it is balanced.

    Search, insertion and removal cost O(depth). Do not change the map while iterating over it.

    Parameters
    ----------
    less
        The order: strict, total on the keys in the map.
    augment
        The summary to keep for every subtree. Summaries are compared with ``==``.
    """

    __slots__ = ("_less", "_links", "_nr", "counters")

    _balance: ClassVar[Balance]

    def __init__(self, less: Callable[[K, K], bool], augment: Augment[K, V] | None = None) -> None:
        self._less = less
        self._links = Links(augment)
        self._nr = 0
        self.counters = self._links.counters

    def __len__(self) -> int:
        return self._nr

    def insert(self, key: K, value: V) -> None:
        """Add an entry; KeyError if the key is there."""
        less = self._less
        node, parent, before, is_left, nr = self._links.root, None, None, False, 0
        while node is not None:
            nr += 1
            parent = node
            is_left = less(key, node.key)
            if is_left:
                node = node.left
            else:
                before = node
                node = node.right
        self._count(nr)
        if before is not None and self._is(before, key):
            raise KeyError(key)
        new = Node(key, value, parent, self._balance.new_tag)
        if parent is None:
            self._links.root = new
        elif is_left:
            parent.left = new
        else:
            parent.right = new
        self._nr += 1
        if self._links.augment is not None:
            new.summary = self._links.augment.measure(key, value)
            self._links.propagate(parent, None)
        self._balance.inserted(self._links, new)

    def remove(self, key: K) -> V:
        """Take an entry out and return its value; KeyError if there is none."""
        node = self._find(key)
        self._nr -= 1
        self._balance.removed(self._links, *self._links.unlink(node))
        return node.value

    def get(self, key: K) -> V | None:
        """Return the value of `key`, None if there is none."""
        node = self._floor(key)
        return node.value if node is not None and self._is(node, key) else None

    def floor(self, key: K) -> tuple[K, V] | None:
        """Return the last entry whose key is not after `key`."""
        return _entry(self._floor(key))

    def ceiling(self, key: K) -> tuple[K, V] | None:
        """Return the first entry whose key is not before `key`."""
        return _entry(self._ceiling(key))

    def first(self) -> tuple[K, V] | None:
        """Return the first entry."""
        return _entry(self._first())

    def last(self) -> tuple[K, V] | None:
        """Return the last entry."""
        return _entry(self._last())

    def items(self, start: K | None = None) -> Iterator[tuple[K, V]]:
        """Iterate entries in order, from the first whose key is not before `start`."""
        node = self._first() if start is None else self._ceiling(start)
        while node is not None:
            yield node.key, node.value
            node = next_node(node)

    def reversed_items(self, start: K | None = None) -> Iterator[tuple[K, V]]:
        """Iterate entries backwards, from the last whose key is not after `start`."""
        node = self._last() if start is None else self._floor(start)
        while node is not None:
            yield node.key, node.value
            node = prev_node(node)

    def refresh(self, key: K) -> None:
        """Take note that what `measure` returns for this entry has changed; KeyError if there is none."""
        node: Node[K, V] | None = self._find(key)
        if self._links.augment is None:
            return
        # All the way up: a rotation since the change may have carried the old measure past this node.
        while node is not None:
            node.summary = self._links.fold(node)
            node = node.parent

    def summary(self) -> Any:
        """Return the summary of all entries, None when empty or without augmentation. O(1)."""
        return None if self._links.root is None else self._links.root.summary

    def prune(self, accept: Callable[[Any], bool]) -> Iterator[tuple[K, V]]:
        """Iterate in order the entries with an accepted summary; ModelError without augmentation."""
        if self._links.augment is None:
            raise ModelError("prune needs an augmentation")
        return self._accepted(accept, self._links.augment.measure)

    def depth(self) -> int:
        """Return the number of nodes on the longest way from the root, 0 when empty. O(n)."""
        depth, level = 0, [self._links.root] if self._links.root is not None else []
        while level:
            depth += 1
            level = [child for node in level for child in (node.left, node.right) if child is not None]
        return depth

    def validate(self) -> None:
        """Check ``parent-link``, ``length``, ``order``, the rules of balance, ``summary``."""
        nodes = self._links.nodes(self._nr)
        before, node = None, self._links.root
        while node is not None and node.left is not None:
            node = node.left
        while node is not None:
            if before is not None and not self._less(before.key, node.key):
                raise InvariantError("order", repr(node.key), f"stands after {before.key!r}")
            before, node = node, next_node(node)
        self._balance.check(nodes)
        if self._links.augment is not None:
            for node in nodes:
                if node.summary != (found := self._links.fold(node)):
                    detail = f"holds {node.summary!r}, its entry and children give {found!r}"
                    raise InvariantError("summary", repr(node.key), detail)

    def _count(self, nr: int) -> None:
        counters = self.counters
        counters.nr_comparisons += nr
        counters.nr_visits += nr

    def _is(self, floor: Node[K, V], key: K) -> bool:
        """Tell whether `floor`, which is not after `key`, is just that."""
        self.counters.nr_comparisons += 1
        return not self._less(floor.key, key)

    def _find(self, key: K) -> Node[K, V]:
        node = self._floor(key)
        if node is None or not self._is(node, key):
            raise KeyError(key)
        return node

    def _floor(self, key: K) -> Node[K, V] | None:
        less = self._less
        node, found, nr = self._links.root, None, 0
        while node is not None:
            nr += 1
            if less(key, node.key):
                node = node.left
            else:
                found = node
                node = node.right
        self._count(nr)
        return found

    def _ceiling(self, key: K) -> Node[K, V] | None:
        less = self._less
        node, found, nr = self._links.root, None, 0
        while node is not None:
            nr += 1
            if less(node.key, key):
                node = node.right
            else:
                found = node
                node = node.left
        self._count(nr)
        return found

    def _first(self) -> Node[K, V] | None:
        node, found = self._links.root, None
        while node is not None:
            self.counters.nr_visits += 1
            found, node = node, node.left
        return found

    def _last(self) -> Node[K, V] | None:
        node, found = self._links.root, None
        while node is not None:
            self.counters.nr_visits += 1
            found, node = node, node.right
        return found

    def _accepted(
        self, accept: Callable[[Any], bool], measure: Callable[[K, V], Any]
    ) -> Iterator[tuple[K, V]]:
        above: list[Node[K, V]] = []
        node = self._links.root
        while True:
            while node is not None:
                self.counters.nr_visits += 1
                if not accept(node.summary):
                    break
                above.append(node)
                node = node.left
            if not above:
                return
            node = above.pop()
            if accept(measure(node.key, node.value)):
                yield node.key, node.value
            node = node.right


def _entry(node: Node[K, V] | None) -> tuple[K, V] | None:
    return None if node is None else (node.key, node.value)
