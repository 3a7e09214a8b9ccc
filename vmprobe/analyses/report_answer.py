"""The answer of ``vmprobe report``, as JSON has it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmprobe.analyses.frag_answer import Frag
    from vmprobe.analyses.record import Record
    from vmprobe.analyses.sharing_answer import Totals
    from vmprobe.analyses.show import MissingPart


class Level(StrEnum):
    """How bad something is, in the words of monitoring plugins."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """The report in one sentence."""

    level: Level
    sentence: str


@dataclass(frozen=True)
class Obtainable:
    """Blocks of one order that can be taken; never below the watermarks.

    Parameters
    ----------
    order, bytes
        The size.
    now
        Without doing anything; None where free lists or zones were not read.
    low, mid, high
        After compaction: at least, as forecast, at most; None without frames, or where it was not forecast.
    after_eviction
        After clean page cache was dropped besides, as forecast.
    """

    order: int
    bytes: int
    now: int | None
    low: int | None
    mid: int | None
    high: int | None
    after_eviction: int | None


@dataclass(frozen=True)
class Crossing:
    """One threshold held against the report.

    Parameters
    ----------
    expression
        As it was given.
    level
        What crossing it means: warning or critical.
    value
        The figure; None where the report does not have it.
    limit
        What it is held against.
    crossed
        Whether it is crossed; None where that is not known.
    reason
        That in a sentence.
    """

    expression: str
    level: Level
    value: int | float | None
    limit: int | float
    crossed: bool | None
    reason: str


@dataclass(frozen=True)
class Change:
    """One figure that is not what it was; None where it was or is not known."""

    what: str
    before: int | float | None
    after: int | float | None


@dataclass(frozen=True)
class Since:
    """What changed since the last run in the history.

    Parameters
    ----------
    time, seconds
        When that was, ISO 8601 in UTC, and how long ago.
    rebooted
        Whether the host was started anew between; None where boots are not known.
    changes
        The figures that changed most for their size first.
    """

    time: str
    seconds: float
    rebooted: bool | None
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Series:
    """One figure over time.

    Parameters
    ----------
    name, labels
        Of its metric in `vmprobe.metrics`, and what it was combined over or chosen by; may be empty.
    times
        ISO 8601 in UTC, oldest first.
    values
        One for each time; None where a run did not have it.
    """

    name: str
    labels: str
    times: tuple[str, ...]
    values: tuple[int | float | None, ...]


@dataclass(frozen=True)
class TrendRow:
    """One figure now, and what it was.

    Parameters
    ----------
    what
        Figure in words.
    now, day, week
        Now, and the median of the runs from a day and from a week ago (within a quarter of that time); None
        where there is no such run.
    lowest, highest
        In the history, this run included.
    """

    what: str
    now: int | float | None
    day: int | float | None
    week: int | float | None
    lowest: int | float
    highest: int | float


@dataclass(frozen=True)
class Cost:
    """What the report took of the host.

    Parameters
    ----------
    seconds, cpu_seconds
        Wall clock and CPU time from the start of the process until the answer was known; None for a saved
        snapshot, whose own cost is in `snapshot_seconds`.
    max_rss_bytes
        Most memory resident.
    snapshot_seconds, snapshot_bytes
        Time that reading /proc took, and bytes read there.
    """

    seconds: float | None
    cpu_seconds: float | None
    max_rss_bytes: int | None
    snapshot_seconds: float
    snapshot_bytes: int


@dataclass(frozen=True)
class Report:
    """The answer.

    Parameters
    ----------
    time
        When the snapshot was taken, ISO 8601 in UTC.
    release
        Of the kernel.
    frames
        Whether page frames were scanned.
    verdict
        In one sentence.
    frag
        Free blocks, indices, pageblocks, blockers.
    obtainable
        By order.
    record
        How far off the forecasts were that were verified on this host; None without a forecast.
    sharing
        Totals; None without frames or page tables.
    events
        Compactions and huge page faults since boot, by the kernel's names.
    since
        What changed since the last run; None without a history or an earlier run.
    trend
        Figures of the history; empty without.
    thresholds
        Those that were asked for.
    advice
        What to do next, most useful first; a line that is a command begins with ``$ ``.
    cost
        Of the report itself.
    missing
        What the snapshot does not have, and why.
    """

    time: str
    release: str
    frames: bool
    verdict: Verdict
    frag: Frag
    obtainable: tuple[Obtainable, ...]
    record: Record | None
    sharing: Totals | None
    events: dict[str, int]
    since: Since | None
    trend: tuple[TrendRow, ...]
    thresholds: tuple[Crossing, ...]
    advice: tuple[str, ...]
    cost: Cost
    missing: tuple[MissingPart, ...]
