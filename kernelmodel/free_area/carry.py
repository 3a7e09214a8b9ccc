"""Carry out what help decided: on the book and the policy together, so that neither forgets a page.

All destinations are claimed first, then all sources are released: one substitution of frame numbers, as
`kernelmodel.compaction.result.Moves` promises.

Mirrors: mm/migrate.c: migrate_folio_move, split_folio_to_list; mm/vmscan.c: shrink_folio_list, as far as they
take and give back frames.
Fidelity: a folio of which a part goes falls into single pages, as the kernel's does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kernelmodel._jit import jit
from kernelmodel.compaction.zone_layout import HEAD, KIND_MASK, TAIL, Frame
from kernelmodel.free_area.book import (
    EVICTED,
    HAS_SWAPPED,
    NEXT,
    NONE,
    NR_ORDERS,
    ORDER,
    OWNER,
    PREV,
    SWAP_FREE,
)
from kernelmodel.free_area.interface import claim, release

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.compaction.result import Outcome
    from kernelmodel.free_area.book import Book

NOWHERE: Final = -1
"""Destination of what is evicted."""

FREE: Final = int(Frame.FREE)
ANON: Final = int(Frame.ANON)
SHMEM: Final = int(Frame.SHMEM)


class Changes(NamedTuple):
    """What becomes of folios, in frames from the ground's base.

    Parameters
    ----------
    source, destination
        int64, first frame of each before and after: `NOWHERE` for what is evicted; the same again for a folio
        that is split and stays.
    nr_pages
        int64, frames of each.
    """

    source: NDArray[np.int64]
    destination: NDArray[np.int64]
    nr_pages: NDArray[np.int64]


def changes_of(outcome: Outcome, base_pfn: int) -> Changes:
    """Return what an outcome of a strategy of compaction changes, in frames from `base_pfn`."""
    moves, before, after = outcome.moves, outcome.before.state, outcome.after
    same = (before ^ after) & KIND_MASK == 0
    split = np.flatnonzero(((before & ~after) & HEAD != 0) & same) + outcome.before.base_pfn
    nr_evicted = len(outcome.evicted_pfn)
    gone = np.full(nr_evicted, NOWHERE, np.int64)
    ones = np.ones(nr_evicted + len(split), np.int64)
    return Changes(
        np.concatenate((moves.source_pfn, outcome.evicted_pfn, split)) - base_pfn,
        np.concatenate((moves.destination_pfn - base_pfn, gone, split - base_pfn)),
        np.concatenate((moves.nr_pages, ones)),
    )


def evictions(source: NDArray[np.int64], nr_pages: NDArray[np.int64]) -> Changes:
    """Return the changes by which folios are evicted."""
    return Changes(source, np.full(len(source), NOWHERE, np.int64), nr_pages)


NOTHING: Final = evictions(np.empty(0, np.int64), np.empty(0, np.int64))
"""No changes."""


@jit
def step_order(book: Book, source: int, destination: int, nr_pages: int) -> int:
    """Return the order of the largest piece that a folio can be moved by, so that both ends are aligned."""
    both = source if destination == NOWHERE else source | destination
    order = 0
    while order < book.info[NR_ORDERS] - 1 and not both & ((2 << order) - 1) and 2 << order <= nr_pages:
        order += 1
    return order


@jit
def split_block(book: Book, head: int) -> None:
    """Make single pages, in a chain, of the one block that a request holds."""
    block = book.block
    end = head + (1 << block[head, ORDER])
    for page in range(head + 1, end):
        block[page, OWNER] = block[head, OWNER]
        block[page, PREV] = page - 1
        block[page - 1, NEXT] = page
        block[page, ORDER] = 0
    block[head, ORDER] = 0
    block[end - 1, NEXT] = NONE


@jit
def isolate(book: Book, source: int, destination: int, nr_pages: int) -> None:
    """Split the folio that a range is part of, unless the range is all of it and can go in one piece."""
    content = book.content
    head, end = source, source + 1
    while content[head] & TAIL:
        head -= 1
    while end < len(content) and content[end] & TAIL:
        end += 1
    if end - head == 1:
        return
    whole = head == source and end - head == nr_pages
    if whole and book.block[head, OWNER] != NONE:
        whole = 1 << step_order(book, source, destination, nr_pages) == nr_pages
    if whole:
        return
    if book.block[head, OWNER] != NONE:
        split_block(book, head)
    for page in range(head, end):
        content[page] &= KIND_MASK


@jit
def piece_order(book: Book, source: int, destination: int, nr_pages: int) -> int:
    """Return the order of the next piece to go, once it is isolated: what was split goes page by page."""
    order = step_order(book, source, destination, nr_pages)
    if book.block[source, OWNER] == NONE:
        return order
    return min(order, int(book.block[source, ORDER]))


@jit
def unlink(book: Book, index: int) -> None:
    """Take a block out of the chain of its request."""
    block = book.block
    request, before, after = block[index, OWNER], block[index, PREV], block[index, NEXT]
    if after != NONE:
        block[after, PREV] = before
    if before != NONE:
        block[before, NEXT] = after
    else:
        book.where[request] = EVICTED if after == NONE else after
    block[index, OWNER] = NONE


@jit
def relink(book: Book, index: int, to: int) -> None:
    """Put a block in the place of another in the chain of its request."""
    block = book.block
    request, before, after = block[index, OWNER], block[index, PREV], block[index, NEXT]
    for column in range(ORDER + 1):
        block[to, column] = block[index, column]
    if after != NONE:
        block[after, PREV] = to
    if before != NONE:
        block[before, NEXT] = to
    else:
        book.where[request] = to
    block[index, OWNER] = NONE


@jit
def drop(book: Book, index: int, order: int) -> None:
    """Write down that a piece is evicted."""
    content, info = book.content, book.info
    request = book.block[index, OWNER]
    kind = content[index] & KIND_MASK
    if kind in (ANON, SHMEM):
        info[SWAP_FREE] -= 1 << order
        info[HAS_SWAPPED] = 1
        if request != NONE:
            book.swapped[request] += 1 << order
    if request != NONE:
        unlink(book, index)


@jit
def carry(policy: Any, book: Book, changes: Changes, cpu: int) -> int:
    """Carry out changes, on a CPU.

    Returns
    -------
    int
        Their number; or that of the first whose destination the policy does not give, and then nothing but
        destinations before it has changed.
    """
    source, destination, nr_pages = changes.source, changes.destination, changes.nr_pages
    for row in range(len(source)):
        at, to, nr = int(source[row]), int(destination[row]), int(nr_pages[row])
        while nr and to not in (NOWHERE, at):
            order = step_order(book, at, to, nr)
            if not claim(policy, to, order, 1):
                return row
            at, to, nr = at + (1 << order), to + (1 << order), nr - (1 << order)
    content = book.content
    for row in range(len(source)):
        at, to, nr = int(source[row]), int(destination[row]), int(nr_pages[row])
        isolate(book, at, to, nr)
        while nr and to != at:
            order = piece_order(book, at, to, nr)
            if to == NOWHERE:
                drop(book, at, order)
            else:
                if book.block[at, OWNER] != NONE:
                    relink(book, at, to)
                for page in range(1 << order):
                    content[to + page] = content[at + page]
                to += 1 << order
            for page in range(at, at + (1 << order)):
                content[page] = FREE
            release(policy, at, order, cpu)
            at, nr = at + (1 << order), nr - (1 << order)
    return len(source)
