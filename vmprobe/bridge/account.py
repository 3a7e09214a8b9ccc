"""What ``compact_memory`` really did to all zones together, and what could have made its forecast wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.compaction.cost import Range
from kernelmodel.compaction.planner import minimum_moves
from kernelmodel.compaction.result import Status, blocks_of_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from vmprobe.bridge.score import Compared

__all__ = ["Account", "Range", "actual_account"]


@dataclass(frozen=True)
class Account:
    """All zones together; None for what the kernel did not tell.

    Parameters
    ----------
    before, after
        Free blocks of each order.
    gained_blocks
        Of the wanted order.
    minimum_moves_pages
        Fewest pages that any algorithm copies for these gains; None where moves alone cannot bring them.
    cost_us
        The time it took.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    gained_blocks: int
    moves_pages: int | None
    migrate_scanned: int | None
    free_scanned: int | None
    cost_us: Range
    minimum_moves_pages: int | None
    status: str | None


def actual_account(compared: Compared, counters: Mapping[str, int], seconds: float) -> Account:
    """Return what the kernel did.

    Parameters
    ----------
    compared
        The forecast and the zones afterwards.
    counters
        By how much each counter of /proc/vmstat grew.
    seconds
        How long it took.
    """
    befores = [each.before.free_blocks() for each in compared.forecasts]
    afters = [each.after.free_blocks() for each in compared.truths]
    fewest: int | None = 0
    total = 0
    for forecast, before, after in zip(compared.forecasts, befores, afters, strict=True):
        order = forecast.order
        gained = blocks_of_order(after, order) - blocks_of_order(before, order)
        total += gained
        least = minimum_moves(forecast.before, order, gained) if gained > 0 else 0
        fewest = None if fewest is None or least is None else fewest + least
    took = seconds * 1e6
    return Account(
        _blocks(befores),
        _blocks(afters),
        total,
        counters.get("pgmigrate_success"),
        counters.get("compact_migrate_scanned"),
        counters.get("compact_free_scanned"),
        Range(took, took, took),
        fewest,
        _worst([each.status for each in compared.truths]),
    )


def _blocks(zones: Sequence[NDArray[np.int64]]) -> tuple[int, ...]:
    return tuple(int(nr) for nr in np.sum(zones, axis=0))


def _worst(statuses: Sequence[Status | None]) -> str | None:
    """Return ``contended`` where one zone was given up, None where one is not known."""
    if Status.CONTENDED in statuses:
        return str(Status.CONTENDED)
    return None if None in statuses else str(Status.COMPLETE)
