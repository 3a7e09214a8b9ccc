"""Streams mixed into one demand, and a demand as plain arrays.

Requests of each stream keep their order; who comes next is drawn by weight. A lifetime counts the requests of
its own stream, so that a stream is the same alone and among others.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.errors import ModelError
from kernelmodel.workload.demand import FOREVER, Demand, Requests
from kernelmodel.workload.draws import Draws
from kernelmodel.workload.streams import MIXED, STREAMS, Stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from kernelmodel.workload.scale import Scale

WHO_COMES_NEXT: Final = 1000
"""Number of the draws that mix, behind those of the streams."""
BURST: Final = 16
"""Requests in a row of one CPU."""
VERSION: Final = 1


def expand(names: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return streams and weights, with ``mixed`` replaced by what it is mixed of.

    Raises
    ------
    ModelError
        There is no such stream, one is named twice, or a weight is not positive.
    """
    found: list[tuple[str, int]] = []
    for name, weight in names:
        if name != "mixed" and name not in STREAMS:
            raise ModelError(f"no demand {name!r}: there are mixed, {', '.join(STREAMS)}")
        if weight < 1:
            raise ModelError(f"demand {name}: weight {weight} is less than 1")
        found += [(each, weight * part) for each, part in MIXED] if name == "mixed" else [(name, weight)]
    twice = [name for name, _ in found if [each for each, _ in found].count(name) > 1]
    if twice or not found:
        raise ModelError(f"demand {twice[0]} is named twice" if twice else "no demand is named")
    return found


def demand(
    names: Sequence[tuple[str, int]], nr_requests: int, seed: int, scale: Scale, nr_cpus: int = 1
) -> Demand:
    """Return a demand.

    Parameters
    ----------
    names
        Streams, each with its weight; ``mixed`` stands for several.
    nr_requests
        Requests in all, less than 2**31.
    seed
        Not negative; the same seed gives the same demand on every machine.
    scale
        The host.
    nr_cpus
        CPUs that ask, at most 255.

    Raises
    ------
    ModelError
        As `expand`; or a number is out of its range.
    """
    if not 0 < nr_requests < 1 << 31 or seed < 0 or not 0 < nr_cpus < 256:
        raise ModelError(f"{nr_requests} requests, seed {seed}, {nr_cpus} CPUs: out of range")
    chosen = expand(names)
    turn = Draws(seed, WHO_COMES_NEXT)
    who = turn.choose(range(len(chosen)), [weight for _, weight in chosen], nr_requests).astype(np.uint8)
    columns = {field.name: np.zeros(nr_requests, np.uint8) for field in fields(Requests)}
    leaves_at = np.full(nr_requests, nr_requests, np.int64)
    sources: list[str] = []
    for number, (name, _) in enumerate(chosen):
        kind = STREAMS[name]
        at = np.flatnonzero(who == number)
        stream = kind.make(Draws(seed, list(STREAMS).index(name)), len(at), scale)
        for column in ("order", "migratetype", "kind", "priority", "highest_zone"):
            columns[column][at] = getattr(stream, column)
        columns["source"][at] = stream.source + len(sources)
        leaves_at[at] = _leaves_at(stream, at, nr_requests)
        sources += kind.sources
    nr_bursts = -(-nr_requests // BURST)
    columns["cpu"] = np.repeat(turn.below(nr_cpus, nr_bursts), BURST)[:nr_requests].astype(np.uint8)
    return Demand(tuple(sources), Requests(**columns), events_of(leaves_at), np.empty(0, np.int64))


def _leaves_at(stream: Stream, at: NDArray[np.int64], nr_requests: int) -> NDArray[np.int64]:
    """Return, for each request of a stream, the request of the whole demand before which it leaves."""
    last = np.arange(len(at)) + stream.lifetime
    stays = (stream.lifetime == FOREVER) | (last >= len(at))
    return np.where(stays, nr_requests, at[np.where(stays, 0, last)])


def events_of(leaves_at: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the events of requests that arrive one after another.

    Parameters
    ----------
    leaves_at
        int64, for each request, the later request just before which it leaves; their number for never.

    >>> events_of(np.array([2, 2, 3])).tolist()
    [0, 1, -1, -2, 2]
    """
    nr = len(leaves_at)
    leaving = np.flatnonzero(leaves_at < nr)
    who = leaving[np.argsort(leaves_at[leaving].astype(np.int32), kind="stable")]
    nr_before = np.cumsum(np.bincount(leaves_at[leaving], minlength=nr)[:nr])
    events = np.empty(nr + len(who), np.int32)
    is_leave = np.ones(len(events), np.bool_)
    is_leave[np.arange(nr) + nr_before] = False
    events[~is_leave] = np.arange(nr, dtype=np.int32)
    events[is_leave] = ~who.astype(np.int32)
    return events


def held_pages(demand_: Demand) -> NDArray[np.int64]:
    """Return the pages that are held after each event if every request is met, int64."""
    order = demand_.requests.order.astype(np.int64)
    request = np.where(demand_.events >= 0, demand_.events, ~demand_.events)
    pages = np.int64(1) << order[request]
    standing = int((np.int64(1) << order[: demand_.nr_standing]).sum())
    return standing + np.cumsum(np.where(demand_.events >= 0, pages, -pages))


def to_arrays(demand_: Demand) -> dict[str, NDArray[np.generic]]:
    """Return a demand as plain arrays, for a file."""
    columns = {field.name: getattr(demand_.requests, field.name) for field in fields(Requests)}
    return {
        "version": np.array([VERSION]),
        "sources": np.array(demand_.sources),
        "events": demand_.events,
        "standing_pfn": demand_.standing_pfn,
        **columns,
    }


def from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> Demand:
    """Return the demand that `to_arrays` made arrays of.

    Raises
    ------
    ModelError
        An array is missing or the version is another; InvariantError as `Demand.validate`.
    """
    wanted = ["version", "sources", "events", "standing_pfn", *(field.name for field in fields(Requests))]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise ModelError(f"no demand: there is no {missing[0]}")
    if arrays["version"].tolist() != [VERSION]:
        raise ModelError(f"a demand of version {arrays['version'].tolist()}: this program reads {VERSION}")
    for name, due in (("events", np.int32), ("standing_pfn", np.int64)):
        if arrays[name].dtype != due or arrays[name].ndim != 1:
            raise ModelError(f"{name} is {arrays[name].dtype} {arrays[name].shape}")
    columns = {field.name: np.asarray(arrays[field.name]) for field in fields(Requests)}
    made = Demand(
        tuple(str(name) for name in arrays["sources"].tolist()),
        Requests(**columns),
        np.asarray(arrays["events"], np.int32),
        np.asarray(arrays["standing_pfn"], np.int64),
    )
    made.validate()
    return made
