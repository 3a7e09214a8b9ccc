"""A forecast of ``compact_memory`` held against what the kernel really did.

Fidelity: two pictures and the kernel's counters are all that is left of a run. A page counts as gone from a
frame that was in use and is free, and as come to a frame that was free and is in use: what other processes
took and gave in between is in the score, and is nobody's error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.compaction.result import Status, blocks_of_order
from kernelmodel.compaction.zone_layout import FIRST_MOVABLE, KIND_MASK, LAST_MOVABLE, Frame
from kernelmodel.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kernelmodel.compaction.result import Outcome
    from kernelmodel.compaction.zone_layout import ZoneLayout

UNDONE_PERMILLE: Final = 20
"""Share of the room for pages that a free scanner which met the other one may have left: its long steps, and
what others gave back."""


@dataclass(frozen=True)
class ZoneTruth:
    """What one zone came to.

    Parameters
    ----------
    after
        The zone afterwards; its `targets` are not looked at.
    status
        How the kernel says that it ended; None where it was not asked.
    stopped_pfn
        Where the migrate scanner stood then.
    """

    after: ZoneLayout
    status: Status | None = None
    stopped_pfn: int | None = None


@dataclass(frozen=True)
class Counted:
    """What the kernel counted, all zones together (``/proc/vmstat``); None for what it did not tell."""

    moves_pages: int | None
    migrate_scanned: int | None
    free_scanned: int | None


@dataclass(frozen=True)
class PageScore:
    """Where forecast and reality agree, page by page.

    Parameters
    ----------
    gained_forecast, gained_real
        Blocks of the wanted order gained.
    gained_percent
        Signed error of the blocks gained; None in percent of nothing.
    free_mass_distance
        Half the sum over orders of the difference between the shares of free memory: 0 alike, 1 nothing in
        common. The mean of the zones, each with the weight of the frames that left or came there.
    left_precision, left_recall
        Of the frames that were to be left, the share that was; of those left, the share that was to be.
    filled_precision, filled_recall
        The same of frames that were filled. None where there are none to take a share of.
    """

    gained_forecast: int
    gained_real: int
    gained_percent: float | None
    free_mass_distance: float
    left_precision: float | None
    left_recall: float | None
    filled_precision: float | None
    filled_recall: float | None


@dataclass(frozen=True)
class ZoneScore:
    """How one zone ended.

    Parameters
    ----------
    node, zone
        Which.
    status_forecast, status_real
        The latter None where nobody told.
    stopped_percent
        Signed error of the way from the start of the zone to where the migrate scanner ended.
    """

    node: int
    zone: str
    status_forecast: Status
    status_real: Status | None
    stopped_percent: float | None


@dataclass(frozen=True)
class Score:
    """A forecast against reality.

    Parameters
    ----------
    moves_percent, migrate_scanned_percent, free_scanned_percent
        Signed errors of the kernel's counters: above zero too much was forecast.
    raw
        Frames as they read.
    corrected
        Frames that were in use and then carry no flag count as free: they lie on per-CPU lists, in reality
        as in the forecast.
    zones
        How each zone ended.
    """

    moves_percent: float | None
    migrate_scanned_percent: float | None
    free_scanned_percent: float | None
    raw: PageScore
    corrected: PageScore
    zones: tuple[ZoneScore, ...]


def percent(forecast: int | None, real: int | None) -> float | None:
    """Return the signed error of a forecast in percent of what was; None where it has none.

    >>> percent(103, 100), percent(0, 0), percent(5, 0)
    (3.0, 0.0, None)
    """
    if forecast is None or real is None:
        return None
    if forecast == real:
        return 0.0
    return 100 * (forecast - real) / real if real else None


def score(forecasts: Sequence[Outcome], truths: Sequence[ZoneTruth], counted: Counted) -> Score:
    """Score a forecast of every zone, in the order of the zones.

    Parameters
    ----------
    forecasts, truths
        Of the same zones.
    counted
        Of all of them together, so that no zone may be left out that the kernel compacted.

    Raises
    ------
    InvariantError
        ``score-zone``: a forecast and the truth beside it are of different zones.
    """
    if len(forecasts) != len(truths):
        raise InvariantError("score-zone", "zones", f"{len(forecasts)} forecast, {len(truths)} seen")
    for forecast, truth in zip(forecasts, truths, strict=True):
        _same_zone(forecast.before, truth.after)
    migrated = [each.migrate_scanned for each in forecasts]
    freed = [each.free_scanned for each in forecasts]
    pairs = list(zip(forecasts, truths, strict=True))
    return Score(
        percent(sum(each.moves.total_pages for each in forecasts), counted.moves_pages),
        percent(_sum(migrated), counted.migrate_scanned),
        percent(_sum(freed), counted.free_scanned),
        raw=_pages([(f, f.after, t.after.state) for f, t in pairs]),
        corrected=_pages(
            [(f, drained(f.before, f.after), drained(f.before, t.after.state)) for f, t in pairs]
        ),
        zones=tuple(_zone(forecast, truth) for forecast, truth in pairs),
    )


def drained(before: ZoneLayout, after: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a state in which what was in use and now carries no flag is free, as after a drain."""
    found = after.copy()
    found[_in_use(before.state) & (after & KIND_MASK == Frame.UNKNOWN)] = Frame.FREE
    return found


