"""A recording of what the page allocator did, as a demand that any policy can be put to.

The stream tells more of its beginning than the picture taken before it: a frame whose first event allocates
it was free, one whose first event frees it was in use. Where the picture says otherwise the stream is
believed; what was free but on no free list was on a CPU's list, and is given back to one before the first
event::

    picture before   used   used   FREE   FREE   UNKNOWN   UNKNOWN
    first event      free   alloc  alloc  free   alloc     none
    standing         yes    given  no     yes    given     no          given: leaves before the first event

Fidelity: pages that compaction moved come to their new frame without an event.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from kernelmodel.compaction.zone_layout import KIND_MASK, Frame
from kernelmodel.free_area.recorded import Clock
from kernelmodel.page_alloc.state import NR_PCPTYPES
from kernelmodel.workload.demand import Demand, Requests
from vmprobe.bridge import gfp
from vmprobe.bridge.replay_pairs import IN_PIECES, MISSED, UNKNOWN, Pairs, pairs_of
from vmprobe.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.free_area.ground import Ground

ALLOC, FREE, FALLBACK = range(3)
"""Kinds of recorded events."""

SOURCE: Final = "recorded"
ZONE_MOVABLE: Final = 3


class Events(Protocol):
    """What is replayed of a recording: columns of equal length, ascending in time."""

    @property
    def time_ns(self) -> NDArray[np.int64]:
        """Since the start."""

    @property
    def cpu(self) -> NDArray[np.unsignedinteger]:
        """Who did it."""

    @property
    def kind(self) -> NDArray[np.uint8]:
        """ALLOC, FREE or FALLBACK."""

    @property
    def pfn(self) -> NDArray[np.int64]:
        """First frame of the block; -1 for an allocation that failed."""

    @property
    def order(self) -> NDArray[np.uint8]:
        """log2 of its pages."""

    @property
    def migratetype(self) -> NDArray[np.uint8]:
        """What an allocation asked for."""

    @property
    def gfp_flags(self) -> NDArray[np.uint32]:
        """What an allocation may do."""


@dataclass(frozen=True)
class Drift:
    """How far the stream and the picture before it agree.

    Parameters
    ----------
    nr_requests
        Allocations that are replayed.
    nr_failed
        Allocations that the kernel refused: left out.
    nr_elsewhere
        Events about frames outside the zones: left out.
    nr_standing
        Blocks that stood before the stream and were freed in it.
    pages_on_lists
        Pages that were on per-CPU lists, for all that is known: in no free block, and the first that was
        heard of them is that they were allocated.
    pages_freed_before, pages_taken_before
        Pages that the picture has in use, and that were free when the stream began; and the reverse.
    nr_in_pieces
        Frees of a part of what was allocated at once.
    pages_missed
        Pages that were allocated again without having been freed.
    pages_unknown
        Pages that were freed again without having been allocated: compaction takes its room that way.
    """

    nr_requests: int
    nr_failed: int
    nr_elsewhere: int
    nr_standing: int
    pages_on_lists: int
    pages_freed_before: int
    pages_taken_before: int
    nr_in_pieces: int
    pages_missed: int
    pages_unknown: int


@dataclass(frozen=True, eq=False)
class Replay:
    """A recording made ready.

    Parameters
    ----------
    ground
        The zones before the stream, as the stream says that they were.
    demand
        The stream.
    clock
        When and on which CPU its events happened.
    drift
        What had to be corrected, and what could not be understood.
    """

    ground: Ground
    demand: Demand
    clock: Clock
    drift: Drift


@dataclass(frozen=True, eq=False)
class _Stream:
    """The events that allocate and free inside the ground; columns of equal length."""

    allocates: NDArray[np.bool_]
    index: NDArray[np.int64]
    order: NDArray[np.int64]
    migratetype: NDArray[np.uint8]
    gfp_flags: NDArray[np.uint32]
    cpu: NDArray[np.uint8]
    time_ns: NDArray[np.int64]


def replay(recording: Events, ground: Ground, *, pure: bool = False) -> Replay:
    """Make a demand of a recording.

    Parameters
    ----------
    recording
        The events.
    ground
        Made of the snapshot before them.
    pure
        Run in plain Python even where there is numba.

    Raises
    ------
    InputError
        The recording holds values that the kernel of the ground has not.
    """
    told = recording.kind != FALLBACK
    failed = told & (recording.pfn < 0)
    content = ground.content()
    inside = is_inside(recording, ground, content)
    stream = _stream(recording, ground, np.flatnonzero(told & ~failed & inside))
    pairs = pairs_of(ground.nr_frames, stream.allocates, stream.index, stream.order, pure=pure)
    given = _given(pairs, stream, content)
    standing = np.flatnonzero(pairs.event < 0)
    drift = Drift(
        nr_requests=len(pairs.event) - len(standing),
        nr_failed=int(np.count_nonzero(failed)),
        nr_elsewhere=int(np.count_nonzero(told & ~failed & ~inside)),
        nr_standing=len(standing),
        nr_in_pieces=int(pairs.counted[IN_PIECES]),
        pages_missed=int(pairs.counted[MISSED]),
        pages_unknown=int(pairs.counted[UNKNOWN]),
        **_disagreement(pairs, content),
    )
    demand = _demand(pairs, stream, content, given, ground.base_pfn)
    demand.validate(ground.nr_orders)
    return Replay(_corrected(ground, content, pairs), demand, _clock(pairs, stream, given), drift)


def is_inside(recording: Events, ground: Ground, content: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which events are about frames of the ground: what lies between its frames is not of it."""
    index = recording.pfn - ground.base_pfn
    inside: NDArray[np.bool_] = (index >= 0) & (
        index + (np.int64(1) << recording.order.astype(np.int64)) <= ground.nr_frames
    )
    inside[inside] = content[index[inside]] & KIND_MASK != Frame.HOLE
    return inside


