"""The links of a binary search tree: nodes, rotation, taking a node out, summaries along a way.

Mirrors: ``lib/rbtree.c: rb_next, rb_prev``; ``include/linux/rbtree_augmented.h: __rb_change_child``, the
relinking half of ``__rb_erase_augmented``, ``RB_DECLARE_CALLBACKS`` (propagate, copy, rotate). As there,
nothing in here compares keys.

Fidelity: a node has its entry inside, instead of being inside the entry; the colour is not packed into the
parent pointer. No lockless readers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol

from kernelmodel.errors import InvariantError
from kernelmodel.ordered.protocol import Counters, K, V

if TYPE_CHECKING:
    from kernelmodel.ordered.protocol import Augment


class Node(Generic[K, V]):
    """One entry in the tree; `tag` is what the balancing keeps in it, a colour or a height."""

    __slots__ = ("key", "left", "parent", "right", "summary", "tag", "value")

    def __init__(self, key: K, value: V, parent: Node[K, V] | None, tag: int) -> None:
        self.key = key
        self.value = value
        self.parent = parent
        self.left: Node[K, V] | None = None
        self.right: Node[K, V] | None = None
        self.tag = tag
        self.summary: Any = None


class Balance(Protocol):
    """What makes a search tree red-black or AVL."""

    @property
    def new_tag(self) -> int:
        """Return the tag of a new node without children."""

    def inserted(self, links: Links[K, V], node: Node[K, V]) -> None:
        """Restore the balance after `node` was linked."""

    def removed(
        self, links: Links[K, V], parent: Node[K, V] | None, child: Node[K, V] | None, tag: int, /
    ) -> None:
        """Restore the balance after a node tagged `tag` between `parent` and `child` was taken out."""

    def check(self, nodes: list[Node[K, V]]) -> None:
        """Raise InvariantError if the tree breaks a rule of balance; children stand before their parents."""


class Links(Generic[K, V]):
    """The root and what is done to links below it.

    Parameters
    ----------
    augment
        The summary to keep in every node. Summaries are compared with ``==``.
    """

    __slots__ = ("augment", "counters", "root")

    def __init__(self, augment: Augment[K, V] | None) -> None:
        self.augment = augment
        self.counters = Counters()
        self.root: Node[K, V] | None = None

    def rotate(self, node: Node[K, V], *, to_left: bool) -> Node[K, V]:
        r"""Let a child rise above `node`, the right one in a rotation to the left; return it.

        ::

              n             r
             / \           / \
            a   r   -->   n   c      to_left
               / \       / \
              b   c     a   b
        """
        if to_left:
            assert node.right is not None
            rising, child = node.right, node.right.left
            node.right, rising.left = child, node
        else:
            assert node.left is not None
            rising, child = node.left, node.left.right
            node.left, rising.right = child, node
        if child is not None:
            child.parent = node
        rising.parent = node.parent
        self._change_child(node, rising, node.parent)
        node.parent = rising
        self.counters.nr_rotations += 1
        if self.augment is not None:
            rising.summary = node.summary
            node.summary = self.fold(node)
        return rising

    def unlink(self, node: Node[K, V]) -> tuple[Node[K, V] | None, Node[K, V] | None, int]:
        """Take `node` out of the tree, its successor in its place if it has two children.

        Returns
        -------
        tuple
            What the balancing needs: parent and child of the place that is gone, and the tag it had.
        """
        left, right = node.left, node.right
        if left is None or right is None:
            child, parent, tag = (left or right), node.parent, node.tag
            self._change_child(node, child, parent)
            successor = None
        else:
            successor = right
            while successor.left is not None:
                successor = successor.left
            child, parent, tag = successor.right, successor.parent, successor.tag
            if parent is node:
                parent = successor
            else:
                assert parent is not None
                parent.left = child
                successor.right, right.parent = right, successor
            successor.left, left.parent = left, successor
            successor.tag, successor.summary, successor.parent = node.tag, node.summary, node.parent
            self._change_child(node, successor, node.parent)
        if child is not None:
            child.parent = parent
        if self.augment is not None:
            self.propagate(parent, successor)
            self.propagate(successor, None)
        return parent, child, tag

    def fold(self, node: Node[K, V]) -> Any:
        """Return the summary of the subtree from its entry and its children's summaries."""
        assert self.augment is not None
        summary = self.augment.measure(node.key, node.value)
        if node.left is not None:
            summary = self.augment.combine(node.left.summary, summary)
        if node.right is not None:
            summary = self.augment.combine(summary, node.right.summary)
        return summary

    def propagate(self, node: Node[K, V] | None, stop: Node[K, V] | None) -> None:
        """Recompute summaries upwards until one does not change, at most up to `stop`."""
        while node is not stop and node is not None:
            summary = self.fold(node)
            if summary == node.summary:
                return
            node.summary = summary
            node = node.parent

    def nodes(self, nr: int) -> list[Node[K, V]]:
        """Return all nodes, children before their parents; check links and length."""
        nodes: list[Node[K, V]] = []
        waiting: list[tuple[Node[K, V], Node[K, V] | None]] = []
        if self.root is not None:
            waiting.append((self.root, None))
        while waiting:
            node, parent = waiting.pop()
            if node.parent is not parent:
                detail = f"hangs under {_name(parent)} but names {_name(node.parent)}"
                raise InvariantError("parent-link", repr(node.key), detail)
            nodes.append(node)
            waiting += [(child, node) for child in (node.left, node.right) if child is not None]
        if len(nodes) != nr:
            raise InvariantError("length", "tree", f"{len(nodes)} nodes, {nr} counted")
        return nodes[::-1]

    def _change_child(self, old: Node[K, V], new: Node[K, V] | None, parent: Node[K, V] | None) -> None:
        if parent is None:
            self.root = new
        elif parent.left is old:
            parent.left = new
        else:
            parent.right = new


def next_node(node: Node[K, V]) -> Node[K, V] | None:
    """Return the node after `node` in order."""
    if node.right is not None:
        node = node.right
        while node.left is not None:
            node = node.left
        return node
    while (parent := node.parent) is not None and node is parent.right:
        node = parent
    return parent


def prev_node(node: Node[K, V]) -> Node[K, V] | None:
    """Return the node before `node` in order."""
    if node.left is not None:
        node = node.left
        while node.right is not None:
            node = node.right
        return node
    while (parent := node.parent) is not None and node is parent.left:
        node = parent
    return parent


def _name(node: Node[K, V] | None) -> str:
    return "no node" if node is None else repr(node.key)
