"""Slide what can be moved to the top, so that free memory gathers at the bottom (1998, "gravity").

::

    source finger >>>                                              <<< one finger for each order
    |.a.b|..C-|x.d.|....|          |....|....|x...|.dC-ba|  (letters are pages, x stays)

The finger below takes every page that can be moved; it goes into the highest hole that is left, a large
folio into the highest aligned one of its size. It ends where the fingers meet.

Mirrors: the proposal of 1998, in which large areas gravitate to the bottom of memory. Linux's compaction goes
the same way, but fills only Movable pageblocks, from the last one down and each from its start up
(`kernelmodel.compaction.scanners`).
Fidelity: the kernel's pageblock types are not asked for. A large folio that finds no hole of its size is
split, but where it cannot be (dirty page cache) or where there is no room for all of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel._jit import compiled, jit
from kernelmodel.compaction.blit import in_the_way
from kernelmodel.compaction.control import LEFT, NONE
from kernelmodel.compaction.result import Moves, Outcome, Status
from kernelmodel.compaction.windows import STUCK, windows
from kernelmodel.compaction.zone_layout import (
    FIRST_MOVABLE,
    HEAD,
    KIND_MASK,
    LAST_MOVABLE,
    TAIL,
    UNSPLITTABLE,
    Frame,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.compaction.zone_layout import ZoneLayout

FILLED: Final = 0x10
"""Bit of a frame that something has moved to, so that the finger below passes it by."""


def gravity(layout: ZoneLayout, order: int) -> Outcome:
    """Slide everything that can be moved to the top of the zone. O(frames) for each order of its folios.

    Parameters
    ----------
    layout
        The zone.
    order
        Order of the blocks that the outcome counts. The number can fall: what gathers at the bottom is taken
        from the top, and where little can be moved below, free blocks above are filled for nothing.

    Examples
    --------
    >>> from kernelmodel.compaction.zone_layout import ZoneLayout
    >>> state = np.array([1, 0, 1, 0, 0, 1, 0, 0, 9, 0, 1, 0, 0, 0, 0, 0], np.uint8)
    >>> zone = ZoneLayout(0, "Normal", 0, 16, 0, state, np.ones(2, bool), 3, 5)
    >>> made = gravity(zone, 2)
    >>> made.moves.source_pfn.tolist(), made.moves.destination_pfn.tolist()
    ([0, 2, 5, 10], [15, 14, 13, 12])
    """
    state = layout.state.copy()
    nr_frames = len(state)
    kinds = layout.kinds
    nr_movable = int(np.count_nonzero((kinds >= FIRST_MOVABLE) & (kinds <= LAST_MOVABLE)))
    del kinds
    last_order = nr_frames.bit_length()
    fingers = (nr_frames >> np.arange(last_order) << np.arange(last_order)) - (1 << np.arange(last_order))
    source, destination, size = np.empty((3, nr_movable), np.int64)
    nr, met = compiled(slide)(state, fingers, source, destination, size)
    after = np.where(
        state & np.uint8(KIND_MASK) == LEFT, np.uint8(Frame.FREE), state & np.uint8(~FILLED & 0xFF)
    )
    pageblocks = windows(layout.with_state(after), layout.pageblock_order)
    nr_below = min(met >> layout.pageblock_order, len(pageblocks))
    base = layout.base_pfn
    return Outcome(
        strategy="gravity",
        order=order,
        before=layout,
        after=after,
        moves=Moves(source[:nr] + base, destination[:nr] + base, size[:nr].copy()),
        evicted_pfn=np.empty(0, np.int64),
        status=Status.COMPLETE,
        stopped_pfn=int(met) + base,
        blocked=in_the_way(replace(pageblocks, counts=pageblocks.counts[:nr_below]), STUCK),
    )


@jit
def highest_hole(state: NDArray[np.uint8], fingers: NDArray[np.int64], order: int, above: int) -> int:
    """Return the highest aligned free block of an order above a frame, NONE where there is none.

    Holes are filled and never come back, so that each finger only descends.
    """
    size = 1 << order
    at = fingers[order]
    while at > above:
        end = at
        while end < at + size and state[end] & KIND_MASK == 0:
            end += 1
        if end == at + size:
            fingers[order] = at
            return int(at)
        at -= size
    fingers[order] = at
    return NONE


@jit
def has_room(state: NDArray[np.uint8], finger: int, above: int, nr_wanted: int) -> bool:
    """Tell whether so many frames are free above a frame, from a finger down."""
    at = finger
    while at > above and nr_wanted:
        if state[at] & KIND_MASK == 0:
            nr_wanted -= 1
        at -= 1
    return nr_wanted == 0


@jit
def slide(
    state: NDArray[np.uint8],
    fingers: NDArray[np.int64],
    source: NDArray[np.int64],
    destination: NDArray[np.int64],
    size: NDArray[np.int64],
) -> tuple[int, int]:
    """Move every folio from the bottom up; return how many moves there are and where the fingers met."""
    nr_moves = 0
    too_many = len(state) + 1
    at = 0
    while at < fingers[0]:
        byte = state[at]
        kind = byte & KIND_MASK
        nr = 1
        while byte & (HEAD | TAIL) and at + nr < len(state) and state[at + nr] & TAIL:
            nr += 1
        order = 0
        while 1 << order < nr:
            order += 1
        # A torn folio is none: it stays.
        stays = byte & (TAIL | FILLED) or 1 << order != nr or at & (nr - 1)
        if kind < FIRST_MOVABLE or kind > LAST_MOVABLE or stays:
            at += nr
            continue
        splits = 1 < nr < too_many and not byte & UNSPLITTABLE
        to = highest_hole(state, fingers, order, at)
        if to != NONE:
            for page in range(nr):
                state[to + page] = state[at + page] | FILLED
                state[at + page] = LEFT
            source[nr_moves] = at
            destination[nr_moves] = to
            size[nr_moves] = nr
            nr_moves += 1
        elif splits and not has_room(state, fingers[0], at, nr):
            # Nor will there be for one as large further up.
            too_many = nr
        elif splits:
            for page in range(at, at + nr):
                to = highest_hole(state, fingers, 0, page)
                state[to] = kind | FILLED
                state[page] = LEFT
                source[nr_moves] = page
                destination[nr_moves] = to
                size[nr_moves] = 1
                nr_moves += 1
        at += nr
    return nr_moves, at
