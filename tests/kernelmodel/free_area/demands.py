"""Small demands for tests, on the grounds of `grounds`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from kernelmodel.compaction.zone_layout import KIND_MASK, Frame
from kernelmodel.priority import Priority
from kernelmodel.workload.demand import Demand, Requests

if TYPE_CHECKING:
    from kernelmodel.free_area.ground import Ground

KINDS = (Frame.ANON, Frame.SHMEM, Frame.CLEAN, Frame.DIRTY, Frame.UNEVICTABLE, Frame.FIXED, Frame.PINNED)


@dataclass(frozen=True)
class Want:
    """A demand to be made.

    Parameters
    ----------
    nr_requests
        How many, those that stand among them.
    seed
        Of everything.
    nr_standing
        How many stand, at most.
    leaves
        Tenths of the events that are departures, as long as somebody is there.
    orders
        Orders drawn from.
    kinds
        Kinds drawn from.
    all_leave
        Whether all who are left leave in the end.
    """

    nr_requests: int = 150
    seed: int = 1
    nr_standing: int = 10
    leaves: int = 4
    orders: tuple[int, ...] = (0, 0, 0, 1, 2, 3, 4)
    kinds: tuple[Frame, ...] = KINDS
    all_leave: bool = False


WANTS = st.builds(
    Want,
    nr_requests=st.integers(0, 200),
    seed=st.integers(0, 1 << 30),
    nr_standing=st.sampled_from((0, 10, 40)),
    leaves=st.integers(1, 6),
)


def demand_of(ground: Ground, want: Want) -> Demand:
    """Return a demand on a ground."""
    rng = np.random.default_rng(want.seed)
    nr = want.nr_requests
    order = rng.choice(np.array(want.orders, np.uint8), size=nr)
    start = _standing(ground, order[: want.nr_standing], rng)
    events: list[int] = []
    live = list(range(len(start)))
    coming = len(start)
    while coming < nr:
        if live and rng.integers(10) < want.leaves:
            events.append(~live.pop(int(rng.integers(len(live)))))
        else:
            events.append(coming)
            live.append(coming)
            coming += 1
    events += [~request for request in live] if want.all_leave else []
    requests = Requests(
        order=order,
        migratetype=rng.integers(3, size=nr, dtype=np.uint8),
        kind=rng.choice(np.array(want.kinds, np.uint8), size=nr),
        priority=rng.choice(np.array((0, 0, 0, 1, 2), np.uint8), size=nr),
        highest_zone=rng.choice(np.array((0, 1, 2, 2, 2), np.uint8), size=nr),
        cpu=rng.integers(4, size=nr, dtype=np.uint8),
        source=rng.integers(2, size=nr, dtype=np.uint8),
    )
    return Demand(("a", "b"), requests, np.array(events, np.int32), start + ground.base_pfn)


def _standing(ground: Ground, order: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return where the first requests can stand, as far as they can one after another."""
    kinds = ground.content() & KIND_MASK
    open_ = (kinds != Frame.FREE) & (kinds != Frame.HOLE)
    start = []
    for each in order.tolist():
        size = 1 << each
        fits = np.flatnonzero(open_.reshape(-1, size).all(axis=1)) << each
        if not len(fits):
            break
        start.append(int(rng.choice(fits)))
        open_[start[-1] : start[-1] + size] = False
    return np.array(start, np.int64)


def waiting(*orders: int, kind: Frame = Frame.ANON, priority: Priority = Priority.WAITS) -> Demand:
    """Return a demand of requests that arrive one after another, and stay."""
    nr = len(orders)

    def same(value: int) -> np.ndarray:
        return np.full(nr, value, np.uint8)

    requests = Requests(
        np.array(orders, np.uint8), same(1), same(kind), same(priority), same(2), same(0), same(0)
    )
    return Demand(("a",), requests, np.arange(nr, dtype=np.int32), np.empty(0, np.int64))
