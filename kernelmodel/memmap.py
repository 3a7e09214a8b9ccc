"""The array of page frames: flag word, map count and what else /proc tells of each ``struct page``.

Mirrors: ``include/linux/mm_types.h: struct page``, as ``fs/proc/page.c`` shows it.
Fidelity: no reference count, no links; a frame whose word could not be read is not known at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelmodel.errors import InvariantError
from kernelmodel.pageclass import inherit_from_head
from kernelmodel.pageflags import mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True)
class MemMap:
    """Frames in physical order; row r of every array is the same frame.

    Parameters
    ----------
    ranges
        int64, shape (n, 2): half-open frame ranges that the rows go through, ascending.
    words
        uint64, flag words of /proc/kpageflags.
    mapcount
        uint32, page-table entries that map the frame by the kernel's word; None where it was not told.
    unstable
        bool, the frame or a mapping of it changed while it was looked at.
    known
        bool, whether the word could be read; None when every one was.
    """

    ranges: NDArray[np.int64]
    words: NDArray[np.uint64]
    mapcount: NDArray[np.uint32] | None
    unstable: NDArray[np.bool_]
    known: NDArray[np.bool_] | None = None
    _first_row: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sizes = self.ranges[:, 1] - self.ranges[:, 0]
        object.__setattr__(self, "_first_row", np.concatenate(([0], np.cumsum(sizes))))

    def __len__(self) -> int:
        return len(self.words)

    def rows(self, pfn: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each frame, -1 where the frame has none. O(log ranges) each.

        >>> frames = MemMap(np.array([[2, 4], [8, 9]]), np.zeros(3, np.uint64), None, np.zeros(3, np.bool_))
        >>> frames.rows(np.array([1, 2, 3, 4, 8, 9])).tolist()
        [-1, 0, 1, -1, 2, -1]
        """
        if not len(self.ranges):
            return np.full(len(pfn), -1, np.int64)
        owner = np.searchsorted(self.ranges[:, 0], pfn, side="right") - 1
        inside = (owner >= 0) & (pfn < self.ranges[owner, 1])
        found: NDArray[np.int64] = np.where(inside, self._first_row[owner] + pfn - self.ranges[owner, 0], -1)
        return found

    def pfns(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the frame number of each row.

        >>> frames = MemMap(np.array([[2, 4], [8, 9]]), np.zeros(3, np.uint64), None, np.zeros(3, np.bool_))
        >>> frames.pfns(np.array([0, 2])).tolist()
        [2, 8]
        """
        owner = np.searchsorted(self._first_row, rows, side="right") - 1
        found: NDArray[np.int64] = self.ranges[owner, 0] + rows - self._first_row[owner]
        return found

    def having(self, *flags: str) -> NDArray[np.bool_]:
        """Return which rows have every one of `flags`."""
        wanted = np.uint64(mask(*flags))
        # By runs: an array of words beside the words themselves would be half as large as all that is known.
        held: NDArray[np.bool_] = (self.words[self.word_runs] & wanted) == wanted
        return self.spread(held.view(np.uint8)).view(np.bool_)

    def runs(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the half-open frame ranges, shape (n, 2), in which every row is chosen."""
        edge = np.empty(len(chosen) + 1, np.bool_)
        edge[0], edge[-1] = bool(len(chosen)) and chosen[0], bool(len(chosen)) and chosen[-1]
        np.not_equal(chosen[1:], chosen[:-1], out=edge[1:-1])
        inner = self._first_row[1:-1]
        inner = inner[chosen[inner] & chosen[inner - 1]]
        start, end = np.flatnonzero(edge).reshape(-1, 2).T
        if len(inner):
            start, end = np.sort(np.append(start, inner)), np.sort(np.append(end, inner))
        if not len(start):
            return np.empty((0, 2), np.int64)
        return np.stack((self.pfns(start), self.pfns(end - 1) + 1), axis=1)

    def pfn(self, row: int) -> int:
        """Return the frame number of one row."""
        return int(self.pfns(np.array([row]))[0])

    def lay_out(self, of_row: NDArray[Any], into: NDArray[Any], base_pfn: int, span: tuple[int, int]) -> None:
        """Write what `of_row` says of the frames of a span into an array that begins at `base_pfn`.

        What of the span has no row stays as it is.
        """
        for (start, end), row in zip(self.ranges.tolist(), self._first_row[:-1].tolist(), strict=True):
            low, high = max(start, span[0]), min(end, span[1])
            if low < high:
                into[low - base_pfn : high - base_pfn] = of_row[row + low - start : row + high - start]

    @cached_property
    def word_runs(self) -> NDArray[np.int64]:
        """int64, the first row of each run of equal flag words; some hundred times fewer than frames."""
        begins = np.ones(len(self), np.bool_)
        np.not_equal(self.words[1:], self.words[:-1], out=begins[1:])
        return np.flatnonzero(begins)

    @cached_property
    def run_words(self) -> NDArray[np.uint64]:
        """uint64, the flag word of each of those runs, tails with their head's bits."""
        return inherit_from_head(self.words[self.word_runs])

    def by_word(self, told: Callable[[NDArray[np.uint64]], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return for each row what `told` says of its flag word, tails with their head's bits.

        Asked of distinct words of runs, so that millions of frames take some compares each.
        """
        if not len(self):
            return np.empty(0, np.uint8)
        words, index = np.unique(self.run_words, return_inverse=True)
        return self.spread(told(words)[index])

    def spread(self, of_run: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return for each row what `of_run` says of its run."""
        return np.repeat(of_run, np.diff(np.append(self.word_runs, len(self))))

    @cached_property
    def free_runs(self) -> NDArray[np.int64]:
        """Ranges of frames that the buddy allocator holds."""
        return self.runs(self.having("BUDDY"))

    def validate(self) -> None:
        """Check that the arrays speak of the same frames, in order.

        Raises
        ------
        InvariantError
            ``frame-ranges`` or ``frame-columns``.
        """
        flat = self.ranges.reshape(-1)
        if (np.diff(flat[::1]) < 0).any() or (self.ranges[:, 0] >= self.ranges[:, 1]).any():
            raise InvariantError("frame-ranges", "ranges", f"not ascending: {self.ranges.tolist()}")
        columns = {
            "words": self.words,
            "mapcount": self.mapcount,
            "unstable": self.unstable,
            "known": self.known,
        }
        for name, values in columns.items():
            if values is not None and len(values) != self._first_row[-1]:
                where = f"ranges hold {self._first_row[-1]} frames, {name} {len(values)}"
                raise InvariantError("frame-columns", name, where)
