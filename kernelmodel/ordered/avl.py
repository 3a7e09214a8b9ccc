"""The AVL tree: stricter balance than red-black, for more rotations.

Mirrors: nothing in the kernel, which chose red-black trees (``Documentation/core-api/rbtree.rst`` says why).
It stands behind the same interface so that the choice can be measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from kernelmodel.errors import InvariantError
from kernelmodel.ordered.binary import BinaryTree
from kernelmodel.ordered.protocol import K, V

if TYPE_CHECKING:
    from kernelmodel.ordered.links import Balance, Links, Node


class AvlBalance:
    """The heights: those of two sisters differ by 1 at most."""

    new_tag: ClassVar[int] = 1

    def inserted(self, links: Links[K, V], node: Node[K, V]) -> None:
        """Grow the heights above `node` and turn where they part."""
        _retrace(links, node.parent)

    def removed(
        self, links: Links[K, V], parent: Node[K, V] | None, _child: Node[K, V] | None, _tag: int
    ) -> None:
        """Shrink the heights from `parent` upwards and turn where they part."""
        _retrace(links, parent)

    def check(self, nodes: list[Node[K, V]]) -> None:
        """Check ``height`` and ``balance``."""
        for node in nodes:
            left, right = _height(node.left), _height(node.right)
            if node.tag != 1 + max(left, right):
                detail = f"says {node.tag} over children of {left} and {right}"
                raise InvariantError("height", repr(node.key), detail)
            if abs(left - right) > 1:
                raise InvariantError("balance", repr(node.key), f"children of heights {left} and {right}")


def _retrace(links: Links[K, V], node: Node[K, V] | None) -> None:
    """Restore heights and balance from `node` upwards, until a height stays as it was."""
    while node is not None:
        before = node.tag
        left, right = _height(node.left), _height(node.right)
        if left > right + 1:
            node = _raise(links, node, is_left=True)
        elif right > left + 1:
            node = _raise(links, node, is_left=False)
        else:
            node.tag = 1 + max(left, right)
        if node.tag == before:
            return
        node = node.parent


def _raise(links: Links[K, V], node: Node[K, V], *, is_left: bool) -> Node[K, V]:
    r"""Raise the child that is too high above `node` and return what stands in its place now.

    ::

          n              c                    n              g
         / \            / \                  / \           /   \
        c   .   -->    g   n        or      c   .   -->   c     n
       / \                / \              / \           / \   / \
      g   a              a   .            .   g         .   x y   .
    """
    child = node.left if is_left else node.right
    assert child is not None
    inner, outer = (child.right, child.left) if is_left else (child.left, child.right)
    if _height(inner) > _height(outer):
        _measure(links.rotate(child, to_left=is_left))
    top = links.rotate(node, to_left=not is_left)
    _measure(top)
    return top


def _height(node: Node[K, V] | None) -> int:
    return 0 if node is None else node.tag


def _measure(top: Node[K, V]) -> None:
    """Set the heights of `top` and its children, which a rotation has moved."""
    for node in (top.left, top.right, top):
        if node is not None:
            node.tag = 1 + max(_height(node.left), _height(node.right))


class AvlTree(BinaryTree[K, V]):
    """A binary tree in which the heights of two sister subtrees differ by 1 at most.

    At most 2 rotations for an insertion, one or two a level for a removal; depth at most
    ``1.44 * log2(n + 2)``.

    Examples
    --------
    >>> from operator import lt
    >>> tree = AvlTree(lt)
    >>> for pfn in range(100):
    ...     tree.insert(pfn, pfn * 4096)
    >>> tree.floor(1000), tree.depth()
    ((99, 405504), 7)
    """

    __slots__ = ()

    _balance: ClassVar[Balance] = AvlBalance()
