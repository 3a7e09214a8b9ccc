"""The migratetype of each pageblock, inferred from what lies in it.

No file of /proc tells the type of one pageblock, and /proc/pagetypeinfo counts them. Frames are evidence: the
kernel puts movable pages into Movable blocks as long as it can, and what cannot be moved into the
others, two pageblocks at a time, because a claim takes the largest free block there is. Free lists are more:
what is free in the blocks of a type is what pagetypeinfo counts on the lists of that type.

Mirrors: nothing; it guesses what mm/page_alloc.c: get_pfnblock_migratetype would answer.
Fidelity: a guess. On the fourteen guests of fixtures/snapshots 99.98 % of the free pages come to lie under
the type on whose lists pagetypeinfo counts them (99.79 % by totals alone, 99.29 % without), and 98 % of those
on the Unmovable and Reclaimable lists (87 % and 55 %). On a host of 24 GiB with a history, totals alone had
some fifteen pageblocks wrong that compaction fills or passes over, and forecasts were 2 % off; with lists
0.2 %.
``python -m tests.kernelmodel.page_alloc.inferred`` measures it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.errors import ModelError
from kernelmodel.migratetype import Migratetype
from kernelmodel.page_alloc.type_fit import Fit, keep_together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kernelmodel.page_alloc.evidence import BlockEvidence
    from kernelmodel.page_alloc.type_fit import FreeLists

_RESERVED_SHARE: Final = 50
"""A reserved frame counts a fiftieth: boot leaves the type of a block full of them as it finds it."""

_BUDDY_SHARE: Final = 4
"""A frame in the neighbour that was or will be one block with this one counts a quarter."""

_NO_LIMIT: Final = 1 << 62

_DOUBT: Final = 32 * _RESERVED_SHARE * _BUDDY_SHARE
"""32 frames of evidence beyond the dividing line make a guess as good as not."""

_NOTHING_FIXED: Final = 2000
"""What speaks against a block being one for fixed pages when none is in it, in units of
`kernelmodel.page_alloc.type_fit`. Where free lists left no doubt, one of 411 such blocks had none."""

_NOT_AT_FIRST: Final = 10
"""So much more it counts until nothing else mends the fit: of thousands of Movable blocks some would do."""

_AS_GOOD: Final = 1000
"""A fit that is worse by that may be the right one."""


class InferredTypes(NamedTuple):
    """A type for each pageblock.

    Parameters
    ----------
    block_type
        uint8, codes of `Migratetype`.
    confidence_permille
        int64: 0 as good as drawn by lot, 1000 beyond doubt; no probability, but higher is surer.
    constrained
        Whether there were totals; without them every block is judged alone.
    other_type
        uint8, the types if every block that may as well have another one has it; the same totals.
    """

    block_type: NDArray[np.uint8]
    confidence_permille: NDArray[np.int64]
    constrained: bool
    other_type: NDArray[np.uint8]


def infer_migratetypes(
    evidence: BlockEvidence,
    first_block: int,
    totals: Sequence[int] | None = None,
    lists: FreeLists | None = None,
) -> InferredTypes:
    """Return the likeliest type of each pageblock of a zone; O(n log n).

    With totals exactly as many blocks get each type as there are. First the most movable become Movable; of
    the others those that look most like slab caches become Reclaimable. HighAtomic, CMA and Isolate
    leave no evidence at all: they get the most doubtful blocks, with confidence 0. More movable frames never
    make a block less likely to be Movable, more fixed ones never make it more likely.

    With free lists as well, blocks then trade types until what is free in them comes to what is on the lists.

    Parameters
    ----------
    evidence
        Frames of each pageblock.
    first_block
        Number of the first one, its pfn divided by the pages of a pageblock: says which two are buddies.
    totals
        Pageblocks of each `Migratetype` in the zone, or None where pagetypeinfo could not be read.
    lists
        Its free lists; not looked at without totals.

    Raises
    ------
    ModelError
        The totals do not add up to the number of blocks.

    Examples
    --------
    >>> from kernelmodel.page_alloc.evidence import BlockEvidence
    >>> counts = [[0, 500, 12], [512, 0, 0], [0, 0, 0], [0, 0, 500], [0, 0, 0], [0, 12, 0]]
    >>> inferred = infer_migratetypes(BlockEvidence(*np.array(counts)), 0, totals=(0, 2, 1, 0, 0, 0))
    >>> [Migratetype(code).printed for code in inferred.block_type]
    ['Movable', 'Movable', 'Reclaimable']
    """
    nr_blocks = evidence.free.size
    if totals is not None and sum(totals) != nr_blocks:
        raise ModelError(f"{sum(totals)} pageblocks in the totals, {nr_blocks} in the zone")
    block_type, movable, slab = _by_contents(evidence, first_block, totals)
    first_guess, other_type, fit = block_type.copy(), block_type, None
    if totals is not None and lists is not None:
        nothing_fixed = evidence.unmovable + evidence.slab + evidence.unknown + evidence.reserved == 0
        fit = _fitted(block_type, _cost(movable, slab), nothing_fixed, lists)
        keep_together(block_type, lists, last=np.zeros(nr_blocks, np.bool_))
        other_type = block_type.copy()
    margin = np.abs(movable)
    other = block_type != Migratetype.MOVABLE
    margin[other] = np.minimum(margin, np.abs(slab))[other]
    margin[block_type >= Migratetype.HIGHATOMIC] = 0
    confidence = 1000 - np.ceil(1000 * _DOUBT / (margin + _DOUBT)).astype(np.int64)
    if fit is not None and lists is not None:
        # What has another type than its contents say has it because nothing else fits as well.
        confidence[block_type != first_guess] = _surer_by(_AS_GOOD)
        for trade in fit.alternatives(_AS_GOOD):
            pair = [trade.one, trade.other]
            other_type[pair] = block_type[pair[::-1]]
            confidence[pair] = np.minimum(confidence[pair], _surer_by(trade.worse))
        keep_together(other_type, lists, last=block_type != Migratetype.MOVABLE)
    return InferredTypes(block_type, confidence, totals is not None, other_type)


def _by_contents(
    evidence: BlockEvidence, first_block: int, totals: Sequence[int] | None
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """Return types by what lies in blocks, and by how much they look movable, and like slab caches.

    Both are in units of 1 / `_DOUBT` doubts, less what those on the dividing line have.
    """
    fixed = evidence.unmovable + evidence.slab + evidence.unknown
    own = _RESERVED_SHARE * (evidence.movable - fixed) - evidence.reserved
    # Many a block beside movable pages was claimed for a few that stay: what is in it counts.
    movable = np.minimum(_with_buddy(own, first_block), np.where(own < 0, _BUDDY_SHARE * own, _NO_LIMIT))
    others = 2 * evidence.unmovable + evidence.unknown + evidence.reserved
    slab = _with_buddy(_RESERVED_SHARE * (evidence.slab + evidence.free // 2 - others), first_block)
    block_type = np.full(len(movable), Migratetype.UNMOVABLE, np.uint8)
    if totals is None:
        block_type[slab > 0] = Migratetype.RECLAIMABLE
        block_type[movable >= 0] = Migratetype.MOVABLE
        return block_type, movable.astype(np.float64), slab.astype(np.float64)
    turn = np.argsort(-movable, kind="stable")
    nr_movable = totals[Migratetype.MOVABLE]
    nr_special = sum(totals[Migratetype.HIGHATOMIC :])
    special = turn[nr_movable : nr_movable + nr_special]
    rest = turn[nr_movable + nr_special :]
    rest = rest[np.argsort(-slab[rest], kind="stable")]
    nr_slab = totals[Migratetype.RECLAIMABLE]
    block_type[turn[:nr_movable]] = Migratetype.MOVABLE
    block_type[rest[:nr_slab]] = Migratetype.RECLAIMABLE
    codes = np.arange(Migratetype.HIGHATOMIC, len(Migratetype))
    block_type[special] = np.repeat(codes, totals[Migratetype.HIGHATOMIC :])
    movable_line, slab_line = _line(movable[turn], nr_movable), _line(slab[rest], nr_slab)
    return block_type, movable.astype(np.float64) - movable_line, slab.astype(np.float64) - slab_line


def _fitted(
    block_type: NDArray[np.uint8],
    cost: NDArray[np.int64],
    nothing_fixed: NDArray[np.bool_],
    lists: FreeLists,
) -> Fit:
    """Trade types in place until they fit the free lists."""
    against = np.zeros_like(cost)
    for migratetype in (Migratetype.UNMOVABLE, Migratetype.RECLAIMABLE):
        against[nothing_fixed, migratetype] = _NOTHING_FIXED
    Fit(block_type, cost + _NOT_AT_FIRST * against, lists).run()
    fit = Fit(block_type, cost + against, lists)
    fit.run()
    return fit


def _surer_by(worse: int) -> int:
    """Return the confidence in thousandths where the next best fit is worse by so much.

    >>> _surer_by(0), _surer_by(1000)
    (0, 632)
    """
    return 1000 - math.ceil(1000 * math.exp(-worse / 1000))


def _cost(movable: NDArray[np.float64], slab: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return what contents say against each type, int64 (pageblocks, types).

    In thousandths, the logarithm of one over what confidence lacks.
    """
    movable, slab = movable / _DOUBT, slab / _DOUBT
    cost = np.zeros((len(movable), len(Migratetype)))
    with np.errstate(invalid="ignore"):
        against_movable, against_other = (np.log1p(np.maximum(0, each)) for each in (-movable, movable))
        against_slab, against_unmovable = (np.log1p(np.maximum(0, each)) for each in (-slab, slab))
    cost[:, Migratetype.MOVABLE] = against_movable
    cost[:, Migratetype.UNMOVABLE] = against_other + against_unmovable
    cost[:, Migratetype.RECLAIMABLE] = against_other + against_slab
    thousandths: NDArray[np.int64] = np.rint(1000 * np.where(np.isfinite(cost), cost, 0)).astype(np.int64)
    return thousandths


def _with_buddy(score: NDArray[np.int64], first_block: int) -> NDArray[np.int64]:
    """Return scores with a share of the buddy's, in units a quarter as large."""
    number = np.arange(score.size) + first_block
    buddy = (number ^ 1) - first_block
    there = (buddy >= 0) & (buddy < score.size)
    return _BUDDY_SHARE * score + np.where(there, score[np.clip(buddy, 0, score.size - 1)], 0)


def _line(falling: NDArray[np.int64], nr_above: int) -> float:
    """Return the score halfway between the last block above a line and the first one below it."""
    if not 0 < nr_above < falling.size:
        return -np.inf if nr_above else np.inf
    return float(falling[nr_above - 1] + falling[nr_above]) / 2
