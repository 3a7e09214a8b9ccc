"""Blocks of several orders at once, at the least cost in copies: a recurrence over the tree of windows.

Windows of all orders lie in one another like the nodes of a binary tree, and blocks that are wanted together
must not overlap. So a window of order 10 is either taken as a whole or passes the demand on to its halves::

    least[window][k9, k10] = min( least of its parts, added up over all ways to share k9 and k10,
                                  copies of the window itself, for k10 = 1 )

To take the largest order first is not exact: the cheapest window of order 10 may consist of the two cheapest
of order 9, which cost less apart.

**What is wanted is what there is to be in all.** Blocks that are free now cost nothing and count; a free
block of order 10 counts as one of order 10 or two of order 9, not as both. (Of one order, `plan` counts what
is gained beyond: which of several orders a free block belongs to would be a guess.)

Mirrors: nothing.
Fidelity: as `kernelmodel.compaction.planner`: exact where folios find runs or can be split.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.compaction.placement import outcome, place_chosen
from kernelmodel.compaction.windows import buddy_windows
from kernelmodel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from kernelmodel.compaction.result import Outcome
    from kernelmodel.compaction.windows import Windows
    from kernelmodel.compaction.zone_layout import ZoneLayout

    Vector = tuple[int, ...]

NEVER: Final = 1 << 40
"""Copies of what cannot be had; more than any zone has frames, and far below the end of int64."""
MAX_CELLS: Final = 1 << 28
"""Most cells of one level's tables: 2 GiB."""
MAX_TABLE: Final = 1 << 15
"""Most cells of the parts' tables of one window: their numbers are kept in 16 bits."""


