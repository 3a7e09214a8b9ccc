"""Room for one small request at once: copy away what stands in the cheapest windows (1998, "blitting").

Nobody may wait here: no reclaim, no writing, no lock that somebody else holds. So only what is at hand
counts: pages that can be copied as they are, and free blocks smaller than the wanted one, smallest first::

    order 2        |  a.a.  |  .b..  |  x.c.  |        b, the cheapest, is copied to the free frame beside x:
    afterwards     |  a.a.  |  ....  |  xbc.  |        there no window can be made anyway

Mirrors: the proposal of 1998; of Linux ``mm/page_alloc.c: alloc_contig_range`` comes nearest, which waits.
Fidelity: all windows are chosen at once, so that none spoils the next one. A layout does not tell a page
under writeback from a dirty one, so that both stay; nor a locked page, or an anonymous one under writeback,
from others (`kernelmodel.compaction.single_entry.busy_frames` does). Pages of a driver (balloons) stay, since
drivers may wait. Where pages go the types of pageblocks are not asked for: what was copied can leave again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.compaction.result import Moves, Outcome, Status
from kernelmodel.compaction.windows import STUCK, blocked_by, buddy_windows, windows
from kernelmodel.compaction.zone_layout import HEAD, KIND_MASK, TAIL, Frame
from kernelmodel.page_alloc.rebuild import free_blocks
from kernelmodel.ranges import true_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.compaction.windows import Windows
    from kernelmodel.compaction.zone_layout import ZoneLayout

COPIED: Final = (Frame.ANON, Frame.SHMEM, Frame.CLEAN, Frame.UNEVICTABLE)
"""What can be moved by copying alone."""
STAYS: Final = (*STUCK, Frame.DIRTY, Frame.MOVABLE_OPS)
LARGE_FOLIO: Final = "large folio"
"""Reason of a pageblock in which nothing is immovable, but a large folio cannot go."""


@dataclass(frozen=True)
class Candidates:
    """What can be cleared of one order.

    Parameters
    ----------
    layout
        The zone with what is immovable marked so.
    pfn, pages
        int64, first frame and copies of each window that can be cleared and is not free; cheapest first.
    room_pages
        Frames of free blocks below the wanted order: where pages can go, or what candidates have already.
    """

    layout: ZoneLayout
    pfn: NDArray[np.int64]
    pages: NDArray[np.int64]
    room_pages: int

    def limit(self, order: int, reserve_pages: int) -> int:
        """Return how many windows can be had together: each takes its frames out of the room."""
        return min(len(self.pfn), max(0, self.room_pages - reserve_pages) >> order)


def blit(
    layout: ZoneLayout,
    order: int,
    nr_blocks: int,
    immovable: NDArray[np.bool_] | None = None,
    *,
    reserve_pages: int | None = None,
) -> Outcome:
    """Make `nr_blocks` free blocks of an order, or as many as can be had. O(frames).

    Parameters
    ----------
    layout
        The zone.
    order
        Order of the blocks.
    nr_blocks
        Blocks wanted on top of those that are free.
    immovable
        Frames, from ``layout.base_pfn`` on, that cannot be moved besides (those of
        `kernelmodel.compaction.single_entry`, say). In ``blocked`` they count as pinned.
    reserve_pages
        Free pages outside blocks of this order that are left when the blocks made are gone; the minimum
        watermark and one block where it is not given.

    Raises
    ------
    ModelError
        `order` is none of the zone's.

    Examples
    --------
    >>> from kernelmodel.compaction.zone_layout import ZoneLayout
    >>> state = np.array([1, 0, 1, 0, 0, 1, 0, 0, 9, 0, 1, 0, 9, 9, 9, 9], np.uint8)
    >>> zone = ZoneLayout(0, "Normal", 0, 16, 0, state, np.ones(2, bool), 3, 5)
    >>> made = blit(zone, 2, 1, reserve_pages=0)
    >>> made.moves.source_pfn.tolist(), made.moves.destination_pfn.tolist(), made.gained_blocks
    ([5], [9], 1)
    """
    found = candidates(layout, order, immovable)
    blocked = _blocked(found, order)
    reserve = layout.wmark_min + (1 << order) if reserve_pages is None else reserve_pages
    nr_made = min(nr_blocks, found.limit(order, reserve))
    lacking = min(nr_blocks, len(found.pfn)) - nr_made
    if lacking > 0:
        blocked["no room"] = -(-lacking << order >> layout.pageblock_order)
    moves = _moves(found, order, nr_made)
    after = layout.state.copy()
    source, destination = (frames - layout.base_pfn for frames in moves.frames())
    content = layout.state[source]
    alone = np.repeat(moves.nr_pages == 1, moves.nr_pages)
    after[destination] = np.where(alone, content & np.uint8(KIND_MASK), content)
    after[source] = Frame.FREE
    return Outcome(
        strategy="blit",
        order=order,
        before=layout,
        after=after,
        moves=moves,
        evicted_pfn=np.empty(0, np.int64),
        status=Status.COMPLETE if nr_made == nr_blocks else Status.INFEASIBLE,
        blocked=blocked,
    )


def candidates(layout: ZoneLayout, order: int, immovable: NDArray[np.bool_] | None) -> Candidates:
    """Return which windows can be cleared, and how much room is at hand. O(frames).

    Parameters
    ----------
    layout, order, immovable
        As for `blit`.
    """
    if immovable is not None:
        state = layout.state.copy()
        held = immovable & (layout.kinds != Frame.FREE) & (layout.kinds != Frame.HOLE)
        state[held] = (state[held] & np.uint8(HEAD | TAIL)) | np.uint8(Frame.PINNED)
        layout = layout.with_state(state)
    size = 1 << order
    found = buddy_windows(layout, order)
    pages = found.counts[:, COPIED].sum(axis=1, dtype=np.int64)
    row = np.flatnonzero((found.free + pages == size) & (pages > 0))
    pfn = found.first_pfn + (row << order)
    # A folio that reaches out of its window would take more room than it makes.
    first, behind = pfn - layout.base_pfn, pfn - layout.base_pfn + size
    reaches = (layout.state[first] & TAIL) != 0
    inner = behind < len(layout.state)
    reaches[inner] |= (layout.state[behind[inner]] & TAIL) != 0
    row, pfn = row[~reaches], pfn[~reaches]
    cheapest = np.argsort(pages[row], kind="stable")
    # A free block below the order is a part of a window that is not all free.
    room_pages = int(found.free[found.free < size].sum())
    return Candidates(layout, pfn[cheapest], pages[row][cheapest], room_pages)


def _moves(found: Candidates, order: int, nr_made: int) -> Moves:
    """Return the moves that clear the cheapest windows, window after window."""
    chosen, layout = found.pfn[:nr_made], found.layout
    if not nr_made:
        # Who asks in vain, again and again, is not to pay for the lists.
        return Moves(*np.empty((3, 0), np.int64))
    frames = (chosen[:, None] + np.arange(1 << order)).reshape(-1)
    state = layout.state[frames - layout.base_pfn]
    # Windows are whole folios: what is no tail begins one, and the next that is no tail ends it.
    head = np.flatnonzero((state & TAIL) == 0)
    nr_pages = np.diff(np.append(head, len(state)))
    used = state[head] & KIND_MASK != Frame.FREE
    source, nr_pages = frames[head[used]], nr_pages[used]
    lists = _free_lists(found, order, chosen)
    destination = np.full(len(source), -1, np.int64)
    for level in range(order, 0, -1):
        wanted = np.flatnonzero(nr_pages == 1 << level)
        taken = _take(lists, level, len(wanted))
        destination[wanted[: len(taken)]] = taken
    # What found no hole of its size goes page by page.
    split = destination < 0
    each = np.where(split, nr_pages, 1)
    begin = np.cumsum(each) - each
    within = np.arange(int(each.sum())) - np.repeat(begin, each)
    source, destination = np.repeat(source, each) + within, np.repeat(destination, each)
    nr_pages = np.repeat(np.where(split, 1, nr_pages), each)
    single = np.flatnonzero(destination < 0)
    destination[single] = _take(lists, 0, len(single))
    return Moves(source, destination, nr_pages)


def _free_lists(found: Candidates, order: int, chosen: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the free blocks outside the chosen windows by order, as they are to be taken.

    First those in windows that cannot be cleared anyway, so that the next request stays cheap.
    """
    layout = found.layout
    runs = true_runs(layout.kinds == Frame.FREE) + layout.base_pfn
    blocks = free_blocks(runs, layout.start_pfn, layout.end_pfn, order + 1)
    small = blocks.order < order
    block_pfn, block_order = blocks.start_pfn[small], blocks.order[small]
    window = block_pfn >> order
    outside = ~np.isin(window, chosen >> order)
    spoils = np.isin(window, found.pfn >> order)
    return [
        np.concatenate([block_pfn[outside & (block_order == level) & later] for later in (~spoils, spoils)])
        for level in range(order)
    ]


