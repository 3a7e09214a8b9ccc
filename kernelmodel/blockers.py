"""What stands in the way of free blocks: who holds which windows, and what is free beside it.

A window is a block of one order at its natural place: what would be one free block if nothing were in it. A
frame that cannot be moved holds its window hostage, whatever else is free or could be moved there::

    pfn    512                                   1024                        order 9
           |....mmmmmm....s..mmmmmmmmm.......|.....mmmmm..m..t..s.......|
            held by slab alone                held by page tables and slab

Mirrors: ``mm/page_isolation.c: has_unmovable_pages`` (whose question it is), for every window at once.
Fidelity: as `kernelmodel.holder`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernelmodel.errors import InvariantError
from kernelmodel.holder import HOLDERS, NOBODY, NR_TAGS, TAG_VERDICTS, Holder
from kernelmodel.movability import Movability, Verdict
from kernelmodel.pageblock import Pageblocks, block_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.memmap import MemMap


@dataclass(frozen=True)
class Windows:
    """Blocks of one order at their natural places, in physical order.

    Parameters
    ----------
    order
        log2 of the frames in each.
    start_pfn
        int64, shape (n,), first frame of each.
    counts
        int64, shape (n, NR_TAGS): frames by tag. Frames that the host does not have are holes, so that each
        row adds up to a whole window.
    """

    order: int
    start_pfn: NDArray[np.int64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start_pfn)

    @property
    def free(self) -> NDArray[np.int64]:
        """int64, free frames in each."""
        return self.counts[:, Movability.FREE]

    @property
    def whole(self) -> NDArray[np.bool_]:
        """bool, those with memory behind every frame."""
        whole: NDArray[np.bool_] = self.counts[:, Movability.HOLE] == 0
        return whole

    @property
    def empty(self) -> NDArray[np.bool_]:
        """bool, those with memory behind no frame."""
        empty: NDArray[np.bool_] = self.counts[:, Movability.HOLE] == 1 << self.order
        return empty

    @cached_property
    def held(self) -> NDArray[np.int64]:
        """int64, shape (n, len(Holder)): the frames that each kind of owner holds."""
        return np.stack([self.counts[:, holder == HOLDERS].sum(axis=1) for holder in Holder], axis=1)

    def coarser(self, order: int) -> Windows:
        """Return the windows of a larger order; what is missing of one is a hole."""
        key = self.start_pfn >> order
        begins = np.flatnonzero(np.diff(key, prepend=-1))
        counts = np.add.reduceat(self.counts, begins, axis=0) if len(key) else self.counts.copy()
        counts[:, Movability.HOLE] += (1 << order) - counts.sum(axis=1)
        return Windows(order, key[begins] << order, counts)

    def chosen(self, which: NDArray[np.bool_]) -> Windows:
        """Return some of the windows."""
        return Windows(self.order, self.start_pfn[which], self.counts[which])

    def inside(self, start_pfn: int, end_pfn: int) -> NDArray[np.bool_]:
        """Return which windows lie whole in [start_pfn, end_pfn)."""
        last = end_pfn - (1 << self.order)
        inside: NDArray[np.bool_] = (self.start_pfn >= start_pfn) & (self.start_pfn <= last)
        return inside

    def touching(self, start_pfn: int, end_pfn: int) -> NDArray[np.bool_]:
        """Return which windows have a frame in [start_pfn, end_pfn)."""
        before = start_pfn - (1 << self.order)
        touching: NDArray[np.bool_] = (self.start_pfn > before) & (self.start_pfn < end_pfn)
        return touching

    def find(self, pfn: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of the window that holds each frame, -1 where none does. O(log n) each."""
        if not len(self):
            return np.full(len(pfn), -1, np.int64)
        start = pfn >> self.order << self.order
        row = np.minimum(np.searchsorted(self.start_pfn, start), len(self) - 1)
        found: NDArray[np.int64] = np.where(self.start_pfn[row] == start, row, -1)
        return found

    def pageblocks(self) -> Pageblocks:
        """Return them as pageblocks, by what can be done with their frames; holes stay."""
        by_verdict = [self.counts[:, verdict == TAG_VERDICTS].sum(axis=1) for verdict in Verdict]
        return Pageblocks(self.order, self.start_pfn, np.stack(by_verdict, axis=1))

    def validate(self) -> None:
        """Check the windows as pageblocks are checked.

        Raises
        ------
        InvariantError
            Those of `kernelmodel.pageblock.Pageblocks.validate`, or ``window-tags``.
        """
        if self.counts.shape != (len(self), NR_TAGS):
            raise InvariantError("window-tags", "counts", f"shape {self.counts.shape}, {len(self)} windows")
        self.pageblocks().validate()


def windows(frames: MemMap, tags: NDArray[np.uint8], order: int) -> Windows:
    """Return the windows of one order that hold frames.

    Parameters
    ----------
    frames
        The frames.
    tags
        Of `kernelmodel.holder.tag_frames`.
    order
        log2 of the frames in a window.
    """
    start_pfn, counts = block_counts(frames, tags, NR_TAGS, order)
    counts[:, Movability.HOLE] += (1 << order) - counts.sum(axis=1)
    return Windows(order, start_pfn, counts)


