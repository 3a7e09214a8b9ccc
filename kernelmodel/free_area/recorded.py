"""Carry out a recorded stream under ``buddy-grouped``, with what the kernel does by itself at such times.

`kernelmodel.free_area.run.simulate` knows neither time nor who gives a page back, since a demand has neither.
A recording has both, and they matter: a page goes to the list of the CPU that frees it, which in reclaim is
seldom the one that took it; CPUs that are not busy give back an eighth of their limit every second; and while
kswapd is at work they keep hardly any.

Mirrors: mm/vmstat.c: refresh_cpu_vm_stats (its call of decay_pcp_high); mm/page_alloc.c: wake_all_kswapds;
mm/vmscan.c: set_reclaim_active, pgdat_balanced.
Fidelity: kswapd begins with the request that finds no zone above its low watermark and ends with one that
finds a zone above its high one; what it reclaims is in the stream. What the kernel gave is given: there is no
min watermark, as if reclaim had always come in time. CPUs give back all at the same moment of a second, and
nothing else drains their lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kernelmodel._jit import compiled, jit
from kernelmodel.free_area import book as books
from kernelmodel.free_area.grouped import Grouped, release_grouped
from kernelmodel.free_area.interface import Ask
from kernelmodel.free_area.slowpath import NR_ZONES, take_grouped
from kernelmodel.page_alloc.pcp import decay_pcp_high
from kernelmodel.page_alloc.state import (
    LOWMEM_RESERVE,
    MANAGED,
    NO_PAGE,
    NR_FREE,
    RECLAIM_ACTIVE,
    WMARK_MIN,
)
from kernelmodel.page_alloc.watermark import wmark_pages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.free_area.book import Columns
    from kernelmodel.free_area.ground import Ground
    from kernelmodel.workload.demand import Demand

DECAY_NS: Final = 1_000_000_000
"""sysctl_stat_interval: how often a CPU looks at its limit."""

LOW: Final = 1
HIGH: Final = 2

# Numbers of `Stream.info`: requests that found no zone above its min watermark, and those that were not met.
STALLED: Final = 0
REFUSED: Final = 1
MARKS: Final = 2
"""Then the min watermark of each zone."""
NR_INFO: Final = MARKS + NR_ZONES


@dataclass(frozen=True, eq=False)
class Clock:
    """When and where the events of a demand happened; columns as long as its events.

    Parameters
    ----------
    time_ns
        int64, ascending.
    cpu
        uint8, who asked or gave back.
    """

    time_ns: NDArray[np.int64]
    cpu: NDArray[np.uint8]


class Stream(NamedTuple):
    """The arrays of a stream.

    Parameters
    ----------
    requests
        The columns of the demand.
    events
        Its events.
    cpu
        uint8 (events), the CPU of each.
    where
        int64 (requests), first frame of what each has; NO_PAGE where it has nothing.
    info
        int64, the numbers named above.
    """

    requests: Columns
    events: NDArray[np.int32]
    cpu: NDArray[np.uint8]
    where: NDArray[np.int64]
    info: NDArray[np.int64]


@jit
def above(node: Any, highest_zone: int, which: int) -> bool:
    """Tell whether a zone that will do is above a watermark: 1 for low, 2 for high."""
    for at in range(min(highest_zone, NR_ZONES - 1) + 1):
        info = node.zones[at].info
        mark = wmark_pages(node.zones[at], which) + info[LOWMEM_RESERVE + highest_zone]
        if info[MANAGED] and info[NR_FREE] > mark:
            return True
    return False


@jit
def below_min(node: Any, stream: Stream, highest_zone: int) -> bool:
    """Tell whether no zone that will do is above the min watermark that it had."""
    for at in range(min(highest_zone, NR_ZONES - 1) + 1):
        info = node.zones[at].info
        if info[MANAGED] and info[NR_FREE] > stream.info[MARKS + at] + info[LOWMEM_RESERVE + highest_zone]:
            return False
    return True


@jit
def set_reclaim(node: Any, active: int) -> None:
    """Note that kswapd begins or ends."""
    for at in range(NR_ZONES):
        node.zones[at].info[RECLAIM_ACTIVE] = active


@jit
def follow(node: Any, stream: Stream, start: int, stop: int) -> None:
    """Carry out the events from `start` to `stop`."""
    requests, where = stream.requests, stream.where
    for at in range(start, stop):
        request, cpu = int(stream.events[at]), int(stream.cpu[at])
        if request >= 0:
            highest_zone = int(requests.highest_zone[request])
            if not above(node, highest_zone, LOW):
                set_reclaim(node, 1)
                stream.info[STALLED] += below_min(node, stream, highest_zone)
            elif above(node, highest_zone, HIGH):
                set_reclaim(node, 0)
            order, migratetype = int(requests.order[request]), int(requests.migratetype[request])
            ask = Ask(order, migratetype, int(requests.priority[request]), highest_zone, 0, cpu)
            where[request] = take_grouped(node, ask)
            stream.info[REFUSED] += where[request] == NO_PAGE
            continue
        request = ~request
        if where[request] == NO_PAGE:
            continue
        release_grouped(node, int(where[request]), int(requests.order[request]), cpu)
        where[request] = NO_PAGE


@jit
def decay(node: Any) -> None:
    """Let every CPU look at its limits."""
    for at in range(NR_ZONES):
        zone = node.zones[at]
        if zone.info[MANAGED]:
            for cpu in range(zone.pcp.shape[0]):
                decay_pcp_high(zone, cpu)


@dataclass(frozen=True, eq=False)
class Followed:
    """What came of a recorded stream.

    Parameters
    ----------
    policy
        As it is at the end.
    nr_stalled, nr_refused
        Requests that the kernel met when no zone was above its min watermark here; or that were not met.
    """

    policy: Grouped
    nr_stalled: int
    nr_refused: int


def follow_recorded(
    ground: Ground, demand: Demand, clock: Clock, policy: Grouped, *, pure: bool = False
) -> Followed:
    """Carry out a recorded stream.

    Parameters
    ----------
    ground
        Where it happens; it is only read.
    demand
        What is asked for.
    clock
        When, and on which CPU.
    policy
        Made on this ground, and fresh.
    pure
        Run in plain Python even where there is numba.

    Raises
    ------
    InvariantError
        The demand contradicts itself.
    ModelError
        A request stands where it cannot.
    """
    book = books.build(ground, demand)
    events = book.events
    stream = Stream(
        book.requests, events, clock.cpu, book.where.astype(np.int64), np.zeros(NR_INFO, np.int64)
    )
    for at, zone in enumerate(policy.state.zones):
        stream.info[MARKS + at] = zone.info[WMARK_MIN]
        # What the kernel gave is given.
        zone.info[WMARK_MIN] = 0
    run, look = compiled(follow, pure=pure), compiled(decay, pure=pure)
    at = 0
    for stop in _seconds(clock.time_ns):
        run(policy.state, stream, at, stop)
        look(policy.state)
        at = stop
    run(policy.state, stream, at, len(events))
    for at, zone in enumerate(policy.state.zones):
        zone.info[WMARK_MIN] = stream.info[MARKS + at]
    return Followed(policy, *(int(stream.info[which]) for which in (STALLED, REFUSED)))


def _seconds(time_ns: NDArray[np.int64]) -> list[int]:
    """Return how many events were over at the end of each whole second.

    >>> _seconds(np.array([0, 1, 999_999_999, 1_000_000_000, 3_100_000_000]))
    [3, 4, 4]
    """
    if not len(time_ns):
        return []
    ends = np.arange(time_ns[0] + DECAY_NS, time_ns[-1] + 1, DECAY_NS)
    return [int(stop) for stop in np.searchsorted(time_ns, ends)]
