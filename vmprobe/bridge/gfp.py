"""What a request may do and where it may be met, from the GFP flags that the kernel recorded.

The low twelve bits are the same in all kernels that vmprobe knows (6.1 to 6.18); those above moved.

Mirrors: include/linux/gfp_types.h: enum of the bits; include/linux/gfp.h: gfp_zone, gfpflags_allow_blocking;
mm/page_alloc.c: gfp_to_alloc_flags.
Fidelity: that a task may take everything (PF_MEMALLOC, a victim of the OOM killer) is not in the flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.compaction.zone_layout import Frame
from kernelmodel.priority import Priority

if TYPE_CHECKING:
    from numpy.typing import NDArray

DMA: Final = 1 << 0
HIGHMEM: Final = 1 << 1
DMA32: Final = 1 << 2
MOVABLE: Final = 1 << 3
HIGH: Final = 1 << 5
ZERO: Final = 1 << 8
DIRECT_RECLAIM: Final = 1 << 10

ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, ZONE_MOVABLE = range(4)


def priority(flags: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the `Priority` of each request.

    Who may sleep waits, even if it may also dip into the reserve.

    >>> KERNEL, ATOMIC, NOWAIT = 0xcc0, 0x820, 0x800
    >>> priority(np.array([KERNEL, ATOMIC, NOWAIT], np.uint32)).tolist()
    [0, 2, 1]
    """
    urgent = np.where(flags & HIGH, Priority.ATOMIC, Priority.NOWAIT)
    return np.where(flags & DIRECT_RECLAIM, Priority.WAITS, urgent).astype(np.uint8)


def highest_zone(flags: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the highest zone type that will do for each request.

    >>> highest_zone(np.array([0xcc1, 0xcc4, 0xcc0, 0x140cca], np.uint32)).tolist()
    [0, 1, 2, 3]
    """
    both = HIGHMEM | MOVABLE
    high = np.where(flags & both == both, ZONE_MOVABLE, ZONE_NORMAL)
    low = np.where(flags & DMA, ZONE_DMA, ZONE_DMA32)
    return np.where(flags & (DMA | DMA32), low, high).astype(np.uint8)


def kind(flags: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the `Frame` that the pages of each request become, as far as the flags tell.

    Movable pages that are zeroed beforehand are a process's; the page cache reads or writes its own full.
    """
    movable = np.where(flags & ZERO, Frame.ANON, Frame.CLEAN)
    return np.where(flags & MOVABLE, movable, Frame.FIXED).astype(np.uint8)
