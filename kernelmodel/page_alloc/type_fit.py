"""Types of pageblocks fitted to the free lists: blocks trade types until the lists come out right.

Contents do not tell the type of a pageblock on a host with a history: one that was claimed for slab caches
may hold nothing but page cache by now. /proc/pagetypeinfo counts the free blocks on the lists of each type
by order, and kpageflags shows where free blocks lie. With the right types the one is the sum of the other.

How badly types fit is, in units of thousandths::

    misfit = sum over types and orders: weight[order] * |free blocks in its pageblocks - counted|
           + sum over pageblocks:       cost[pageblock, its type]

Two pageblocks that trade types leave the totals of types as they are. The fit makes the trade that
mends most, until there is none that mends anything.

Mirrors: nothing; it inverts what mm/vmstat.c: pagetypeinfo_showfree_print adds up.
Fidelity: before 6.10 a free page could be on the list of another type than its pageblock's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from kernelmodel.page_alloc.rebuild import FreeBlocks

NR_CANDIDATES: Final = 64
"""Of each type, pageblocks looked at for a trade: those that mend most alone, and as many cheapest."""

MAX_TRADES: Final = 1000


class TypeCounts(NamedTuple):
    """What /proc/pagetypeinfo counts of a zone, by `kernelmodel.migratetype.Migratetype`.

    Parameters
    ----------
    nr_pageblocks
        Pageblocks of each type.
    nr_free
        int64 (types, orders), free blocks on the lists of each type; -1 where that is not known.
    """

    nr_pageblocks: Sequence[int]
    nr_free: NDArray[np.int64]


class FreeLists(NamedTuple):
    """What the free lists hold, as counted and as found.

    Parameters
    ----------
    counted
        As `TypeCounts.nr_free`.
    found
        int64 (pageblocks, orders), free blocks in each pageblock, in parts.
    parts
        Parts of a free block: one that is larger than a pageblock is shared out.
    """

    counted: NDArray[np.int64]
    found: NDArray[np.int64]
    parts: int

    def weight(self) -> NDArray[np.int64]:
        """Return what a part of a free block is worth by order, int64 (orders).

        Pages that come and go between one file and the other make counts differ, most those of low orders.
        As many pages as differ in all types together may be anywhere; and large blocks, which come and go
        least, are worth most.
        """
        orders = np.arange(self.counted.shape[1])
        known = (self.counted >= 0).all(axis=0)
        differ = np.abs(self.found.sum(axis=0) // self.parts - self.counted.sum(axis=0))
        nr_pages = int((np.where(known, differ, 0) << orders).sum())
        weight: NDArray[np.int64] = 250 * (1 + orders) // ((1 + (nr_pages >> orders)) * self.parts)
        return weight

    def of(self, kept: NDArray[np.bool_] | slice) -> FreeLists:
        """Return the same of some pageblocks alone."""
        return self._replace(found=self.found[kept])

    def groups(self) -> list[NDArray[np.int64]]:
        """Return the pageblocks under each free block that is larger than one, (free blocks, pageblocks).

        An array for each order, the largest first.
        """
        found = []
        size, order = self.parts, self.found.shape[1] - 1
        while size > 1:
            rows = np.flatnonzero(self.found[:, order])
            found.append(rows[: len(rows) // size * size].reshape(-1, size))
            size, order = size >> 1, order - 1
        return found


def free_lists(
    counted: NDArray[np.int64], blocks: FreeBlocks, first_block: int, nr_blocks: int, pageblock_order: int
) -> FreeLists:
    """Return the free lists of a zone from its free blocks; O(free blocks).

    Parameters
    ----------
    counted
        As for `FreeLists`.
    blocks
        Free blocks of the zone.
    first_block, nr_blocks
        Number of its first pageblock, which is its pfn divided by a pageblock's pages, and how many it has.
    pageblock_order
        log2 of the frames in a pageblock.
    """
    parts = 1 << max(0, blocks.nr_orders - 1 - pageblock_order)
    at = (blocks.start_pfn >> pageblock_order) - first_block
    order = blocks.order.astype(np.int64)
    covered = np.int64(1) << np.maximum(0, order - pageblock_order)
    within = np.arange(int(covered.sum())) - np.repeat(np.cumsum(covered) - covered, covered)
    cell = (np.repeat(at, covered) + within) * blocks.nr_orders + np.repeat(order, covered)
    share = np.repeat(parts // covered, covered)
    found = np.bincount(cell, share, minlength=nr_blocks * blocks.nr_orders)
    return FreeLists(counted, found.astype(np.int64).reshape(nr_blocks, blocks.nr_orders), parts)


def keep_together(block_type: NDArray[np.uint8], lists: FreeLists, last: NDArray[np.bool_]) -> None:
    """Give the pageblocks under one free block one type, in place, as far as there are enough of each.

    A free block is on one list, and that of a type with few blocks lies where its pageblocks were claimed:
    where free memory is in short pieces rather than in a long one. Types change hands among these pageblocks
    alone.

    Parameters
    ----------
    block_type
        uint8, types by pageblock.
    lists
        The free lists.
    last
        Pageblocks that are not taken for the rarer types as long as there are others.
    """
    nr_free = (lists.found << np.arange(lists.found.shape[1])).sum(axis=1)
    piece = _run_lengths(nr_free == 1 << (lists.found.shape[1] - 1))
    for groups in lists.groups():
        size = groups.shape[1]
        types, counts = np.unique(block_type[groups], return_counts=True)
        rare_first = np.argsort(counts, kind="stable")
        whole, rest = counts[rare_first] // size * size, counts[rare_first] % size
        turn = np.lexsort((groups[:, 0], piece[groups[:, 0]], last[groups].any(axis=1)))
        dealt = np.append(np.repeat(types[rare_first], whole), np.repeat(types[rare_first], rest))
        block_type[groups[turn]] = dealt.reshape(groups.shape)


def _run_lengths(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the length of the run of equal values that each one is in.

    >>> _run_lengths(np.array([True, True, False, True])).tolist()
    [2, 2, 1, 1]
    """
    edges = np.flatnonzero(np.diff(chosen)) + 1
    lengths = np.diff(np.concatenate(([0], edges, [len(chosen)])))
    return np.repeat(lengths, lengths)


