"""What both scanners of a run share: the zone, its frames, lists of isolated blocks, and counters.

Mirrors: ``mm/internal.h: struct compact_control``; ``include/linux/page-flags.h: PageBuddy, PageCompound``;
``mm/compaction.c: skip_offline_sections``.
Fidelity: arrays in place of structures, so that all of it can be compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kernelmodel._jit import jit
from kernelmodel.compaction.zone_layout import KIND_MASK, SECTION_ORDER, TAIL, Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COMPACT_CLUSTER_MAX: Final = 32
"""``include/linux/swap.h``: pages of a batch, and the largest stride of the free scanner."""

FREE: Final = int(Frame.FREE)
HOLE: Final = int(Frame.HOLE)
HELD: Final = int(Frame.HELD)
ISOLATED: Final = 13
"""Kind of a free frame that the free scanner holds."""
LEFT: Final = 14
"""Kind of a frame whose page has moved away."""

# Fields of Control.info.
MIGRATE_AT: Final = 0
FREE_AT: Final = 1
NR_MIGRATE: Final = 2
NR_FREE: Final = 3
MIGRATE_SCANNED: Final = 4
FREE_SCANNED: Final = 5
NR_MOVES: Final = 6
NR_BATCH: Final = 7
NR_SPLIT: Final = 8
ZONE_FREE: Final = 9
CONTENDED_AT: Final = 10
NR_FAILED: Final = 11
FINISH_BLOCK: Final = 12
NR_PUT_BACK: Final = 13
NR_INFO: Final = 14

NONE: Final = -1


class Zone(NamedTuple):
    """What does not change: bounds as indices of frames, sizes as orders, rules as numbers."""

    first: int
    end: int
    pageblock_order: int
    last_order: int
    wmark_min: int
    large_folios: int
    counts_skipped: int
    finishes_block: int
    stride: int
    splits: int
    aborts: int


class Control(NamedTuple):
    """``struct compact_control``: lists and counters, all in arrays that the caller made.

    Parameters
    ----------
    state, targets
        As in `ZoneLayout`; written as pages move.
    info
        int64, fields above.
    lists
        int64 (orders, 2): first and last isolated block of each order, by index.
    following
        int32, the block behind each isolated block on its list; only heads of isolated blocks are touched.
    batch, split, put_back
        int64, folios taken by the migrate scanner in order; pages of folios that were split; free pages that
        were taken for pages that could not be moved.
    source, destination, size
        Moves made so far.
    """

    state: NDArray[np.uint8]
    targets: NDArray[np.bool_]
    info: NDArray[np.int64]
    lists: NDArray[np.int64]
    following: NDArray[np.int32]
    batch: NDArray[np.int64]
    split: NDArray[np.int64]
    put_back: NDArray[np.int64]
    source: NDArray[np.int64]
    destination: NDArray[np.int64]
    size: NDArray[np.int64]


@jit
def all_free(state: NDArray[np.uint8], start: int, end: int) -> bool:
    """Tell whether every frame of a range is free."""
    at = start
    while at < end:
        if state[at] & KIND_MASK != FREE:
            return False
        at += 1
    return True


@jit
def is_block_head(state: NDArray[np.uint8], at: int, last_order: int) -> bool:
    """Tell whether a free frame is the first of its block (``PageBuddy`` is set on that one alone)."""
    if at == 0 or state[at - 1] & KIND_MASK != FREE:
        return True
    size = at & -at
    if size >= 1 << last_order:
        return True
    return not all_free(state, at - size, at + size)


@jit
def block_order(state: NDArray[np.uint8], at: int, last_order: int) -> int:
    """Return the order of the free block that begins at a frame."""
    order = 0
    while order < last_order and not at & ((2 << order) - 1):
        if not all_free(state, at + (1 << order), at + (2 << order)):
            break
        order += 1
    return order


@jit
def compound_pages(state: NDArray[np.uint8], at: int) -> int:
    """Return how many pages of a compound page begin at one of its pages."""
    end = at + 1
    while end < state.shape[0] and state[end] & TAIL:
        end += 1
    return end - at


@jit
def append_block(control: Control, order: int, at: int) -> None:
    """Put an isolated block last on its list (``list_add_tail``)."""
    control.following[at] = NONE
    last = control.lists[order, 1]
    if last == NONE:
        control.lists[order, 0] = at
    else:
        control.following[last] = at
    control.lists[order, 1] = at


@jit
def push_block(control: Control, order: int, at: int) -> None:
    """Put an isolated block first on its list (``list_add``)."""
    control.following[at] = control.lists[order, 0]
    if control.lists[order, 0] == NONE:
        control.lists[order, 1] = at
    control.lists[order, 0] = at


@jit
def pop_block(control: Control, order: int) -> int:
    """Take the first isolated block off its list."""
    at = control.lists[order, 0]
    following = control.following[at]
    control.lists[order, 0] = following
    if following == NONE:
        control.lists[order, 1] = NONE
    return int(at)


@jit
def section_is_absent(state: NDArray[np.uint8], at: int, block: int) -> bool:
    """Tell whether a pageblock lies in a memory section without memory."""
    if state[at] & KIND_MASK != HOLE or state[at + block - 1] & KIND_MASK != HOLE:
        return False
    start = at >> SECTION_ORDER << SECTION_ORDER
    end = min(start + (1 << SECTION_ORDER), state.shape[0])
    while start < end:
        if state[start] & KIND_MASK != HOLE:
            return False
        start += 1
    return True
