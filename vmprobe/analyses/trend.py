"""What the history says beside the newest report: what changed, how it was, and how it went."""

from __future__ import annotations

import statistics
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vmprobe.analyses.figures import followed, in_order
from vmprobe.analyses.report_answer import Change, Series, Since, TrendRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vmprobe.analyses.figures import Figure, Value
    from vmprobe.store.history import Kept, Owner

    Holder = tuple[str, str | None, int | None]

MOST_CHANGES: Final = 10
MOST_OWNERS: Final = 5
"""Of those changes."""

LEAST_CHANGE: Final = 0.01
"""Smaller ones, for their size, are noise."""

_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(days=7)


def since_last(past: Sequence[Kept], now: Kept) -> Since | None:
    """Return what changed since the last run; None where there was none.

    Parameters
    ----------
    past
        Runs of the history, oldest first; later ones than `now` do not count.
    now
        A run that scanned page frames is compared with the last one that did, where there is one, so that
        what each holds can be told.
    """
    earlier = _before(past, now)
    alike = [kept for kept in earlier if kept.run.frames] if now.run.frames else []
    if not earlier:
        return None
    last = (alike or earlier)[-1]
    boots = last.run.boot_id, now.run.boot_id
    rebooted = None if None in boots else boots[0] != boots[1]
    changes = [*_figures(last, now), *_events(last, now, rebooted=rebooted)]
    changes += _grown(last, now, rebooted=rebooted)
    changes.sort(key=_size, reverse=True)
    return Since(
        time=last.run.time.isoformat(),
        seconds=(now.run.time - last.run.time).total_seconds(),
        rebooted=rebooted,
        changes=tuple(changes[:MOST_CHANGES]),
    )


def trend(past: Sequence[Kept], now: Kept) -> tuple[TrendRow, ...]:
    """Return the figures that `now` has, and what they were; none where there was no earlier run."""
    earlier = _before(past, now)
    if not earlier:
        return ()
    runs = [*earlier, now]
    of_runs = followed(runs)
    rows = []
    for figure in in_order(of_runs[-1:]):
        ages = [
            (now.run.time - kept.run.time, of_run[figure])
            for kept, of_run in zip(runs, of_runs, strict=True)
            if figure in of_run
        ]
        values = [value for _, value in ages]
        if figure.name == "events" and not any(values):
            continue  # an event that never happens is not worth a line
        rows.append(
            TrendRow(
                what=_with_unit(figure),
                now=values[-1],
                day=_median(ages, _DAY),
                week=_median(ages, _WEEK),
                lowest=min(values),
                highest=max(values),
            )
        )
    return tuple(rows)


def named_series(past: Sequence[Kept], *, idle: bool = False) -> list[tuple[str, Series]]:
    """Return the figures worth a line over time, each after its words, in the order of the metrics.

    Times of a figure that takes page frames are those of the runs that scanned them.

    Parameters
    ----------
    past
        Runs of the history, oldest first.
    idle
        Whether an event that never happened is one of them.
    """
    of_runs = followed(past)
    found = []
    for figure in in_order(of_runs):
        points = [
            (kept.run.time.isoformat(), of_run.get(figure))
            for kept, of_run in zip(past, of_runs, strict=True)
            if kept.run.frames or not figure.frames
        ]
        times, values = zip(*points, strict=True)
        if idle or figure.name != "events" or any(values):
            found.append((figure.what, Series(figure.name, figure.labels, times, values)))
    return found


def _before(past: Sequence[Kept], now: Kept) -> list[Kept]:
    return [kept for kept in past if kept.run.time < now.run.time]


def _median(ages: Sequence[tuple[timedelta, Value]], age: timedelta) -> Value | None:
    """Return the median of the values from `age` ago, within a quarter of that time; of two the lower."""
    there = [value for each, value in ages if abs(each - age) <= age / 4]
    return statistics.median_low(there) if there else None


def _size(change: Change) -> tuple[float, float]:
    """Return the size of a change for the size of its figure, and its size."""
    before, after = change.before or 0, change.after or 0
    most = max(abs(before), abs(after))
    return (abs(after - before) / most if most else 0), abs(after - before)


def _figures(last: Kept, now: Kept) -> Iterator[Change]:
    """Yield the figures that both runs have and that changed; rates take more than two runs."""
    before, after = followed([last])[0], followed([now])[0]
    for figure in in_order([after]):
        if figure in before:
            change = Change(_with_unit(figure), before[figure], after[figure])
            if _size(change)[0] >= LEAST_CHANGE:
                yield change


def _with_unit(figure: Figure) -> str:
    return f"{figure.what}, bytes" if figure.name.endswith("_bytes") else figure.what


def _events(last: Kept, now: Kept, *, rebooted: bool | None) -> Iterator[Change]:
    """Yield the counts that went on; those of another boot began anew."""
    if rebooted is not False:
        return
    before, after = _counts(last), _counts(now)
    for event, count in after.items():
        if event in before and count > before[event]:
            yield Change(f"{event} since boot", before[event], count)


def _counts(kept: Kept) -> dict[str, Value]:
    return {sample.labels[0]: sample.value for sample in kept.samples if sample.name == "events"}


def _grown(last: Kept, now: Kept, *, rebooted: bool | None) -> list[Change]:
    """Return the owners that came or hold more pageblocks than before, those that grew most.

    What an owner that is not in the list held is not known: it may have been left out as one of the smaller.
    """
    if not (last.run.frames and now.run.frames):
        return []
    before = _holders(last.owners)
    found = []
    for holder, pageblocks in _holders(now.owners).items():
        kind, owner, pid = holder
        if pid is not None and rebooted is not False:
            continue  # a process of another boot is another one, whatever its number
        held = before.get(holder)
        if pageblocks > (held or 0):
            who = " ".join(each for each in (kind, owner, None if pid is None else f"(pid {pid})") if each)
            found.append(Change(f"pageblocks held by {who}", held, pageblocks))
    found.sort(key=lambda change: (change.after or 0) - (change.before or 0), reverse=True)
    return found[:MOST_OWNERS]


def _holders(owners: Sequence[Owner]) -> Mapping[Holder, int]:
    return {(owner.kind, owner.owner, owner.pid): owner.pageblocks for owner in owners}
