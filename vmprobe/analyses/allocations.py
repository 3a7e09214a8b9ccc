"""``vmprobe record``: what a recording of page allocations holds."""

from __future__ import annotations

import shlex
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vmprobe.analyses.parts import Column, Fact, Facts, Grid, Kind, Note, Parts

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TYPES: Final = ("unmovable", "movable", "reclaimable")
ENDS: Final = {
    "time": "the time was over",
    "command": "the command ended",
    "interrupt": "it was interrupted",
    "events": "so many events were recorded as are allowed (--max-events)",
}


@dataclass(frozen=True)
class Written:
    """A recording that was written.

    Parameters
    ----------
    path, bytes
        The folder, and its size.
    seconds
        How long events were recorded.
    ended_by
        ``time``, ``command``, ``events`` or ``interrupt``.
    command_status
        Exit status of the command, -N where signal N ended it; None without one, and where we ended it.
    command_was_ended
        Whether it still ran at the end of the recording.
    taken, given_back, fallbacks
        Events by kind.
    failed
        Allocations that got nothing.
    lost
        Events that found no room.
    buffers_left
        Name of the trace buffers in tracefs where they could not be removed; None as a rule.
    by_order
        Blocks taken, of each order: unmovable, movable, reclaimable.
    """

    path: str
    bytes: int
    seconds: float
    ended_by: str
    command_status: int | None
    command_was_ended: bool
    taken: int
    given_back: int
    fallbacks: int
    failed: int
    lost: int
    buffers_left: str | None
    by_order: tuple[tuple[int, int, int], ...]


def written(path: Path, nr_bytes: int, columns: dict[str, NDArray[Any]], manifest: dict[str, Any]) -> Written:
    """Return what was written."""
    kinds = np.bincount(columns["kind"], minlength=3)
    alloc = (columns["kind"] == 0) & (columns["pfn"] >= 0)
    orders = columns["order"][alloc].astype(np.int64)
    types = columns["migratetype"][alloc]
    by_order = tuple(
        (each[0], each[1], each[2])
        for order in range(int(orders.max(initial=-1)) + 1)
        for each in [np.bincount(types[orders == order], minlength=len(TYPES)).tolist()]
    )
    return Written(
        path=str(path),
        bytes=nr_bytes,
        seconds=manifest["seconds"],
        ended_by=manifest["ended_by"],
        command_status=manifest["command_status"],
        command_was_ended=manifest["command_was_ended"],
        taken=int(alloc.sum()),
        given_back=int(kinds[1]),
        fallbacks=int(kinds[2]),
        failed=int(kinds[0] - alloc.sum()),
        lost=manifest["lost"],
        buffers_left=manifest["buffers_left"],
        by_order=by_order,
    )


def _status_text(status: int) -> str:
    """Return an exit status as subprocess gives it, in words where it is a signal.

    >>> _status_text(7), _status_text(-11)
    ('7', 'none: ended by SIGSEGV')
    """
    if status >= 0:
        return str(status)
    names = {number.value: number.name for number in signal.Signals}
    return f"none: ended by {names.get(-status, f'signal {-status}')}"


def layout(answer: Written) -> Parts:
    """Return figures, blocks by order, and the next step."""
    facts = [
        Fact("size", answer.bytes, Kind.BYTES),
        Fact("recorded for", answer.seconds, Kind.SECONDS),
        Fact("ended because", ENDS[answer.ended_by]),
        Fact("blocks taken", answer.taken, Kind.COUNT),
        Fact("blocks given back", answer.given_back, Kind.COUNT),
        Fact("allocations that failed", answer.failed, Kind.COUNT),
        Fact("taken from another type's list", answer.fallbacks, Kind.COUNT),
        Fact("events lost", answer.lost, Kind.COUNT),
    ]
    if answer.command_status is not None:
        facts.insert(3, Fact("exit status of the command", _status_text(answer.command_status)))
    if answer.command_was_ended:
        facts.insert(3, Fact("the command", "was ended with it"))
    rows = tuple((order, *counts) for order, counts in enumerate(answer.by_order) if any(counts))
    columns = (Column("order", Kind.TEXT), *(Column(name, Kind.COUNT) for name in TYPES))
    word = shlex.quote(answer.path)
    parts: list[Facts | Grid | Note] = [
        Facts(f"wrote {answer.path}", tuple(facts)),
        Grid("Blocks taken", columns, rows),
    ]
    if answer.lost:
        parts.append(
            Note("", ("Events are missing: a replay goes astray. Record with a larger --max-size.",))
        )
    if answer.buffers_left:
        where = f"/sys/kernel/tracing/instances/{answer.buffers_left}"
        parts.append(Note("", (f"Others use the trace buffers, which stay: rmdir {where}",)))
    command = f"vmprobe whatif --demand {word} --policy buddy-grouped"
    return Parts((*parts, Note("", (command,), verbatim=True)))
