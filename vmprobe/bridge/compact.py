"""A snapshot compacted by one strategy: its zones as layouts, strategies, and how zones share a number."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.compaction.blit import blit, candidates
from kernelmodel.compaction.curve import curve
from kernelmodel.compaction.eviction import EvictionLimits, evict
from kernelmodel.compaction.gravity import gravity
from kernelmodel.compaction.planner import plan
from kernelmodel.compaction.result import Status
from kernelmodel.compaction.scanners import linux
from kernelmodel.compaction.single_entry import (
    BlitDifference,
    blit_difference,
    busy_frames,
    shared_frames,
)
from kernelmodel.compaction.zone_layout import UNSPLITTABLE, Frame
from vmprobe.bridge.compaction import KernelRules, kernel_rules, zone_layouts
from vmprobe.bridge.model import counter, host_model
from vmprobe.bridge.pins import Pins, pinned_frames

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from kernelmodel.compaction.result import Outcome
    from kernelmodel.compaction.zone_layout import ZoneLayout
    from kernelmodel.host import HostModel
    from vmprobe.tables import Snapshot

__all__ = [
    "STRATEGIES",
    "BlitDifference",
    "Host",
    "Status",
    "Stop",
    "host",
    "reverse_map_difference",
    "run",
    "stops",
    "swapped_pages",
]

STRATEGIES: Final = ("linux", "plan", "blit", "evict", "gravity")
ALL: Final = 1 << 40
"""More blocks than any host has."""


@dataclass(frozen=True)
class Host:
    """What all strategies work on.

    Parameters
    ----------
    model
        Frames, page tables and reverse map.
    layouts
        The zones that may be compacted, in the order of the zones table.
    kernel
        How its kernel runs its scanners.
    pins
        Long-term pins as far as they are known.
    swap_free_pages
        Pages that swap can still take; 0 where that was not read.
    """

    model: HostModel
    layouts: tuple[ZoneLayout, ...]
    kernel: KernelRules
    pins: Pins
    swap_free_pages: int

    @property
    def max_order(self) -> int:
        """Order of the largest free block."""
        return max(layout.nr_orders for layout in self.layouts) - 1


def host(snapshot: Snapshot, *, averaged: bool, zones: Collection[tuple[int | None, str]] = ()) -> Host:
    """Return the host of a snapshot.

    Parameters
    ----------
    snapshot
        With frames and zones.
    averaged
        Whether its kernel prints averages for large folios (the quirk averaged-mapcounts).
    zones
        Node (None: any) and name of the zones that are wanted; empty for all.

    Raises
    ------
    SnapshotError
        It has no flag words.
    """
    model = host_model(snapshot, averaged=averaged)
    pins = pinned_frames(snapshot, memmap=model.frames, tables=model.tables)
    layouts = zone_layouts(snapshot, memmap=model.frames, pinned=pins.pfn)
    if zones:
        wanted = [any(_is(layout, *zone) for zone in zones) for layout in layouts]
        layouts = tuple(layout for layout, chosen in zip(layouts, wanted, strict=True) if chosen)
    swap_kib = counter(snapshot, "meminfo", "SwapFree")
    swap_free_pages = (swap_kib << 10) // snapshot.page_size if isinstance(swap_kib, int) else 0
    return Host(model, layouts, kernel_rules(snapshot), pins, swap_free_pages)


def _is(layout: ZoneLayout, node: int | None, name: str) -> bool:
    return name == layout.zone and node in (None, layout.node)


def run(
    made: Host, strategy: str, order: int, nr_blocks: int | None, *, single_entry: bool = False
) -> tuple[Outcome, ...]:
    """Run one strategy on every zone of a host.

    Parameters
    ----------
    made
        The host.
    strategy
        One of `STRATEGIES`.
    order
        Order of the blocks.
    nr_blocks
        Blocks that all zones together are to gain, None for as many as can be had. Linux and gravity take
        no number: they do a whole zone. The planner and blit take the cheapest windows of all zones; evict
        asks the highest zone first, as an allocation would.
    single_entry
        Of blit: only with the reverse map of 1998, so that shared pages stay.

    Raises
    ------
    ModelError
        `order` is none of the zones'.
    """
    if strategy == "linux":
        return tuple(linux(layout, order, made.kernel.rules) for layout in made.layouts)
    if strategy == "gravity":
        return tuple(gravity(layout, order) for layout in made.layouts)
    if strategy == "evict":
        outcomes = _evict(made, order, nr_blocks)
    elif strategy == "blit":
        outcomes = _blit(made, order, nr_blocks, single_entry=single_entry)
    else:
        outcomes = _plan(made, order, nr_blocks)
    if nr_blocks is None:
        # All that can be had is what was asked for.
        return tuple(replace(outcome, status=Status.COMPLETE) for outcome in outcomes)
    return tuple(outcomes)


def _plan(made: Host, order: int, nr_blocks: int | None) -> list[Outcome]:
    if nr_blocks is None:
        return [plan(layout, order, ALL) for layout in made.layouts]
    lines = [curve(layout, order) for layout in made.layouts]
    shares = _shared_out([np.diff(line.pages[: line.nr_attainable + 1]) for line in lines], nr_blocks)
    return [plan(layout, order, nr) for layout, nr in zip(made.layouts, shares, strict=True)]


def _blit(made: Host, order: int, nr_blocks: int | None, *, single_entry: bool) -> list[Outcome]:
    stay = []
    for layout in made.layouts:
        busy = busy_frames(made.model, layout)
        stay.append(busy | shared_frames(made.model, layout) if single_entry else busy)
    shares = [ALL] * len(stay)
    if nr_blocks is not None:
        costs = []
        for layout, frames in zip(made.layouts, stay, strict=True):
            found = candidates(layout, order, frames)
            costs.append(found.pages[: found.limit(order, layout.wmark_min + (1 << order))])
        shares = _shared_out(costs, nr_blocks)
    zones = zip(made.layouts, shares, stay, strict=True)
    return [blit(layout, order, nr, frames) for layout, nr, frames in zones]


def reverse_map_difference(made: Host, order: int) -> BlitDifference:
    """Return what blit can do with a full reverse map and with that of 1998, all zones together."""
    each = [
        blit_difference(layout, order, shared_frames(made.model, layout), busy_frames(made.model, layout))
        for layout in made.layouts
    ]
    names = [field.name for field in fields(BlitDifference) if field.name != "order"]
    return BlitDifference(order=order, **{name: sum(getattr(one, name) for one in each) for name in names})


def _shared_out(costs: Sequence[NDArray[np.integer]], nr_blocks: int) -> list[int]:
    """Return how many blocks each zone is asked for: the cheapest of all, each zone's costs ascending.

    What no zone has is asked of the last one, so that it says so.

    >>> _shared_out([np.array([1, 5, 9]), np.array([2, 3])], 3), _shared_out([np.array([1])] * 2, 5)
    ([1, 2], [1, 4])
    """
    zone = np.repeat(np.arange(len(costs)), [len(each) for each in costs])
    cheapest = np.argsort(np.concatenate([*costs, np.empty(0, np.int64)]), kind="stable")[:nr_blocks]
    shares: list[int] = np.bincount(zone[cheapest], minlength=len(costs)).tolist()
    shares[-1] += nr_blocks - sum(shares)
    return shares


def _evict(made: Host, order: int, nr_blocks: int | None) -> list[Outcome]:
    """Ask one zone after the other, the highest first; swap that one took is gone for the next."""
    swap_free_pages = made.swap_free_pages
    left = ALL if nr_blocks is None else nr_blocks
    outcomes = []
    for layout in reversed(made.layouts):
        outcome = evict(layout, order, left, EvictionLimits(swap_free_pages))
        left -= outcome.gained_blocks
        swap_free_pages -= swapped_pages(outcome)
        outcomes.append(outcome)
    if nr_blocks is not None and not left:
        # That one zone fell short is no matter where another made up for it.
        outcomes = [replace(outcome, status=Status.COMPLETE) for outcome in outcomes]
    return outcomes[::-1]


def swapped_pages(outcome: Outcome) -> int:
    """Return how many evicted pages go to swap."""
    kinds = outcome.before.kinds[outcome.evicted_pfn - outcome.before.base_pfn]
    return int(np.isin(kinds, (Frame.ANON, Frame.SHMEM)).sum())


@dataclass(frozen=True)
class Stop:
    """The folio at which Linux gives a zone up.

    Parameters
    ----------
    pfn
        Its first frame.
    dirty
        Whether it is a large folio that cannot be split while it is dirty; else no free page is left for it.
    """

    pfn: int
    dirty: bool


def stops(outcomes: Sequence[Outcome]) -> list[Stop]:
    """Return where zones are given up."""
    given_up = [outcome for outcome in outcomes if outcome.status == Status.CONTENDED]
    found = []
    for outcome in given_up:
        assert outcome.stopped_pfn is not None
        byte = int(outcome.before.state[outcome.stopped_pfn - outcome.before.base_pfn])
        found.append(Stop(outcome.stopped_pfn, bool(byte & UNSPLITTABLE)))
    return found
