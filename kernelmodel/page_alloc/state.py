"""A zone's allocator as arrays: what the compiled functions work on.

Frames are counted from `base`, the zone's start rounded down to the largest block, so that the buddy of frame
i at order o is ``i ^ (1 << o)`` and always inside the arrays::

    base        zone_start                              zone_end       nr_frames
      | HOLE ... |  free, per-CPU, used heads and TAILs  | HOLE ... |  list heads (links only)

Mirrors: include/linux/mmzone.h: struct zone, struct free_area, struct per_cpu_pages;
include/linux/mm_types.h: struct page: buddy_list, pcp_list, private (the order).
Fidelity: one zone; a frame has no flags beyond those that the allocator reads. A used block counts as
movable (on an LRU list) when it was asked for as Movable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kernelmodel.migratetype import Migratetype

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NO_PAGE: Final = -1
"""What an allocation that failed returns in place of a pfn."""

UNMOVABLE: Final = int(Migratetype.UNMOVABLE)
MOVABLE: Final = int(Migratetype.MOVABLE)
RECLAIMABLE: Final = int(Migratetype.RECLAIMABLE)
HIGHATOMIC: Final = int(Migratetype.HIGHATOMIC)
CMA: Final = int(Migratetype.CMA)
ISOLATE: Final = int(Migratetype.ISOLATE)
NR_TYPES: Final = len(Migratetype)

# A frame's word: the kind in the high bits, the order of the block in the low ones.
TAIL: Final = 0x00
FREE: Final = 0x20
PCP: Final = 0x40
USED: Final = 0x60
USED_MOVABLE: Final = 0x80
HOLE: Final = 0xE0
KIND_MASK: Final = 0xE0
ORDER_MASK: Final = 0x1F

# Columns of `Zone.page`; the fourth keeps a frame within one line of the processor's cache.
NEXT: Final = 0
PREV: Final = 1
WORD: Final = 2
NR_COLUMNS: Final = 4

# Numbers of `Zone.info`: sizes, fixed when the zone is made;
NR_FRAMES: Final = 0
ZONE_FIRST: Final = 1
ZONE_END: Final = 2
PAGEBLOCK_ORDER: Final = 3
NR_ORDERS: Final = 4
MOVABLE_ZONE: Final = 5
# what sysctls and boot set;
MANAGED: Final = 6
WMARK_MIN: Final = 7
WMARK_LOW: Final = 8
WMARK_HIGH: Final = 9
BOOST_FACTOR: Final = 10
PCP_BATCH: Final = 11
PCP_HIGH_MIN: Final = 12
PCP_HIGH_MAX: Final = 13
DEFRAG_MODE: Final = 14
# what changes with every operation;
NR_FREE: Final = 15
NR_FREE_HIGHATOMIC: Final = 16
NR_FREE_CMA: Final = 17
NR_RESERVED_HIGHATOMIC: Final = 18
BOOST: Final = 19
BELOW_HIGH: Final = 20
BOOSTED: Final = 21
NR_KSWAPD_WAKEUPS: Final = 22
NR_CLAIMS: Final = 23
NR_STEALS: Final = 24
NR_UNRESERVED: Final = 25
RECLAIM_ACTIVE: Final = 26
"""Whether kswapd is at work, as the caller says: CPUs then keep few pages."""
# then one number a zone type, and one an order.
LOWMEM_RESERVE: Final = 27
MAX_ZONE_TYPES: Final = 8
NR_FREE_OF: Final = LOWMEM_RESERVE + MAX_ZONE_TYPES

# Columns of `Zone.pcp`, one row a CPU.
PCP_COUNT: Final = 0
PCP_HIGH: Final = 1
PCP_ALLOC_FACTOR: Final = 2
PCP_FREE_COUNT: Final = 3
PCP_PREV_FREE_HIGH_ORDER: Final = 4
PCP_FREE_HIGH_BATCH: Final = 5
NR_PCP_FIELDS: Final = 6

COSTLY_ORDER: Final = 3
NR_PCPTYPES: Final = 3
NR_LOWORDER_PCP_LISTS: Final = NR_PCPTYPES * (COSTLY_ORDER + 1)
NR_PCP_LISTS: Final = NR_LOWORDER_PCP_LISTS + 2
PCP_BATCH_SCALE_MAX: Final = 5

# mm/internal.h: bits of `alloc_flags`; the two lowest are the index of the watermark.
ALLOC_WMARK_MIN: Final = 0x000
ALLOC_WMARK_LOW: Final = 0x001
ALLOC_WMARK_HIGH: Final = 0x002
ALLOC_WMARK_MASK: Final = 0x003
ALLOC_NO_WATERMARKS: Final = 0x004
ALLOC_OOM: Final = 0x008
ALLOC_NON_BLOCK: Final = 0x010
ALLOC_MIN_RESERVE: Final = 0x020
ALLOC_CMA: Final = 0x080
ALLOC_NOFRAGMENT: Final = 0x100
ALLOC_HIGHATOMIC: Final = 0x200
ALLOC_KSWAPD: Final = 0x800
ALLOC_RESERVES: Final = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM

FPI_TO_TAIL: Final = 0x2
"""Flag of a free: straight to the tail of the list, past the per-CPU lists, as memory onlining does."""


class Request(NamedTuple):
    """One allocation.

    Parameters
    ----------
    order
        log2 of the pages wanted.
    migratetype
        UNMOVABLE, MOVABLE or RECLAIMABLE.
    alloc_flags
        Bits of the ALLOC_ constants.
    cpu
        Whose lists it goes through.
    highest_zone
        Type of the highest zone that could meet it: says how much of a lower one is kept from it.
    """

    order: int
    migratetype: int
    alloc_flags: int
    cpu: int
    highest_zone: int


class Zone(NamedTuple):
    """The arrays of one zone.

    Parameters
    ----------
    page
        int32 (nr_frames + nr_heads, 4): next and previous entry of the circular list that a block is on, and
        the frame's word: kind and order at the first frame of a block, TAIL at its others, HOLE elsewhere.
        Behind the frames stand the heads of the free lists (order by order, in each type by type), then
        of the per-CPU lists (CPU by CPU).
    block_type
        uint8 (nr_frames >> pageblock_order): migratetype of each pageblock.
    info
        int64: the zone's numbers, by the constants of this module.
    pcp
        int64 (nr_cpus, NR_PCP_FIELDS): the state of each CPU's lists.
    """

    page: NDArray[np.int32]
    block_type: NDArray[np.uint8]
    info: NDArray[np.int64]
    pcp: NDArray[np.int64]
