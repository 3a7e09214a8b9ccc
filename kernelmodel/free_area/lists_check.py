"""The invariants of free blocks on lists, each by name.

================= ============================================================================
list-links        entry and neighbour point at each other, from head to head
list-order        a list holds blocks of its own order, and every block is on one
alignment         a block of order o starts at a multiple of 2**o
no-overlap        blocks are disjoint
area-count        the count of an order is the length of its list
free-pages        the counter of free pages is the sum over the lists
merged-buddies    no two free buddies stand apart
================= ============================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.errors import InvariantError
from kernelmodel.free_area.lists_state import NEXT, NO_BLOCK, NR_FRAMES, NR_FREE, NR_ORDERS, ORDER, PREV

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.free_area.lists_state import Lists


def check(lists: Lists) -> None:
    """Raise InvariantError for the first rule that is broken; O(frames)."""
    listed = np.concatenate([_walk(lists, order) for order in range(int(lists.info[NR_ORDERS]))])
    start = np.flatnonzero(lists.page[: lists.info[NR_FRAMES], ORDER] != NO_BLOCK)
    unlisted = np.setdiff1d(start, listed)
    if len(unlisted):
        raise InvariantError("list-order", f"frame {unlisted[0]}", "a block on no list")
    order = lists.page[start, ORDER].astype(np.int64)
    _extents(start, order)
    _counts(lists, order)
    buddy = start ^ (1 << order)
    apart = (order < lists.info[NR_ORDERS] - 1) & (lists.page[buddy, ORDER] == order)
    if apart.any():
        raise InvariantError("merged-buddies", f"frame {start[apart][0]}", f"order {order[apart][0]}")


def _walk(lists: Lists, order: int) -> NDArray[np.int64]:
    """Return the entries of one list; no walk runs in circles, since each entry points back at one."""
    page, nr_frames = lists.page, int(lists.info[NR_FRAMES])
    head = nr_frames + order
    found: list[int] = []
    before, entry = head, int(page[head, NEXT])
    while entry != head:
        if not 0 <= entry < nr_frames or page[entry, PREV] != before:
            raise InvariantError("list-links", f"frame {before}", f"next {entry}")
        if page[entry, ORDER] != order:
            raise InvariantError("list-order", f"frame {entry}", f"{page[entry, ORDER]} on list {order}")
        found.append(entry)
        before, entry = entry, int(page[entry, NEXT])
    if page[head, PREV] != before:
        raise InvariantError("list-links", f"head {order}", f"previous {page[head, PREV]}, last {before}")
    return np.array(found, np.int64)


def _extents(start: NDArray[np.int64], order: NDArray[np.int64]) -> None:
    askew = start & ((1 << order) - 1) != 0
    if askew.any():
        raise InvariantError("alignment", f"frame {start[askew][0]}", f"order {order[askew][0]}")
    over = np.flatnonzero(start[1:] < (start + (1 << order))[:-1])
    if len(over):
        raise InvariantError("no-overlap", f"frame {start[over[0]]}", f"and frame {start[over[0] + 1]}")


def _counts(lists: Lists, order: NDArray[np.int64]) -> None:
    counted = np.bincount(order, minlength=int(lists.info[NR_ORDERS]))
    wrong = np.flatnonzero(counted != lists.nr_blocks)
    if len(wrong):
        at = wrong[0]
        detail = f"{counted[at]} listed, {lists.nr_blocks[at]} counted"
        raise InvariantError("area-count", f"order {at}", detail)
    pages = int((counted << np.arange(len(counted))).sum())
    if pages != lists.info[NR_FREE]:
        raise InvariantError("free-pages", "node", f"{pages} listed, {lists.info[NR_FREE]} counted")
