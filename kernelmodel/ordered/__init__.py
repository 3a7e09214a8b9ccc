"""Ordered maps behind one interface: the order and the augmentation come from the caller."""

from typing import Final

from kernelmodel.ordered.avl import AvlTree
from kernelmodel.ordered.maple import MapleTree
from kernelmodel.ordered.protocol import Augment, Counters, MapFactory, OrderedMap
from kernelmodel.ordered.rbtree import RedBlackTree
from kernelmodel.ordered.sortedarray import SortedArray

__all__ = [
    "TREES",
    "Augment",
    "AvlTree",
    "Counters",
    "MapFactory",
    "MapleTree",
    "OrderedMap",
    "RedBlackTree",
    "SortedArray",
]

TREES: Final[dict[str, MapFactory]] = {
    "rbtree": RedBlackTree,
    "avl": AvlTree,
    "maple": MapleTree,
    "sortedarray": SortedArray,
}
"""Every kind of ordered map by its name."""
