"""A forecast of ``compact_memory`` from one snapshot, scored against a later one and against counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kernelmodel.compaction.result import Status
from kernelmodel.compaction.score import Counted, PageScore, Score, ZoneTruth, guess_status, score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kernelmodel.compaction.result import Outcome
    from kernelmodel.compaction.zone_layout import ZoneLayout

__all__ = ["Compared", "PageScore", "Score", "compare"]

HEARD: Final = {"complete": Status.COMPLETE, "contended": Status.CONTENDED}
"""The kernel's words for how a whole zone can end."""


@dataclass(frozen=True)
class Compared:
    """A forecast and what came of it.

    Parameters
    ----------
    forecasts
        One for each zone.
    truths
        What each zone came to.
    score
        The one against the other.
    status_source
        ``trace event`` where the kernel said how each zone ended, ``pictures`` where it is read from those.
    """

    forecasts: tuple[Outcome, ...]
    truths: tuple[ZoneTruth, ...]
    score: Score
    status_source: str


def compare(
    forecasts: Sequence[Outcome],
    afters: Sequence[ZoneLayout],
    counters: Mapping[str, int],
    ends: Sequence[tuple[int, int, str]] | None,
) -> Compared:
    """Hold a forecast of every zone against what was seen afterwards.

    Parameters
    ----------
    forecasts
        What Linux should have done.
    afters
        The zones just after ``compact_memory`` was written to.
    counters
        By how much each counter of /proc/vmstat grew.
    ends
        First frame of a zone, where its migrate scanner ended, and the kernel's word for that; None where
        the kernel was not heard.

    Raises
    ------
    InvariantError
        ``score-zone``: a forecast and the truth beside it are of different zones.
    """
    heard = {start: (stop, word) for start, stop, word in ends or ()}
    truths = []
    for forecast, later in zip(forecasts, afters, strict=True):
        stop, word = heard.get(later.start_pfn, (None, ""))
        status = HEARD.get(word) if ends is not None else guess_status(forecast.before, later.state)
        truths.append(ZoneTruth(later, status, stop))
    counted = Counted(
        counters.get("pgmigrate_success"),
        counters.get("compact_migrate_scanned"),
        counters.get("compact_free_scanned"),
    )
    source = "pictures" if ends is None else "trace event"
    return Compared(tuple(forecasts), tuple(truths), score(forecasts, truths, counted), source)
