"""What has to leave a set of windows: large folios as a whole where that is possible, and single pages.

::

    to clear   |  A  -  -  -  |  b  .  c  .  |  .  .  D  !  |  !  !  .  .  |
                 as a whole      one by one         as a whole or not at all: it cannot be split

Mirrors: ``mm/compaction.c: isolate_migratepages_block`` takes folios; ``mm/migrate.c: try_split_folio``.
Fidelity: a folio that is split falls into single pages, as the kernel's does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernelmodel._jit import compiled, jit
from kernelmodel.compaction.zone_layout import (
    FIRST_MOVABLE,
    HEAD,
    KIND_MASK,
    LAST_MOVABLE,
    TAIL,
    UNSPLITTABLE,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Leaving:
    """Folios and pages that stand in windows which are to be cleared; frames count from the layout's base.

    Parameters
    ----------
    folio, nr_pages
        int64, first frame and frames of each large folio that leaves as a whole.
    splittable
        bool, whether it can be split where no run of free frames is long enough.
    single
        int64, frames that leave one by one.
    broken, broken_pages
        int64, first frame and frames of each large folio that is split because only part of it leaves.
    """

    folio: NDArray[np.int64]
    nr_pages: NDArray[np.int64]
    splittable: NDArray[np.bool_]
    single: NDArray[np.int64]
    broken: NDArray[np.int64]
    broken_pages: NDArray[np.int64]


class Listed(NamedTuple):
    """Room for single pages that leave, and for which windows hold large folios."""

    single: NDArray[np.int64]
    large: NDArray[np.bool_]


def leaving(
    state: NDArray[np.uint8], starts: NDArray[np.int64], order: int, evicted: NDArray[np.int64]
) -> Leaving:
    """Return what has to move out of the windows that begin at `starts`.

    Parameters
    ----------
    state
        The zone's bytes.
    starts
        int64, ascending, first frame of each window, from the layout's base.
    order
        Order of the windows.
    evicted
        int64, ascending, frames in them that are evicted instead. A folio of which a part is evicted can be
        split in any case: it has been written by then.
    """
    # What is never written takes no memory.
    listed = Listed(np.empty(len(starts) << order, np.int64), np.zeros(len(starts), np.bool_))
    nr_single = compiled(list_single)(state, starts, order, evicted, listed)
    single, large = listed.single[:nr_single], listed.large
    if not large.any():
        empty = np.empty(0, np.int64)
        return Leaving(empty, empty, np.empty(0, np.bool_), single, empty, empty)
    # From here on only windows with large folios, frame by frame.
    size = 1 << order
    rows = starts[large] >> order
    found = state.reshape(-1, size)[rows]
    kinds = found & KIND_MASK
    leaves = (kinds >= FIRST_MOVABLE) & (kinds <= LAST_MOVABLE)
    held = leaves & ((found & (HEAD | TAIL)) != 0)
    gone = evicted[np.isin(evicted >> order, rows)]
    leaves[np.searchsorted(rows, gone >> order), gone & (size - 1)] = False
    frames = starts[large][:, None] + np.arange(size)
    within = np.where(found & TAIL, -1, frames)
    begins = within[:, 0] < 0
    within[begins, 0] = _heads(state, frames[begins, 0])
    head = np.maximum.accumulate(within.ravel())[held.ravel()]
    inside, stays = frames[held], ~leaves[held]
    folio, first, nr_inside = np.unique(head, return_index=True, return_counts=True)
    nr_pages = _ends(state, inside[first + nr_inside - 1] + 1) - folio
    nr_evicted = np.add.reduceat(stays.astype(np.int64), first)
    splittable = ((state[folio] & UNSPLITTABLE) == 0) | (nr_evicted > 0)
    whole = ((nr_inside == nr_pages) & (nr_evicted == 0)) | ~splittable
    part = np.repeat(~whole, nr_inside) & ~stays
    broken = ~whole & (nr_evicted < nr_pages)
    return Leaving(
        folio[whole],
        nr_pages[whole],
        splittable[whole],
        np.sort(np.concatenate((single, inside[part]))),
        folio[broken],
        nr_pages[broken],
    )


@jit
def list_single(
    state: NDArray[np.uint8],
    starts: NDArray[np.int64],
    order: int,
    evicted: NDArray[np.int64],
    listed: Listed,
) -> int:
    """List the pages of no large folio that leave, and return how many; mark the windows with large ones."""
    nr = nr_evicted = 0
    for row in range(len(starts)):
        for at in range(starts[row], starts[row] + (1 << order)):
            if not FIRST_MOVABLE <= state[at] & KIND_MASK <= LAST_MOVABLE:
                continue
            if state[at] & (HEAD | TAIL):
                listed.large[row] = True
                continue
            while nr_evicted < len(evicted) and evicted[nr_evicted] < at:
                nr_evicted += 1
            if nr_evicted == len(evicted) or evicted[nr_evicted] != at:
                listed.single[nr] = at
                nr += 1
    return nr


def _heads(state: NDArray[np.uint8], tails: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first frame of the folio of each of `tails`."""
    head = tails.copy()
    while (back := (state[head] & TAIL) != 0).any():
        head[back] -= 1
    return head


def _ends(state: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Move each of `ends` on past the tails that follow."""
    ends = ends.copy()
    last = len(state) - 1
    while (on := (ends <= last) & ((state[np.minimum(ends, last)] & TAIL) != 0)).any():
        ends[on] += 1
    return ends
