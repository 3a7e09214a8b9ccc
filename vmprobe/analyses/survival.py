"""``vmprobe sharing OLD NEW --tree PID``: how much of its parent's image each worker still shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from vmprobe.analyses.evidence import demand_tables, refuse_hidden_frames
from vmprobe.analyses.order import demand_order
from vmprobe.analyses.process import address_space, ancestors
from vmprobe.bridge.survival import images, private_areas, survive
from vmprobe.errors import SnapshotError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vmprobe.bridge.survival import Survival
    from vmprobe.tables import Snapshot

_AREA: Final = ("start", "end", "perms", "name")


@dataclass(frozen=True)
class WorkerRow:
    """One process below the parent.

    Parameters
    ----------
    pid, comm
        Who.
    since_old
        Whether it was there in the earlier snapshot; one that was not began with what it gained.
    shared_before_bytes, shared_now_bytes
        What it had of the parent's image in the same frames or swap slots, in the two snapshots.
    survival_permille
        What it shares now, of the parent's image; None where the parent had none.
    lost_bytes, dropped_bytes
        What it shared and does not any more, and what of that one of the two does not have at all; the rest
        was copied.
    gained_bytes
        What it shares and did not.
    lost_bytes_per_minute
        Rounded; None where it was not there before.
    """

    pid: int
    comm: str | None
    since_old: bool
    shared_before_bytes: int
    shared_now_bytes: int
    survival_permille: int | None
    lost_bytes: int
    dropped_bytes: int
    gained_bytes: int
    lost_bytes_per_minute: int | None


@dataclass(frozen=True)
class AreaRow:
    """One VMA of the parent's image, and what all workers together lost of it."""

    start: int
    end: int
    perms: str
    name: str
    image_bytes: int
    lost_bytes: int
    dropped_bytes: int
    workers: int


@dataclass(frozen=True)
class SurvivalAnswer:
    """The answer.

    Parameters
    ----------
    pid, comm
        The parent.
    seconds
        Between the two snapshots.
    image_bytes
        Anonymous pages that the parent had in the earlier one, in memory and in swap space.
    workers
        Processes below the parent in the later snapshot, those that lost most first.
    areas
        VMAs of which something was lost, most first.
    """

    pid: int
    comm: str | None
    seconds: float
    image_bytes: int
    workers: tuple[WorkerRow, ...]
    areas: tuple[AreaRow, ...]


def survival_of(old: Snapshot, new: Snapshot, pid: int) -> SurvivalAnswer:
    """Tell how much of the image of process `pid` each process below it still shares.

    Raises
    ------
    SnapshotError
        The two are not of one boot and in order, or page tables or frames are missing.
    PrivilegeError
        Frame numbers are hidden.
    UsageError
        There is no such process, or nothing below it.
    InputError
        Its memory is not in one of the snapshots.
    """
    seconds = demand_order(old, new)
    if not seconds:
        raise SnapshotError(old.path or "snapshot", "no time lies between it and the later one")
    for snapshot in (old, new):
        demand_tables(snapshot, "vmas", "mappings")
        if not snapshot.table("mappings", ("pfn",)).has("pfn"):
            refuse_hidden_frames(snapshot)
    comm, parent_then = address_space(old, pid)
    _, parent_now = address_space(new, pid)
    then, now = _tasks(old), _tasks(new)
    if then[pid].start_time != now[pid].start_time:
        raise UsageError(f"process {pid} of the later snapshot is another one than that of the earlier")
    parents = {task.pid: task.ppid for task in now.values()}
    workers = [
        task
        for task in now.values()
        if task.mm not in (None, parent_now) and pid in ancestors(task.pid, parents)
    ]
    if not workers:
        raise UsageError(f"nothing runs below process {pid} ({comm or '?'}) in the later snapshot")
    before, after = images(old), images(new)
    image_then, image_now = before.of(parent_then), after.of(parent_now)
    areas = private_areas(old, parent_then)
    found = []
    for task in workers:
        known = then.get(task.pid)
        there = known if known is not None and known.start_time == task.start_time else None
        mm_then = None if there is None else there.mm
        pairs = ((image_then, before.of(mm_then)), (image_now, after.of(task.mm)))
        found.append((task, mm_then is not None, survive(*pairs, old, areas, seconds)))
    page = old.page_size
    rows = [_worker(task, lived, page, known=there) for task, there, lived in found]
    survived = [lived for _, _, lived in found]
    return SurvivalAnswer(
        pid=pid,
        comm=comm,
        seconds=seconds,
        image_bytes=int(survived[0].image_pages.sum()) * page,
        workers=tuple(sorted(rows, key=lambda row: (-row.lost_bytes, row.pid))),
        areas=tuple(sorted(_areas(old, areas, survived), key=lambda row: (-row.lost_bytes, row.start))),
    )


class _Task(NamedTuple):
    pid: int
    start_time: int | None
    mm: int | None
    ppid: int | None
    comm: str | None


def _tasks(snapshot: Snapshot) -> dict[int, _Task]:
    rows = snapshot.table("tasks", _Task._fields).rows(*_Task._fields)
    return {row[0]: _Task(*row) for row in rows}


def _worker(task: _Task, lived: Survival, page: int, *, known: bool) -> WorkerRow:
    """Return the row of one worker; `known` is whether it was there in the earlier snapshot."""
    return WorkerRow(
        task.pid,
        task.comm,
        known,
        int(lived.old_pages.sum()) * page,
        int(lived.new_pages.sum()) * page,
        lived.survival_permille,
        int(lived.lost_pages.sum()) * page,
        int(lived.dropped_pages.sum()) * page,
        int(lived.gained_pages.sum()) * page,
        round(lived.lost_per_minute * page) if known else None,
    )


def _areas(old: Snapshot, areas: NDArray[np.int64], survived: list[Survival]) -> list[AreaRow]:
    """Return the VMAs of which some worker lost something."""
    page = old.page_size
    lost = np.sum([lived.lost_pages for lived in survived], axis=0)
    dropped = np.sum([lived.dropped_pages for lived in survived], axis=0)
    losers = np.sum([lived.lost_pages > 0 for lived in survived], axis=0)
    listed = list(old.table("vmas", _AREA).rows(*_AREA))
    rows = []
    for at in np.flatnonzero(lost).tolist():
        sizes = (int(pages[at]) * page for pages in (survived[0].image_pages, lost, dropped))
        image_bytes, lost_bytes, dropped_bytes = sizes
        start, end, perms, name = listed[areas[at]]
        rows.append(AreaRow(start, end, perms, name, image_bytes, lost_bytes, dropped_bytes, int(losers[at])))
    return rows