class Held(NamedTuple):
    """What one kind of owner, or one owner, holds.

    Parameters
    ----------
    windows
        Windows with a frame of it.
    alone
        Those that nothing else holds.
    full
        Those with nothing but its frames.
    pages
        Its frames in them.
    trapped_free_pages
        Free frames in them.
    """

    windows: int
    alone: int
    full: int
    pages: int
    trapped_free_pages: int


def held_by_kind(among: Windows) -> dict[Holder, Held]:
    """Return what each kind of owner holds.

    A window that several kinds hold counts under each of them, and is `alone` under none: the sum over kinds
    exceeds the number of windows that are held.
    """
    held = among.held
    nr_kinds = (held > 0).sum(axis=1)
    return {holder: _held(among, held[:, holder], nr_kinds == 1) for holder in Holder}


def held_by_tag(among: Windows, tag: int) -> Held:
    """Return what the frames of one tag hold; `alone` are the windows that no other tag holds."""
    blocking = HOLDERS != NOBODY
    nr_tags = (among.counts[:, blocking] > 0).sum(axis=1)
    return _held(among, among.counts[:, tag], nr_tags == 1)


def _held(among: Windows, pages: NDArray[np.int64], single: NDArray[np.bool_]) -> Held:
    there = pages > 0
    return Held(
        int(np.count_nonzero(there)),
        int(np.count_nonzero(there & single)),
        int(np.count_nonzero(pages == 1 << among.order)),
        int(pages.sum()),
        int(among.free[there].sum()),
    )


def held_by_owner(
    among: Windows, pfn: NDArray[np.int64], owner: NDArray[np.int64], nr_owners: int
) -> list[Held]:
    """Return what each of some owners holds.

    Parameters
    ----------
    among
        The windows; frames in none of them are passed over.
    pfn, owner
        int64, frames and who holds each, 0 to `nr_owners` - 1. A frame may have several owners, and counts
        once for each, however often it is given.
    """
    row = among.find(pfn)
    pfn, owner, row = pfn[row >= 0], owner[row >= 0], row[row >= 0]
    order = np.lexsort((pfn, owner))
    pfn, owner, row = pfn[order], owner[order], row[order]
    again = np.zeros(len(pfn), np.bool_)
    again[1:] = (pfn[1:] == pfn[:-1]) & (owner[1:] == owner[:-1])
    owner, row = owner[~again], row[~again]
    cell, pages = np.unique(owner * max(len(among), 1) + row, return_counts=True)
    who, where = np.divmod(cell, max(len(among), 1))
    # A frame that several own is nobody's alone.
    single = np.bincount(where, minlength=len(among))[where] == 1
    single &= among.held.sum(axis=1)[where] == pages
    full = pages == 1 << among.order

    def sums(of: NDArray[np.int64] | NDArray[np.bool_]) -> list[int]:
        return [int(each) for each in np.bincount(who, weights=of, minlength=nr_owners)]

    columns = (np.ones(len(who), np.int64), single, full, pages, among.free[where])
    return [Held(*row) for row in zip(*map(sums, columns), strict=True)]


class Hostages(NamedTuple):
    """Windows with an owner of any kind, and the free frames in them; each counted once."""

    windows: int
    trapped_free_pages: int


def hostages(among: Windows) -> Hostages:
    """Return how many windows anybody holds."""
    held = among.held.sum(axis=1) > 0
    return Hostages(int(np.count_nonzero(held)), int(among.free[held].sum()))


class Potential(NamedTuple):
    """Windows of one order in one zone that are free, and that perfect compaction could free.

    Parameters
    ----------
    now
        Windows in which every frame is free.
    after
        Windows without an immovable frame, unless fewer fit into the free memory of the zone.
    at_most
        The same if every frame of flag word 0 were free on a per-CPU list.
    """

    now: int
    after: int
    at_most: int


def potential(among: Windows, free_pages: int, pcp_pages: int, reserve_pages: int) -> Potential:
    """Return how much of a zone could be free in one order.

    Clearing K windows of W pages takes K * W free pages, whichever windows they are: what is moved out of one
    fills free frames elsewhere. The reserve is left alone, but what is free already stays so.

    Parameters
    ----------
    among
        Windows of the zone.
    free_pages
        Free pages of the zone.
    pcp_pages
        Pages on per-CPU lists.
    reserve_pages
        Free pages that nobody but emergencies may take.
    """
    held = among.held
    size = 1 << among.order
    known = held[:, [holder for holder in Holder if holder != Holder.UNKNOWN]].sum(axis=1)
    unknown = held[:, Holder.UNKNOWN]
    # Nothing but words of 0 is memory that was never given to the allocator, more likely than free.
    maybe = among.whole & (known == 0) & (unknown < size)
    surely = maybe & (unknown == 0)
    now = int(np.count_nonzero(among.free == size))

    def fitting(nr_windows: int, nr_free: int) -> int:
        return max(now, min(nr_windows, max(0, nr_free - reserve_pages) // size))

    after = fitting(int(np.count_nonzero(surely)), free_pages)
    at_most = fitting(int(np.count_nonzero(maybe)), free_pages + pcp_pages)
    return Potential(now, after, max(after, at_most))
