"""The invariants between a book and a policy, each by name.

=============  ==============================================================================
book-free      the frames that the book calls free are those that the policy has free
book-where     a request's first block is its own and begins the chain
book-chain     neighbours in a chain point at each other and have one owner; none runs in circles
book-block     a block is naturally aligned, apart from others, and in use
book-folio     a block of several pages is one folio, a single page is none
book-owned     a block that has an owner is in the owner's chain
book-size      no request holds more pages than it asked for; with what is in swap neither
=============  ==============================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.compaction.zone_layout import HEAD, KIND_MASK, TAIL, Frame
from kernelmodel.errors import InvariantError
from kernelmodel.free_area.book import NEXT, NONE, ORDER, OWNER, PREV
from kernelmodel.ranges import frames_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.free_area.book import Book
    from kernelmodel.free_area.interface import FreeArea
    from kernelmodel.page_alloc.rebuild import FreeBlocks


def check(book: Book, policy: FreeArea) -> None:
    """Check the book, and the policy against it; CPUs give back what they keep first.

    Raises
    ------
    InvariantError
        The first rule that is broken, with the frame or the request.
    """
    policy.drain()
    _free(book, policy.free_blocks())
    head = np.flatnonzero(book.block[:, OWNER] != NONE)
    _blocks(book, head)
    _chains(book, head)
    _sizes(book, head)


def _demand(invariant: str, where: str, number: NDArray[np.int64], broken: NDArray[np.bool_]) -> None:
    """Raise for the first that is broken."""
    if broken.any():
        raise InvariantError(invariant, f"{where} {number[broken][0]}", f"and {int(broken.sum()) - 1} more")


def _free(book: Book, blocks: FreeBlocks) -> None:
    in_policy = np.zeros(len(book.content), np.bool_)
    in_policy[frames_of(blocks.start_pfn, np.int64(1) << blocks.order.astype(np.int64))] = True
    differs = in_policy != (book.content & np.uint8(KIND_MASK) == Frame.FREE)
    _demand("book-free", "frame", np.arange(len(book.content)), differs)


def _blocks(book: Book, head: NDArray[np.int64]) -> None:
    """Check alignment and extents of the blocks, and what is written about their frames."""
    order = book.block[head, ORDER].astype(np.int64)
    nr_pages = np.int64(1) << np.clip(order, 0, 62)
    nr_frames = len(book.content)
    outside = (order < 0) | (head & (nr_pages - 1) != 0) | (head + nr_pages > nr_frames)
    _demand("book-block", "frame", head, outside)
    frames, of_block = frames_of(head, nr_pages), np.repeat(np.arange(len(head)), nr_pages)
    times = np.bincount(frames, minlength=nr_frames)
    _demand("book-block", "frame", np.arange(nr_frames), times > 1)
    kinds = book.content[frames] & KIND_MASK
    _demand("book-block", "frame", frames, (kinds == Frame.FREE) | (kinds == Frame.HOLE))
    single = nr_pages[of_block] == 1
    due = np.where(single, 0, np.where(frames == head[of_block], HEAD, TAIL))
    _demand("book-folio", "frame", frames, (book.content[frames] & (HEAD | TAIL)) != due)
    behind = head + nr_pages
    inner = behind[behind < nr_frames]
    _demand("book-folio", "frame", inner, (book.content[inner] & TAIL) != 0)


def _chains(book: Book, head: NDArray[np.int64]) -> None:
    """Check that each block is in the chain of its owner, once."""
    block, nr_requests = book.block, len(book.where)
    owner = block[head, OWNER]
    _demand("book-owned", "frame", head, owner >= nr_requests)
    for column, back in ((NEXT, PREV), (PREV, NEXT)):
        other = block[head, column]
        has = (other != NONE) & (other >= 0) & (other < len(block))
        wrong = (other != NONE) & ~has
        wrong[has] = (block[other[has], back] != head[has]) | (block[other[has], OWNER] != owner[has])
        _demand("book-chain", "frame", head, wrong)
    request = np.flatnonzero(book.where >= 0)
    first = book.where[request]
    outside = first >= len(block)
    _demand("book-where", "request", request, outside)
    wrong = (block[first, OWNER] != request) | (block[first, PREV] != NONE)
    _demand("book-where", "request", request, wrong)
    reached = np.zeros(len(block), np.bool_)
    front = first
    while len(front):
        reached[front] = True
        front = block[front, NEXT]
        front = front[front != NONE]
    # Chains that begin nowhere run in circles, or belong to a request that says it holds nothing.
    _demand("book-owned", "frame", head, ~reached[head])


def _sizes(book: Book, head: NDArray[np.int64]) -> None:
    """Check that no request holds more than it asked for."""
    nr = len(book.where)
    owner = book.block[head, OWNER]
    held = np.bincount(owner, weights=1 << book.block[head, ORDER].astype(np.int64), minlength=nr)
    most = np.int64(1) << book.requests.order.astype(np.int64)
    _demand("book-size", "request", np.arange(nr), held + book.swapped > most)
