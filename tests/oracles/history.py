"""A history as a plain list, thinned run by run with the calendar."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from vmprobe.store.history import Kept


class ListHistory:
    """What `vmprobe.store.history` keeps with its thinning."""

    def __init__(self) -> None:
        self.runs: list[Kept] = []

    def append(self, kept: Kept) -> None:
        if any(kept.run.id == each.run.id for each in self.runs):
            return
        self.runs.append(kept)
        now = kept.run.time
        self.runs = [each for each in self.runs if self._stays(each, now)]

    def _stays(self, kept: Kept, now: datetime) -> bool:
        mine = slot(kept, now)
        if mine is None:
            return True
        place = self.runs.index(kept)
        for other_place, other in enumerate(self.runs):
            earlier = (other.run.time, other_place) < (kept.run.time, place)
            if earlier and other.run.frames == kept.run.frames and slot(other, now) == mine:
                return False
        return True

    def read(
        self,
        *,
        since: datetime | None = None,
        last: int | None = None,
        names: Collection[str] | None = None,
    ) -> tuple[Kept, ...]:
        found = sorted(self.runs, key=lambda kept: kept.run.time)
        if since is not None:
            found = [kept for kept in found if kept.run.time >= since]
        if last is not None:
            found = found[len(found) - min(last, len(found)) :]
        if names is not None:
            found = [
                replace(kept, samples=tuple(s for s in kept.samples if s.name in names)) for kept in found
            ]
        return tuple(found)


def slot(kept: Kept, now: datetime) -> tuple[str, int | str] | None:
    """Return the hour, day or week of which one run stays; None for a run that is young at `now`."""
    time = kept.run.time.astimezone(UTC)
    age = now - time
    if age <= timedelta(days=2):
        return None
    if age <= timedelta(days=14):
        return "hour", f"{time:%Y-%m-%d %H}"
    if age <= timedelta(days=400):
        return "day", f"{time:%Y-%m-%d}"
    return "week", (time.date() - date(1970, 1, 1)).days // 7