def _stream(recording: Events, ground: Ground, chosen: NDArray[np.int64]) -> _Stream:
    """Return the chosen events; a folio larger than any block, of hugetlb, is freed as blocks."""
    top = ground.nr_orders - 1
    order = recording.order[chosen].astype(np.int64)
    allocates = recording.kind[chosen] == ALLOC
    if (allocates & (order > top)).any():
        raise InputError(f"an allocation of order {int(order[allocates].max())}, at most {top} there")
    nr_blocks = np.int64(1) << np.maximum(order - top, 0)
    rows = np.repeat(chosen, nr_blocks)
    nth = np.arange(len(rows)) - np.repeat(np.cumsum(nr_blocks) - nr_blocks, nr_blocks)
    return _Stream(
        recording.kind[rows] == ALLOC,
        recording.pfn[rows] - ground.base_pfn + (nth << top),
        np.minimum(recording.order[rows].astype(np.int64), top),
        recording.migratetype[rows],
        recording.gfp_flags[rows],
        # Requests have a byte for it; who has fewer lists takes it modulo their number anyway.
        recording.cpu[rows].astype(np.uint8),
        recording.time_ns[rows],
    )


@dataclass(frozen=True, eq=False)
class _Given:
    """What CPUs kept before the stream, in the order in which it was put on their lists."""

    index: NDArray[np.int64]
    order: NDArray[np.int64]
    event: NDArray[np.int64]


def _given(pairs: Pairs, stream: _Stream, content: NDArray[np.uint8]) -> _Given:
    """Return the blocks that were free and on no free list: what is taken last was put there first."""
    kinds = content & KIND_MASK
    frames = np.flatnonzero((pairs.first > 0) & (kinds != Frame.FREE) & (kinds != Frame.HOLE))
    event = pairs.first[frames] - 1
    nr_of = np.bincount(event, minlength=len(stream.order))
    whole = nr_of[event] == np.int64(1) << stream.order[event]
    heads = ~whole | (frames == stream.index[event])
    order = np.where(whole, stream.order[event], 0)
    back = np.lexsort((-frames[heads], -event[heads]))
    return _Given(frames[heads][back], order[heads][back], event[heads][back])


