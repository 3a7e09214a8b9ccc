"""The migratetype of each pageblock, inferred from what lies in it.

No file of /proc tells the type of one pageblock, and /proc/pagetypeinfo counts them. Frames are evidence: the
kernel puts movable pages into Movable blocks as long as it can, and what cannot be moved into the
others, two pageblocks at a time, because a claim takes the largest free block there is.

Mirrors: nothing; it guesses what mm/page_alloc.c: get_pfnblock_migratetype would answer.
Fidelity: a guess. On the fourteen guests of fixtures/snapshots 99.79 % of the free pages come to lie under
the type on whose lists pagetypeinfo counts them (99.29 % without totals), and 87 % of those on the Unmovable
and Reclaimable lists (55 % without totals). Where the free scanner of a running kernel was traced, it
filled or passed over 500 to 3,200 pageblocks, all but 0 to 8 as guessed; with long per-CPU lists up to 18.
``python -m tests.kernelmodel.page_alloc.inferred`` measures it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.errors import ModelError
from kernelmodel.migratetype import Migratetype
from kernelmodel.pageclass import PageClass, classify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kernelmodel.memmap import MemMap

_RESERVED_SHARE: Final = 50
"""A reserved frame counts a fiftieth: boot leaves the type of a block full of them as it finds it."""

_BUDDY_SHARE: Final = 4
"""A frame in the neighbour that was or will be one block with this one counts a quarter."""

_NO_LIMIT: Final = 1 << 62

_DOUBT_PAGES: Final = 32
"""Frames of evidence beyond the dividing line that make a guess as good as not."""


class BlockEvidence(NamedTuple):
    """Frames of each pageblock of a zone by what they can do; each int64 (nr_pageblocks).

    Parameters
    ----------
    free
        In the buddy lists.
    movable
        On an LRU list or of a hugetlb pool: anonymous, page cache, shared memory.
    unmovable
        Page tables and what drivers and the kernel hold.
    slab
        Kernel objects: reclaimable or not, the flags do not say.
    reserved
        Set aside at boot: no allocation ever touched them.
    unknown
        Flag word 0: free on a per-CPU list, kernel stacks, vmalloc.
    """

    free: NDArray[np.int64]
    movable: NDArray[np.int64]
    unmovable: NDArray[np.int64]
    slab: NDArray[np.int64]
    reserved: NDArray[np.int64]
    unknown: NDArray[np.int64]


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
    """

    block_type: NDArray[np.uint8]
    confidence_permille: NDArray[np.int64]
    constrained: bool


KIND_OF_CLASS: Final = {
    PageClass.FREE: "free",
    **dict.fromkeys(
        (
            PageClass.HUGETLB,
            PageClass.KSM,
            PageClass.ANON,
            PageClass.SWAPCACHE,
            PageClass.SHMEM,
            PageClass.FILE,
        ),
        "movable",
    ),
    **dict.fromkeys((PageClass.PGTABLE, PageClass.OFFLINE, PageClass.DRIVER, PageClass.KERNEL), "unmovable"),
    PageClass.SLAB: "slab",
    **dict.fromkeys((PageClass.HOLE, PageClass.HWPOISON, PageClass.ZERO, PageClass.RESERVED), "reserved"),
    PageClass.UNKNOWN: "unknown",
}
"""What a frame of each class is evidence of."""


