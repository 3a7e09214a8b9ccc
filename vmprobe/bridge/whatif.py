"""Policies of free areas on a node of a snapshot: demands made, runs carried out, plain numbers out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.compaction.cost import Range, Work, cost_us
from kernelmodel.errors import ModelError
from kernelmodel.free_area.registry import make
from kernelmodel.free_area.result import Came
from kernelmodel.free_area.run import simulate
from kernelmodel.priority import Priority
from kernelmodel.vmstat import unusable_free_index_permille
from kernelmodel.workload.demand import Demand
from kernelmodel.workload.mix import demand, expand, from_arrays, held_pages, to_arrays
from kernelmodel.workload.scale import Scale
from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from kernelmodel.compaction.zone_layout import ZoneLayout
    from kernelmodel.free_area.ground import Ground
    from kernelmodel.free_area.result import HelpTally, Run

__all__ = [
    "HELP_KINDS",
    "Demand",
    "Group",
    "Help",
    "Outcome",
    "Scale",
    "check_names",
    "demand_arrays",
    "help_of",
    "is_stream",
    "kept_demand",
    "low_limit_bytes",
    "made_demand",
    "nr_cpus",
    "peak_permille",
    "run",
]

HELP_KINDS: Final = ("blit", "evict", "linux")

PRIORITIES: Final = tuple(priority.name.lower() for priority in Priority)
NR_SAMPLES: Final = 60
NORMAL: Final = 2


def made_demand(
    names: Sequence[tuple[str, int]], nr_requests: int, seed: int, scale: Scale, nr_cpus: int
) -> Demand:
    """Return a demand of streams; UsageError where there is no such stream."""
    try:
        return demand(names, nr_requests, seed, scale, nr_cpus)
    except ModelError as error:
        raise UsageError(f"--demand: {error}") from error


def check_names(policies: Sequence[str], names: Sequence[tuple[str, int]], ground: Ground) -> None:
    """Refuse policies and streams that there are not, before anything takes long; UsageError."""
    twice = [spec for spec in policies if list(policies).count(spec) > 1]
    if twice:
        raise UsageError(f"--policy: {twice[0]} is named twice")
    try:
        for spec in policies:
            make(spec, ground, pure=True)
    except ModelError as error:
        raise UsageError(f"--policy: {error}") from error
    try:
        expand(names)
    except ModelError as error:
        raise UsageError(f"--demand: {error}") from error


def is_stream(name: str) -> bool:
    """Whether there is such a stream."""
    try:
        expand([(name, 1)])
    except ModelError:
        return False
    return True


def demand_arrays(made: Demand) -> dict[str, NDArray[np.generic]]:
    """Return a demand as arrays for a file."""
    return to_arrays(made)


def kept_demand(arrays: Mapping[str, NDArray[np.generic]], where: str) -> Demand:
    """Return the demand that a file keeps; UsageError names the file."""
    try:
        return from_arrays(arrays)
    except ModelError as error:
        raise UsageError(f"{where}: {error}", hint="write it again with --save-demand") from error


class Group(NamedTuple):
    """Requests of one source, priority and order: how many there were, and what came of them."""

    source: str
    priority: str
    order: int
    at_once: int
    helped: int
    failed: int
    deferred: int


class Help(NamedTuple):
    """What one kind of help, or the work kept up beside the demand, did, and what that takes."""

    kind: str
    calls: int
    succeeded: int
    copied_pages: int
    dropped_pages: int
    written_pages: int
    swapped_pages: int
    scanned_pages: int
    cost_us: Range


@dataclass(frozen=True, eq=False)
class Outcome:
    """One demand under one policy.

    Parameters
    ----------
    groups
        Requests that there were.
    help
        What each kind that was allowed did.
    background
        What keeping areas in reserve did.
    operations
        What was done to free areas, by name.
    event, free_pages, unusable_permille
        Samples through the events: how many were done; free pages, those on CPUs' lists among them; and for
        each order the share of these that is of no use to it, (samples, orders).
    free_blocks
        Free blocks of each order at the end, without what is on CPUs' lists.
    kept_pages
        Pages on those.
    low_blocks
        Those of zones that the most limited requests may have.
    low_refused
        Orders of such requests that were not met.
    layouts
        The zones at the end.
    """

    groups: tuple[Group, ...]
    help: Mapping[str, HelpTally]
    background: HelpTally
    operations: dict[str, int]
    event: tuple[int, ...]
    free_pages: tuple[int, ...]
    unusable_permille: tuple[tuple[int, ...], ...]
    free_blocks: tuple[int, ...]
    kept_pages: int
    low_blocks: tuple[int, ...]
    low_refused: tuple[int, ...]
    layouts: tuple[ZoneLayout, ...]


def run(
    ground: Ground,
    made: Demand,
    spec: str,
    *,
    help_kinds: Sequence[str],
    keep: tuple[int, int] | None,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Carry out a demand under a policy.

    Parameters
    ----------
    ground, made
        Where, and what is asked for.
    spec
        The policy, with its options.
    help_kinds
        Of `HELP_KINDS`, in the order in which they are tried.
    keep
        How many free areas of which order are kept ready; None for none.
    progress
        Told the share that is done.

    Raises
    ------
    UsageError
        The demand does not fit the ground.
    """
    try:
        done = simulate(
            ground,
            made,
            make(spec, ground),
            help=help_kinds,
            keep=keep,
            nr_samples=NR_SAMPLES,
            progress=progress,
        )
    except ModelError as error:
        raise UsageError(f"{spec}: {error}") from error
    blocks = done.samples.free_blocks + done.samples.kept_blocks
    low = lowest_zone(made)
    reached = np.array([zone.zone_type <= low for zone in ground.zones])
    return Outcome(
        groups=_groups(made, done),
        help=done.help,
        background=done.background,
        operations=done.operations,
        event=tuple(done.samples.event.tolist()),
        free_pages=tuple((blocks << np.arange(ground.nr_orders)).sum(axis=1).tolist()),
        unusable_permille=tuple(tuple(unusable_free_index_permille(each).tolist()) for each in blocks),
        free_blocks=tuple(done.free_blocks.sum(axis=0).tolist()),
        kept_pages=int((done.kept_blocks << np.arange(ground.nr_orders)).sum()),
        low_blocks=tuple(done.free_blocks[reached].sum(axis=0).tolist()),
        low_refused=_refused(made, done, low),
        layouts=done.layouts,
    )


