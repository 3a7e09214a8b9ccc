"""Which runs of a history are let go as they grow old."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Band(NamedTuple):
    """Runs older than `after`, of which one in `every` stays, up to the age where the next band begins."""

    after: timedelta
    every: timedelta


@dataclass(frozen=True)
class Thinning:
    """How densely runs stay, by their age before the run that is being appended.

    Of each slot of time the first run stays. Runs with and without page frames are thinned apart: a full
    report once a night outlives the cheap ones around it. Slots are counted from 1970 in UTC; where each
    `every` is made of whole ones of the band before, what stays does not depend on when it was thinned.

    Parameters
    ----------
    bands
        Youngest first; younger runs than the first one's all stay.
    """

    bands: tuple[Band, ...]


DEFAULT: Final = Thinning(
    (
        Band(timedelta(days=2), timedelta(hours=1)),
        Band(timedelta(days=14), timedelta(days=1)),
        Band(timedelta(days=400), timedelta(days=7)),
    )
)
"""All runs of two days, then one an hour until 14 days, one a day until 400 days, one a week for ever."""


class Aged(NamedTuple):
    """What of a run decides whether it stays: its number, its time (UTC), whether it scanned frames."""

    run: int
    time: datetime
    frames: bool


def surplus(runs: Iterable[Aged], now: datetime, thinning: Thinning) -> tuple[int, ...]:
    """Return the runs that go.

    Parameters
    ----------
    runs
        All that are older than the first band's `after`; those that are younger stay.
    now
        Time of the run that is being appended. Ages are counted from it and not from the newest run: that
        one's clock may have been years ahead, and every later run would be old.
    thinning
        By which rule.
    """
    first_of: set[tuple[bool, timedelta, int]] = set()
    gone = []
    for each in sorted(runs, key=lambda aged: (aged.time, aged.run)):
        every = _every(now - each.time, thinning)
        if every is None:
            continue
        slot = (each.frames, every, (each.time - _EPOCH) // every)
        if slot in first_of:
            gone.append(each.run)
        first_of.add(slot)
    return tuple(gone)


def _every(age: timedelta, thinning: Thinning) -> timedelta | None:
    """Return how far apart runs of an age stay, None where all do."""
    return next((band.every for band in reversed(thinning.bands) if age > band.after), None)
