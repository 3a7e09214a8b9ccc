"""How fragmented free memory is: the kernel's own indices, in its own integers.

::

    free blocks of order   0  1  2  3        F = 2 + 2 + 4 + 8 = 16 free pages in B = 5 blocks
                           2  1  1  1        order 2: usable 4 + 8 = 12, unusable_free_index (16 - 12) / 16

Three questions about a request of one order. `unusable_free_index_permille`: which share of free memory is of
no use to it? `fragmentation_index_permille`: when it fails, is that for lack of memory (near 0) or for
fragmentation (near 1000)? -1000 says that it would not fail. `extfrag_for_order_percent` is the first one
in percent, which kcompactd adds up to the score of a node.

Mirrors: ``mm/vmstat.c: fill_contig_page_info, unusable_free_index, __fragmentation_index, extfrag_for_order,
unusable_show_print, extfrag_show_print``, ``mm/compaction.c: fragmentation_score_zone_weighted,
fragmentation_score_node, fragmentation_score_wmark``.
Fidelity: exact while a zone has less than 2**32 free pages: the kernel divides by the low 32 bits of counts
alone (``div_u64``), and from 16 TiB on prints nonsense that is not repeated here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

NO_FAILURE: Final = -1000
"""Fragmentation index of an order of which a block is free: a request would not fail."""

LEEWAY_PERCENT: Final = 10
LEAST_LOW_PERCENT: Final = 5


class ContigPageInfo(NamedTuple):
    """Free memory of zones as requests of each order see it.

    Parameters
    ----------
    free_pages, free_blocks_total
        int64, shape (..., 1): all of it.
    usable_pages
        int64, shape (..., nr_orders): pages in blocks of each order or more
        (``free_blocks_suitable << order``).
    """

    free_pages: NDArray[np.int64]
    free_blocks_total: NDArray[np.int64]
    usable_pages: NDArray[np.int64]


def contig_page_info(nr_free: ArrayLike) -> ContigPageInfo:
    """Return what is free and what is usable.

    Parameters
    ----------
    nr_free
        Free blocks by order, shape (..., nr_orders), as /proc/buddyinfo prints them.

    Examples
    --------
    >>> contig_page_info([2, 1, 1, 1]).usable_pages.tolist()
    [16, 14, 12, 8]
    """
    blocks = np.asarray(nr_free, np.int64)
    pages = blocks << np.arange(blocks.shape[-1])
    usable = np.cumsum(pages[..., ::-1], axis=-1)[..., ::-1]
    return ContigPageInfo(
        pages.sum(axis=-1, keepdims=True), blocks.sum(axis=-1, keepdims=True), usable.astype(np.int64)
    )


def unusable_free_index_permille(nr_free: ArrayLike) -> NDArray[np.int64]:
    """Return, for each order, the share of free memory in blocks that are too small for it.

    No free memory counts as all of it unusable: 1000.

    >>> unusable_free_index_permille([2, 1, 1, 1]).tolist()
    [0, 125, 250, 500]
    """
    info = contig_page_info(nr_free)
    unusable = (info.free_pages - info.usable_pages) * 1000
    found: NDArray[np.int64] = np.where(
        info.free_pages == 0, 1000, unusable // np.maximum(info.free_pages, 1)
    )
    return found


def fragmentation_index_permille(nr_free: ArrayLike) -> NDArray[np.int64]:
    """Return, for each order, why a request fails: near 0 lack of memory, near 1000 fragmentation.

    `NO_FAILURE` where a block is free, 0 where nothing is. Few blocks that are nearly large enough give
    values between those: one free block of half the size comes to -500.

    >>> fragmentation_index_permille([8, 1, 0]).tolist()
    [-1000, -1000, 612]
    >>> fragmentation_index_permille([0, 1, 0]).tolist()
    [-1000, -1000, -500]
    """
    info = contig_page_info(nr_free)
    requested = np.int64(1) << np.arange(info.usable_pages.shape[-1], dtype=np.int64)
    wanted = 1000 + info.free_pages * 1000 // requested
    index = 1000 - wanted // np.maximum(info.free_blocks_total, 1)
    found: NDArray[np.int64] = np.where(
        info.free_blocks_total == 0, 0, np.where(info.usable_pages > 0, NO_FAILURE, index)
    )
    return found


def extfrag_for_order_percent(nr_free: ArrayLike) -> NDArray[np.int64]:
    """Return, for each order, the percentage of free memory in smaller blocks; 0 where nothing is free.

    >>> extfrag_for_order_percent([2, 1, 1, 1]).tolist()
    [0, 12, 25, 50]
    """
    info = contig_page_info(nr_free)
    smaller: NDArray[np.int64] = (info.free_pages - info.usable_pages) * 100 // np.maximum(info.free_pages, 1)
    return smaller


def debugfs_text(permille: int) -> str:
    """Return an index as the files of debugfs ``extfrag`` print it: ``%d.%03d`` with C's division.

    The sign is printed twice or in the wrong place where the index is negative and no multiple of 1000.

    >>> debugfs_text(125), debugfs_text(NO_FAILURE), debugfs_text(-500), debugfs_text(-1500)
    ('0.125', '-1.000', '0.-500', '-1.-500')
    """
    whole = abs(permille) // 1000
    rest = abs(permille) % 1000
    if permille < 0:
        whole, rest = -whole, -rest
    return f"{whole}.{rest:03d}"


def compaction_hpage_order(page_size: int) -> int:
    """Return the order of a huge page of the second level of page tables: ``COMPACTION_HPAGE_ORDER``.

    A page of the page tables holds ``page_size // 8`` entries.

    >>> compaction_hpage_order(4096), compaction_hpage_order(65536)
    (9, 13)
    """
    return page_size.bit_length() - 1 - 3


def fragmentation_score_zone(nr_free: Sequence[int], order: int) -> int:
    """Return the percentage of a zone's free memory that is of no use for blocks of `order`."""
    padded = [*nr_free, *[0] * (order + 1 - len(nr_free))]
    return int(extfrag_for_order_percent(padded)[order])


