"""What is evicted for a request: single pages while memory is short, or a whole window that is cheapest.

Mirrors: mm/vmscan.c: shrink_node up to the high watermark, at least SWAP_CLUSTER_MAX pages at a time.
Fidelity: clean page cache goes before what has to be written or swapped; within a class the oldest goes
first, which is what was allocated first. What stood before the demand began is older than all of it, in an
order of its own that has nothing to do with addresses: a layout does not tell the LRU lists. A window is
chosen as `kernelmodel.compaction.eviction.evict` chooses one, the lowest of those that cost the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.compaction.eviction import CLASSES
from kernelmodel.compaction.windows import buddy_windows
from kernelmodel.compaction.zone_layout import KIND_MASK, TAIL, Frame
from kernelmodel.free_area.book import NONE, OWNER, SWAP_FREE
from kernelmodel.free_area.carry import NOTHING, NOWHERE, Changes, evictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.compaction.eviction import EvictionLimits
    from kernelmodel.compaction.zone_layout import ZoneLayout
    from kernelmodel.free_area.book import Book

SWAP_CLUSTER_MAX: Final = 32

NO_CLASS: Final = len(CLASSES)
_FRAME_BITS: Final = 28
_AGE_BITS: Final = 32
_SCATTER: Final = 2654435761
"""Odd, so that multiplying by it is a permutation of the numbers of 32 bits (Knuth's)."""

CLASS_OF: Final = np.full(KIND_MASK + 1, NO_CLASS, np.int64)
"""Class of each `Frame`: which of `CLASSES`, or `NO_CLASS`."""
for _number, _members in enumerate(CLASSES):
    CLASS_OF[list(_members)] = _number


def pages_to_evict(book: Book, start: int, end: int, nr_pages: int) -> Changes:
    """Return the evictions of whole folios that free `nr_pages` of a range, or as many as can be had."""
    content = book.content[start:end]
    heads = np.flatnonzero(content & TAIL == 0)
    of_class = CLASS_OF[content[heads] & KIND_MASK]
    size = np.diff(np.append(heads, end - start))
    here = of_class < NO_CLASS
    heads, of_class, size = heads[here], of_class[here], size[here]
    owner = book.block[start + heads, OWNER].astype(np.int64)
    scattered = (heads * _SCATTER & ((1 << _AGE_BITS) - 1)) >> 1
    age = np.where(owner == NONE, scattered, owner + (1 << (_AGE_BITS - 1)))
    key = ((of_class << _AGE_BITS | age) << _FRAME_BITS) | np.arange(len(heads))
    if nr_pages < len(key):
        key = np.partition(key, nr_pages)[:nr_pages]
    chosen = np.sort(key) & ((1 << _FRAME_BITS) - 1)
    swaps = of_class[chosen] == NO_CLASS - 1
    chosen = chosen[~swaps | (np.cumsum(size[chosen] * swaps) <= book.info[SWAP_FREE])]
    enough = int(np.searchsorted(np.cumsum(size[chosen]), nr_pages)) + 1
    return evictions(start + heads[chosen[:enough]], size[chosen[:enough]])


def window_to_evict(layout: ZoneLayout, order: int, limits: EvictionLimits, first: int) -> Changes:
    """Return the evictions that free the cheapest window of an order; none where there is no such window.

    Parameters
    ----------
    layout
        The zone as it stands.
    order
        Order of the window.
    limits
        What may be evicted, at what price.
    first
        Frame of ``layout.state[0]``.
    """
    found = buddy_windows(layout, order)
    size, free = found.nr_frames, found.free
    classes = limits.classes_of(found, np.arange(len(found)))
    can = (free < size) & (free + classes.sum(axis=1) == size) & (classes[:, -1] <= limits.swap_free_pages)
    rows = np.flatnonzero(can)
    if not len(rows):
        return NOTHING
    cheapest = rows[int((classes[rows] @ np.array(limits.evict_ns)).argmin())]
    frames = found.first_pfn - layout.base_pfn + cheapest * size + np.arange(size)
    used = frames[layout.state[frames] & KIND_MASK != Frame.FREE]
    return evictions(first + used, np.ones(len(used), np.int64))


def evicted_by_class(content: NDArray[np.uint8], changes: Changes) -> list[int]:
    """Return how many pages of each of `CLASSES` the changes evict, before they are carried out."""
    gone = changes.destination == NOWHERE
    of_class = CLASS_OF[content[changes.source[gone]] & KIND_MASK]
    return [int(changes.nr_pages[gone][of_class == each].sum()) for each in range(NO_CLASS)]