def plan_orders(layout: ZoneLayout, wanted: Mapping[int, int]) -> Outcome:
    """Clear the cheapest disjoint windows so that there are so many free blocks of each order at once.

    Parameters
    ----------
    layout
        The zone.
    wanted
        Order to blocks, in all: those that are free now count.

    Returns
    -------
    Outcome
        Of the largest order. ``infeasible`` with as much memory in such blocks as there can be, where not all
        can be had.

    Raises
    ------
    ModelError
        An order is none of the zone's, nothing is wanted, or so many orders and blocks are that the tables
        would be larger than `MAX_CELLS`.
    """
    tree = Tree(layout, {order: nr for order, nr in sorted(wanted.items()) if nr > 0})
    had: Vector = ()

    def choose(allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        nonlocal had
        had, rows = tree.cheapest(allowed)
        return rows, np.empty(0, np.int64)

    placed = place_chosen(layout, tree.found, choose, keep_free=False)
    lacking = (tree.pages(tree.wanted) - tree.pages(had)) >> tree.orders[0]
    done = len(placed.rows)
    no_room = tree.pages(tree.wanted) > tree.room_pages
    found = outcome(
        layout,
        tree.found,
        placed,
        strategy="plan",
        nr_blocks=done + lacking,
        nr_candidates=done + lacking * no_room,
    )
    return replace(found, order=tree.orders[-1])


class Tree:
    """Windows of all wanted orders and what each costs for each demand.

    Parameters
    ----------
    layout
        The zone.
    wanted
        Order to blocks, ascending, each above 0.
    """

    def __init__(self, layout: ZoneLayout, wanted: Mapping[int, int]) -> None:
        if not wanted:
            raise ModelError("no block of any order is wanted")
        self.orders, self.wanted = tuple(wanted), tuple(wanted.values())
        buddy_windows(layout, self.orders[-1])
        self.found: Windows = buddy_windows(layout, self.orders[0])
        self.room_pages = int(self.found.free.sum()) - layout.wmark_min - (1 << self.orders[-1])

    def cheapest(self, allowed: NDArray[np.bool_]) -> tuple[Vector, NDArray[np.int64]]:
        """Return how many blocks of each order there can be, and the windows of the lowest order in them.

        Parameters
        ----------
        allowed
            bool, windows of the lowest order that may be taken.
        """
        levels = self._levels(allowed)
        top = levels[-1]
        kept = self._useful(top)
        least, choices = _share(top[kept], self.wanted)
        had = self.wanted
        if not self._fits(had, least):
            had = max(
                (k for k in product(*(range(nr + 1) for nr in self.wanted)) if self._fits(k, least)),
                key=lambda k: (self.pages(k), -int(least[k])),
            )
        rows: list[int] = []
        for node, each in zip(kept.tolist(), _shares(top[kept], choices, had), strict=True):
            self._take(levels, len(levels) - 1, node, each, rows)
        return had, np.array(sorted(rows), np.int64)

    def pages(self, k: Vector) -> int:
        """Return the frames in so many blocks of each order."""
        return sum(nr << order for nr, order in zip(k, self.orders, strict=True))

    def _fits(self, k: Vector, least: NDArray[np.int64]) -> bool:
        """Return whether so many blocks can be had; what has to move is room for the rest, as in `curve`."""
        return not any(k) or (int(least[k]) < NEVER and self.pages(k) <= self.room_pages)

    def _levels(self, allowed: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
        """Return for each order the least copies, int64 (windows, blocks of the lowest order + 1, ...)."""
        open_ = (self.found.immovable == 0) & allowed
        copies = np.where(open_, self.found.movable, NEVER)
        levels: list[NDArray[np.int64]] = []
        for level, order in enumerate(self.orders):
            if level:
                each = 1 << (order - self.orders[level - 1])
                copies = copies.reshape(-1, each).sum(axis=1)
                below = levels[-1].reshape(-1, each, *levels[-1].shape[1:])
                limit = tuple(
                    min(nr, 1 << (order - lower))
                    for nr, lower in zip(self.wanted[:level], self.orders[:level], strict=True)
                )
                merged = _merged(below, limit)
            else:
                merged = np.zeros(len(copies), np.int64)
            table = np.full((*merged.shape, 2), NEVER, np.int64)
            table[..., 0] = merged
            table[_cell(*(0,) * level, 1)] = copies
            levels.append(np.minimum(table, NEVER))
        return levels

    def _useful(self, top: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the largest windows that some best answer is made of.

        As many of them as blocks are used at most. Had one part in it that is not among so many cheapest for
        what it gives, one of those would be unused, and could give the same for no more.
        """
        nr = min(sum(self.wanted), len(top))
        table = top.reshape(len(top), -1)
        kept = {
            int(row)
            for cell in range(1, table.shape[1])
            for row in np.argpartition(table[:, cell], nr - 1)[:nr]
        }
        return np.array(sorted(kept), np.int64)

    def _take(
        self, levels: list[NDArray[np.int64]], level: int, node: int, k: Vector, rows: list[int]
    ) -> None:
        """Add to `rows` the windows of the lowest order that window `node` of a level gives for `k`."""
        if k[-1]:
            each = 1 << (self.orders[level] - self.orders[0])
            rows.extend(range(node * each, (node + 1) * each))
        elif any(k):
            each = 1 << (self.orders[level] - self.orders[level - 1])
            below = levels[level - 1][node * each : (node + 1) * each]
            _, choices = _share(below, k[:-1])
            for part, share in enumerate(_shares(below, choices, k[:-1])):
                self._take(levels, level - 1, node * each + part, share, rows)


def _cell(*k: int) -> tuple[slice | int, ...]:
    """Return the index of a demand's cell in the tables of all windows."""
    return (slice(None), *k)


def _merged(parts: NDArray[np.int64], limit: Vector) -> NDArray[np.int64]:
    """Add the tables of the parts of each window up, over all ways to share a demand up to `limit`.

    Parameters
    ----------
    parts
        int64, shape (windows, parts, blocks + 1 of each order).
    limit
        Most blocks of each order.
    """
    shape = tuple(nr + 1 for nr in limit)
    if len(parts) * prod(shape) > MAX_CELLS or prod(shape) > MAX_TABLE:
        raise ModelError(f"{len(parts)} windows with tables of {prod(shape)} cells are too many")
    total = np.full((len(parts), *shape), NEVER, np.int64)
    total[_cell(*(0,) * len(shape))] = 0
    for part in range(parts.shape[1]):
        total = _with(total, parts[:, part])[0]
    return total


def _with(total: NDArray[np.int64], part: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
    """Share demands between what is there and one part more; return the least, and the part's cell in it.

    Parameters
    ----------
    total
        int64, shape (windows, cells of each order).
    part
        int64, shape (windows, cells of each order), no more of each.
    """
    least = total.copy()
    choice = np.zeros(total.shape, np.uint16)
    shape = part.shape[1:]
    for cell, k in enumerate(np.ndindex(*shape)):
        if cell == 0 or any(nr >= size for nr, size in zip(k, total.shape[1:], strict=True)):
            continue
        to = (slice(None), *(slice(nr, None) for nr in k))
        of = (slice(None), *(slice(0, size - nr) for nr, size in zip(k, total.shape[1:], strict=True)))
        cost = total[of] + part[_cell(*k)].reshape(-1, *(1,) * len(shape))
        better = cost < least[to]
        least[to] = np.where(better, cost, least[to])
        choice[to] = np.where(better, np.uint16(cell), choice[to])
    return np.minimum(least, NEVER), choice


def _share(tables: NDArray[np.int64], wanted: Vector) -> tuple[NDArray[np.int64], list[NDArray[np.uint16]]]:
    """Return the least copies for every demand up to `wanted`, and what each window has in it."""
    shape = tuple(nr + 1 for nr in wanted)
    if len(tables) * prod(shape) > MAX_CELLS:
        raise ModelError(f"{len(tables)} windows with tables of {prod(shape)} cells are too many")
    least = np.full((1, *shape), NEVER, np.int64)
    least[(0, *(0,) * len(shape))] = 0
    choices = []
    for table in tables:
        least, choice = _with(least, table[None])
        choices.append(choice[0])
    return least[0], choices


def _shares(tables: NDArray[np.int64], choices: list[NDArray[np.uint16]], wanted: Vector) -> list[Vector]:
    """Return what each window gives for `wanted`, going back through the choices."""
    shares: list[Vector] = []
    left = wanted
    for choice in reversed(choices):
        cell = np.unravel_index(int(choice[left]), tables.shape[1:])
        share = tuple(int(nr) for nr in cell)
        left = tuple(nr - given for nr, given in zip(left, share, strict=True))
        shares.append(share)
    return shares[::-1]
