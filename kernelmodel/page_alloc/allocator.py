"""The live buddy allocator of one zone.

Mirrors: mm/page_alloc.c of 6.15 and later, function by function in the modules beside this one.
Fidelity: each module says what it leaves out. Seen from here: one zone, one user at a time, no reclaim. The
streams of operations of one zone give the same frames with numba and without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernelmodel._jit import compiled
from kernelmodel.errors import ModelError
from kernelmodel.page_alloc import state, stream
from kernelmodel.page_alloc.check import Check
from kernelmodel.page_alloc.layout import Layout, Tuning, build
from kernelmodel.page_alloc.rebuild import FreeBlocks

if TYPE_CHECKING:
    from numpy.typing import NDArray


class BuddyAllocator:
    """A zone that allocates and frees as Linux does.

    Parameters
    ----------
    layout
        What stands where at first.
    tuning
        Watermarks and per-CPU limits.
    pure
        Run in plain Python even where there is numba.

    Examples
    --------
    >>> from kernelmodel.page_alloc.rebuild import free_blocks
    >>> free = free_blocks(np.array([[0, 1024]]), zone_start=0, zone_end=1024)
    >>> movable = np.full(2, state.MOVABLE, np.uint8)
    >>> buddy = BuddyAllocator(Layout(0, 1024, 1024, free, movable), pure=True)
    >>> buddy.alloc(0, state.MOVABLE), buddy.alloc(3, state.MOVABLE)
    (0, 8)
    >>> buddy.free(0, 0)
    >>> buddy.free_blocks().counts().tolist()
    [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0]
    >>> buddy.validate()
    """

    def __init__(self, layout: Layout, tuning: Tuning | None = None, *, pure: bool = False) -> None:
        self.zone, self.base = build(layout, tuning or Tuning())
        self._pure = pure
        self._execute = compiled(stream.execute, pure=pure)

    def alloc(
        self,
        order: int,
        migratetype: int,
        alloc_flags: int = state.ALLOC_WMARK_LOW,
        cpu: int = 0,
        highest_zone: int = 0,
    ) -> int:
        """Allocate a block; return its pfn, or NO_PAGE where the watermark or the lists do not give it.

        Parameters
        ----------
        order, migratetype
            log2 of the pages, and one of the three ordinary types.
        alloc_flags
            Bits of `state.ALLOC_`.
        cpu
            Whose lists it goes through.
        highest_zone
            Number of the highest zone type that could meet the request.
        """
        return self._one(stream.OP_ALLOC, order, migratetype, alloc_flags, cpu, highest_zone)

    def free(self, pfn: int, order: int, cpu: int = 0, fpi_flags: int = 0) -> None:
        """Free an allocated block.

        Raises
        ------
        ModelError
            No block of that order is allocated there.
        """
        self._one(stream.OP_FREE, pfn, order, fpi_flags, cpu)

    def drain(self) -> int:
        """Give the pages of all CPUs' lists back to the buddy lists; return how many."""
        return sum(self._one(stream.OP_DRAIN, cpu=cpu) for cpu in range(self.zone.pcp.shape[0]))

    def decay(self, cpu: int) -> int:
        """Lower a CPU's limit as the periodic vmstat update does; return the pages given back."""
        return self._one(stream.OP_DECAY, cpu=cpu)

    def unreserve_highatomic(self, migratetype: int, *, force: bool = False) -> bool:
        """Give a reserved pageblock to a type, as reclaim does when it makes no progress; tell whether."""
        return bool(self._one(stream.OP_UNRESERVE, 0, migratetype, int(force)))

    def decay_boost(self, nr_pages: int) -> None:
        """Lower the watermark boost by so many pages, as kswapd does after it reclaimed."""
        self.zone.info[state.BOOST] -= min(self.boost, nr_pages)

    def run(self, ops: NDArray[np.int64]) -> NDArray[np.int64]:
        """Carry out a stream of operations and return the result of each.

        Parameters
        ----------
        ops
            int64 (n, 6), columns as `stream.execute` describes them.

        Raises
        ------
        ModelError
            A row names an unknown kind, order, type, CPU or zone, or an operation that did not come before
            it; or a free found no block of its order. What came before that row is done.
        """
        ops = np.ascontiguousarray(ops, np.int64)
        results = np.zeros(ops.shape[0], np.int64)
        done = self._execute(self.zone, self.base, ops, results)
        if done < ops.shape[0]:
            none = results[done] == stream.NO_OPERATION
            why = "there is no such operation" if none else "no block of that order is allocated there"
            raise ModelError(f"operation {done}, {ops[done].tolist()}: {why}")
        return results

    def free_blocks(self) -> FreeBlocks:
        """Return the free blocks in physical order."""
        word = self.zone.page[: self.zone.info[state.NR_FRAMES], state.WORD]
        index = np.flatnonzero(word & state.KIND_MASK == state.FREE)
        order = (word[index] & state.ORDER_MASK).astype(np.uint8)
        return FreeBlocks(index + self.base, order, int(self.zone.info[state.NR_ORDERS]))

    def free_counts(self) -> NDArray[np.int64]:
        """Return free blocks as /proc/pagetypeinfo counts them: int64 (nr_orders, types)."""
        free = self.free_blocks()
        types = self.zone.block_type[(free.start_pfn - self.base) >> self.zone.info[state.PAGEBLOCK_ORDER]]
        counts = np.zeros((free.nr_orders, state.NR_TYPES), np.int64)
        np.add.at(counts, (free.order, types), 1)
        return counts

    @property
    def nr_free_pages(self) -> int:
        """Free pages, those on per-CPU lists and in isolated pageblocks not counted."""
        return int(self.zone.info[state.NR_FREE])

    @property
    def nr_pcp_pages(self) -> int:
        """Pages on the lists of all CPUs."""
        return int(self.zone.pcp[:, state.PCP_COUNT].sum())

    @property
    def boost(self) -> int:
        """Pages by which the watermarks are raised."""
        return int(self.zone.info[state.BOOST])

    def validate(self) -> None:
        """Check every invariant of `check`; raises InvariantError."""
        Check(self.zone, self.base, pure=self._pure).run()

    def _one(self, *operation: int, cpu: int = 0) -> int:
        row = np.zeros((1, 6), np.int64)
        row[0, : len(operation)] = operation
        row[0, 4] += cpu
        return int(self.run(row)[0])
