"""Pageblocks that turned from one state into another between two snapshots, and who decided that.

A pageblock that was free and is not was broken by whoever is in it now; pages that stay decide before pages
that can move, and both before those of which nothing is known. One that held nothing but movable pages, so
that compaction could have freed it, is lost to a page that stays. The other direction is the same question
with the snapshots exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.pageblock import Content, Pageblocks
from vmprobe.bridge.ownership import Owner, Ownership, Rank

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Find = Callable[[int, int, int], int | None]
    """The first frame of a pageblock that has an owner, by index, and a rank."""

NR_EXAMPLES: Final = 3
"""Frames that are named of each owner."""


class OwnerTurn(NamedTuple):
    """What one owner has to do with pageblocks that turned.

    Parameters
    ----------
    owner
        Who.
    alone_pageblocks
        Those that it decided alone.
    shared_pageblocks
        Those that others decided as well.
    pages
        Its pages in them.
    staying_pages
        Those of its pages that cannot be moved.
    example_pfns
        Frames of it that decided, of pageblocks first that it decided alone.
    """

    owner: Owner
    alone_pageblocks: int
    shared_pageblocks: int
    pages: int
    staying_pages: int
    example_pfns: tuple[int, ...]


@dataclass(frozen=True)
class Turn:
    """Pageblocks that turned from one state into another, each counted once.

    Parameters
    ----------
    pageblocks
        All of them.
    by_staying, by_moving, by_unknown
        By what decided: pages that stay, pages that can move, pages of which nothing is known.
    shared
        Those that several owners decided.
    unstable
        Those that would not have been found without frames that changed while they were read, in either
        snapshot.
    owners
        Who decided, those of most pageblocks first.
    """

    pageblocks: int
    by_staying: int
    by_moving: int
    by_unknown: int
    shared: int
    unstable: int
    owners: tuple[OwnerTurn, ...]


class Cells(NamedTuple):
    """Frames of each pageblock by code and steadiness, in the order of pageblocks.

    Parameters
    ----------
    block
        int64, the first frame of the pageblock, divided by its frames.
    code
        int64, as in `vmprobe.bridge.ownership.Ownership.codes`.
    unsteady
        bool, the frames changed while they were read.
    frames
        int64, how many.
    """

    block: Ints
    code: Ints
    unsteady: NDArray[np.bool_]
    frames: Ints


class Side(NamedTuple):
    """The pageblocks of one snapshot.

    Parameters
    ----------
    whose
        Its owners.
    cells
        Its frames, counted.
    blocks
        int64, pageblocks that have a cell, ascending.
    counts
        int64, shape (n, len(Rank)): frames of each by rank; those that the host does not have are absent.
    contents
        uint8, `kernelmodel.pageblock.Content` of each.
    """

    whose: Ownership
    cells: Cells
    blocks: Ints
    counts: Ints
    contents: NDArray[np.uint8]


def side(whose: Ownership, cells: Cells, order: int) -> Side:
    """Count the pageblocks of one snapshot."""
    blocks = np.unique(cells.block)
    key = np.searchsorted(blocks, cells.block) * len(Rank) + whose.rank_of[cells.code]
    counts = np.bincount(key, weights=cells.frames, minlength=len(blocks) * len(Rank)).astype(np.int64)
    counts = counts.reshape(len(blocks), len(Rank))
    counts[:, Rank.ABSENT] += (1 << order) - counts.sum(axis=1)
    free, moves, stays, unknown, absent = counts.T
    verdicts = np.stack((free, moves, np.zeros_like(free), stays + absent, unknown), axis=1)
    return Side(whose, cells, blocks, counts, Pageblocks(order, blocks << order, verdicts).contents())


def broken(then: Side, now: Side, among: NDArray[np.bool_], find: Find) -> Turn:
    """Return the pageblocks that were free and are not.

    Parameters
    ----------
    then, now
        The two snapshots, with the same pageblocks.
    among
        bool, the pageblocks to look at.
    find
        Looks in `now`.
    """
    turned = among & (then.contents == Content.FREE) & (now.contents != Content.FREE)
    moves = now.counts[:, Rank.MOVES] > 0
    return _turn(now, turned, np.where(moves, Rank.MOVES, Rank.UNKNOWN), find)


def held(then: Side, now: Side, among: NDArray[np.bool_], find: Find) -> Turn:
    """Return the pageblocks that held nothing but movable pages, and hold others now; as `broken`."""
    could = np.isin(now.contents, (Content.FREE, Content.MOVABLE_ONLY))
    turned = among & (then.contents == Content.MOVABLE_ONLY) & ~could
    return _turn(now, turned, np.full(len(turned), Rank.UNKNOWN), find)


def _turn(now: Side, turned: NDArray[np.bool_], unless_staying: NDArray[np.int64], find: Find) -> Turn:
    """Return who decided; pages that stay do, or else those of the rank that is given."""
    decides = np.where(now.counts[:, Rank.STAYS] > 0, Rank.STAYS, unless_staying)
    cells, nr_owners = now.cells, max(1, len(now.whose.owners))
    row = np.searchsorted(now.blocks, cells.block)
    mine = turned[row]
    row, code, frames = row[mine], cells.code[mine], cells.frames[mine]
    rank = now.whose.rank_of[code]
    pair = row * nr_owners + now.whose.owner_of[code]
    deciding = rank == decides[row]
    deciders = np.unique(pair[deciding])
    where, who = np.divmod(deciders, nr_owners)
    several = np.bincount(where, minlength=len(turned)) > 1
    # What else of its owner lies beside the pages that decided counts among its pages.
    of = np.isin(pair, deciders)
    pages = np.bincount(pair[of] % nr_owners, weights=frames[of], minlength=nr_owners)
    staying = rank == Rank.STAYS  # where there is one, it decides
    stay = np.bincount(pair[staying] % nr_owners, weights=frames[staying], minlength=nr_owners)
    alone = np.bincount(who[~several[where]], minlength=nr_owners)
    shared = np.bincount(who[several[where]], minlength=nr_owners)
    # Without unsteady frames pages of a lesser rank would do as well.
    enough = np.isin(rank, (Rank.STAYS, Rank.UNKNOWN)) | (unless_staying[row] == Rank.MOVES)
    sure = np.zeros(len(turned), np.bool_)
    sure[row[enough & (rank != Rank.FREE) & ~cells.unsteady[mine]]] = True
    of_rank = np.bincount(decides[turned], minlength=len(Rank)).tolist()
    rows = []
    for owner in np.unique(who).tolist():
        # Of pageblocks first that it decided alone.
        chosen = where[who == owner]
        chosen = chosen[np.argsort(several[chosen], kind="stable")][:NR_EXAMPLES].tolist()
        found = [find(int(now.blocks[row]), owner, int(decides[row])) for row in chosen]
        figures = [int(figure[owner]) for figure in (alone, shared, pages, stay)]
        examples = tuple(pfn for pfn in found if pfn is not None)
        rows.append(
            OwnerTurn(now.whose.owners[owner], figures[0], figures[1], figures[2], figures[3], examples)
        )
    return Turn(
        pageblocks=int(np.count_nonzero(turned)),
        by_staying=of_rank[Rank.STAYS],
        by_moving=of_rank[Rank.MOVES],
        by_unknown=of_rank[Rank.UNKNOWN],
        shared=int(np.count_nonzero(several)),
        unstable=int(np.count_nonzero(turned & ~sure)),
        owners=tuple(sorted(rows, key=_by_weight)),
    )


def _by_weight(row: OwnerTurn) -> tuple[int, int, int, str, str, int]:
    owner = row.owner
    return (
        -row.alone_pageblocks - row.shared_pageblocks,
        -row.alone_pageblocks,
        -row.pages,
        owner.kind,
        owner.name or "",
        owner.pid or 0,
    )
