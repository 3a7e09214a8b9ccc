"""Between which figures the blocks gained lie: the strategy once more on what else a snapshot may mean."""

from __future__ import annotations

import math
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.compaction.hazards import Hazards, assume
from kernelmodel.compaction.result import Status
from kernelmodel.compaction.scanners import linux
from kernelmodel.compaction.windows import windows
from kernelmodel.compaction.zone_layout import KIND_MASK, Frame
from vmprobe.bridge.compact import run
from vmprobe.bridge.model import counter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernelmodel.compaction.result import Outcome
    from kernelmodel.compaction.scanners import Rules
    from kernelmodel.compaction.zone_layout import ZoneLayout
    from vmprobe.bridge.compact import Host
    from vmprobe.tables import Snapshot

MIN_PERCPU_PAGELIST_HIGH_FRACTION: Final = 8
"""``mm/page_alloc.c``: per-CPU lists may grow to an eighth of a zone, all CPUs together."""

NR_THREADS: Final = 2
"""The scanners run without Python's lock; each run has some bytes a frame of its own."""

CHURN_PAGES: Final = 64
"""Pages that come and go between a snapshot and a run on a quiet host: a batch of a per-CPU list (63)."""
CHURN_SEEDS: Final = (1, 2, 3, 4)
PREDICTION: Final = 3.04
"""Standard deviations around five values between which the next lies in 95 of 100 cases: Student's t of four
degrees of freedom, 2.776, times the root of 1 + 1/5."""


@dataclass(frozen=True)
class Intervals:
    """Fewest and most blocks gained.

    Parameters
    ----------
    total
        Of all zones together.
    zones
        Of each zone.
    """

    total: tuple[int, int]
    zones: tuple[tuple[int, int], ...]


def intervals(
    snapshot: Snapshot,
    made: Host,
    strategy: str,
    outcomes: Sequence[Outcome],
    nr_blocks: int | None,
    *,
    single_entry: bool = False,
) -> Intervals:
    """Return between which figures the blocks gained lie.

    The strategy runs once more for each thing that is not known: with per-CPU lists drained and the pages
    moving that may move; with another type for pageblocks of which it is in doubt; for Linux also by the
    rules of each other kernel that looks like this one, with as many of the freed pages kept on per-CPU lists
    as those may hold, and without giving a zone up. How much a few pages change that came and went since is
    drawn at random, and the figures are as far apart as makes 95 of 100 such draws fit. Each pin that nobody
    located may keep one block from being gained. Both figures are equal where nothing of this makes a
    difference.

    Parameters
    ----------
    snapshot
        For the limits of per-CPU lists.
    made, strategy, nr_blocks, single_entry
        As for `vmprobe.bridge.compact.run`.
    outcomes
        What that returned.
    """
    first = [outcome.gained_blocks for outcome in outcomes]
    hosts = list(_others(made, strategy))
    kernels = (made.kernel.rules, *made.kernel.others)
    if strategy == "linux" and any(outcome.status is Status.CONTENDED for outcome in outcomes):
        # A folio that is dirty now may be clean by then, or find a block that others have freed.
        rules = replace(made.kernel.rules, aborts=False)
        hosts.append(replace(made, kernel=replace(made.kernel, rules=rules)))

    def again(other: Host) -> list[int]:
        found = run(other, strategy, outcomes[0].order, nr_blocks, single_entry=single_entry)
        return [outcome.gained_blocks for outcome in found]

    # A saved snapshot is read by one thread at a time.
    rooms = [pcp_room(snapshot, outcome.before) for outcome in outcomes] if strategy == "linux" else []
    with ThreadPoolExecutor(NR_THREADS) as threads:
        others = threads.map(again, hosts)
        held, churned = [], []
        if strategy == "linux":
            held = list(threads.map(lambda rules: _held_back(rooms, rules, outcomes), kernels))
            churned = list(threads.map(lambda seed: _churned(made, seed, outcomes), CHURN_SEEDS))
        runs = [first, *others, *held]
    churned.append(first)
    spoiled = [min(made.pins.nr_unlocated or 0, _newly_free(outcome)) for outcome in outcomes]
    nr_lost = min(made.pins.nr_unlocated or 0, sum(spoiled))
    return Intervals(
        _between([sum(gained) for gained in runs], [sum(gained) for gained in churned], nr_lost),
        tuple(map(_between, zip(*runs, strict=True), zip(*churned, strict=True), spoiled)),
    )


