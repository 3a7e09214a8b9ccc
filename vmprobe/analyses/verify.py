"""``vmprobe compact --verify``: a forecast, what the kernel then did, and how far apart the two are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from vmprobe.analyses.compact import prepared, side
from vmprobe.analyses.compact_side import Side
from vmprobe.bridge.compact import run
from vmprobe.bridge.compaction import zone_layouts
from vmprobe.bridge.effect import actual_effect, effect
from vmprobe.bridge.hazards import hazards
from vmprobe.bridge.interval import intervals
from vmprobe.bridge.score import PageScore, Score, compare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmprobe.analyses.record import Record
    from vmprobe.tables import Snapshot

STRATEGY: Final = "linux"


@dataclass(frozen=True)
class ErrorOf:
    """The error of a forecast; signed, above zero too much was forecast. See `kernelmodel` score for each.

    ``corrected`` is the same with pages on per-CPU lists counted as free on both sides.
    """

    moves_percent: float | None
    gained_percent: float | None
    free_mass_distance: float
    left_precision: float | None
    left_recall: float | None
    filled_precision: float | None
    filled_recall: float | None
    migrate_scanned_percent: float | None
    free_scanned_percent: float | None
    corrected: PageScore


@dataclass(frozen=True)
class ZoneRow:
    """How one zone ended."""

    node: int
    zone: str
    status_forecast: str
    status_actual: str | None
    stopped_percent: float | None


@dataclass(frozen=True)
class Verification(Side):
    """The answer: the forecast's own fields, and beside them what came of it.

    Parameters
    ----------
    actual
        What the kernel did.
    error
        The forecast against it.
    zones
        How each zone ended.
    status_source
        Who told how the zones ended.
    foreign_pages
        Pages that anybody allocated in the meantime; they blur what is said page by page.
    seconds
        From the last look at the frames to the end of the compaction.
    record
        Of all verified forecasts on this host, this one included.
    notes
        What else should be known.
    """

    actual: Side
    error: ErrorOf
    zones: tuple[ZoneRow, ...]
    status_source: str
    foreign_pages: int | None
    seconds: float
    record: Record | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Happened:
    """What is known of a run beside the two snapshots.

    Parameters
    ----------
    counters
        By how much each counter of /proc/vmstat grew.
    ends
        First frame of a zone, where its migrate scanner ended, the kernel's word for that; None where the
        kernel was not heard.
    seconds
        How long it took.
    """

    counters: Mapping[str, int]
    ends: Sequence[tuple[int, int, str]] | None
    seconds: float


def verify(before: Snapshot, after: Snapshot, order: int, happened: Happened) -> Verification:
    """Forecast from `before` alone, and hold that against `after`.

    Parameters
    ----------
    before, after
        Just before and just after the compaction.
    order
        Of the blocks that are counted.
    happened
        What else is known of it.

    Raises
    ------
    SnapshotError
        One of the snapshots has no flag words, or `before` no zones.
    """
    counters = dict(happened.counters)
    made = prepared(before)
    forecasts = run(made, STRATEGY, order, None)
    compared = compare(forecasts, zone_layouts(after, pinned=made.pins.pfn), counters, happened.ends)
    between = intervals(before, made, STRATEGY, forecasts, None)
    found = hazards(before, forecasts, made.pins, memmap=made.model.frames, kernel=made.kernel)
    forecast = side(STRATEGY, order, effect(made, forecasts), between.total, found)
    allocated = [nr for name, nr in counters.items() if name.startswith("pgalloc_")]
    return Verification(
        **vars(forecast),
        actual=side(STRATEGY, order, actual_effect(compared, counters, happened.seconds), None, ()),
        error=_error(compared.score),
        zones=tuple(
            ZoneRow(
                zone.node,
                zone.zone,
                str(zone.status_forecast),
                None if zone.status_real is None else str(zone.status_real),
                zone.stopped_percent,
            )
            for zone in compared.score.zones
        ),
        status_source=compared.status_source,
        foreign_pages=sum(allocated) if allocated else None,
        seconds=happened.seconds,
    )


def history_document(answer: Verification, host: Mapping[str, Any], time: str) -> dict[str, Any]:
    """Return what the history keeps of a verified forecast.

    Parameters
    ----------
    answer
        The forecast.
    host
        The manifest's ``host`` entry.
    time
        When it was, as the manifest writes times.
    """
    kept = ("gained_blocks", "interval", "moves_pages", "migrate_scanned", "free_scanned", "status")
    scalar = {name: value for name, value in vars(answer.error).items() if name != "corrected"}
    return {
        "time": time,
        "release": host.get("release"),
        "boot_id": host.get("boot_id"),
        "options": {"strategy": answer.strategy, "order": answer.order},
        "forecast": {name: getattr(answer, name) for name in kept},
        "actual": {name: getattr(answer.actual, name) for name in kept},
        "free_blocks": {
            "before": answer.before.free_blocks,
            "forecast": answer.after.free_blocks,
            "real": answer.actual.after.free_blocks,
        },
        "error": {**scalar, "corrected": vars(answer.error.corrected)},
        "foreign_pages": answer.foreign_pages,
        "seconds": answer.seconds,
        "pcp_pages": next((row.pages for row in answer.hazards if row.hazard == "per-CPU lists"), 0),
        "status_source": answer.status_source,
    }


def _error(score: Score) -> ErrorOf:
    raw = score.raw
    return ErrorOf(
        score.moves_percent,
        raw.gained_percent,
        raw.free_mass_distance,
        raw.left_precision,
        raw.left_recall,
        raw.filled_precision,
        raw.filled_recall,
        score.migrate_scanned_percent,
        score.free_scanned_percent,
        score.corrected,
    )
