"""The objects of today's reverse map, inferred from a photograph: which file, which anon_vma.

/proc names the file that a VMA maps, and nothing of anonymous memory. But who shares a page at the same
linear offset has it from the same object, and a child has the VMAs of its parent::

    family ── parent ─┬─ child ── grandchild     each has an anon_vma for each backing (a private file, or
                      └─ child                   none); a VMA stands in its own and in those of its ancestors

Mirrors: ``mm/rmap.c: anon_vma_fork, anon_vma_clone``; ``mm/interval_tree.c: vma_interval_tree_iter_first,
anon_vma_interval_tree_iter_first``.

Fidelity: all VMAs of one backing in an address space share one anon_vma; ranges keep them apart. An offset
that mremap carried along is not seen. Children of parents that ended hang from the family itself, in which
the whole family stands, as in the one anon_vma that relatives shared up to 2.6.33.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.page_tables import VmaTable


@dataclass(frozen=True)
class Areas:
    """What a VMA maps, row for row as in `vmas`.

    Parameters
    ----------
    vmas
        Address space and range.
    backing
        int64, a number for each (device, inode); -1 for anonymous memory.
    pgoff
        int64, linear page offset of the first page: in the file, or for anonymous memory the virtual page,
        which is what ``vm_pgoff`` is until mremap moves the VMA. /proc shows 0 there.
    private
        bool, MAP_PRIVATE: written pages become anonymous.
    grows_down
        bool, VM_GROWSDOWN: a stack.
    """

    vmas: VmaTable
    backing: NDArray[np.int64]
    pgoff: NDArray[np.int64]
    private: NDArray[np.bool_]
    grows_down: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.vmas)


@dataclass(frozen=True)
class Kin:
    """Address spaces related by fork. Nodes are the address spaces, and behind them a family for each.

    Parameters
    ----------
    up
        int64, by node: that of the parent, of the family, or -1 above a family.
    member
        bool, by VMA: whether it stands in an anon_vma.
    """

    up: NDArray[np.int64]
    member: NDArray[np.bool_]

    @property
    def nr_mms(self) -> int:
        """Address spaces; a family's node is the number of its least member, counted from here on."""
        return len(self.up) // 2

    @cached_property
    def families(self) -> NDArray[np.int64]:
        """int64, by address space: the node of its family."""
        at = np.arange(self.nr_mms)
        while len(below := np.flatnonzero(at < self.nr_mms)):
            at[below] = self.up[at[below]]
        return at

    @cached_property
    def _orders(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """By node its place in a walk down the trees and the end of its subtree; by place the node."""
        below: list[list[int]] = [[] for _ in self.up]
        for node, above in enumerate(self.up.tolist()):
            if above >= 0:
                below[above].append(node)
        place, end = np.zeros((2, len(self.up)), np.int64)
        walk: list[int] = []
        waiting = np.flatnonzero(self.up < 0).tolist()
        while waiting:
            node = waiting.pop()
            if node < 0:
                end[~node] = len(walk)
                continue
            place[node] = len(walk)
            walk.append(node)
            waiting += [~node, *below[node]]
        return place, end, np.array(walk, np.int64)

    def common(
        self, mm: NDArray[np.int64], chosen: NDArray[np.bool_], first: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the lowest node that all chosen address spaces of each row descend from.

        Parameters
        ----------
        mm, chosen
            Address spaces, row by row, and which of them count: at least one in a row, all of one family.
        first
            Where each row begins in `mm`.
        """
        place, end, walk = self._orders
        if not len(first):
            return np.empty(0, np.int64)
        lowest = np.minimum.reduceat(np.where(chosen, place[mm], len(place)), first)
        highest = np.maximum.reduceat(np.where(chosen, place[mm], -1), first)
        node = walk[np.minimum(lowest, len(walk) - 1)]
        while len(short := np.flatnonzero(end[node] <= highest)):
            node[short] = self.up[node[short]]
        return node

    def links(self, areas: Areas) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the VMA and the node of every place that a VMA has in an anon_vma."""
        rows = np.flatnonzero(self.member)
        node = areas.vmas.mm[rows]
        vmas, nodes = [rows], [node]
        while len(rows):
            node = self.up[node]
            rows, node = rows[node >= 0], node[node >= 0]
            vmas.append(rows)
            nodes.append(node)
        return np.concatenate(vmas), np.concatenate(nodes)


def kin(
    areas: Areas,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    anonymous: NDArray[np.bool_],
    parent: NDArray[np.int64],
) -> Kin:
    """Infer families, and which VMAs have an anon_vma.

    Two address spaces are of one family if VMAs of the same backing map an anonymous frame at the same linear
    offset (`left` and `right` are the VMAs of such pairs), or if one is the other's parent and both have the
    same private VMA (range, backing, offset) with anonymous pages in at least one of the two.

    A private VMA stands in an anon_vma if it has anonymous pages, or if one of its family with the same
    backing and the same start or end has: a fork copies it, and a heap keeps its start, a stack its end.

    Parameters
    ----------
    anonymous
        bool, by VMA: it maps anonymous frames.
    parent
        int64, by address space: that of the parent process, -1 for none.
    """
    vmas = areas.vmas
    family = _families(areas, left, right, anonymous, parent)
    private = areas.private & vmas.listed
    member = anonymous & private
    related = member.copy()
    for side in (vmas.start_vpn, vmas.end_vpn):
        code = codes(family[vmas.mm], areas.backing, side)
        having = np.zeros(int(code.max(initial=0)) + 1, np.bool_)
        having[code[member]] = True
        related |= having[code] & private
    nr = len(parent)
    up = np.append(family + nr, np.full(nr, -1))
    near = np.flatnonzero((parent >= 0) & (family[parent] == family))
    for mm in near.tolist():
        # Nobody descends from itself, even if address spaces that processes share make it look so.
        above = int(parent[mm])
        at = above
        while at < nr and at != mm:
            at = int(up[at])
        if at != mm:
            up[mm] = above
    return Kin(up, related)


def _families(
    areas: Areas,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    anonymous: NDArray[np.bool_],
    parent: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the least address space that each one is related with."""
    vmas = areas.vmas
    pair = (areas.backing[left] == areas.backing[right]) & (vmas.mm[left] != vmas.mm[right])
    twin = codes(vmas.start_vpn, vmas.end_vpn, areas.pgoff, areas.backing)
    nr_twins = int(twin.max(initial=0)) + 1
    private = np.flatnonzero(areas.private & vmas.listed)
    key = vmas.mm[private] * nr_twins + twin[private]
    order = np.argsort(key)
    wanted = parent[vmas.mm[private]] * nr_twins + twin[private]
    at = np.minimum(np.searchsorted(key[order], wanted), max(len(key) - 1, 0))
    theirs = order[at]
    both = (key[theirs] == wanted) & (anonymous[private] | anonymous[private[theirs]])
    one = np.concatenate((vmas.mm[left[pair]], vmas.mm[private[both]]))
    other = np.concatenate((vmas.mm[right[pair]], vmas.mm[private[theirs[both]]]))
    return components(len(parent), one, other)


def files(areas: Areas, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the file of each VMA, -1 without one.

    Two (device, inode) that map one page of page cache at the same offset are one file under two names, as
    overlayfs makes them.
    """
    one, other = areas.backing[left], areas.backing[right]
    named = (one >= 0) & (other >= 0) & (one != other)
    names = components(int(areas.backing.max(initial=-1)) + 2, one[named], other[named])
    return np.where(areas.backing >= 0, names[areas.backing], -1)


def stab_counts(
    group: NDArray[np.int64],
    first: NDArray[np.int64],
    end: NDArray[np.int64],
    at_group: NDArray[np.int64],
    at: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return how many half-open ranges of its group hold each point. O((ranges + points) log ranges).

    >>> group, first, end = np.array([0, 0, 1]), np.array([0, 4, 0]), np.array([5, 9, 9])
    >>> stab_counts(group, first, end, np.array([0, 0, 1, -1]), np.array([4, 5, 4, 4])).tolist()
    [2, 1, 1, 0]
    """
    edges = np.unique(np.concatenate((first, end)))
    width = len(edges) + 1

    def place(groups: NDArray[np.int64], points: NDArray[np.int64]) -> NDArray[np.int64]:
        placed: NDArray[np.int64] = groups * width + np.searchsorted(edges, points, side="right")
        return placed

    points = place(at_group, at)
    begun = np.searchsorted(np.sort(place(group, first)), points, side="right")
    ended = np.searchsorted(np.sort(place(group, end)), points, side="right")
    held: NDArray[np.int64] = begun - ended
    return held


def components(nr: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the smallest node that each of `nr` nodes is connected with.

    >>> components(5, np.array([1, 4]), np.array([2, 1])).tolist()
    [0, 1, 1, 3, 1]
    """
    pairs = np.unique(left * nr + right)
    left, right = pairs // nr, pairs % nr
    root = np.arange(nr)
    while len(apart := np.flatnonzero(root[left] != root[right])):
        one, other = root[left[apart]], root[right[apart]]
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while (root != (higher := root[root])).any():
            root = higher
    return root


def codes(*columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number for each row, the same for equal rows."""
    if not len(columns[0]):
        return np.empty(0, np.int64)
    code: NDArray[np.int64] = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1]
    return code.reshape(-1)