class Trade(NamedTuple):
    """Two pageblocks that may trade types.

    Parameters
    ----------
    worse
        By how many thousandths that fits worse; below 0 where it fits better.
    one, other
        The two.
    """

    worse: int
    one: int
    other: int


class Fit:
    """Pageblocks whose types are being fitted; O(pageblocks) for each trade.

    Parameters
    ----------
    block_type
        uint8, a first guess; the types are traded in place.
    cost
        int64 (pageblocks, types), what speaks against each type.
    lists
        The free lists.
    """

    def __init__(self, block_type: NDArray[np.uint8], cost: NDArray[np.int64], lists: FreeLists) -> None:
        self.block_type = block_type
        self._cost = cost
        self._found = lists.found
        self._weight = np.where(lists.counted >= 0, lists.weight(), 0)
        self._excess = -lists.parts * lists.counted
        for order in range(lists.found.shape[1]):
            inside = np.bincount(block_type, lists.found[:, order], minlength=len(self._excess))
            self._excess[:, order] += inside.astype(np.int64)

    def run(self) -> None:
        """Trade until no trade mends anything."""
        for _ in range(MAX_TRADES):
            best = min(self._all_trades(), default=None)
            if best is None or best.worse >= 0:
                return
            self._make(best)

    def alternatives(self, most: int) -> list[Trade]:
        """Return trades that fit worse by at most `most`, the likeliest first and none twice in a trade."""
        found, taken = [], set[int]()
        for trade in sorted(self._all_trades(most)):
            if not {trade.one, trade.other} & taken:
                taken |= {trade.one, trade.other}
                found.append(trade)
        return found

    def _make(self, trade: Trade) -> None:
        types = self.block_type
        moved = self._found[trade.other] - self._found[trade.one]
        self._excess[types[trade.one]] += moved
        self._excess[types[trade.other]] -= moved
        types[[trade.one, trade.other]] = types[[trade.other, trade.one]]

    def _all_trades(self, most: int | None = None) -> Iterator[Trade]:
        """Yield the best trade of each two types; with `most` all that fit worse by that much or less."""
        present = np.unique(self.block_type)
        for at, one_type in enumerate(present):
            for other_type in present[at + 1 :]:
                one, other = self._likeliest(one_type, other_type), self._likeliest(other_type, one_type)
                worse = self._worse(one, other)
                chosen = np.flatnonzero(worse <= (worse.min() if most is None else most))
                for i, j in zip(*np.unravel_index(chosen, worse.shape), strict=True):
                    yield Trade(int(worse[i, j]), int(one[i]), int(other[j]))

    def _likeliest(self, of_type: int, to_type: int) -> NDArray[np.int64]:
        """Return the pageblocks of a type that are looked at for another one, ascending."""
        blocks = np.flatnonzero(self.block_type == of_type)
        if len(blocks) <= 2 * NR_CANDIDATES:
            return blocks
        against = self._cost[blocks, to_type] - self._cost[blocks, of_type]
        held = self._found[blocks]
        alone = against + self._change(of_type, -held) + self._change(to_type, held)
        both = [np.argpartition(keys, NR_CANDIDATES)[:NR_CANDIDATES] for keys in (against, alone)]
        return blocks[np.union1d(*both)]

    def _worse(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return by how much each trade fits worse, int64 (one, other)."""
        one_type, other_type = self.block_type[one[0]], self.block_type[other[0]]
        moved = self._found[other][None] - self._found[one][:, None]
        against_one = self._cost[one, other_type] - self._cost[one, one_type]
        against_other = self._cost[other, one_type] - self._cost[other, other_type]
        lists = self._change(one_type, moved) + self._change(other_type, -moved)
        worse: NDArray[np.int64] = lists + against_one[:, None] + against_other
        return worse

    def _change(self, of_type: int, more: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return by how much lists fit worse with more free blocks; the last axis is orders."""
        excess, weight = self._excess[of_type], self._weight[of_type]
        change: NDArray[np.int64] = np.abs(more + excess) @ weight - np.abs(excess) @ weight
        return change
