"""Who holds which frames: what the requests of a demand got, beside the free frames that a policy keeps.

What a request got is one block; or single pages in a chain, when its folio was split because help moved or
took a part of it. Frames that the ground's own users hold have no request, and stay until help moves or takes
them::

    frames          0  1  2  3  4  5  6  7
    content         A  A  .  B  x  .  C  C'      C': tail of a folio; x: used by nobody's request
    block           0  0     1        2          the request, at the head of each block
    where           request 0: 0 -> 1            first block of each chain: its folio was split
                    request 1: 3                 a page
                    request 2: 6                 a folio of two pages
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.compaction.zone_layout import HEAD, KIND_MASK, TAIL, UNSPLITTABLE, Frame
from kernelmodel.errors import ModelError
from kernelmodel.free_area.result import Came
from kernelmodel.priority import Priority
from kernelmodel.ranges import frames_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.free_area.ground import Ground
    from kernelmodel.page_alloc.rebuild import FreeBlocks
    from kernelmodel.workload.demand import Demand, Requests

# Columns of `Book.block`, at the head of each block that a request holds.
OWNER: Final = 0
NEXT: Final = 1
PREV: Final = 2
ORDER: Final = 3
NR_COLUMNS: Final = 4

NONE: Final = -1
"""No request, in `OWNER`; no further block, in `NEXT` and `PREV`."""

# What `Book.where` says of requests that hold nothing.
NOT_YET: Final = -1
"""It has not come."""
FAILED: Final = -2
"""It came, and was not met."""
EVICTED: Final = -3
"""All that it got was evicted."""
GONE: Final = -4
"""It has given back what it got, or would have."""

# Numbers of `Book.info`.
NR_ORDERS: Final = 0
SWAP_FREE: Final = 1
"""Pages that swap can still take."""
HAS_SWAPPED: Final = 2
"""Whether a page was ever swapped."""
TRIED: Final = 3
"""Whether the request that is carried out now has been helped: it is not to come back for more."""
MAY_CALL: Final = 4
"""Then one number a `Priority`: whether such requests may call for help."""
NR_INFO: Final = MAY_CALL + len(Priority)


class Columns(NamedTuple):
    """The columns of `kernelmodel.workload.demand.Requests`, for compiled code."""

    order: NDArray[np.uint8]
    migratetype: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    priority: NDArray[np.uint8]
    highest_zone: NDArray[np.uint8]
    cpu: NDArray[np.uint8]
    source: NDArray[np.uint8]


class Book(NamedTuple):
    """The arrays.

    Parameters
    ----------
    requests
        The columns of the demand.
    events
        Its events.
    content
        uint8, a byte a frame, as `ZoneLayout.state`; what a CPU keeps for itself is free here.
    block
        int32 (frames, 4), columns above.
    where
        int32 (requests): first block, or one of the codes above.
    swapped
        int32 (requests): pages that are in swap.
    tally
        int64 (sources, priorities, orders, `Came`), requests.
    limits
        int64, as `Ground.limits`.
    info
        int64, numbers above.
    """

    requests: Columns
    events: NDArray[np.int32]
    content: NDArray[np.uint8]
    block: NDArray[np.int32]
    where: NDArray[np.int32]
    swapped: NDArray[np.int32]
    tally: NDArray[np.int64]
    limits: NDArray[np.int64]
    info: NDArray[np.int64]


def build(ground: Ground, demand: Demand) -> Book:
    """Return the book of a demand before its first event: what stands is in place.

    Raises
    ------
    InvariantError
        The demand contradicts itself.
    ModelError
        A request asks for free frames or holes, or stands where it cannot.
    """
    demand.validate(ground.nr_orders)
    requests = demand.requests
    nothing = np.flatnonzero((requests.kind == Frame.FREE) | (requests.kind == Frame.HOLE))
    if len(nothing):
        name = Frame(requests.kind[nothing[0]]).name
        raise ModelError(f"request {nothing[0]}: nothing is allocated to become {name}")
    nr_frames, nr_requests = ground.nr_frames, len(requests)
    info = np.zeros(NR_INFO, np.int64)
    info[NR_ORDERS], info[SWAP_FREE] = ground.nr_orders, ground.swap_free_pages
    book = Book(
        # Columns of one layout, so that the loop is compiled once.
        requests=Columns(
            *(np.require(getattr(requests, name), requirements=("C", "W")) for name in Columns._fields)
        ),
        events=np.require(demand.events, requirements=("C", "W")),
        content=ground.content(),
        block=np.full((nr_frames, NR_COLUMNS), NONE, np.int32),
        where=np.full(nr_requests, NOT_YET, np.int32),
        swapped=np.zeros(nr_requests, np.int32),
        tally=np.zeros((len(demand.sources), len(Priority), ground.nr_orders, len(Came)), np.int64),
        limits=ground.limits(),
        info=info,
    )
    _stand(book, requests, demand.standing_pfn - ground.base_pfn)
    return book


def _stand(book: Book, requests: Requests, start: NDArray[np.int64]) -> None:
    """Put what stands in place; a folio of the ground that it is a part of is one no more."""
    nr = len(start)
    order = requests.order[:nr].astype(np.int64)
    nr_pages = np.int64(1) << order
    outside = (start < 0) | (start + nr_pages > len(book.content)) | (start & (nr_pages - 1) != 0)
    if outside.any():
        raise ModelError(f"request {int(outside.argmax())} stands outside, or not aligned to its order")
    frames, number = frames_of(start, nr_pages), np.repeat(np.arange(nr), nr_pages)
    kinds = book.content[frames] & KIND_MASK
    absent = (kinds == Frame.FREE) | (kinds == Frame.HOLE)
    if absent.any():
        raise ModelError(f"request {number[absent][0]} stands where nothing is in use")
    again = np.flatnonzero(np.bincount(frames, minlength=1) > 1)
    if len(again):
        raise ModelError(f"two requests stand on frame {again[0]}")
    if not nr:
        return
    folio = np.cumsum((book.content & TAIL) == 0)
    broken = np.isin(folio, folio[frames])
    book.content[broken] &= np.uint8(KIND_MASK)
    first = frames == np.repeat(start, nr_pages)
    book.content[frames] = folio_bytes(requests.kind[number], order[number], first)
    book.block[start, OWNER], book.block[start, ORDER] = np.arange(nr), order
    book.where[:nr] = start


def folio_bytes(
    kind: NDArray[np.uint8], order: NDArray[np.int64], first: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return the bytes of frames by the kind and order of their folio; `first` marks the first of each."""
    large = np.where(first, HEAD, TAIL) | np.where(kind == Frame.DIRTY, UNSPLITTABLE, 0)
    made: NDArray[np.uint8] = (kind | np.where(order > 0, large, 0)).astype(np.uint8)
    return made


def known(content: NDArray[np.uint8], kept: FreeBlocks) -> NDArray[np.uint8]:
    """Return the contents as the free lists show them: what CPUs keep for themselves is unknown."""
    seen = content.copy()
    seen[frames_of(kept.start_pfn, np.int64(1) << kept.order.astype(np.int64))] = Frame.UNKNOWN
    return seen
