"""What finding a VMA costs in a list and in each ordered map, by the number of VMAs and holes alone.

Keys are the last bytes of ranges and a look-up goes to the first that is not below the address, as in
``find_vma``. Keys are inserted in order, as fork copies them (``kernel/fork.c: dup_mmap``). So the shape of a
tree depends on their number only, and a look-up costs the same for every address in a VMA.

In the maple tree holes take slots too, and nodes above the leaves keep the largest hole, as in ``mm->mm_mt``;
the others hold VMAs alone.
"""

from __future__ import annotations

from functools import cache
from operator import lt
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.ordered import TREES, Augment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vmprobe.tables import Snapshot

LIST: Final = "list"
"""The yardstick: one VMA after the other, as in 1998 below `AVL_MIN_MAP_COUNT`."""
AVL_MIN_MAP_COUNT: Final = 32
"""Linux 2.2 made a tree for an address space with this many VMAs, and walked a list below."""
NAMES: Final = (LIST, "avl", "rbtree", "maple", "sortedarray")
"""In the order of the years, the array for comparison last."""
MAPLE: Final = "maple"
MAPLE_NODE_BYTES: Final = 256
"""``struct maple_node`` on 64-bit machines."""
VMA_BYTES: Final = {LIST: 8, "avl": 32, "rbtree": 40, "sortedarray": 16}
"""Bytes for each VMA, with the list that went with the tree. ``list``: ``vm_next``. ``avl``: that, and
``vm_avl_height``, ``vm_avl_left``, ``vm_avl_right``. ``rbtree``: ``vm_rb``, ``vm_next``, ``vm_prev``; the
largest gap, kept from 3.8 to 6.0, took 8 more. ``sortedarray``: a key and a pointer."""


class Shape(NamedTuple):
    """An ordered map of some keys.

    Parameters
    ----------
    depth
        Nodes on the longest way from the root; of a list, its length.
    nr_nodes
        Nodes.
    comparisons, visits
        int64, what finding each key costs.
    """

    depth: int
    nr_nodes: int
    comparisons: NDArray[np.int64]
    visits: NDArray[np.int64]


@cache
def shape(name: str, nr: int) -> Shape:
    """Return the shape of a map of `nr` keys.

    >>> shape("list", 3).comparisons.tolist(), shape("rbtree", 7).depth, shape("maple", 17).nr_nodes
    ([1, 2, 3], 4, 3)
    """
    if name == LIST:
        each = np.arange(1, nr + 1)
        return Shape(nr, nr, each, each)
    # Any summary will do to give the nodes above the leaves their ten slots.
    augment = Augment[int, None](lambda _key, _value: 0, max) if name == MAPLE else None
    tree = TREES[name](lt, augment)
    for key in range(nr):
        tree.insert(key, None)
    counters = tree.counters
    nr_nodes = nr
    if augment is not None:
        counters.nr_visits = 0
        for _ in tree.prune(lambda _summary: True):
            pass
        nr_nodes = counters.nr_visits
    costs = np.empty((2, nr), np.int64)
    for key in range(nr):
        counters.nr_comparisons = counters.nr_visits = 0
        tree.ceiling(key)
        costs[:, key] = counters.nr_comparisons, counters.nr_visits
    return Shape(tree.depth(), nr_nodes, costs[0], costs[1])


class TreeCost(NamedTuple):
    """One kind of map over one address space.

    Parameters
    ----------
    depth
        Nodes on the longest way; of a list, its length.
    nr_bytes
        Memory.
    nr_comparisons, nr_visits
        Of all look-ups together.
    """

    depth: int
    nr_bytes: int
    nr_comparisons: int
    nr_visits: int


def tree_cost(
    name: str, start: NDArray[np.uint64], end: NDArray[np.uint64], nr_lookups: NDArray[np.int64]
) -> TreeCost:
    """Return what a kind of map costs.

    Parameters
    ----------
    name
        One of `NAMES`.
    start, end
        Addresses of the VMAs, ascending.
    nr_lookups
        How often an address in each of them is looked up.
    """
    nr = len(start)
    key = np.arange(nr)
    nr_keys = nr
    if name == MAPLE:
        # Holes: before the first, between two that do not touch, behind the last up to the highest address.
        after_hole = start > np.concatenate((np.zeros(1, end.dtype), end))[:nr]
        key = key + np.cumsum(after_hole)
        nr_keys = nr + int(np.count_nonzero(after_hole)) + 1
    made = shape(name, nr_keys)
    nr_bytes = made.nr_nodes * MAPLE_NODE_BYTES if name == MAPLE else nr * VMA_BYTES[name]
    return TreeCost(
        made.depth,
        nr_bytes,
        int((made.comparisons[key] * nr_lookups).sum()),
        int((made.visits[key] * nr_lookups).sum()),
    )


def pages_by_vma(snapshot: Snapshot, kind: str) -> NDArray[np.int64] | None:
    """Return the entries of `kind` found in each VMA; None where the page tables were not read."""
    if not snapshot.has("mappings"):
        return None
    nr = len(snapshot.table("vmas", ("vma",)))
    table = snapshot.table("mappings", ("vma", "nr_pages", "kind"))
    if not table.has("vma"):
        return np.zeros(nr, np.int64)
    chosen = table.equals("kind", kind) & table.is_valid("vma")
    vma = table.column("vma")[chosen].astype(np.int64)
    pages: NDArray[np.int64] = np.zeros(nr, np.int64)
    np.add.at(pages, vma, table.column("nr_pages")[chosen].astype(np.int64))
    return pages
