"""Which free gives back which allocation: events about frames become requests that arrive and leave.

::

    recorded         alloc 8 order 1   free 40   free 8   alloc 8   free 9     (40 was in use before)
    requests         r0                s0                 r1
    steps            r0                ~s0                r1        ~r0        (r0 leaves with its last page)

One block is one request, so that what comes whole and goes in pieces leaves with its last piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel._jit import compiled, jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOBODY: Final = -1
"""Owner of a frame that is free, or of which nothing was heard."""

# Numbers of `Pairs.counted`.
NR_REQUESTS: Final = 0
NR_STEPS: Final = 1
IN_PIECES: Final = 2
MISSED: Final = 3
UNKNOWN: Final = 4
NR_COUNTS: Final = 5


class Pairs(NamedTuple):
    """The requests found in a stream, standing ones among them, in the order in which they were heard of.

    Parameters
    ----------
    owner
        int32, for each frame the request that has it.
    first
        int64, for each frame the first event about it: ``1 + e`` where e allocated it, so that it was free
        before the stream; ``-1 - e`` where e freed it, so that it was in use; 0 where there is none.
    start
        int64, first frame of each request.
    order, left
        int64, log2 of its pages, and the pages not yet given back.
    event
        int64, the event that brought it; ``~e`` for one that stood there, e being the first that gave a page
        of it back.
    step
        int64, ``r`` where request r arrives and ``~r`` where it leaves.
    during
        int64, the event in which each step happens.
    counted
        int64, the numbers named above.
    """

    owner: NDArray[np.int32]
    first: NDArray[np.int64]
    start: NDArray[np.int64]
    order: NDArray[np.int64]
    left: NDArray[np.int64]
    event: NDArray[np.int64]
    step: NDArray[np.int64]
    during: NDArray[np.int64]
    counted: NDArray[np.int64]


@jit
def add_step(pairs: Pairs, step: int, event: int) -> None:
    """Note that a request arrives or leaves."""
    at = pairs.counted[NR_STEPS]
    pairs.counted[NR_STEPS] += 1
    pairs.step[at], pairs.during[at] = step, event


@jit
def give_page(pairs: Pairs, frame: int, event: int) -> None:
    """Give one page of a request back; the request leaves with its last one."""
    request = pairs.owner[frame]
    pairs.owner[frame] = NOBODY
    pairs.left[request] -= 1
    if pairs.left[request] == 0:
        add_step(pairs, ~request, event)


@jit
def add_request(pairs: Pairs, index: int, order: int, event: int) -> None:
    """Note a request that has a block."""
    request = pairs.counted[NR_REQUESTS]
    pairs.counted[NR_REQUESTS] += 1
    pairs.start[request], pairs.order[request], pairs.event[request] = index, order, event
    pairs.left[request] = 1 << order
    for frame in range(index, index + (1 << order)):
        pairs.owner[frame] = request


@jit
def allocated(pairs: Pairs, index: int, order: int, event: int) -> None:
    """Note that a block was allocated; whoever had a page of it must have given that back unheard."""
    for frame in range(index, index + (1 << order)):
        if pairs.owner[frame] != NOBODY:
            pairs.counted[MISSED] += 1
            give_page(pairs, frame, event)
        elif pairs.first[frame] == 0:
            pairs.first[frame] = 1 + event
    add_step(pairs, pairs.counted[NR_REQUESTS], event)
    add_request(pairs, index, order, event)


@jit
def stood(pairs: Pairs, index: int, order: int, event: int) -> None:
    """Note what is now heard of for the first time, in a block that is freed: it stood there."""
    nr_new = 0
    for frame in range(index, index + (1 << order)):
        nr_new += pairs.first[frame] == 0
    size = order if nr_new == 1 << order else 0
    for frame in range(index, index + (1 << order)):
        if pairs.first[frame] == 0:
            pairs.first[frame] = -1 - event
            if size == 0 or frame == index:
                add_request(pairs, frame, size, ~event)


@jit
def freed(pairs: Pairs, index: int, order: int, event: int) -> None:
    """Note that a block was freed: parts of requests, memory that stood there, or neither."""
    stood(pairs, index, order, event)
    for frame in range(index, index + (1 << order)):
        request = pairs.owner[frame]
        if request == NOBODY:
            pairs.counted[UNKNOWN] += 1
            continue
        if frame == index and pairs.order[request] > order:
            pairs.counted[IN_PIECES] += 1
        give_page(pairs, frame, event)


@jit
def walk(
    pairs: Pairs, allocates: NDArray[np.bool_], index: NDArray[np.int64], order: NDArray[np.int64]
) -> None:
    """Go through a stream of allocations and frees."""
    for event in range(len(allocates)):
        if allocates[event]:
            allocated(pairs, int(index[event]), int(order[event]), event)
        else:
            freed(pairs, int(index[event]), int(order[event]), event)


def pairs_of(
    nr_frames: int,
    allocates: NDArray[np.bool_],
    index: NDArray[np.int64],
    order: NDArray[np.int64],
    *,
    pure: bool = False,
) -> Pairs:
    """Return the requests of a stream, all of whose blocks are inside the frames. O(pages of the events).

    Parameters
    ----------
    nr_frames
        Frames of the numbering.
    allocates
        Whether each event allocates; else it frees.
    index
        First frame of its block.
    order
        log2 of the block's pages.
    pure
        Run in plain Python even where there is numba.
    """
    sizes = np.int64(1) << order
    most = int(np.count_nonzero(allocates)) + min(nr_frames, int(sizes[~allocates].sum()))
    pairs = Pairs(
        np.full(nr_frames, NOBODY, np.int32),
        *(
            np.zeros(size, np.int64)
            for size in (nr_frames, most, most, most, most, 2 * most, 2 * most, NR_COUNTS)
        ),
    )
    compiled(walk, pure=pure)(pairs, allocates, index, order)
    nr, nr_steps = (int(pairs.counted[which]) for which in (NR_REQUESTS, NR_STEPS))
    return pairs._replace(
        start=pairs.start[:nr],
        order=pairs.order[:nr],
        left=pairs.left[:nr],
        event=pairs.event[:nr],
        step=pairs.step[:nr_steps],
        during=pairs.during[:nr_steps],
    )
