"""What outcomes of a strategy come to, every move applied to the model; what the kernel's own run came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernelmodel.compaction.cost import Range, Work, cost_us
from kernelmodel.compaction.planner import minimum_moves
from kernelmodel.compaction.result import Status, blocks_of_order
from kernelmodel.compaction.zone_layout import Frame
from kernelmodel.migrate import migrate
from vmprobe.bridge.compact import swapped_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from kernelmodel.compaction.result import Outcome
    from vmprobe.bridge.compact import Host
    from vmprobe.bridge.score import Compared

__all__ = ["Effect", "Range", "Status", "actual_effect", "effect", "effect_by_zone"]


@dataclass(frozen=True)
class Effect:
    """What outcomes come to together; None for what is not known, or what the strategy does not have.

    Parameters
    ----------
    before, after
        Free blocks of each order.
    gained_blocks
        Of the wanted order, larger ones divided.
    moves_pages, evicted_pages
        Pages copied; pages dropped, written or swapped.
    migrate_scanned, free_scanned
        Pages that the scanners look at.
    ptes_patched
        Page-table entries that lead elsewhere afterwards, or are gone with what was evicted.
    address_spaces, tlb_flushes
        As of `kernelmodel.migrate.Migrated`.
    cost_us
        Time as a range.
    minimum_moves_pages
        Fewest pages that any algorithm copies for the same gain in each zone.
    ratio_to_minimum
        Pages moved or evicted over those.
    status
        `Status.CONTENDED` where one zone was given up, `Status.INFEASIBLE` where there are too few blocks.
        Of a real run None where one zone is not known.
    blocked
        Reason to pageblocks.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    gained_blocks: int
    moves_pages: int | None
    evicted_pages: int
    migrate_scanned: int | None
    free_scanned: int | None
    ptes_patched: int | None
    address_spaces: int | None
    tlb_flushes: int | None
    cost_us: Range
    minimum_moves_pages: int | None
    ratio_to_minimum: float | None
    status: Status | None
    blocked: dict[str, int]


class _Entries(NamedTuple):
    """What moves take of page tables; None without page tables."""

    patched: int | None
    cleared: int | None
    address_spaces: int | None
    tlb_flushes: int | None


def effect(made: Host, outcomes: Sequence[Outcome]) -> Effect:
    """Apply the moves of outcomes to the model, and add them up.

    Parameters
    ----------
    made
        The host.
    outcomes
        Of one strategy, one for each zone; at least one.

    Raises
    ------
    InvariantError
        The moves are no substitution.
    """
    return _added_up(outcomes, _entries(made, outcomes), [_minimum(outcome) for outcome in outcomes])


def effect_by_zone(made: Host, outcomes: Sequence[Outcome]) -> tuple[Effect, list[Effect]]:
    """Return what `effect` does, and the same of each zone; nothing is applied or bounded twice."""
    fewest = [_minimum(outcome) for outcome in outcomes]
    entries = [_entries(made, (outcome,)) for outcome in outcomes]
    zones = [_added_up((o,), e, (f,)) for o, e, f in zip(outcomes, entries, fewest, strict=True)]
    busy = [e for o, e in zip(outcomes, entries, strict=True) if _does_something(o)]
    # Address spaces of several zones are not to be added up: most have pages in each.
    together = busy[0] if len(busy) == 1 else _entries(made, outcomes)
    return _added_up(outcomes, together, fewest), zones