def _disagreement(pairs: Pairs, content: NDArray[np.uint8]) -> dict[str, int]:
    kinds = content & KIND_MASK
    taken_first, given_first = pairs.first > 0, pairs.first < 0
    no_list = (kinds != Frame.FREE) & (kinds != Frame.HOLE)
    counted = {
        "pages_on_lists": taken_first & (kinds == Frame.UNKNOWN),
        "pages_freed_before": taken_first & no_list & (kinds != Frame.UNKNOWN),
        "pages_taken_before": given_first & (kinds == Frame.FREE),
    }
    return {name: int(np.count_nonzero(frames)) for name, frames in counted.items()}


def _demand(
    pairs: Pairs, stream: _Stream, content: NDArray[np.uint8], given: _Given, base_pfn: int
) -> Demand:
    """Return the demand, in which what CPUs kept comes first, then what stood, then what arrives."""
    stood, came = np.flatnonzero(pairs.event < 0), np.flatnonzero(pairs.event >= 0)
    nr_given = len(given.index)
    number = np.empty(len(pairs.event), np.int64)
    number[stood] = nr_given + np.arange(len(stood))
    number[came] = nr_given + len(stood) + np.arange(len(came))
    event = pairs.event[came]
    flags = stream.gfp_flags[event]
    start = np.concatenate((given.index, pairs.start[stood]))
    kinds = content[start] & KIND_MASK
    kinds[(kinds == Frame.FREE) | (kinds == Frame.HOLE)] = Frame.FIXED
    before = np.zeros(len(start), np.uint8)
    cpu = np.concatenate((stream.cpu[given.event], stream.cpu[~pairs.event[stood]]))
    requests = Requests(
        order=np.concatenate((given.order, pairs.order[stood], pairs.order[came])).astype(np.uint8),
        migratetype=np.concatenate((before, np.minimum(stream.migratetype[event], NR_PCPTYPES - 1))),
        kind=np.concatenate((kinds, gfp.kind(flags))),
        priority=np.concatenate((before, gfp.priority(flags))),
        # What stands is where it is: no limit of its own.
        highest_zone=np.concatenate((np.full_like(before, ZONE_MOVABLE), gfp.highest_zone(flags))),
        cpu=np.concatenate((cpu, stream.cpu[event])),
        source=np.zeros(len(start) + len(came), np.uint8),
    )
    arrives = pairs.step >= 0
    steps = number[np.where(arrives, pairs.step, ~pairs.step)]
    steps = np.where(arrives, steps, ~steps)
    events = np.concatenate((~np.arange(nr_given), steps)).astype(np.int32)
    return Demand((SOURCE,), requests, events, start + base_pfn)


def _clock(pairs: Pairs, stream: _Stream, given: _Given) -> Clock:
    """Return when the events of the demand happened: what CPUs kept is given back when the stream begins."""
    begin = np.full(len(given.event), stream.time_ns[0] if len(stream.time_ns) else 0)
    return Clock(
        np.concatenate((begin, stream.time_ns[pairs.during])),
        np.concatenate((stream.cpu[given.event], stream.cpu[pairs.during])),
    )


def _corrected(ground: Ground, content: NDArray[np.uint8], pairs: Pairs) -> Ground:
    """Return the ground with what was in use before the stream in use: by the kernel, for all we know."""
    corrected = content.copy()
    corrected[(pairs.first < 0) & (content & KIND_MASK == Frame.FREE)] = Frame.FIXED
    layouts = ground.layouts(corrected)
    zones = zip(ground.zones, layouts, strict=True)
    return replace(ground, zones=tuple(replace(zone, layout=layout) for zone, layout in zones))
