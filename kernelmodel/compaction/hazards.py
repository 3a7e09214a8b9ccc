"""What a layout cannot tell, assumed one way or the other before the scanners run.

With the switches of `kernelmodel.compaction.scanners.Rules` (dirty large folios, stride, targets, splitting)
these are the nine hazards that decide whether a forecast is right; each can be switched off to see what it
is worth.

Mirrors: ``mm/page_alloc.c: drain_all_pages``; ``mm/page_reporting.c: page_reporting_cycle``;
``mm/sparse.c: online_mem_sections``; ``mm/gup.c: FOLL_PIN``.
Fidelity: which of the words of 0 are free pages of a CPU is not told; those are taken first that stand alone
between a pageblock and its being free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.compaction.zone_layout import KIND_MASK, SECTION_ORDER, Frame
from kernelmodel.ranges import frames_of, true_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.compaction.zone_layout import ZoneLayout


@dataclass(frozen=True)
class Hazards:
    """What is assumed; as it stands, what a plain reading of the snapshot says.

    Parameters
    ----------
    pins_hold
        Pages known to be pinned stay; without this they move like others.
    drained
        Words of 0 are free as far as per-CPU lists have pages: somebody drained those first.
    reported_free
        Pageblocks that are words of 0 throughout are free blocks that free page reporting holds for a moment.
    absent_skipped
        Memory sections without memory are stepped over; without this their words of 0 are scanned.
    foreign_pages
        Single pages that others allocate before the scanners begin, out of the smallest free blocks.
    churn_pages, churn_seed
        Single movable pages that are freed before the scanners begin, and as many that are taken, drawn with
        this seed. The free scanner's stride makes much of little, so that a few move what is gained by some.
    """

    pins_hold: bool = True
    drained: bool = False
    reported_free: bool = False
    absent_skipped: bool = True
    foreign_pages: int = 0
    churn_pages: int = 0
    churn_seed: int = 0


def assume(layout: ZoneLayout, hazards: Hazards) -> ZoneLayout:
    """Return the layout as it would be under `hazards`. O(frames)."""
    if hazards == Hazards():
        return layout
    state = layout.state.copy()
    if not hazards.pins_hold:
        pinned = (state & KIND_MASK) == Frame.PINNED
        state[pinned] = (state[pinned] & ~np.uint8(KIND_MASK)) | np.uint8(Frame.ANON)
    block = 1 << layout.pageblock_order
    if hazards.reported_free:
        whole = (state.reshape(-1, block) == Frame.UNKNOWN).all(axis=1)
        state[np.repeat(whole, block)] = Frame.FREE
    if hazards.drained:
        state[_likely_free(state, block, layout.pcp_pages or 0)] = Frame.FREE
    if not hazards.absent_skipped:
        size = min(1 << SECTION_ORDER, len(state))
        inside = np.zeros(len(state), np.bool_)
        inside[layout.start_pfn - layout.base_pfn : layout.end_pfn - layout.base_pfn] = True
        whole = np.logical_and.reduceat(state == Frame.HOLE, np.arange(0, len(state), size))
        state[np.repeat(whole, size)[: len(state)] & inside] = Frame.UNKNOWN
    if hazards.foreign_pages:
        state[_smallest_free(state, hazards.foreign_pages)] = Frame.FIXED
    if hazards.churn_pages:
        _churn(state, block, hazards)
    return layout.with_state(state)


def _likely_free(state: NDArray[np.uint8], block: int, nr_pages: int) -> NDArray[np.int64]:
    """Return the frames of word 0, at most `nr_pages`, that likely are free; by index, ascending."""
    unknown = (state == Frame.UNKNOWN).reshape(-1, block)
    stays = ((state & KIND_MASK) > Frame.UNEVICTABLE).reshape(-1, block) & ~unknown
    nr_unknown, nr_stays = unknown.sum(axis=1), stays.sum(axis=1)
    # Fewest pages that stay first, then fewest of word 0: what a CPU freed lies among pages that move.
    turn = np.lexsort((nr_unknown, nr_stays))
    within = np.cumsum(nr_unknown[turn]) <= nr_pages
    chosen = np.zeros(len(nr_unknown), np.bool_)
    chosen[turn[within]] = True
    return np.flatnonzero((unknown & chosen[:, None]).reshape(-1))


def _smallest_free(state: NDArray[np.uint8], nr_pages: int) -> NDArray[np.int64]:
    """Return the frames, at most `nr_pages`, of the shortest runs of free frames; by index."""
    edge = true_runs((state & KIND_MASK) == Frame.FREE)
    length = edge[:, 1] - edge[:, 0]
    turn = np.argsort(length, kind="stable")
    before = np.cumsum(length[turn]) - length[turn]
    taken = turn[before < nr_pages]
    return frames_of(edge[taken, 0], length[taken])[:nr_pages]


def _churn(state: NDArray[np.uint8], block: int, hazards: Hazards) -> None:
    """Free single anonymous pages, and take as many that are free in pageblocks which are not wholly free."""
    draw = np.random.default_rng(hazards.churn_seed)
    free = (state == Frame.FREE).reshape(-1, block)
    free = np.flatnonzero(free & ~free.all(axis=1, keepdims=True))
    used = np.flatnonzero(state == Frame.ANON)
    nr_pages = min(hazards.churn_pages, len(free), len(used))
    state[draw.choice(free, nr_pages, replace=False)] = Frame.ANON
    state[draw.choice(used, nr_pages, replace=False)] = Frame.FREE