def actual_effect(compared: Compared, counters: Mapping[str, int], seconds: float) -> Effect:
    """Return what the kernel did to all zones together.

    Parameters
    ----------
    compared
        The forecast and the zones afterwards.
    counters
        By how much each counter of /proc/vmstat grew.
    seconds
        How long it took.
    """
    befores = [each.free_before for each in compared.forecasts]
    afters = [each.after.free_blocks() for each in compared.truths]
    gained, fewest = 0, []
    for forecast, before, after in zip(compared.forecasts, befores, afters, strict=True):
        here = blocks_of_order(after, forecast.order) - blocks_of_order(before, forecast.order)
        gained += here
        fewest.append(minimum_moves(forecast.before, forecast.order, here))
    moves, least = counters.get("pgmigrate_success"), _sum(fewest)
    took = seconds * 1e6
    statuses = [each.status for each in compared.truths]
    known = [status for status in statuses if status is not None]
    unknown = len(known) < len(statuses) and Status.CONTENDED not in known
    return Effect(
        before=_blocks(befores),
        after=_blocks(afters),
        gained_blocks=gained,
        moves_pages=moves,
        evicted_pages=0,
        migrate_scanned=counters.get("compact_migrate_scanned"),
        free_scanned=counters.get("compact_free_scanned"),
        ptes_patched=None,
        address_spaces=None,
        tlb_flushes=None,
        cost_us=Range(took, took, took),
        minimum_moves_pages=least,
        ratio_to_minimum=moves / least if least and moves is not None else None,
        status=None if unknown else _worst(known),
        blocked={},
    )


def _added_up(outcomes: Sequence[Outcome], entries: _Entries, fewest: Sequence[int | None]) -> Effect:
    moves = sum(outcome.moves.total_pages for outcome in outcomes)
    evicted = sum(len(outcome.evicted_pfn) for outcome in outcomes)
    swapped = sum(swapped_pages(outcome) + _written(outcome) for outcome in outcomes)
    scanned = [_sum(getattr(o, name) for o in outcomes) for name in ("migrate_scanned", "free_scanned")]
    least = _sum(fewest)
    blocked: dict[str, int] = {}
    for outcome in outcomes:
        for reason, nr in outcome.blocked.items():
            blocked[reason] = blocked.get(reason, 0) + nr
    work = Work(
        moved_pages=moves,
        scanned_pages=sum(nr or 0 for nr in scanned),
        entries_patched=entries.patched or 0,
        tlb_flushes=entries.tlb_flushes or 0,
        dropped_pages=evicted - swapped,
        swapped_pages=swapped,
    )
    return Effect(
        before=_blocks([outcome.free_before for outcome in outcomes]),
        after=_blocks([outcome.free_after for outcome in outcomes]),
        gained_blocks=sum(outcome.gained_blocks for outcome in outcomes),
        moves_pages=moves,
        evicted_pages=evicted,
        migrate_scanned=scanned[0],
        free_scanned=scanned[1],
        ptes_patched=_sum((entries.patched, entries.cleared)),
        address_spaces=entries.address_spaces,
        tlb_flushes=entries.tlb_flushes,
        cost_us=cost_us(work),
        minimum_moves_pages=least,
        ratio_to_minimum=(moves + evicted) / least if least else None,
        status=_worst([outcome.status for outcome in outcomes]),
        blocked=blocked,
    )


def _entries(made: Host, outcomes: Sequence[Outcome]) -> _Entries:
    if made.model.tables is None:
        return _Entries(None, None, None, None)
    if not any(_does_something(outcome) for outcome in outcomes):
        return _Entries(0, 0, 0, 0)
    done = migrate(made.model, outcomes)
    return _Entries(done.entries_patched, done.entries_cleared, done.address_spaces, done.tlb_flushes)


def _does_something(outcome: Outcome) -> bool:
    return bool(len(outcome.moves) or len(outcome.evicted_pfn))


def _minimum(outcome: Outcome) -> int | None:
    return minimum_moves(outcome.before, outcome.order, outcome.gained_blocks)


def _written(outcome: Outcome) -> int:
    """Return how many evicted pages go back to their files."""
    kinds = outcome.before.kinds[outcome.evicted_pfn - outcome.before.base_pfn]
    return int((kinds == Frame.DIRTY).sum())


def _sum(values: Iterable[int | None]) -> int | None:
    """Return the sum, None where one is not known."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return sum(known) if len(known) == len(listed) else None


def _blocks(zones: Sequence[NDArray[np.int64]]) -> tuple[int, ...]:
    return tuple(int(nr) for nr in np.sum(zones, axis=0))


def _worst(statuses: Sequence[Status]) -> Status:
    worst = (Status.CONTENDED, Status.INFEASIBLE)
    return next((status for status in worst if status in statuses), Status.COMPLETE)
