"""Folios: which frames belong together as one compound page.

Mirrors: ``include/linux/page-flags.h: PageHead, PageTail``, ``include/linux/mm.h: compound_order``.
Fidelity: found by the marks on head and tails. A frame of a higher-order allocation without ``__GFP_COMP``
carries none and stands alone; so does a free block, which the buddy allocator holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.pageflags import mask
from kernelmodel.ranges import frames_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.memmap import MemMap

_HEAD = np.uint64(mask("COMPOUND_HEAD"))
_TAIL = np.uint64(mask("COMPOUND_TAIL"))


@dataclass(frozen=True)
class Folios:
    """Compound pages in physical order; frames in none of them are folios of order 0.

    Parameters
    ----------
    head_pfn
        int64, first frame of each.
    nr_pages
        int64, frames of each. A power of two where nothing is wrong.
    """

    head_pfn: NDArray[np.int64]
    nr_pages: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.head_pfn)

    def find(self, pfn: int) -> tuple[int, int]:
        """Return head and number of pages of the folio that holds `pfn`.

        >>> Folios(np.array([8]), np.array([4])).find(10), Folios(np.array([8]), np.array([4])).find(12)
        ((8, 4), (12, 1))
        """
        index = int(np.searchsorted(self.head_pfn, pfn, side="right")) - 1
        if index >= 0 and pfn < self.head_pfn[index] + self.nr_pages[index]:
            return int(self.head_pfn[index]), int(self.nr_pages[index])
        return pfn, 1

    def around(self, pfn: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return frames and all others of the folios that hold one of them, ascending, each once.

        >>> Folios(np.array([8, 16]), np.array([4, 2])).around(np.array([10, 30])).tolist()
        [8, 9, 10, 11, 30]
        """
        near = np.searchsorted(self.head_pfn, pfn, side="right") - 1
        near = np.unique(near[near >= 0])
        head, nr_pages = self.head_pfn[near], self.nr_pages[near]
        ordered = np.sort(pfn)
        holding = np.searchsorted(ordered, head) < np.searchsorted(ordered, head + nr_pages)
        return np.union1d(pfn, frames_of(head[holding], nr_pages[holding]))


def folios(frames: MemMap) -> Folios:
    """Return the compound pages: a head and the tails right behind it.

    Two flag tests a frame and no loop, so that 6.5 million frames take some 20 ms.
    """
    tails = (frames.words & _TAIL) != 0
    heads = np.flatnonzero((frames.words & _HEAD) != 0)
    if not len(heads):
        return Folios(np.empty(0, np.int64), np.empty(0, np.int64))
    # The first row behind each head that is no tail, or that the ranges do not continue to.
    stops = np.flatnonzero(~tails)
    ends = np.append(stops, len(tails))[np.searchsorted(stops, heads, side="right")]
    pfn = frames.pfns(heads)
    range_end = frames.ranges[np.searchsorted(frames.ranges[:, 0], pfn, side="right") - 1, 1]
    return Folios(pfn, np.minimum(ends - heads, range_end - pfn))
