"""``vmprobe compact``: what a strategy of compaction would do to a snapshot, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.analyses.compact_answer import (
    BlockedRow,
    Compact,
    Comparison,
    FreeBlocks,
    Side,
    ZoneSide,
)
from vmprobe.analyses.evidence import Evidence, demand_frames, why_missing
from vmprobe.analyses.quirk_detectors import PRESENT, averaged_mapcounts
from vmprobe.analyses.record import NO_HISTORY, History
from vmprobe.analyses.show import MissingPart
from vmprobe.bridge.compact import STRATEGIES, host, reverse_map_difference, run, stops
from vmprobe.bridge.effect import effect, effect_by_zone
from vmprobe.bridge.hazards import hazards
from vmprobe.bridge.interval import intervals
from vmprobe.errors import SnapshotError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from vmprobe.bridge.compact import Host
    from vmprobe.bridge.effect import Effect
    from vmprobe.bridge.hazards import HazardRow
    from vmprobe.tables import Snapshot

__all__ = ["SINGLE_ENTRY", "STRATEGIES", "History", "compact", "compare", "demand_order", "prepared", "side"]

SINGLE_ENTRY: Final = "blit-single-entry"


def prepared(snapshot: Snapshot, zones: Collection[tuple[int | None, str]] = ()) -> Host:
    """Return the host that strategies work on.

    Parameters
    ----------
    snapshot
        With frames and zones.
    zones
        Node (None: any) and name of those wanted; empty for all.

    Raises
    ------
    SnapshotError
        Frames or zones are missing.
    PrivilegeError
        It was taken now, without the privilege to read frames.
    UsageError
        It has no such zone.
    """
    evidence = Evidence(snapshot)
    demand_frames(evidence)
    if not snapshot.has("zones"):
        where = snapshot.path or "snapshot"
        raise SnapshotError(where, f"zones are {why_missing(snapshot, 'zones', 'zoneinfo')}")
    averaged = averaged_mapcounts(evidence).status == PRESENT
    made = host(snapshot, averaged=averaged, zones=zones)
    names = [(layout.node, layout.zone) for layout in made.layouts]
    for node, name in zones:
        if not any(name == zone and node in (None, of) for of, zone in names):
            everything = host(snapshot, averaged=averaged).layouts
            listed = ", ".join(f"{layout.node}:{layout.zone}" for layout in everything)
            wanted = name if node is None else f"{node}:{name}"
            raise UsageError(f"the host has no zone {wanted}", hint=f"its zones with memory are {listed}")
    if not made.layouts:
        raise SnapshotError(snapshot.path or "snapshot", "none of its zones has a place: nothing to compact")
    return made


def compact(
    snapshot: Snapshot,
    strategy: str = "linux",
    order: int = 9,
    *,
    count: int | None = None,
    zones: Collection[tuple[int | None, str]] = (),
    history: History = NO_HISTORY,
) -> Compact:
    """Return what one strategy would do.

    Parameters
    ----------
    snapshot
        With frames and zones.
    strategy
        One of `STRATEGIES`.
    order
        Order of the blocks that are wanted.
    count
        How many to gain; None for as many as can be had.
    zones
        As for `prepared`.
    history
        Verified forecasts.

    Raises
    ------
    SnapshotError, PrivilegeError, UsageError
        As of `prepared`, and for an order that there are no free blocks of.
    """
    made = prepared(snapshot, zones)
    demand_order(made, order)
    outcomes = run(made, strategy, order, count)
    between = intervals(snapshot, made, strategy, outcomes, count)
    found = hazards(snapshot, outcomes, made.pins, memmap=made.model.frames, kernel=made.kernel)
    total, by_zone = effect_by_zone(made, outcomes)
    each = [
        ZoneSide(
            **vars(side(strategy, order, of_zone, interval, ())),
            node=outcome.before.node,
            zone=outcome.before.zone,
        )
        for outcome, of_zone, interval in zip(outcomes, by_zone, between.zones, strict=True)
    ]
    return Compact(
        **vars(side(strategy, order, total, between.total, found)),
        count=count,
        zones=tuple(each),
        page_size=snapshot.page_size,
        stops=tuple(stops(outcomes)),
        record=history.of(snapshot),
        missing=missing_parts(snapshot, made, history),
    )


def compare(
    snapshot: Snapshot,
    order: int = 9,
    *,
    count: int | None = None,
    zones: Collection[tuple[int | None, str]] = (),
    history: History = NO_HISTORY,
) -> Comparison:
    """Return what every strategy would do to one layout; as `compact`."""
    made = prepared(snapshot, zones)
    demand_order(made, order)
    sides = []
    for name in (*STRATEGIES, SINGLE_ENTRY):
        single = name == SINGLE_ENTRY
        strategy = "blit" if single else name
        outcomes = run(made, strategy, order, count, single_entry=single)
        between = intervals(snapshot, made, strategy, outcomes, count, single_entry=single)
        found = hazards(snapshot, outcomes, made.pins, memmap=made.model.frames, kernel=made.kernel)
        sides.append(side(name, order, effect(made, outcomes), between.total, found))
    return Comparison(
        order=order,
        count=count,
        strategies=tuple(sides),
        difference=reverse_map_difference(made, order),
        page_size=snapshot.page_size,
        record=history.of(snapshot),
        missing=missing_parts(snapshot, made, history),
    )


def demand_order(made: Host, order: int) -> None:
    """Refuse an order that compaction makes no free blocks of.

    Raises
    ------
    UsageError
        It is none.
    """
    if not 1 <= order <= made.max_order:
        raise UsageError(
            f"order {order}: compaction makes free blocks of order 1 to {made.max_order}",
            hint="`vmprobe can-alloc` counts larger ranges too",
        )


def side(
    strategy: str, order: int, each: Effect, interval: tuple[int, int] | None, found: Sequence[HazardRow]
) -> Side:
    """Return what one strategy, or the kernel's own run, comes to in the form of the answer."""
    return Side(
        strategy=strategy,
        order=order,
        before=FreeBlocks(each.before),
        after=FreeBlocks(each.after),
        gained_blocks=each.gained_blocks,
        interval=interval,
        moves_pages=each.moves_pages,
        evicted_pages=each.evicted_pages,
        migrate_scanned=each.migrate_scanned,
        free_scanned=each.free_scanned,
        ptes_patched=each.ptes_patched,
        address_spaces=each.address_spaces,
        tlb_flushes=each.tlb_flushes,
        cost_us=each.cost_us,
        minimum_moves_pages=each.minimum_moves_pages,
        ratio_to_minimum=each.ratio_to_minimum,
        status=each.status,
        hazards=tuple(found),
        blocked=tuple(BlockedRow(*item) for item in each.blocked.items()),
    )


def missing_parts(snapshot: Snapshot, made: Host, history: History) -> tuple[MissingPart, ...]:
    """Return what a forecast lacks that the snapshot does not have, and why."""
    parts = []
    if made.model.tables is None:
        files = {"mappings": "pagemap", "vmas": "maps"}
        lacking = [why_missing(snapshot, *table) for table in files.items() if not snapshot.has(table[0])]
        reason = lacking[0] if lacking else "frame numbers are hidden"
        parts.append(MissingPart("page-table entries", f"{reason}; how many change is not known"))
    if not snapshot.has("pageblocks_by_type"):
        reason = why_missing(snapshot, "pageblocks_by_type", "pagetypeinfo")
        parts.append(MissingPart("types of pageblocks", f"{reason}; they are guessed"))
    if not snapshot.has("counters"):
        reason = why_missing(snapshot, "counters", "vmstat")
        parts.append(MissingPart("rules of the scanners", f"{reason}; those of the newest kernel are taken"))
    if made.pins.nr_outstanding is None:
        parts.append(MissingPart("pins", "vmstat's count of pins is not in this snapshot; taken for none"))
    return (*parts, *(MissingPart("record", reason) for reason in history.unread))