def guess_status(before: ZoneLayout, after: NDArray[np.uint8]) -> Status | None:
    """Tell from two pictures of a zone whether the scanners met, where the kernel was not asked.

    Each scanner ended at the pageblock that best divides what it changed from what it left as it was. They
    did not meet if between the two there are pages to move as well as room for them. None where most of what
    changed lies on the wrong side, so that the pictures do not tell.
    """
    kinds = before.kinds
    movable = (kinds >= FIRST_MOVABLE) & (kinds <= LAST_MOVABLE)
    used_after = _in_use(after)
    block = 1 << before.pageblock_order

    def per_block(frames: NDArray[np.bool_]) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = frames.reshape(-1, block).sum(axis=1, dtype=np.int64)
        return counts

    free = kinds == Frame.FREE
    # The free scanner passes over blocks that are wholly free, and those that it may not fill.
    fillable = before.targets & (per_block(free) < block)
    stayed, left = per_block(movable & used_after), per_block(movable & ~used_after)
    room, filled = per_block(free & ~used_after) * fillable, per_block(free & used_after)
    migrate_end = int(np.argmin(np.append(0, np.cumsum(stayed - left))))
    free_end = int(np.argmin(np.append(0, np.cumsum(filled - room))))
    for strays, changed in ((left[migrate_end:], left), (filled[:free_end], filled)):
        if strays.sum() > max(block, int(changed.sum()) // 2):
            return None
    between = slice(migrate_end, free_end)
    undone = min(int(stayed[between].sum()), int(room[between].sum()))
    slack = max(block, int(room.sum() + filled.sum()) * UNDONE_PERMILLE // 1000)
    return Status.CONTENDED if undone > slack else Status.COMPLETE


def _same_zone(before: ZoneLayout, after: ZoneLayout) -> None:
    ours, theirs = (
        (each.node, each.zone, each.base_pfn, len(each.state), each.nr_orders) for each in (before, after)
    )
    if ours != theirs:
        raise InvariantError("score-zone", f"node {ours[0]} zone {ours[1]}", f"{ours[2:]} and {theirs}")


def _sum(counts: list[int | None]) -> int | None:
    known = [each for each in counts if each is not None]
    return sum(known) if len(known) == len(counts) else None


def _in_use(state: NDArray[np.uint8]) -> NDArray[np.bool_]:
    kinds = state & np.uint8(KIND_MASK)
    found: NDArray[np.bool_] = (kinds != Frame.FREE) & (kinds != Frame.UNKNOWN) & (kinds != Frame.HOLE)
    return found


def _pages(zones: list[tuple[Outcome, NDArray[np.uint8], NDArray[np.uint8]]]) -> PageScore:
    """Score zones of which each comes with its forecast state and its real one."""
    gained = np.zeros(2, np.int64)
    left = np.zeros(3, np.int64)
    filled = np.zeros(3, np.int64)
    weights, distances = [], []
    for outcome, forecast, real in zones:
        before = outcome.before
        was_free, was_used = before.kinds == Frame.FREE, _in_use(before.state)
        free = [(state & KIND_MASK) == Frame.FREE for state in (forecast, real)]
        used = [_in_use(state) for state in (forecast, real)]
        left_here = _overlap(was_used & free[0], was_used & free[1])
        filled_here = _overlap(was_free & used[0], was_free & used[1])
        left += left_here
        filled += filled_here
        blocks = [before.with_state(state).free_blocks() for state in (before.state, forecast, real)]
        at_hand = [blocks_of_order(each, outcome.order) for each in blocks]
        gained += (at_hand[1] - at_hand[0], at_hand[2] - at_hand[0])
        distances.append(free_mass_distance(blocks[1], blocks[2]))
        weights.append(int(left_here[1:].sum() + filled_here[1:].sum()))
    nr_forecast, nr_real = int(gained[0]), int(gained[1])
    if not any(weights):
        weights = [1] * len(weights)
    return PageScore(
        nr_forecast,
        nr_real,
        percent(nr_forecast, nr_real),
        float(np.average(distances, weights=weights)) if distances else 0.0,
        _share(left[0], left[1]),
        _share(left[0], left[2]),
        _share(filled[0], filled[1]),
        _share(filled[0], filled[2]),
    )


def _overlap(forecast: NDArray[np.bool_], real: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many frames are in both, in the forecast, in reality."""
    return np.array([np.count_nonzero(each) for each in (forecast & real, forecast, real)], np.int64)


def _share(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None


def free_mass_distance(forecast: NDArray[np.int64], real: NDArray[np.int64]) -> float:
    """Return how far two distributions of free pages over orders are from one another, 0 to 1.

    >>> free_mass_distance(np.array([4, 0, 1]), np.array([0, 0, 2]))
    0.5
    """
    masses = [blocks << np.arange(len(blocks)) for blocks in (forecast, real)]
    totals = [int(mass.sum()) for mass in masses]
    if not all(totals):
        return 0.0 if totals[0] == totals[1] else 1.0
    shares = [mass / total for mass, total in zip(masses, totals, strict=True)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _zone(forecast: Outcome, truth: ZoneTruth) -> ZoneScore:
    before = forecast.before
    ways = [
        None if stop is None else stop - before.start_pfn
        for stop in (forecast.stopped_pfn, truth.stopped_pfn)
    ]
    return ZoneScore(before.node, before.zone, forecast.status, truth.status, percent(*ways))