def fragmentation_score_zone_weighted(
    nr_free: Sequence[int], order: int, present_pages: int, node_present_pages: int
) -> int:
    """Return the part of a zone in the score of its node, in percent.

    >>> fragmentation_score_zone_weighted([64, 0, 0], 2, 500, 999)
    50
    """
    return present_pages * fragmentation_score_zone(nr_free, order) // (node_present_pages + 1)


def fragmentation_score_node(zones: Iterable[tuple[int, Sequence[int]]], order: int) -> int:
    """Return the score by which kcompactd decides whether to compact a node unasked, in percent.

    Parameters
    ----------
    zones
        Present pages and free blocks by order of each zone of the node that has memory.
    order
        `compaction_hpage_order` of its kernel.
    """
    listed = list(zones)
    node_present_pages = sum(present_pages for present_pages, _ in listed)
    return sum(
        fragmentation_score_zone_weighted(nr_free, order, present_pages, node_present_pages)
        for present_pages, nr_free in listed
    )


class ScoreMarks(NamedTuple):
    """Scores in percent: kcompactd starts above `high_percent`, and goes on until `low_percent`."""

    low_percent: int
    high_percent: int


def fragmentation_score_wmark(proactiveness: int, *, capped: bool) -> ScoreMarks:
    """Return between which scores kcompactd works; with a proactiveness of 0 it never does.

    Parameters
    ----------
    proactiveness
        vm.compaction_proactiveness, 0 to 100.
    capped
        Whether the lower mark stays at 5 or more. Kernels from 2025 on have no such cap, and narrow the
        distance between the marks instead; the two differ only where the proactiveness exceeds 80.

    Examples
    --------
    >>> fragmentation_score_wmark(20, capped=True)
    ScoreMarks(low_percent=80, high_percent=90)
    >>> fragmentation_score_wmark(98, capped=True), fragmentation_score_wmark(98, capped=False)
    (ScoreMarks(low_percent=5, high_percent=15), ScoreMarks(low_percent=2, high_percent=3))
    """
    low = 100 - proactiveness
    if capped:
        low = max(low, LEAST_LOW_PERCENT)
    leeway = LEEWAY_PERCENT if capped else min(LEEWAY_PERCENT, low // 2)
    return ScoreMarks(low, min(low + leeway, 100))