def _take(lists: list[NDArray[np.int64]], level: int, nr_wanted: int) -> NDArray[np.int64]:
    """Take up to `nr_wanted` blocks of an order off the lists, from the smallest blocks that hold one."""
    taken = [np.empty(0, np.int64)]
    for at in range(level, len(lists)):
        shift = at - level
        nr_blocks = min(len(lists[at]), -(-nr_wanted >> shift))
        pieces = (lists[at][:nr_blocks, None] + (np.arange(1 << shift) << level)).reshape(-1)
        lists[at] = lists[at][nr_blocks:]
        taken.append(pieces[:nr_wanted])
        lists[level] = np.concatenate((pieces[nr_wanted:], lists[level]))
        nr_wanted -= len(taken[-1])
    return np.concatenate(taken)


def _blocked(found: Candidates, order: int) -> dict[str, int]:
    """Return what stands in the pageblocks in which no window can be made."""
    layout = found.layout
    pageblocks = windows(layout, layout.pageblock_order)
    hopeless = np.ones(len(pageblocks), np.bool_)
    per_window = 1 << max(0, order - layout.pageblock_order)
    hopeful = (found.pfn - pageblocks.first_pfn) >> layout.pageblock_order
    hopeless[(hopeful[:, None] + np.arange(per_window)).reshape(-1)] = False
    return in_the_way(replace(pageblocks, counts=pageblocks.counts[hopeless]), STAYS)


def in_the_way(pageblocks: Windows, stays: tuple[Frame, ...]) -> dict[str, int]:
    """Return how many pageblocks that are not free have what in them; `LARGE_FOLIO` where nothing stays."""
    blocked = blocked_by(pageblocks, stays)
    counts = pageblocks.counts
    none_stays = counts[:, stays].sum(axis=1) == 0
    nr_folios = int(np.count_nonzero(none_stays & (counts[:, Frame.FREE] < pageblocks.nr_frames)))
    return blocked | ({LARGE_FOLIO: nr_folios} if nr_folios else {})