def block_evidence(frames: MemMap, start_pfn: int, end_pfn: int, pageblock_order: int) -> BlockEvidence:
    """Count the frames of each pageblock of a zone by what they are evidence of.

    Parameters
    ----------
    frames
        All frames.
    start_pfn, end_pfn
        The zone's half-open span; frames of it that are not known were never given to the allocator.
    pageblock_order
        log2 of the frames in a pageblock.
    """
    kinds = BlockEvidence._fields
    kind_of_class = np.array([kinds.index(KIND_OF_CLASS[page_class]) for page_class in PageClass], np.uint8)
    kind_of_row = frames.spread(kind_of_class[classify(frames.run_words)])
    span = np.arange(start_pfn, end_pfn)
    rows = frames.rows(span)
    there = rows >= 0
    kind = np.full(len(span), kinds.index("reserved"), np.uint8)
    kind[there] = kind_of_row[rows[there]]
    block = (span >> pageblock_order) - (start_pfn >> pageblock_order)
    nr_blocks = ((end_pfn - 1) >> pageblock_order) - (start_pfn >> pageblock_order) + 1
    counts = np.bincount(block * len(kinds) + kind, minlength=nr_blocks * len(kinds))
    return BlockEvidence(*counts.reshape(nr_blocks, len(kinds)).T.astype(np.int64))


def infer_migratetypes(
    evidence: BlockEvidence, first_block: int, totals: Sequence[int] | None = None
) -> InferredTypes:
    """Return the likeliest type of each pageblock of a zone; O(n log n).

    With totals exactly as many blocks get each type as there are. First the most movable become Movable; of
    the others those that look most like slab caches become Reclaimable. HighAtomic, CMA and Isolate
    leave no evidence at all: they get the most doubtful blocks, with confidence 0. More movable frames never
    make a block less likely to be Movable, more fixed ones never make it more likely.

    Parameters
    ----------
    evidence
        Frames of each pageblock.
    first_block
        Number of the first one, its pfn divided by the pages of a pageblock: says which two are buddies.
    totals
        Pageblocks of each `Migratetype` in the zone, or None where pagetypeinfo could not be read.

    Raises
    ------
    ModelError
        The totals do not add up to the number of blocks.

    Examples
    --------
    >>> counts = [[0, 500, 12], [512, 0, 0], [0, 0, 0], [0, 0, 500], [0, 0, 0], [0, 12, 0]]
    >>> inferred = infer_migratetypes(BlockEvidence(*np.array(counts)), 0, totals=(0, 2, 1, 0, 0, 0))
    >>> [Migratetype(code).printed for code in inferred.block_type]
    ['Movable', 'Movable', 'Reclaimable']
    """
    nr_blocks = evidence.free.size
    if totals is not None and sum(totals) != nr_blocks:
        raise ModelError(f"{sum(totals)} pageblocks in the totals, {nr_blocks} in the zone")
    fixed = evidence.unmovable + evidence.slab + evidence.unknown
    own = _RESERVED_SHARE * (evidence.movable - fixed) - evidence.reserved
    # Many a block beside movable pages was claimed for a few that stay: what is in it counts.
    movable = np.minimum(_with_buddy(own, first_block), np.where(own < 0, _BUDDY_SHARE * own, _NO_LIMIT))
    others = 2 * evidence.unmovable + evidence.unknown + evidence.reserved
    slab = _with_buddy(_RESERVED_SHARE * (evidence.slab + evidence.free // 2 - others), first_block)
    block_type = np.full(nr_blocks, Migratetype.UNMOVABLE, np.uint8)
    if totals is None:
        block_type[slab > 0] = Migratetype.RECLAIMABLE
        block_type[movable >= 0] = Migratetype.MOVABLE
        line_movable = line_slab = 0.0
    else:
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
        line_movable = _line(movable[turn], nr_movable)
        line_slab = _line(slab[rest], nr_slab)
    margin = np.abs(movable - line_movable)
    other = block_type != Migratetype.MOVABLE
    margin[other] = np.minimum(margin, np.abs(slab - line_slab))[other]
    margin[block_type >= Migratetype.HIGHATOMIC] = 0
    doubt = _DOUBT_PAGES * _RESERVED_SHARE * _BUDDY_SHARE
    confidence = 1000 - np.ceil(1000 * doubt / (margin + doubt)).astype(np.int64)
    return InferredTypes(block_type, confidence, totals is not None)


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
