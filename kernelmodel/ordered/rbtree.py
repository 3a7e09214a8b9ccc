"""The red-black tree, as the kernel balances it.

Mirrors: ``lib/rbtree.c: __rb_insert`` (cases 1 to 3), ``____rb_erase_color`` (cases 1 to 4);
``include/linux/rbtree_augmented.h: __rb_erase_augmented`` (its colours). Upper case in the drawings is black,
as there.

Fidelity: the same rotations and colours; left and right are one piece of code with the side as a value. No
cached leftmost node, no lockless readers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from kernelmodel.errors import InvariantError
from kernelmodel.ordered.binary import BinaryTree
from kernelmodel.ordered.protocol import K, V

if TYPE_CHECKING:
    from kernelmodel.ordered.links import Balance, Links, Node

RED: Final = 0
"""Tag of a red node (``RB_RED``)."""
BLACK: Final = 1
"""Tag of a black node (``RB_BLACK``)."""


class RedBlackBalance:
    """The colours: a red node has a black parent, every way from the root as many black nodes."""

    new_tag: ClassVar[int] = RED

    def inserted(self, links: Links[K, V], node: Node[K, V]) -> None:
        """Take colours and turns until no red node has a red parent."""
        while (parent := node.parent) is not None and parent.tag == RED:
            gparent = parent.parent
            assert gparent is not None  # the root is black
            is_left = parent is gparent.left
            uncle = gparent.right if is_left else gparent.left
            if uncle is not None and uncle.tag == RED:
                # Case 1, colour flips: G(p(n) u) -> g(P(n) U); g's parent may be red too.
                parent.tag = uncle.tag = BLACK
                gparent.tag = RED
                node = gparent
                continue
            if node is (parent.right if is_left else parent.left):
                # Case 2: n is the inner grandchild; turn it to the outside.
                links.rotate(parent, to_left=is_left)
            # Case 3: G(p(n) U) -> P(n g(U)).
            links.rotate(gparent, to_left=not is_left).tag = BLACK
            gparent.tag = RED
            return
        if parent is None:
            node.tag = BLACK

    def removed(
        self, links: Links[K, V], parent: Node[K, V] | None, child: Node[K, V] | None, tag: int
    ) -> None:
        """Give every way its number of black nodes back."""
        if child is not None:
            # An only child is red, and takes the place of its black parent.
            child.tag = BLACK
        elif tag == BLACK and parent is not None:
            _erase_color(links, parent)

    def check(self, nodes: list[Node[K, V]]) -> None:
        """Check ``root-color``, ``red-red`` and ``black-height``."""
        if nodes and nodes[-1].tag == RED:
            raise InvariantError("root-color", repr(nodes[-1].key), "the root is red")
        black_heights: dict[Node[K, V] | None, int] = {None: 0}
        for node in nodes:
            for child in (node.left, node.right):
                if node.tag == RED and child is not None and child.tag == RED:
                    raise InvariantError("red-red", repr(node.key), f"red, and so is its child {child.key!r}")
            left, right = black_heights[node.left], black_heights[node.right]
            if left != right:
                detail = f"{left} black nodes on ways to the left, {right} to the right"
                raise InvariantError("black-height", repr(node.key), detail)
            black_heights[node] = left + node.tag


def _erase_color(links: Links[K, V], parent: Node[K, V]) -> None:
    """Give ways through a place under `parent` the black node back that they lack."""
    node: Node[K, V] | None = None  # what stands in that place: nothing at first, later a black node
    while True:
        is_left = parent.left is node
        sibling = parent.right if is_left else parent.left
        assert sibling is not None  # ways through it have a black node more
        if sibling.tag == RED:
            # Case 1: P(N s(Sl Sr)) -> S(p(N Sl) Sr).
            links.rotate(parent, to_left=is_left).tag = BLACK
            parent.tag = RED
            sibling = parent.right if is_left else parent.left
            assert sibling is not None
        inner, outer = (sibling.left, sibling.right) if is_left else (sibling.right, sibling.left)
        if outer is None or outer.tag == BLACK:
            if inner is None or inner.tag == BLACK:
                # Case 2, colour flip: (p)(N S(Sl Sr)) -> (p)(N s(Sl Sr)).
                sibling.tag = RED
                if parent.tag == RED or parent.parent is None:
                    parent.tag = BLACK
                    return
                node, parent = parent, parent.parent
                continue
            # Case 3: (p)(N S(sl Sr)) -> (p)(N Sl(s(Sr))).
            sibling, outer = links.rotate(sibling, to_left=not is_left), sibling
        # Case 4: (p)(N S((sl) sr)) -> (s)(P(N (sl)) Sr).
        links.rotate(parent, to_left=is_left)
        sibling.tag, parent.tag, outer.tag = parent.tag, BLACK, BLACK
        return


class RedBlackTree(BinaryTree[K, V]):
    """A binary tree in which no way from the root is more than twice as long as another.

    At most 3 rotations for a removal and 2 for an insertion; depth at most ``2 * log2(n + 1)``.

    Examples
    --------
    >>> from operator import lt
    >>> tree = RedBlackTree(lt)
    >>> for pfn in range(100):
    ...     tree.insert(pfn, pfn * 4096)
    >>> tree.floor(1000), tree.depth()
    ((99, 405504), 11)
    """

    __slots__ = ()

    _balance: ClassVar[Balance] = RedBlackBalance()
