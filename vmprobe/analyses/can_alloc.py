"""``vmprobe can-alloc``: whether so many large blocks can be had, and if not, who is in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.analyses.can_alloc_advice import Asked, advice
from vmprobe.analyses.can_alloc_answer import AfterCompaction, BlockerName, CanAlloc, Verdict
from vmprobe.analyses.compact import missing_parts, prepared
from vmprobe.analyses.record import NO_HISTORY
from vmprobe.bridge.blockers import blockers
from vmprobe.bridge.can_alloc import chances, together
from vmprobe.bridge.compact import run
from vmprobe.bridge.hazards import hazards

if TYPE_CHECKING:
    from vmprobe.analyses.record import History
    from vmprobe.bridge.blockers import Blockers
    from vmprobe.bridge.can_alloc import Chances
    from vmprobe.tables import Snapshot

ENDING: Final = ("process", "pinned")
"""Kinds of owners that end with a process."""


def can_alloc(
    snapshot: Snapshot, order: int = 9, count: int = 1, *, history: History = NO_HISTORY
) -> CanAlloc:
    """Return whether so many blocks can be had.

    Parameters
    ----------
    snapshot
        With frames and zones.
    order
        log2 of the pages in a block; any.
    count
        Blocks that are wanted.
    history
        Verified forecasts.

    Raises
    ------
    SnapshotError
        Frames or zones are missing.
    PrivilegeError
        It was taken now, without the privilege to read frames.
    """
    made = prepared(snapshot)
    zones, dirty = chances(snapshot, made, order)
    total = together(zones)
    owners = blockers(snapshot, order)
    verdict = _verdict(total, owners, count)
    names = (row for row in owners.owners if row.kind in ENDING)
    ending = dict.fromkeys(f"{row.owner or 'process'} {row.pid}" for row in names if row.pid is not None)
    asked = Asked(order, count, snapshot.page_size, made.max_order)
    outcomes = run(made, "linux", min(order, made.max_order), None)
    return CanAlloc(
        order=order,
        count=count,
        now=total.now,
        after_compaction=AfterCompaction(total.low, total.mid, total.high),
        after_eviction=total.after_eviction,
        verdict=verdict,
        blockers=tuple(BlockerName(row.owner, row.kind, row.pageblocks, row.pid) for row in owners.owners),
        advice=advice(verdict, asked, tuple(ending), dirty=dirty, likely=total.mid >= count),
        at_most=total.at_most,
        zones=zones,
        withheld=total.withheld,
        evicted_pages=total.evicted_pages,
        page_size=snapshot.page_size,
        hazards=hazards(snapshot, outcomes, made.pins, memmap=made.model.frames, kernel=made.kernel),
        record=history.of(snapshot),
        missing=missing_parts(snapshot, made, history),
    )


def _verdict(total: Chances, owners: Blockers, count: int) -> Verdict:
    ending = sum(row.alone_pageblocks for row in owners.kinds if row.kind in ENDING)
    reached = (
        (Verdict.NOW, total.now),
        (Verdict.COMPACTION, total.low),
        (Verdict.UNCERTAIN, total.mid),
        (Verdict.EVICTION, total.after_eviction_low),
        (Verdict.UNCERTAIN, max(total.high, total.after_eviction, total.at_most)),
        (Verdict.PROCESSES, total.movable + ending),
        (Verdict.REBOOT, total.windows),
    )
    return next((verdict for verdict, nr in reached if nr >= count), Verdict.NEVER)
