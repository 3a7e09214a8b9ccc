"""How far off the forecasts on this host were: what every later one says of itself."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from vmprobe.analyses.parts import Fact, Facts, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vmprobe.tables import Snapshot


@dataclass(frozen=True)
class Record:
    """Verified forecasts under one kernel; None where there are none to tell from.

    Parameters
    ----------
    release
        The kernel.
    runs
        How many there are.
    moves_percent_median, moves_percent_worst
        Of the sizes of their errors of pages moved.
    gained_percent_median, gained_percent_worst
        The same of blocks gained.
    intervals_held, intervals
        In how many the blocks gained lay in the interval, of those that gave one.
    status_right
        In how many each zone ended as was forecast.
    """

    release: str
    runs: int
    moves_percent_median: float | None
    moves_percent_worst: float | None
    gained_percent_median: float | None
    gained_percent_worst: float | None
    intervals_held: int
    intervals: int
    status_right: int


def record(documents: Iterable[Mapping[str, Any]], release: str) -> Record:
    """Sum up the history of a host; lines of other kernels say nothing of this one.

    Parameters
    ----------
    documents
        As `vmprobe.store.forecasts.read` gives them.
    release
        The kernel that runs now.
    """
    ours = [each for each in documents if each.get("release") == release]
    moves = _sizes(ours, "moves_percent")
    gained = _sizes(ours, "gained_percent")
    held = nr_intervals = right = 0
    for each in ours:
        forecast, actual = each.get("forecast") or {}, each.get("actual") or {}
        interval, real = forecast.get("interval"), actual.get("gained_blocks")
        if interval and real is not None:
            nr_intervals += 1
            held += interval[0] <= real <= interval[1]
        right += forecast.get("status") is not None and forecast.get("status") == actual.get("status")
    return Record(
        release,
        len(ours),
        statistics.median(moves) if moves else None,
        max(moves, default=None),
        statistics.median(gained) if gained else None,
        max(gained, default=None),
        held,
        nr_intervals,
        right,
    )


def _sizes(documents: list[Mapping[str, Any]], name: str) -> list[float]:
    errors = [(each.get("error") or {}).get(name) for each in documents]
    return [abs(error) for error in errors if isinstance(error, int | float)]


@dataclass(frozen=True)
class History:
    """Verified forecasts that this machine remembers.

    Parameters
    ----------
    documents
        As `vmprobe.store.forecasts.read` gives them.
    live
        Whether the snapshot was taken now, of this machine.
    unread
        A sentence for each piece of it that could not be read.
    """

    documents: tuple[Mapping[str, Any], ...] = ()
    live: bool = False
    unread: tuple[str, ...] = ()

    def of(self, snapshot: Snapshot) -> Record:
        """Return the record of the snapshot's host."""
        told = snapshot.manifest["host"]
        return record(self.on(told), str(told.get("release")))

    def on(self, host: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the documents of a host, oldest first; a saved snapshot's is this machine by its boot id.

        Parameters
        ----------
        host
            The manifest's ``host`` entry.
        """
        return [each for each in self.documents if self.live or each.get("boot_id") == host.get("boot_id")]


NO_HISTORY: Final = History()


def layout_record(answer: Record) -> Facts:
    """Return the record laid out for reading."""
    if not answer.runs:
        return Facts("Forecasts verified on this host", (Fact("runs", 0, Kind.COUNT),))
    return Facts(
        "Forecasts verified on this host",
        (
            Fact("runs", answer.runs, Kind.COUNT),
            Fact("pages moved, median error", answer.moves_percent_median, Kind.PERCENT),
            Fact("pages moved, worst error", answer.moves_percent_worst, Kind.PERCENT),
            Fact("blocks gained, median error", answer.gained_percent_median, Kind.PERCENT),
            Fact("blocks gained, worst error", answer.gained_percent_worst, Kind.PERCENT),
            Fact("interval held the truth", f"{answer.intervals_held} of {answer.intervals}"),
            Fact("status as forecast", f"{answer.status_right} of {answer.runs}"),
        ),
    )