def _between(gained: Sequence[int], churned: Sequence[int], nr_lost: int) -> tuple[int, int]:
    """Return the least and the most of all runs, further apart by what is drawn at random."""
    spread = math.ceil(PREDICTION * statistics.stdev(churned)) if len(churned) > 1 else 0
    return min(gained) - spread - nr_lost, max(gained) + spread


def _others(made: Host, strategy: str) -> Iterator[Host]:
    """Yield the hosts that this one may be instead."""
    likely = tuple(_all_that_may_move(layout) for layout in made.layouts)
    layouts = [made.layouts]
    if any(one is not other for one, other in zip(likely, made.layouts, strict=True)):
        layouts.append(likely)
        yield replace(made, layouts=likely)
    if any(layout.other_targets is not None for layout in made.layouts):
        yield replace(made, layouts=tuple(map(_other_types, made.layouts)))
    if strategy != "linux":
        return
    for each in layouts:
        for rules in made.kernel.others:
            yield replace(made, layouts=each, kernel=replace(made.kernel, rules=rules))


def _other_types(layout: ZoneLayout) -> ZoneLayout:
    """Return a zone with the second likeliest type of each pageblock whose type is in doubt."""
    return layout if layout.other_targets is None else replace(layout, targets=layout.other_targets)


def _held_back(rooms: Sequence[int], rules: Rules, outcomes: Sequence[Outcome]) -> list[int]:
    """Return the blocks gained by zone where per-CPU lists keep as many pages as `rooms` says."""
    return [
        linux(outcome.before, outcome.order, replace(rules, pcp_high=room)).gained_blocks
        for outcome, room in zip(outcomes, rooms, strict=True)
    ]


def _churned(made: Host, seed: int, outcomes: Sequence[Outcome]) -> list[int]:
    """Return the blocks gained by zone after a few pages, drawn with `seed`, came and went."""
    churn = Hazards(churn_pages=CHURN_PAGES, churn_seed=seed)
    rules = made.kernel.rules
    return [linux(assume(each.before, churn), each.order, rules).gained_blocks for each in outcomes]


def _all_that_may_move(layout: ZoneLayout) -> ZoneLayout:
    """Return a zone with lists drained and what may move moving; itself where that changes nothing."""
    drained = assume(layout, Hazards(drained=bool(layout.pcp_pages)))
    kinds = drained.state & KIND_MASK
    uncertain = (kinds == Frame.UNCERTAIN) | (kinds == Frame.HELD)
    if not uncertain.any():
        return drained
    state = drained.state.copy()
    state[uncertain] = (state[uncertain] & ~np.uint8(KIND_MASK)) | np.uint8(Frame.ANON)
    return drained.with_state(state)


def _newly_free(outcome: Outcome) -> int:
    """Return how many blocks are free afterwards that were not."""
    before, after = (
        windows(layout, outcome.order).free
        for layout in (outcome.before, outcome.before.with_state(outcome.after))
    )
    whole = 1 << outcome.order
    return int(((after == whole) & (before < whole)).sum())


def pcp_room(snapshot: Snapshot, layout: ZoneLayout) -> int:
    """Return how many freed pages the list of the CPU that compacts may hold of one zone at the end.

    All that it may hold: what was on it before is given back first.
    """
    nr_cpus = snapshot.manifest["host"].get("nr_cpus") or 1
    limit = counter(snapshot, "zoneinfo", "pcp_high_max", f"node {layout.node} zone {layout.zone}")
    if limit is None:
        sizes = snapshot.table("zones").rows("node", "zone", "managed_pages")
        managed = {(node, zone): pages for node, zone, pages in sizes}
        pages = managed.get((layout.node, layout.zone)) or 0
        limit = pages // MIN_PERCPU_PAGELIST_HIGH_FRACTION // nr_cpus
    return int(limit)
