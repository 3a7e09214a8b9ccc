"""What frames say about the pageblock they lie in: how many are free, can move, or stay.

Mirrors: nothing; it reads off the flag words of fs/proc/page.c: stable_page_flags.
Fidelity: as that of `kernelmodel.pageclass`: a word of 0 is a free page of a CPU, or the kernel's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.pageclass import PageClass, classify

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.memmap import MemMap


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

    def of(self, kept: NDArray[np.bool_] | slice) -> BlockEvidence:
        """Return the same of some pageblocks alone."""
        return BlockEvidence(*(column[kept] for column in self))


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
