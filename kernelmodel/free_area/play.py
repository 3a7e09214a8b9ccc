"""The loop over a demand's events: take, give back, and stop at a request that may call for help.

One loop for all policies: `kernelmodel._jit.compiled` puts a policy's own functions in place of `take` and
`release`. Both are called at one place each, because calls are made inline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kernelmodel._jit import jit
from kernelmodel.compaction.zone_layout import HEAD, TAIL, UNSPLITTABLE, Frame
from kernelmodel.free_area.book import (
    FAILED,
    GONE,
    HAS_SWAPPED,
    MAY_CALL,
    NEXT,
    NONE,
    ORDER,
    OWNER,
    PREV,
    SWAP_FREE,
    TRIED,
)
from kernelmodel.free_area.interface import Ask, release, take
from kernelmodel.free_area.result import Came
from kernelmodel.page_alloc.state import NO_PAGE

if TYPE_CHECKING:
    from kernelmodel.free_area.book import Book

FREE: Final = int(Frame.FREE)
DIRTY: Final = int(Frame.DIRTY)
AT_ONCE: Final = int(Came.AT_ONCE)
HELPED: Final = int(Came.HELPED)
NOT_MET: Final = int(Came.FAILED)
DEFERRED: Final = int(Came.DEFERRED)


@jit
def ask_of(book: Book, request: int) -> Ask:
    """Return a request as a policy takes it."""
    columns = book.requests
    highest_zone = int(columns.highest_zone[request])
    return Ask(
        int(columns.order[request]),
        int(columns.migratetype[request]),
        int(columns.priority[request]),
        highest_zone,
        int(book.limits[highest_zone]),
        int(columns.cpu[request]),
    )


@jit
def count(book: Book, request: int, came: int) -> None:
    """Count what became of a request."""
    columns = book.requests
    source, priority = int(columns.source[request]), int(columns.priority[request])
    book.tally[source, priority, int(columns.order[request]), came] += 1


@jit
def give_up(book: Book, request: int, came: int) -> None:
    """Write down that a request is not met."""
    book.where[request] = FAILED
    count(book, request, came)


@jit
def may_call(book: Book, request: int) -> bool:
    """Tell whether a request that was not met calls for help; if it does not, it is given up here."""
    if book.info[TRIED]:
        return True
    if not book.info[MAY_CALL + int(book.requests.priority[request])]:
        give_up(book, request, NOT_MET)
        return False
    return True


@jit
def place(book: Book, request: int, index: int) -> None:
    """Write down what a request got."""
    order = int(book.requests.order[request])
    kind = int(book.requests.kind[request])
    content, block = book.content, book.block
    if order == 0:
        content[index] = kind
    else:
        if kind == DIRTY:
            kind |= UNSPLITTABLE
        content[index] = kind | HEAD
        for frame in range(index + 1, index + (1 << order)):
            content[frame] = kind | TAIL
    block[index, OWNER] = request
    block[index, NEXT] = block[index, PREV] = NONE
    block[index, ORDER] = order
    book.where[request] = index
    count(book, request, HELPED if book.info[TRIED] else AT_ONCE)


@jit
def vacate(book: Book, index: int, order: int) -> None:
    """Write down that a block is nobody's any more."""
    for frame in range(index, index + (1 << order)):
        book.content[frame] = FREE
    book.block[index, OWNER] = NONE


@jit
def play(policy: Any, book: Book, start: int, stop: int) -> int:
    """Carry out the events from `start` to `stop`.

    Returns
    -------
    int
        `stop`; or the number of the event at which a request calls for help, which is not carried out.
    """
    info = book.info
    for at in range(start, stop):
        request = int(book.events[at])
        if request >= 0:
            index = take(policy, ask_of(book, request))
            if index != NO_PAGE:
                place(book, request, index)
            elif may_call(book, request):
                return at
            continue
        request = ~request
        cpu = int(book.requests.cpu[request])
        index = int(book.where[request])
        while index >= 0:
            following, order = int(book.block[index, NEXT]), int(book.block[index, ORDER])
            vacate(book, index, order)
            release(policy, index, order, cpu)
            index = following
        if info[HAS_SWAPPED]:
            info[SWAP_FREE] += book.swapped[request]
            book.swapped[request] = 0
        book.where[request] = GONE
    return stop
