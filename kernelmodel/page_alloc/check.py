"""The allocator's invariants, each by name.

===================== ==============================================================================
frame-word            every frame is a hole, part of a block, or the first frame of one
natural-alignment     a block of order o starts at a multiple of 2**o and lies inside the zone
no-overlap            blocks are disjoint and cover everything that is no hole
list-links            entry and neighbour point at each other
list-membership       each free or per-CPU block is on exactly one list, nothing else is on any
list-order            a list holds blocks of its own order only, free ones or a CPU's
block-type            a free block stands on the list of its pageblock's type, and has one type
area-count            the count of an order is the length of its lists
free-pages            the counter of free pages is the sum over the lists, isolated ones not counted
free-highatomic       the same for the HighAtomic lists
free-cma              the same for the CMA lists
reserved-highatomic   the counter of reserved pages is the size of the HighAtomic pageblocks
pcp-count             a CPU's counter is the sum over its lists
merged-buddies        no two free buddies that may merge stand apart; from pageblock order on only as long
                      as no reserved pageblock was given back, because the kernel does not merge then
===================== ==============================================================================

Mirrors: what CONFIG_DEBUG_VM and CONFIG_DEBUG_LIST check one block at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel._jit import compiled, jit
from kernelmodel.errors import InvariantError
from kernelmodel.page_alloc import state
from kernelmodel.page_alloc.freelist import pcp_list
from kernelmodel.page_alloc.pcp import pindex_to_order
from kernelmodel.page_alloc.state import NEXT, PREV, Zone

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_LIST: Final = -1


@jit
def label_lists(zone: Zone, label: NDArray[np.int32]) -> int:
    """Write to each frame the number of the list that it is on; return where links break, or NO_LIST.

    Lists are numbered as their heads stand behind the frames. No walk runs in circles and no entry is met
    twice: it would have to point back at two entries.
    """
    nr_frames = int(zone.info[state.NR_FRAMES])
    for head in range(nr_frames, zone.page.shape[0]):
        before, entry = head, int(zone.page[head, NEXT])
        while entry != head:
            if not 0 <= entry < nr_frames or zone.page[entry, PREV] != before:
                return before
            label[entry] = head - nr_frames
            before, entry = entry, int(zone.page[entry, NEXT])
        if zone.page[head, PREV] != before:
            return before
    return NO_LIST


class Check:
    """One validation of one zone.

    Parameters
    ----------
    zone
        The zone, which is only read.
    base
        pfn of its first frame.
    pure
        Walk the lists in plain Python.
    """

    def __init__(self, zone: Zone, base: int, *, pure: bool = False) -> None:
        self.zone = zone
        self.base = base
        self.nr_frames = int(zone.info[state.NR_FRAMES])
        self.word = zone.page[: self.nr_frames, state.WORD]
        self.kind = self.word & state.KIND_MASK
        self.order = (self.word & state.ORDER_MASK).astype(np.int64)
        self.shift = int(zone.info[state.PAGEBLOCK_ORDER])
        self._walk = compiled(label_lists, pure=pure)

    def run(self) -> None:
        """Raise InvariantError for the first rule that is broken; O(frames)."""
        self.blocks()
        label = np.full(self.nr_frames, NO_LIST, np.int32)
        at = self._walk(self.zone, label)
        if at != NO_LIST:
            raise InvariantError("list-links", self._name(at), f"next {self.zone.page[at, NEXT]}")
        self.lists(label)
        self.counts(label)
        self.merged()

    def blocks(self) -> None:
        """Check that words, bounds and extents of the blocks make a partition."""
        zone, kind, order = self.zone, self.kind, self.order
        known = np.isin(kind, (state.FREE, state.PCP, state.USED, state.USED_MOVABLE))
        plain = (self.word == state.TAIL) | (self.word == state.HOLE)
        self._demand("frame-word", ~(plain | (known & (order < zone.info[state.NR_ORDERS]))), self.word)
        start = np.flatnonzero(known)
        end = start + (1 << order[start])
        outside = (start < zone.info[state.ZONE_FIRST]) | (end > zone.info[state.ZONE_END])
        self._demand("natural-alignment", outside | (start & (end - start - 1) != 0), order[start], start)
        depth = np.zeros(self.nr_frames + 1, np.int32)
        depth[start] += 1
        np.add.at(depth, end, -1)
        depth = np.cumsum(depth[:-1], dtype=np.int32)
        self._demand("no-overlap", depth != (self.word != state.HOLE), depth)

    def lists(self, label: NDArray[np.int32]) -> None:
        """Check that every block is on the list it belongs on."""
        zone = self.zone
        listed = (self.kind == state.FREE) | (self.kind == state.PCP)
        self._demand("list-membership", (label != NO_LIST) != listed, label)
        nr_free_lists = int(zone.info[state.NR_ORDERS]) * state.NR_TYPES
        free = np.flatnonzero(self.kind == state.FREE)
        order_of_list = np.where(label[free] < nr_free_lists, label[free] // state.NR_TYPES, -1)
        self._demand("list-order", order_of_list != self.order[free], label[free], free)
        pcp = np.flatnonzero(self.kind == state.PCP)
        pindex = (label[pcp] - nr_free_lists) % state.NR_PCP_LISTS
        orders = np.array([pindex_to_order(zone, i) for i in range(state.NR_PCP_LISTS)])
        wrong = (label[pcp] < nr_free_lists) | (orders[pindex] != self.order[pcp])
        self._demand("list-order", wrong, label[pcp], pcp)
        block_type = zone.block_type[free >> self.shift]
        mixed = block_type != label[free] % state.NR_TYPES
        for at in np.flatnonzero(self.order[free] > self.shift):
            blocks = slice(free[at] >> self.shift, (free[at] + (1 << self.order[free[at]])) >> self.shift)
            mixed[at] |= bool((zone.block_type[blocks] != block_type[at]).any())
        self._demand("block-type", mixed, block_type, free)

    def counts(self, label: NDArray[np.int32]) -> None:
        """Check every counter against the lists."""
        zone = self.zone
        free = self.kind == state.FREE
        listed = zone.info[state.NR_FREE_OF :]
        counted = np.bincount(self.order[free], minlength=listed.size)
        for order in np.flatnonzero(counted != listed):
            self._differ("area-count", f"order {order}", int(counted[order]), int(listed[order]))
        pages = np.zeros(state.NR_TYPES, np.int64)
        np.add.at(pages, label[free] % state.NR_TYPES, 1 << self.order[free])
        reserved = int((zone.block_type == state.HIGHATOMIC).sum()) << self.shift
        for invariant, which, counted_pages in (
            ("free-pages", state.NR_FREE, int(pages.sum() - pages[state.ISOLATE])),
            ("free-highatomic", state.NR_FREE_HIGHATOMIC, int(pages[state.HIGHATOMIC])),
            ("free-cma", state.NR_FREE_CMA, int(pages[state.CMA])),
            ("reserved-highatomic", state.NR_RESERVED_HIGHATOMIC, reserved),
        ):
            self._differ(invariant, "zone", counted_pages, int(zone.info[which]))
        pcp = np.flatnonzero(self.kind == state.PCP)
        first_list = pcp_list(zone, 0, 0) - self.nr_frames
        cpu = (label[pcp] - first_list) // state.NR_PCP_LISTS
        held = np.zeros(zone.pcp.shape[0], np.int64)
        np.add.at(held, cpu, 1 << self.order[pcp])
        for which_cpu, nr_pages in enumerate(held.tolist()):
            counter = int(zone.pcp[which_cpu, state.PCP_COUNT])
            self._differ("pcp-count", f"cpu {which_cpu}", nr_pages, counter)

    def merged(self) -> None:
        """Check that free buddies have merged wherever their types allow it."""
        zone = self.zone
        free = np.flatnonzero((self.kind == state.FREE) & (self.order < zone.info[state.NR_ORDERS] - 1))
        buddy = free ^ (1 << self.order[free])
        pair = self.word[buddy] == self.word[free]
        mine, other = zone.block_type[free >> self.shift], zone.block_type[buddy >> self.shift]
        ordinary = (mine < state.NR_PCPTYPES) & (other < state.NR_PCPTYPES)
        strict = zone.info[state.NR_UNRESERVED] == 0
        mergeable = (self.order[free] < self.shift) | (((mine == other) | ordinary) & strict)
        self._demand("merged-buddies", pair & mergeable, self.order[free], free)

    def _name(self, index: int) -> str:
        head = index - self.nr_frames
        return f"pfn {index + self.base}" if head < 0 else f"list {head}"

    def _demand(
        self,
        invariant: str,
        broken: NDArray[np.bool_],
        witness: NDArray[np.generic],
        index: NDArray[np.int64] | None = None,
    ) -> None:
        """Raise for the first place that is broken, with the value found there."""
        if broken.any():
            at = int(broken.argmax())
            where = at if index is None else int(index[at])
            raise InvariantError(
                invariant, self._name(where), f"found {witness[at]}, word {self.word[where]:#x}"
            )

    @staticmethod
    def _differ(invariant: str, where: str, counted: int, counter: int) -> None:
        if counted != counter:
            raise InvariantError(invariant, where, f"{counted} counted, {counter} in the counter")
