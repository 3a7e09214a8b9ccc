"""``vmprobe report``: how fragmented a host is, what it can still give, who is in the way, what would help.

Without page frames it is made of free lists, zones and counters alone, which takes a moment. What frames
add (blockers, what compaction would give, sharing) takes as long as reading them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.analyses.evidence import Evidence, why_missing
from vmprobe.analyses.frag import FRAMES, frag
from vmprobe.analyses.process import MEMORY
from vmprobe.analyses.record import NO_HISTORY
from vmprobe.analyses.report_answer import Cost, Obtainable, Report
from vmprobe.analyses.report_words import Figures, advice, verdict
from vmprobe.analyses.show import MissingPart, unread
from vmprobe.bridge.frag import compaction_hpage_order, order_of
from vmprobe.bridge.obtainable import obtainable_now, room_for, zones_free
from vmprobe.errors import PrivilegeError, SnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vmprobe.analyses.frag_answer import Frag
    from vmprobe.analyses.record import History, Record
    from vmprobe.analyses.sharing_answer import Totals
    from vmprobe.bridge.can_alloc import Chances
    from vmprobe.bridge.obtainable import ZoneFree
    from vmprobe.tables import Snapshot

PAGE_ALLOC_COSTLY_ORDER: Final = 3
"""Above it the kernel gives a request up rather than reclaim without end (``include/linux/mmzone.h``): those
orders are shown."""

SMALLEST_BYTES: Final = 64 << 10
LARGEST_BYTES: Final = 1 << 30
"""Sizes besides that of a huge page of which is told what compaction would give."""

EVENTS: Final = (
    "compact_stall",
    "compact_success",
    "compact_fail",
    "thp_fault_alloc",
    "thp_fault_fallback",
)
"""Counters of vmstat (``mm/vmstat.c: vmstat_text``)."""

ALLOCSTALL: Final = "allocstall"
"""One counter up to 4.9, one a zone type since: their sum."""


class Forecast(NamedTuple):
    """What takes the model of a host; nothing where that is not known.

    Parameters
    ----------
    chances
        What compaction would give, by order.
    record
        How far off verified forecasts were.
    min_free_kbytes
        What khugepaged would have vm.min_free_kbytes be.
    missing
        What the forecast lacks.
    """

    chances: Mapping[int, Chances]
    record: Record | None = None
    min_free_kbytes: int | None = None
    missing: tuple[MissingPart, ...] = ()


def report(
    snapshot: Snapshot, *, history: History = NO_HISTORY, cost: Cost | None = None, top: int | None = 10
) -> Report:
    """Return a report; what takes the history of reports is left empty.

    Parameters
    ----------
    snapshot
        With free lists or with frames.
    history
        Verified forecasts.
    cost
        What the report took of the host; None for the snapshot's part of it alone.
    top
        Most owners to list; None for all.

    Raises
    ------
    SnapshotError
        It has neither free lists nor frames.
    """
    evidence = Evidence(snapshot)
    fragmented = frag(snapshot)
    zones = zones_free(snapshot)
    forecast = _forecast(snapshot, history) if evidence.has_flags else Forecast({})
    totals, lacking = _sharing(snapshot, evidence)
    huge_order = compaction_hpage_order(snapshot.page_size)
    obtainable = _obtainable(snapshot, zones, forecast.chances)
    figures = Figures(
        frag=fragmented,
        huge=next(row for row in obtainable if row.order == huge_order),
        small=obtainable[0],
        room=None if zones is None else room_for(zones, huge_order),
        frames=evidence.has_flags,
        unexplained=None if totals is None else totals.unexplained,
        verified=None if forecast.record is None else forecast.record.runs,
        min_free_kbytes=evidence.counters.get(("sysctl", "vm", "min_free_kbytes")),
        recommended_kbytes=forecast.min_free_kbytes,
    )
    answer = Report(
        time=datetime.fromisoformat(snapshot.manifest["time"]["start"]).astimezone(UTC).isoformat(),
        release=snapshot.manifest["host"]["release"],
        frames=evidence.has_flags,
        verdict=verdict(figures),
        frag=fragmented,
        obtainable=obtainable,
        record=forecast.record,
        sharing=totals,
        events=_events(evidence),
        since=None,
        trend=(),
        thresholds=(),
        advice=advice(figures),
        cost=cost or snapshot_cost(snapshot),
        missing=_distinct((*fragmented.missing, *forecast.missing, *lacking, *_closed(snapshot))),
    )
    return shortened(answer, top)


def shortened(answer: Report, top: int | None) -> Report:
    """Return the report with no more owners than `top`; None for all that it has."""
    owners = answer.frag.owners
    if top is None or owners is None or len(owners) <= top:
        return answer
    left_out = answer.frag.owners_left_out + len(owners) - top
    shorter: Frag = replace(answer.frag, owners=owners[:top], owners_left_out=left_out)
    return replace(answer, frag=shorter)


def snapshot_cost(snapshot: Snapshot) -> Cost:
    """Return what taking the snapshot cost; what asking it costs is nobody's business but the asker's."""
    nr_bytes = sum(source["bytes"] for source in snapshot.manifest.get("sources", ()))
    return Cost(None, None, None, snapshot.manifest["time"]["seconds"], nr_bytes)


def _forecast_orders(snapshot: Snapshot) -> tuple[int, ...]:
    """Return the orders of which is told what compaction would give; the smallest may be too small to ask."""
    orders = (order_of(nr_bytes, snapshot.page_size) for nr_bytes in (SMALLEST_BYTES, LARGEST_BYTES))
    return tuple(order for order in (*orders, compaction_hpage_order(snapshot.page_size)) if order > 0)


def _forecast(snapshot: Snapshot, history: History) -> Forecast:
    """Return what compaction would give; one model of the host serves all orders."""
    from vmprobe.analyses.compact import missing_parts, prepared  # noqa: PLC0415 - frames alone take it
    from vmprobe.bridge.can_alloc import chances, together  # noqa: PLC0415 - as above
    from vmprobe.bridge.zones import recommended_min_free  # noqa: PLC0415 - as above

    try:
        made = prepared(snapshot)
    except SnapshotError as error:
        return Forecast({}, missing=(MissingPart("what compaction would give", error.reason),))
    found = {order: together(chances(snapshot, made, order)[0]) for order in _forecast_orders(snapshot)}
    lacking = missing_parts(snapshot, made, history)
    return Forecast(found, history.of(snapshot), recommended_min_free(snapshot), lacking)


def _sharing(snapshot: Snapshot, evidence: Evidence) -> tuple[Totals | None, tuple[MissingPart, ...]]:
    """Return the totals, and what they lack."""
    if not evidence.has_flags:
        return None, (MissingPart("sharing", why_missing(snapshot, *FRAMES)),)
    from vmprobe.analyses.sharing import sharing  # noqa: PLC0415 - frames alone take it

    try:
        told = sharing(snapshot, top=0)
    except SnapshotError as error:
        return None, (MissingPart("sharing", error.reason),)
    except PrivilegeError as error:
        return None, (MissingPart("sharing", error.message),)
    return told.totals, told.missing


def _obtainable(
    snapshot: Snapshot, zones: tuple[ZoneFree, ...] | None, chances: Mapping[int, Chances]
) -> tuple[Obtainable, ...]:
    """Return what can be had of each order that is shown, ascending."""
    max_order = snapshot.manifest.get("max_order") or PAGE_ALLOC_COSTLY_ORDER
    orders = {*range(PAGE_ALLOC_COSTLY_ORDER + 1, max_order + 1), *_forecast_orders(snapshot)}
    rows = []
    for order in sorted(orders):
        nr_bytes = snapshot.page_size << order
        known = chances.get(order)
        if known is None:
            now = None if zones is None else obtainable_now(zones, order)
            rows.append(Obtainable(order, nr_bytes, now, None, None, None, None))
        else:
            rows.append(
                Obtainable(order, nr_bytes, known.now, known.low, known.mid, known.high, known.after_eviction)
            )
    return tuple(rows)


def _events(evidence: Evidence) -> dict[str, int]:
    """Return the events that this kernel counts."""
    counted = {name: value for (source, _, name), value in evidence.counters.items() if source == "vmstat"}
    found = {name: counted[name] for name in EVENTS if name in counted}
    stalls = [
        value for name, value in counted.items() if name == ALLOCSTALL or name.startswith(f"{ALLOCSTALL}_")
    ]
    return found | ({ALLOCSTALL: sum(stalls)} if stalls else {})


def _closed(snapshot: Snapshot) -> Iterator[MissingPart]:
    """Name the processes whose memory could not be read: what they map has no owner here."""
    for row in unread(snapshot):
        if row.what == MEMORY:
            times = f" ({row.count} times)" if row.count > 1 else ""
            yield MissingPart(MEMORY, f"{row.reason}{times}{f'; needs {row.needs}' if row.needs else ''}")


def _distinct(parts: Iterable[MissingPart]) -> tuple[MissingPart, ...]:
    return tuple(dict.fromkeys(parts))
