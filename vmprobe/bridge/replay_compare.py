"""A recording replayed through ``buddy-grouped``, held against what the kernel had at its end.

The policy engine's own forecast error: the same requests on the same memory, and then the free blocks of each
order and the number of fallbacks to another migratetype. Beside it stands what the comparison starts from,
since a snapshot takes its time, and what would be forecast without Linux's policy: that nothing changes, or
that memory is handed out as in 1998.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kernelmodel.compaction.score import free_mass_distance, percent
from kernelmodel.free_area.grouped import Grouped
from kernelmodel.free_area.recorded import follow_recorded
from kernelmodel.free_area.registry import make
from kernelmodel.free_area.run import simulate
from vmprobe.bridge.replay import FALLBACK, Drift, Events, Replay, is_inside
from vmprobe.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from kernelmodel.free_area.ground import Ground
    from vmprobe.tables import Snapshot

POLICY: Final = "buddy-grouped"
SIMPLE: Final = "buddy-lifo"
"""What the forecast is to beat: one list of each order, whatever the type."""


@dataclass(frozen=True, eq=False)
class Counted:
    """What the kernel counted at one end of a recording.

    Parameters
    ----------
    free_blocks
        int64 (zones, orders), in the order of the ground's zones: buddyinfo.
    pages_on_lists
        Pages on per-CPU lists of each zone; None where that was not told.
    """

    free_blocks: NDArray[np.int64]
    pages_on_lists: tuple[int | None, ...]


@dataclass(frozen=True)
class ZoneError:
    """One zone at the end of the recording.

    Parameters
    ----------
    zone
        Its name.
    forecast, real
        Free blocks by order.
    distance
        Half the sum over orders of the difference between the shares of free memory: 0 alike, 1 nothing in
        common.
    pages_on_lists_forecast, pages_on_lists_real
        Pages on per-CPU lists, which are in no free block; None where that was not told.
    """

    zone: str
    forecast: tuple[int, ...]
    real: tuple[int, ...]
    distance: float
    pages_on_lists_forecast: int
    pages_on_lists_real: int | None


@dataclass(frozen=True)
class ForecastError:
    """How far the policy engine is from the kernel.

    Parameters
    ----------
    zones
        Each zone.
    distance
        Of all zones together, as `ZoneError.distance`.
    distance_at_start
        Of the free blocks that the stream began with in the model, from those that the kernel counted.
    distance_unchanged, distance_simple
        If the forecast had been that nothing changes; and of ``buddy-lifo`` on the same stream.
    fallbacks_forecast, fallbacks_real
        Blocks that were taken from another migratetype's lists.
    fallbacks_percent
        Signed error of that; None in percent of nothing.
    nr_stalled, nr_refused
        Requests that the kernel met when no zone was above its min watermark in the model; or not met there.
    drift
        How stream and snapshot agree.
    """

    zones: tuple[ZoneError, ...]
    distance: float
    distance_at_start: float
    distance_unchanged: float
    distance_simple: float
    fallbacks_forecast: int
    fallbacks_real: int
    fallbacks_percent: float | None
    nr_stalled: int
    nr_refused: int
    drift: Drift


def counted(snapshot: Snapshot, ground: Ground, *, last: bool = False) -> Counted | None:
    """Return what was counted when a snapshot began or ended; None where free blocks were not counted.

    A snapshot takes memory itself, so that what was counted between it and the events is worth more.

    Parameters
    ----------
    snapshot
        At either end of a recording.
    ground
        Whose zones.
    last
        The second count, where there is one: that of a snapshot before the events.
    """
    if not snapshot.has("free_areas"):
        return None
    layouts = [zone.layout for zone in ground.zones]
    row_of = {(layout.node, layout.zone): at for at, layout in enumerate(layouts)}
    blocks = np.zeros((len(row_of), ground.nr_orders), np.int64)
    rows = snapshot.table("free_areas").rows("node", "zone", "order", "nr_free", "nr_free_after")
    for node, zone, order, nr, nr_after in rows:
        if (node, zone) in row_of:
            blocks[row_of[node, zone], order] = nr_after if last and nr_after is not None else nr
    told = {}
    if snapshot.has("zones"):
        pages = snapshot.table("zones").rows("node", "zone", "pcp_pages")
        told = {(node, zone): nr for node, zone, nr in pages}
    return Counted(blocks, tuple(told.get(key) for key in row_of))


def counted_rows(rows: Iterable[Mapping[str, Any]], ground: Ground) -> Counted:
    """Return what was counted right at one end of a recording, as its manifest tells it.

    Parameters
    ----------
    rows
        Of each zone: ``node``, ``zone``, ``nr_free`` by order, ``pcp_pages`` or None.
    ground
        Whose zones.

    Raises
    ------
    InputError
        A zone is not among the rows.
    """
    told = {(row["node"], row["zone"]): row for row in rows}
    blocks = np.zeros((len(ground.zones), ground.nr_orders), np.int64)
    on_lists: list[int | None] = []
    for at, layout in enumerate(zone.layout for zone in ground.zones):
        row = told.get((layout.node, layout.zone))
        if row is None:
            raise InputError(f"no counts of node {layout.node} zone {layout.zone}")
        nr_free = row["nr_free"][: ground.nr_orders]
        blocks[at, : len(nr_free)] = nr_free
        on_lists.append(row.get("pcp_pages"))
    return Counted(blocks, tuple(on_lists))


def forecast_error(
    recording: Events, made: Replay, before: Counted, after: Counted, *, pure: bool = False
) -> ForecastError:
    """Follow a replay as the kernel did it, and compare.

    Parameters
    ----------
    recording
        The events.
    made
        The events made ready on the ground of the snapshot before them.
    before, after
        What the kernel counted right before and right after them.
    pure
        Run in plain Python even where there is numba.
    """
    ground = made.ground
    policy = Grouped(POLICY, ground, pure=pure)
    followed = follow_recorded(ground, made.demand, made.clock, policy, pure=pure)
    forecast = ground.by_zone(policy.free_blocks())
    kept = ground.by_zone(policy.kept_blocks()) @ (np.int64(1) << np.arange(ground.nr_orders))
    columns = zip(ground.zones, forecast, after.free_blocks, kept, after.pages_on_lists, strict=True)
    zones = tuple(
        ZoneError(
            zone.layout.zone,
            tuple(ours.tolist()),
            tuple(theirs.tolist()),
            free_mass_distance(ours, theirs),
            int(pages),
            told,
        )
        for zone, ours, theirs, pages, told in columns
    )
    began, total = before.free_blocks.sum(axis=0), after.free_blocks.sum(axis=0)
    fallbacks, seen = policy.counters()["fallbacks"], _nr_fallbacks(recording, ground)
    return ForecastError(
        zones=zones,
        distance=free_mass_distance(forecast.sum(axis=0), total),
        distance_at_start=free_mass_distance(ground.free_blocks().counts(), began),
        distance_unchanged=free_mass_distance(began, total),
        distance_simple=free_mass_distance(_simple(made, pure=pure), total),
        fallbacks_forecast=fallbacks,
        fallbacks_real=seen,
        fallbacks_percent=percent(fallbacks, seen),
        nr_stalled=followed.nr_stalled,
        nr_refused=followed.nr_refused,
        drift=made.drift,
    )


def _simple(made: Replay, *, pure: bool) -> NDArray[np.int64]:
    """Return the free blocks by order that memory as of 1998 would end with."""
    run = simulate(made.ground, made.demand, make(SIMPLE, made.ground, pure=pure), pure=pure)
    total: NDArray[np.int64] = run.free_blocks.sum(axis=0)
    return total


def _nr_fallbacks(recording: Events, ground: Ground) -> int:
    inside = is_inside(recording, ground, ground.content())
    return int(np.count_nonzero((recording.kind == FALLBACK) & inside))