def lowest_zone(made: Demand) -> int:
    """Return the zone type up to which the most limited requests may have memory, at most that of Normal."""
    return int(made.requests.highest_zone[made.nr_standing :].min(initial=NORMAL))


def _refused(made: Demand, done: Run, low: int) -> tuple[int, ...]:
    """Return the orders that were refused to sources all of whose requests are limited to `low`."""
    source, limit = (
        column[made.nr_standing :] for column in (made.requests.source, made.requests.highest_zone)
    )
    limited = [bool((limit[source == each] <= low).all()) for each in range(len(made.sources))]
    refused = done.tally[..., [Came.FAILED, Came.DEFERRED]].sum(axis=(1, 3))
    return tuple(np.flatnonzero(refused[limited].sum(axis=0)).tolist())


def _groups(made: Demand, done: Run) -> tuple[Group, ...]:
    found = []
    for source, priority, order in np.argwhere(done.tally.sum(axis=3) > 0).tolist():
        counts = done.tally[source, priority, order]
        came = (int(counts[each]) for each in (Came.AT_ONCE, Came.HELPED, Came.FAILED, Came.DEFERRED))
        found.append(Group(made.sources[source], PRIORITIES[priority], order, *came))
    return tuple(found)


def help_of(kind: str, tallies: Sequence[HelpTally]) -> Help:
    """Return what a kind of help did in several runs together."""
    names = Help._fields[1:-1]
    sums = {name: sum(getattr(tally, name) for tally in tallies) for name in names}
    work = Work(
        moved_pages=sums["copied_pages"],
        scanned_pages=sums["scanned_pages"],
        dropped_pages=sums["dropped_pages"],
        swapped_pages=sums["written_pages"] + sums["swapped_pages"],
    )
    return Help(kind, **sums, cost_us=cost_us(work))


def peak_permille(made: Demand, scale: Scale) -> int:
    """Return the most pages that a demand holds at once, in thousandths of those free at the beginning."""
    held = held_pages(made)
    came = made.events >= 0
    first = int(came.argmax()) if came.any() else len(came)
    # What leaves before anything comes was on CPUs' lists, and free.
    before = int(held[first]) - (1 << int(made.requests.order[made.events[first]])) if came.any() else 0
    most = int(held[first:].max(initial=before)) - before
    return 1000 * most // max(1, scale.free_pages)


def nr_cpus(ground: Ground) -> int:
    """Return how many CPUs ask."""
    return min(255, max(zone.tuning.nr_cpus for zone in ground.zones))


def low_limit_bytes(ground: Ground, made: Demand, page_size: int) -> int | None:
    """Return the physical address below which the most limited requests must lie; None where any will do."""
    low = lowest_zone(made)
    ends = [zone.layout.end_pfn for zone in ground.zones if zone.zone_type <= low]
    highest = max(zone.layout.end_pfn for zone in ground.zones)
    return None if not ends or max(ends) == highest else max(ends) * page_size
