"""What each pageblock holds: how many of its frames are free, can be moved, stay, or are not known.

::

    pfn   512                                 1024                 order 9: 512 frames each
          |....mmmmmm....mmm..mmmmmmmmm......|....mmmmm..m..u......|
           movable only                       one unmovable page only

Mirrors: ``include/linux/pageblock-flags.h: pageblock_start_pfn, pageblock_end_pfn``,
``mm/page_isolation.c: has_unmovable_pages`` (whose question it is).
Fidelity: by content; the migratetype of a pageblock is exported only in sums (/proc/pagetypeinfo).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.errors import InvariantError
from kernelmodel.movability import VERDICTS, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.memmap import MemMap


class Content(IntEnum):
    """A pageblock in one word."""

    FREE = 0
    MOVABLE_ONLY = 1
    ONE_UNMOVABLE = 2
    MIXED = 3
    UNMOVABLE = 4
    UNKNOWN = 5


CONTENT_NAMES: Final = {
    Content.FREE: "free",
    Content.MOVABLE_ONLY: "movable only",
    Content.ONE_UNMOVABLE: "one unmovable page only",
    Content.MIXED: "mixed",
    Content.UNMOVABLE: "unmovable",
    Content.UNKNOWN: "unknown",
}
"""The words that output uses."""


@dataclass(frozen=True)
class Pageblocks:
    """Pageblocks that hold frames, in physical order.

    Parameters
    ----------
    order
        log2 of the frames in a pageblock.
    start_pfn
        int64, shape (n,), first frame of each; a multiple of ``1 << order``.
    counts
        int64, shape (n, 5): frames by `Verdict`. Frames that the host does not have stay, like holes, so that
        each row adds up to a whole pageblock.
    """

    order: int
    start_pfn: NDArray[np.int64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start_pfn)

    def row(self, pfn: int) -> int:
        """Return the row of the pageblock that holds `pfn`, -1 where no frame of it is known. O(log n)."""
        start = pfn >> self.order << self.order
        row = int(np.searchsorted(self.start_pfn, start))
        return row if row < len(self) and self.start_pfn[row] == start else -1

    def contents(self) -> NDArray[np.uint8]:
        """Return the `Content` of each; a frame that is not known decides only where nothing else does.

        >>> blocks = Pageblocks(2, np.array([0, 4, 8]), np.array([[4, 0, 0, 0, 0], [1, 1, 1, 1, 0],
        ...                                                       [1, 0, 0, 2, 1]]))
        >>> [CONTENT_NAMES[Content(code)] for code in blocks.contents()]
        ['free', 'one unmovable page only', 'mixed']
        """
        free, yes, if_, no, unknown = self.counts.T
        conditions = (
            (free == 1 << self.order, Content.FREE),
            ((no == 0) & (unknown == 0), Content.MOVABLE_ONLY),
            (no == 0, Content.UNKNOWN),
            (free + yes + if_ == 0, Content.UNMOVABLE),
            ((no == 1) & (unknown == 0), Content.ONE_UNMOVABLE),
        )
        return np.select(
            [condition for condition, _ in conditions],
            [np.uint8(content) for _, content in conditions],
            np.uint8(Content.MIXED),
        ).astype(np.uint8)

    def validate(self) -> None:
        """Check that the pageblocks are in order and that each is counted whole.

        Raises
        ------
        InvariantError
            ``pageblock-aligned``, ``pageblocks-ordered`` or ``pageblock-sum``.
        """
        size = 1 << self.order
        askew = np.flatnonzero(self.start_pfn % size)
        if len(askew):
            raise InvariantError(
                "pageblock-aligned", f"pfn {self.start_pfn[askew[0]]}", f"no multiple of {size}"
            )
        back = np.flatnonzero(np.diff(self.start_pfn) <= 0)
        if len(back):
            at = int(back[0])
            raise InvariantError(
                "pageblocks-ordered", f"pfn {self.start_pfn[at]}", f"followed by {self.start_pfn[at + 1]}"
            )
        wrong = np.flatnonzero((self.counts.sum(axis=1) != size) | (self.counts < 0).any(axis=1))
        if len(wrong):
            at = int(wrong[0])
            raise InvariantError(
                "pageblock-sum", f"pfn {self.start_pfn[at]}", f"{self.counts[at].tolist()} of {size} frames"
            )


def pageblocks(frames: MemMap, codes: NDArray[np.uint8], order: int) -> Pageblocks:
    """Count the frames of every pageblock by what can be done with them.

    Parameters
    ----------
    frames
        The frames.
    codes
        `kernelmodel.movability.Movability` of each row.
    order
        log2 of the frames in a pageblock.
    """
    start_pfn, counts = block_counts(frames, VERDICTS[codes], len(Verdict), order)
    counts[:, Verdict.NO] += (1 << order) - counts.sum(axis=1)
    return Pageblocks(order, start_pfn, counts)


def block_counts(
    frames: MemMap, codes: NDArray[np.uint8], nr_codes: int, order: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the frames of every block of one order by their codes; blocks without a frame are left out.

    Counted along runs of frames with the same code, which are some hundred times fewer than frames.

    Parameters
    ----------
    frames
        The frames.
    codes
        uint8, of each row; less than `nr_codes`.
    order
        log2 of the frames in a block.

    Returns
    -------
    tuple
        int64 of shape (n,), the first frame of each block, ascending; int64 of shape (n, nr_codes), frames.
    """
    changes = np.flatnonzero(codes[1:] != codes[:-1]) + 1
    first = np.unique(np.concatenate((changes, *_block_rows(frames, order))))
    nr_frames = np.diff(np.append(first, len(codes)))
    block = frames.pfns(first) >> order
    begins = np.empty(len(block), np.bool_)
    begins[:1] = True
    np.not_equal(block[1:], block[:-1], out=begins[1:])
    index = np.cumsum(begins) - 1
    nr_blocks = int(np.count_nonzero(begins))
    cell = index * nr_codes + codes[first]
    counts = np.bincount(cell, weights=nr_frames, minlength=nr_blocks * nr_codes).astype(np.int64)
    return block[begins] << order, counts.reshape(nr_blocks, nr_codes)


def _block_rows(frames: MemMap, order: int) -> list[NDArray[np.int64]]:
    """Return, for each range of frames, the rows at which it and the pageblocks in it begin."""
    rows: list[NDArray[np.int64]] = []
    row = 0
    for start, end in frames.ranges.tolist():
        next_block = ((start >> order) + 1) << order
        rows += [np.array([row]), np.arange(next_block, end, 1 << order) + (row - start)]
        row += end - start
    return rows
