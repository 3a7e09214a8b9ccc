"""What every policy starts from: the zones of one node, and one numbering of their frames.

Policies, books and pictures all count frames from `Ground.base_pfn`, in one array over all zones::

    base_pfn   DMA             DMA32                      Normal
      |HOLE|...............|.......................|HOLE|..........................|
                           ^ limits()[0]                                           ^ limits()[2]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.compaction.scanners import Rules
from kernelmodel.compaction.zone_layout import KIND_MASK, Frame
from kernelmodel.errors import ModelError
from kernelmodel.page_alloc.rebuild import FreeBlocks, free_blocks
from kernelmodel.page_alloc.state import MAX_ZONE_TYPES
from kernelmodel.ranges import true_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.compaction.zone_layout import ZoneLayout
    from kernelmodel.page_alloc.layout import Tuning


@dataclass(frozen=True, eq=False)
class ZoneGround:
    """One zone.

    Parameters
    ----------
    layout
        What stands where. Pages on per-CPU lists are `Frame.UNKNOWN` and stay.
    zone_type
        Place among the zone types: DMA 0, DMA32 1, Normal 2, Movable 3.
    managed_pages
        Pages given to the allocator.
    block_type
        uint8, migratetype of each pageblock from the one that holds ``layout.start_pfn`` on.
    tuning
        Watermarks, reserves and per-CPU limits.
    """

    layout: ZoneLayout
    zone_type: int
    managed_pages: int
    block_type: NDArray[np.uint8]
    tuning: Tuning


@dataclass(frozen=True, eq=False)
class Ground:
    """The zones of one node.

    Parameters
    ----------
    zones
        By address, ascending and disjoint.
    swap_free_pages
        What swap can still take.
    rules
        How this kernel runs its scanners.

    Raises
    ------
    ModelError
        There is no zone, they are not ascending, or their orders differ.
    """

    zones: tuple[ZoneGround, ...]
    swap_free_pages: int = 0
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        layouts = [zone.layout for zone in self.zones]
        if not layouts:
            raise ModelError("a node without zones")
        for before, after in pairwise(layouts):
            if before.end_pfn > after.start_pfn:
                raise ModelError(f"zone {after.zone} does not stand behind zone {before.zone}")
        if len({(each.nr_orders, each.pageblock_order) for each in layouts}) > 1:
            raise ModelError("zones of one node with different orders")

    @property
    def nr_orders(self) -> int:
        """Number of orders of the free lists."""
        return self.zones[0].layout.nr_orders

    @property
    def base_pfn(self) -> int:
        """Pfn of frame 0: a multiple of the largest free block."""
        return self.zones[0].layout.base_pfn

    @property
    def nr_frames(self) -> int:
        """Frames of the numbering: a multiple of the largest free block."""
        last = self.zones[-1].layout
        return last.base_pfn + len(last.state) - self.base_pfn

    @property
    def wmark_min(self) -> int:
        """Pages that all zones together keep from ordinary requests."""
        return sum(zone.tuning.wmark_min for zone in self.zones)

    def content(self) -> NDArray[np.uint8]:
        """Return a new array of the bytes of all frames, as `ZoneLayout.state` has them."""
        content = np.full(self.nr_frames, Frame.HOLE, np.uint8)
        for layout in (zone.layout for zone in self.zones):
            inside = slice(layout.start_pfn - layout.base_pfn, layout.end_pfn - layout.base_pfn)
            content[layout.start_pfn - self.base_pfn : layout.end_pfn - self.base_pfn] = layout.state[inside]
        return content

    def layouts(self, content: NDArray[np.uint8]) -> tuple[ZoneLayout, ...]:
        """Return the zones with other contents: `content` is an array as `content()` returns it."""
        made = []
        for layout in (zone.layout for zone in self.zones):
            state = np.full(len(layout.state), Frame.HOLE, np.uint8)
            inside = slice(layout.start_pfn - layout.base_pfn, layout.end_pfn - layout.base_pfn)
            state[inside] = content[layout.start_pfn - self.base_pfn : layout.end_pfn - self.base_pfn]
            made.append(layout.with_state(state))
        return tuple(made)

    def limits(self) -> NDArray[np.int64]:
        """Return, for each zone type, the frame behind the last one that such a request may have."""
        limits = np.zeros(MAX_ZONE_TYPES, np.int64)
        for zone in self.zones:
            limits[zone.zone_type :] = zone.layout.end_pfn - self.base_pfn
        return limits

    def free_blocks(self) -> FreeBlocks:
        """Return the maximal free blocks of all zones; start_pfn counts from frame 0, not from pfn 0."""
        runs = true_runs(self.content() & np.uint8(KIND_MASK) == Frame.FREE)
        return free_blocks(runs, 0, self.nr_frames, self.nr_orders)

    def by_zone(self, blocks: FreeBlocks) -> NDArray[np.int64]:
        """Return how many blocks of each order begin in each zone, int64 (zones, orders).

        Parameters
        ----------
        blocks
            start_pfn counts from frame 0, as in `free_blocks`.
        """
        counts = np.zeros((len(self.zones), self.nr_orders), np.int64)
        for row, layout in enumerate(zone.layout for zone in self.zones):
            start, end = layout.start_pfn - self.base_pfn, layout.end_pfn - self.base_pfn
            inside = blocks.order[(blocks.start_pfn >= start) & (blocks.start_pfn < end)]
            counts[row] = np.bincount(inside, minlength=self.nr_orders)
        return counts
