"""Page tables as intervals of frames: which address spaces lead where, each frame once for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.page_tables import PageTables


class Reach(NamedTuple):
    """Intervals of frames that page tables lead to; those of one address space are disjoint.

    Parameters
    ----------
    mms
        int64, the address spaces, ascending.
    space
        int64, of each interval: whose it is, an index in `mms`.
    start_pfn, end_pfn
        int64, half-open.
    """

    mms: NDArray[np.int64]
    space: NDArray[np.int64]
    start_pfn: NDArray[np.int64]
    end_pfn: NDArray[np.int64]


class Overlaps(NamedTuple):
    """Where intervals lie in ranges: which interval, which range, and the frames that both have."""

    interval: NDArray[np.int64]
    inside: NDArray[np.int64]
    start_pfn: NDArray[np.int64]
    end_pfn: NDArray[np.int64]


def reach(tables: PageTables | None) -> Reach:
    """Return where the page tables of each address space lead. O(n log n) in runs of entries."""
    if tables is None or not len(tables.pfn):
        return Reach(*(np.empty(0, np.int64) for _ in Reach._fields))
    mms, index = np.unique(tables.vmas.mm[tables.vma], return_inverse=True)
    bits = int((tables.pfn + tables.nr_pages).max()).bit_length()
    start, end = united((index << bits) + tables.pfn, tables.nr_pages)
    low = (1 << bits) - 1
    index = start >> bits
    return Reach(mms, index, start & low, end - (index << bits))


def united(start: NDArray[np.int64], nr: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return disjoint intervals, ascending, that cover what the given ones cover; both by start and end.

    >>> [each.tolist() for each in united(np.array([8, 2, 3, 20]), np.array([2, 3, 1, 1]))]
    [[2, 8, 20], [5, 10, 21]]
    """
    order = np.argsort(start, kind="stable")
    start = start[order]
    end = np.maximum.accumulate(start + nr[order])
    begins = np.ones(len(start), np.bool_)
    np.greater(start[1:], end[:-1], out=begins[1:])
    ends = np.ones(len(start), np.bool_)
    ends[:-1] = begins[1:]
    return start[begins], end[ends]


def overlaps(start_pfn: NDArray[np.int64], end_pfn: NDArray[np.int64], ranges: NDArray[np.int64]) -> Overlaps:
    """Return where intervals, in any order, lie in ranges, shape (n, 2), that are sorted and disjoint.

    >>> found = overlaps(np.array([3, 0]), np.array([9, 3]), np.array([[2, 4], [8, 10]]))
    >>> [each.tolist() for each in found]
    [[0, 0, 1], [0, 1, 0], [3, 8, 2], [4, 9, 3]]
    """
    first = np.searchsorted(ranges[:, 1], start_pfn, side="right")
    nr = np.maximum(np.searchsorted(ranges[:, 0], end_pfn, side="left") - first, 0)
    interval = np.repeat(np.arange(len(nr)), nr)
    into = np.arange(int(nr.sum())) - np.repeat(np.cumsum(nr) - nr, nr)
    at = first[interval] + into
    return Overlaps(
        interval,
        at,
        np.maximum(start_pfn[interval], ranges[at, 0]),
        np.minimum(end_pfn[interval], ranges[at, 1]),
    )
