"""What stands where in one zone, in one byte a frame: what every strategy of compaction works on.

Mirrors: ``mm/compaction.c`` reads ``struct page`` for the same facts (``PageBuddy, PageLRU, PageCompound``).
Fidelity: one byte says what a frame is to compaction, not whose it is. Which pageblocks the free scanner may
fill is a guess wherever the host was not asked (`kernelmodel.page_alloc.pageblock_flags`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel._jit import compiled, jit
from kernelmodel.errors import InvariantError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Frame(IntEnum):
    """What a frame is to compaction: the low four bits of its byte."""

    FREE = 0
    """In the buddy allocator's lists."""
    ANON = 1
    """Anonymous, on an LRU list; can be moved, and evicted to swap."""
    SHMEM = 2
    """Shared memory; can be moved, and evicted to swap."""
    CLEAN = 3
    """Clean page cache; can be moved, and dropped."""
    DIRTY = 4
    """Dirty page cache, or under writeback; can be moved, is written before it is dropped."""
    UNEVICTABLE = 5
    """Unevictable where compaction may move that; not evicted."""
    MOVABLE_OPS = 6
    """Moved by its driver (a balloon's page)."""
    PINNED = 7
    """On an LRU list, and known to be held in place."""
    UNCERTAIN = 8
    """Moves or stays: something unseen may hold it. On no LRU list, so that the scanner passes it over."""
    FIXED = 9
    """Kernel memory, page tables, slab, hugetlb, reserved: never moved by compaction."""
    UNKNOWN = 10
    """Flag word 0: free on a per-CPU list, or the kernel's."""
    HOLE = 11
    """No memory, or none of this zone."""
    HELD = 12
    """Page cache that something unseen most likely holds: it is taken like others, and put back."""


KIND_MASK: Final = 0x0F
UNSPLITTABLE: Final = 0x20
"""Bit of a page of a large folio that cannot be split now: dirty or under writeback in the page cache."""
HEAD: Final = 0x40
"""Bit of the first page of a compound page."""
TAIL: Final = 0x80
"""Bit of every further page of a compound page."""

SECTION_ORDER: Final = 15
"""log2 of the frames of a memory section (x86-64): one without memory is stepped over at once."""

FIRST_MOVABLE: Final = int(Frame.ANON)
LAST_MOVABLE: Final = int(Frame.MOVABLE_OPS)
"""Kinds from ANON to MOVABLE_OPS can be moved."""


@dataclass(frozen=True)
class ZoneLayout:
    """One zone.

    Parameters
    ----------
    node, zone
        NUMA node and name.
    start_pfn, end_pfn
        Half-open span.
    base_pfn
        Frame of ``state[0]``: `start_pfn` rounded down to the largest free block.
    state
        uint8, a byte a frame; what lies outside the span is `Frame.HOLE`. Its length is a multiple of the
        largest free block.
    targets
        bool, for each pageblock from `base_pfn` on: Movable or CMA, so that the free scanner may fill it.
    pageblock_order, nr_orders
        Order of a pageblock; number of orders of the free lists.
    other_targets
        bool, as `targets`, if each pageblock that may as well have another type has it; None where
        that makes no difference.
    pcp_pages
        Pages on per-CPU lists, all CPUs together; None where that was not told.
    wmark_min
        The watermark in pages below which nobody but emergencies may take; 0 where it was not told.
    block_types
        uint8, the likeliest migratetype of each pageblock from `base_pfn` on; Movable where there is no
        memory. None where nobody guessed.
    """

    node: int
    zone: str
    start_pfn: int
    end_pfn: int
    base_pfn: int
    state: NDArray[np.uint8]
    targets: NDArray[np.bool_]
    pageblock_order: int = 9
    nr_orders: int = 11
    pcp_pages: int | None = None
    wmark_min: int = 0
    other_targets: NDArray[np.bool_] | None = None
    block_types: NDArray[np.uint8] | None = None

    @property
    def kinds(self) -> NDArray[np.uint8]:
        """uint8, the `Frame` of each frame."""
        return self.state & np.uint8(KIND_MASK)

    def with_state(self, state: NDArray[np.uint8]) -> ZoneLayout:
        """Return the same zone with other contents."""
        return replace(self, state=state)

    def free_blocks(self) -> NDArray[np.int64]:
        """Return the free blocks of each order, int64[nr_orders], as buddyinfo prints them. O(frames)."""
        counts = np.zeros(self.nr_orders, np.int64)
        compiled(count_free_blocks)(self.state, counts)
        return counts

    def validate(self) -> None:
        """Check the arrays against one another.

        Raises
        ------
        InvariantError
            ``layout-aligned``, ``layout-span``, ``layout-targets``, ``layout-kinds`` or ``layout-compound``.
        """
        grain = 1 << (self.nr_orders - 1)
        where = f"node {self.node} zone {self.zone}"
        if self.base_pfn % grain or len(self.state) % grain:
            raise InvariantError("layout-aligned", where, f"{self.base_pfn}+{len(self.state)} of {grain}")
        if not self.base_pfn <= self.start_pfn < self.end_pfn <= self.base_pfn + len(self.state):
            raise InvariantError("layout-span", where, f"[{self.start_pfn}, {self.end_pfn}) is not inside")
        if len(self.targets) != len(self.state) >> self.pageblock_order:
            raise InvariantError("layout-targets", where, f"{len(self.targets)} pageblocks")
        kinds = self.kinds
        if (kinds > max(Frame)).any():
            raise InvariantError("layout-kinds", where, f"kind {int(kinds.max())}")
        outside = np.ones(len(self.state), np.bool_)
        outside[self.start_pfn - self.base_pfn : self.end_pfn - self.base_pfn] = False
        if (kinds[outside] != Frame.HOLE).any():
            raise InvariantError("layout-span", where, "frames outside the span are no holes")
        tail = (self.state & TAIL) != 0
        orphan = tail & ~np.concatenate(([False], (self.state[:-1] & (HEAD | TAIL)) != 0))
        if orphan.any():
            at = int(orphan.argmax()) + self.base_pfn
            raise InvariantError("layout-compound", f"pfn {at}", "a tail page with no page of it before")


@jit
def count_free_blocks(state: NDArray[np.uint8], counts: NDArray[np.int64]) -> None:
    """Add up the maximal naturally aligned free blocks of each order into `counts`."""
    nr_frames = len(state)
    last = len(counts) - 1
    at = 0
    while at < nr_frames:
        if state[at] & KIND_MASK:
            at += 1
            continue
        end = at + 1
        while end < nr_frames and not state[end] & KIND_MASK:
            end += 1
        while at < end:
            order = 0
            while order < last and not at & ((2 << order) - 1) and at + (2 << order) <= end:
                order += 1
            counts[order] += 1
            at += 1 << order
