"""The parts of memory that a policy knows as one, and what their watermarks leave to whom.

Linux has zones: each has watermarks of its own, and keeps pages from requests that could be met higher up.
The policies of 1998 know one area over all zones, with one common watermark::

    buddy-grouped   | DMA   |       DMA32       |        Normal         |     three domains
    all others      |                        node                       |     one

Mirrors: mm/page_alloc.c: __zone_watermark_ok; mm/compaction.c: compaction_suitable.
Fidelity: no boost, HighAtomic or CMA pages in the count: what they keep from a request shows only when it is
tried again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kernelmodel.compaction.zone_layout import KIND_MASK, Frame, ZoneLayout
from kernelmodel.migratetype import Migratetype
from kernelmodel.page_alloc.state import COSTLY_ORDER
from kernelmodel.priority import Priority

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.free_area.ground import Ground, ZoneGround
    from kernelmodel.free_area.interface import Ask

TARGETS: Final = (Migratetype.MOVABLE, Migratetype.CMA)
"""Types of pageblocks that the free scanner may fill."""


@dataclass(frozen=True)
class Domain:
    """One part.

    Parameters
    ----------
    layout
        The part as the ground has it; its contents are not looked at.
    first
        Frame of ``layout.state[0]``.
    zone_type
        The lowest request that may have frames of it: 0 where a limit says which.
    wmark_min, wmark_low, wmark_high
        Watermarks in pages.
    wmark_atomic
        How far below the min watermark atomic requests may go.
    lowmem_reserve
        Pages kept from requests, by their highest zone.
    """

    layout: ZoneLayout
    first: int
    zone_type: int
    wmark_min: int
    wmark_low: int
    wmark_high: int
    wmark_atomic: int
    lowmem_reserve: tuple[int, ...]

    def reserve(self, ask: Ask) -> int:
        """Return the pages that are kept from a request for its highest zone."""
        return self.lowmem_reserve[ask.highest_zone] if ask.highest_zone < len(self.lowmem_reserve) else 0

    def state(self, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a copy of the contents of its frames; frames of other domains are holes."""
        layout = self.layout
        state = np.full(len(layout.state), Frame.HOLE, np.uint8)
        inside = slice(layout.start_pfn - layout.base_pfn, layout.end_pfn - layout.base_pfn)
        state[inside] = content[self.first + inside.start : self.first + inside.stop]
        return state

    def nr_free(self, content: NDArray[np.uint8]) -> int:
        """Return its free pages."""
        start = self.first + self.layout.start_pfn - self.layout.base_pfn
        inside = content[start : start + self.layout.end_pfn - self.layout.start_pfn]
        return int(np.count_nonzero(inside & np.uint8(KIND_MASK) == Frame.FREE))

    def allows(self, nr_free: int, ask: Ask) -> bool:
        """Tell whether the min watermark lets a request have its pages."""
        mark = self.wmark_atomic if ask.priority == Priority.ATOMIC else self.wmark_min
        return nr_free - (1 << ask.order) >= mark + self.reserve(ask)

    def suits_compaction(self, nr_free: int, ask: Ask) -> bool:
        """Tell whether there is room to compact for a request: ``compact_gap`` above a watermark."""
        mark = self.wmark_low if ask.order > COSTLY_ORDER else self.wmark_min
        return nr_free > mark + self.reserve(ask) + (2 << ask.order)


def zone_domains(ground: Ground) -> tuple[Domain, ...]:
    """Return one domain a zone, highest first."""
    made = []
    for zone in ground.zones:
        tuning, layout = zone.tuning, zone.layout
        atomic = tuning.wmark_min - tuning.wmark_min // 2
        marks = tuning.wmark_min, tuning.wmark_low, tuning.wmark_high, atomic - atomic // 4
        first = layout.base_pfn - ground.base_pfn
        made.append(Domain(layout, first, zone.zone_type, *marks, tuning.lowmem_reserve))
    return tuple(sorted(made, key=lambda domain: -domain.zone_type))


def node_domain(ground: Ground) -> Domain:
    """Return the one domain over all zones, with the sums of their watermarks."""
    tunings = [zone.tuning for zone in ground.zones]
    low, high = sum(each.wmark_low for each in tunings), sum(each.wmark_high for each in tunings)
    first = ground.zones[0].layout
    layout = replace(
        first,
        zone="all",
        end_pfn=ground.zones[-1].layout.end_pfn,
        state=np.empty(ground.nr_frames, np.uint8),
        targets=np.ones(ground.nr_frames >> first.pageblock_order, np.bool_),
        other_targets=None,
        pcp_pages=None,
        wmark_min=ground.wmark_min,
    )
    return Domain(layout, 0, 0, ground.wmark_min, low, high, ground.wmark_min * 3 // 8, ())


def domains(ground: Ground, policy: Any) -> tuple[Domain, ...]:
    """Return the domains of a policy, highest first: zones if it knows types of pageblocks, or the node."""
    return zone_domains(ground) if hasattr(policy, "block_types") else (node_domain(ground),)


def targets(zone: ZoneGround, block_type: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which pageblocks the free scanner may fill, from the types of the pageblocks of the zone.

    Parameters
    ----------
    zone
        The zone.
    block_type
        uint8, from the pageblock that holds ``layout.start_pfn`` on.
    """
    layout = zone.layout
    made = np.zeros(len(layout.targets), np.bool_)
    first = (layout.start_pfn - layout.base_pfn) >> layout.pageblock_order
    made[first : first + len(block_type)] = np.isin(block_type, TARGETS)
    return made
