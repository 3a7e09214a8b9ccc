"""Ranges of frames: where something is true of them, and how many frames of some lie in others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def frames_inside(
    ranges: NDArray[np.int64], start_pfn: NDArray[np.int64], end_pfn: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many frames of each [start_pfn, end_pfn) lie in the sorted disjoint `ranges`.

    None of the ranges may be empty.

    >>> frames_inside(np.array([[2, 4], [8, 9]]), np.array([0, 3]), np.array([3, 20])).tolist()
    [1, 2]
    """
    if not len(ranges):
        return np.zeros(len(start_pfn), np.int64)
    before = np.concatenate(([0], np.cumsum(ranges[:, 1] - ranges[:, 0])))

    def below(pfn: NDArray[np.int64]) -> NDArray[np.int64]:
        index = np.searchsorted(ranges[:, 0], pfn, side="right")
        into = np.minimum(pfn, ranges[index - 1, 1]) - ranges[index - 1, 0]
        counted: NDArray[np.int64] = np.where(index == 0, 0, before[index - 1] + into)
        return counted

    inside: NDArray[np.int64] = below(end_pfn) - below(start_pfn)
    return inside


def true_runs(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the half-open ranges of indices, shape (n, 2), in which every element is true.

    >>> true_runs(np.array([True, False, True, True])).tolist()
    [[0, 1], [2, 4]]
    """
    return np.flatnonzero(np.diff(chosen.view(np.int8), prepend=0, append=0)).reshape(-1, 2)


def frames_of(starts: NDArray[np.int64], nr_pages: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return every frame of runs.

    >>> frames_of(np.array([8, 2]), np.array([2, 1])).tolist()
    [8, 9, 2]
    """
    begin = np.cumsum(nr_pages) - nr_pages
    frames: NDArray[np.int64] = np.repeat(starts - begin, nr_pages) + np.arange(int(nr_pages.sum()))
    return frames
