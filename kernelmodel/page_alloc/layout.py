"""From a layout of blocks to the arrays of a zone.

Mirrors: mm/mm_init.c: zone_init_free_lists; mm/page_alloc.c: setup_zone_pageset (what they leave behind).
Fidelity: a layout does not tell the order of the blocks on a list; they stand in the order given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.errors import ModelError
from kernelmodel.geometry import Geometry
from kernelmodel.page_alloc import state
from kernelmodel.page_alloc.state import Zone

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.page_alloc.rebuild import FreeBlocks


@dataclass(frozen=True)
class UsedBlocks:
    """Allocated blocks that may later be freed.

    Parameters
    ----------
    start_pfn
        int64, first frame of each.
    order
        uint8 of the same shape, log2 of the frames.
    movable
        bool of the same shape: on an LRU list or otherwise fit to be migrated.
    """

    start_pfn: NDArray[np.int64]
    order: NDArray[np.uint8]
    movable: NDArray[np.bool_]


@dataclass(frozen=True)
class Layout:
    """What stands where in one zone.

    Parameters
    ----------
    zone_start, zone_end
        First frame and the first one behind the zone.
    managed_pages
        Pages given to the allocator, as /proc/zoneinfo prints them.
    free
        Free blocks; those first in the arrays come first on their lists.
    block_type
        uint8, migratetype of each pageblock from the one that holds `zone_start` on. Where the pageblocks of
        one free block are of several ordinary types, they take the first one's, as they do when they merge.
    used
        Allocated blocks. Frames in neither can never be freed: holes, firmware, boot-time memory.
    geometry
        Sizes of the kernel.
    """

    zone_start: int
    zone_end: int
    managed_pages: int
    free: FreeBlocks
    block_type: NDArray[np.uint8]
    used: UsedBlocks | None = None
    geometry: Geometry = field(default_factory=Geometry)


@dataclass(frozen=True)
class Tuning:
    """What sysctls and boot set for one zone; as it stands, nothing is held back and CPUs keep no pages.

    Parameters
    ----------
    wmark_min, wmark_low, wmark_high
        Watermarks in pages, without boost.
    lowmem_reserve
        Pages kept from requests for each zone type (DMA, DMA32, Normal, Movable, Device).
    watermark_boost_factor
        Largest boost in ten-thousandths of the high watermark; 0 turns boosting off.
    nr_cpus
        CPUs with lists of their own.
    pcp_batch, pcp_high_min, pcp_high_max
        Pages moved at once, and bounds of a CPU's limit. (1, 0, 0) is the kernel's boot pageset.
    pcp_free_high_batch
        Whether a CPU's cache is large enough for a batch to stay back (PCPF_FREE_HIGH_BATCH).
    defrag_mode
        The sysctl: never mix types, even where the request then fails.
    movable_zone
        Number of ZONE_MOVABLE among the zone types.
    """

    wmark_min: int = 0
    wmark_low: int = 0
    wmark_high: int = 0
    lowmem_reserve: tuple[int, ...] = (0, 0, 0, 0, 0)
    watermark_boost_factor: int = 15000
    nr_cpus: int = 1
    pcp_batch: int = 1
    pcp_high_min: int = 0
    pcp_high_max: int = 0
    pcp_free_high_batch: bool = False
    defrag_mode: bool = False
    movable_zone: int = 3

    def __post_init__(self) -> None:
        boot_pageset = (self.pcp_batch, self.pcp_high_min, self.pcp_high_max) == (1, 0, 0)
        if not boot_pageset and not 4 * self.pcp_batch <= self.pcp_high_min <= self.pcp_high_max:
            raise ModelError(
                f"pcp batch {self.pcp_batch}, high {self.pcp_high_min} to {self.pcp_high_max}: "
                "the limit is at least four batches"
            )


def build(layout: Layout, tuning: Tuning) -> tuple[Zone, int]:
    """Return the arrays of a zone and the pfn of their first frame.

    Raises
    ------
    ModelError
        Blocks overlap, are unaligned or reach out of the zone; a free block spans pageblocks of types that
        do not merge; there are too few or too many pageblock types; the zone has 2**31 frames or more.
    """
    geometry = layout.geometry
    grain = 1 << geometry.max_order
    base = layout.zone_start & -grain
    nr_frames = -(-(layout.zone_end - base) // grain) * grain
    nr_heads = geometry.nr_orders * state.NR_TYPES + tuning.nr_cpus * state.NR_PCP_LISTS
    if nr_frames + nr_heads >= 1 << 31:
        raise ModelError(f"a zone of {nr_frames} frames: links hold 31 bits")
    zone = Zone(
        page=np.zeros((nr_frames + nr_heads, state.NR_COLUMNS), np.int32),
        block_type=_block_types(layout, base, nr_frames),
        info=np.zeros(state.NR_FREE_OF + geometry.nr_orders, np.int64),
        pcp=np.zeros((tuning.nr_cpus, state.NR_PCP_FIELDS), np.int64),
    )
    sizes = {
        state.NR_FRAMES: nr_frames,
        state.ZONE_FIRST: layout.zone_start - base,
        state.ZONE_END: layout.zone_end - base,
        state.PAGEBLOCK_ORDER: geometry.pageblock_order,
        state.NR_ORDERS: geometry.nr_orders,
        state.MOVABLE_ZONE: tuning.movable_zone,
        state.MANAGED: layout.managed_pages,
        state.WMARK_MIN: tuning.wmark_min,
        state.WMARK_LOW: tuning.wmark_low,
        state.WMARK_HIGH: tuning.wmark_high,
        state.BOOST_FACTOR: tuning.watermark_boost_factor,
        state.PCP_BATCH: tuning.pcp_batch,
        state.PCP_HIGH_MIN: tuning.pcp_high_min,
        state.PCP_HIGH_MAX: tuning.pcp_high_max,
        state.DEFRAG_MODE: tuning.defrag_mode,
    }
    zone.info[list(sizes)] = list(sizes.values())
    zone.info[state.LOWMEM_RESERVE :][: len(tuning.lowmem_reserve)] = tuning.lowmem_reserve
    zone.pcp[:, state.PCP_FREE_HIGH_BATCH] = tuning.pcp_free_high_batch
    zone.page[:nr_frames, state.WORD] = _words(nr_frames, layout, base)
    _link(zone, layout, base)
    return zone, base


def _block_types(layout: Layout, base: int, nr_frames: int) -> NDArray[np.uint8]:
    """Return the type of every pageblock of the arrays; padding outside the zone counts as Unmovable."""
    shift = layout.geometry.pageblock_order
    first = (layout.zone_start - base) >> shift
    end = -(-(layout.zone_end - base) >> shift)
    if layout.block_type.size != end - first:
        raise ModelError(f"{layout.block_type.size} pageblock types for {end - first} pageblocks")
    block_type = np.zeros(nr_frames >> shift, np.uint8)
    block_type[first:end] = layout.block_type
    return block_type


def _words(nr_frames: int, layout: Layout, base: int) -> NDArray[np.int32]:
    """Return the words of all frames."""
    start, order = layout.free.start_pfn - base, layout.free.order.astype(np.int64)
    word = state.FREE | order
    if layout.used is not None:
        kind = np.where(layout.used.movable, state.USED_MOVABLE, state.USED)
        start = np.concatenate((start, layout.used.start_pfn - base))
        word = np.concatenate((word, kind | layout.used.order))
        order = np.concatenate((order, layout.used.order.astype(np.int64)))
    end = start + (1 << order)
    outside = (start < layout.zone_start - base) | (end > layout.zone_end - base)
    bad = outside | (start & (end - start - 1) != 0) | (order >= layout.geometry.nr_orders)
    if bad.any():
        at = int(bad.argmax())
        raise ModelError(
            f"block at pfn {start[at] + base} of order {order[at]}: unaligned or not in the zone"
        )
    depth = np.zeros(nr_frames + 1, np.int32)
    np.add.at(depth, start, 1)
    np.add.at(depth, end, -1)
    depth = np.cumsum(depth[:-1], dtype=np.int32)
    if (depth > 1).any():
        raise ModelError(f"blocks overlap at pfn {int((depth > 1).argmax()) + base}")
    words = np.where(depth == 1, np.int32(state.TAIL), np.int32(state.HOLE))
    words[start] = word
    return words


def _link(zone: Zone, layout: Layout, base: int) -> None:
    """Link the free blocks in the order given, and count their pages."""
    nr_frames = int(zone.info[state.NR_FRAMES])
    start, order = layout.free.start_pfn - base, layout.free.order.astype(np.int64)
    shift = layout.geometry.pageblock_order
    for block in np.flatnonzero(order > shift):
        types = zone.block_type[start[block] >> shift : (start[block] + (1 << order[block])) >> shift]
        if (types != types[0]).any() and (types >= state.NR_PCPTYPES).any():
            raise ModelError(f"free block at pfn {start[block] + base}: types {types.tolist()} do not merge")
        types[:] = types[0]
    migratetype = zone.block_type[start >> shift].astype(np.int64)
    links = zone.page[:, : state.WORD]
    links[:] = np.arange(links.shape[0], dtype=np.int32)[:, None]
    head = nr_frames + order * state.NR_TYPES + migratetype
    turn = np.argsort(head, kind="stable")
    entry, owner = start[turn], head[turn]
    same = owner[1:] == owner[:-1]
    first, last = np.ones(entry.size, np.bool_), np.ones(entry.size, np.bool_)
    first[1:], last[:-1] = ~same, ~same
    links[entry, state.NEXT] = np.where(last, owner, np.roll(entry, -1))
    links[entry, state.PREV] = np.where(first, owner, np.roll(entry, 1))
    links[owner[first], state.NEXT] = entry[first]
    links[owner[last], state.PREV] = entry[last]
    zone.info[state.NR_FREE_OF :] = np.bincount(order, minlength=layout.geometry.nr_orders)
    pages = np.bincount(migratetype, weights=1 << order, minlength=state.NR_TYPES).astype(np.int64)
    zone.info[state.NR_FREE] = pages.sum() - pages[state.ISOLATE]
    zone.info[state.NR_FREE_CMA] = pages[state.CMA]
    zone.info[state.NR_FREE_HIGHATOMIC] = pages[state.HIGHATOMIC]
    nr_reserved = int((zone.block_type == state.HIGHATOMIC).sum())
    zone.info[state.NR_RESERVED_HIGHATOMIC] = nr_reserved << shift
