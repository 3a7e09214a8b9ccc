"""``vmprobe sharing OLD NEW --tree PID``: how much of its parent's image each worker still shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vmprobe.analyses.evidence import demand_tables, refuse_hidden_frames
from vmprobe.analyses.order import demand_order
from vmprobe.analyses.process import address_space
from vmprobe.bridge.survival import images, private_areas, survive
from vmprobe.errors import SnapshotError, UsageError

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot


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
    names = ("pid", "start_time", "mm", "ppid", "comm")
    then = {row[0]: row for row in old.table("tasks", names).rows(*names)}
    now = {row[0]: row for row in new.table("tasks", names).rows(*names)}
    if then[pid][1] != now[pid][1]:
        raise UsageError(f"process {pid} of the later snapshot is another one than that of the earlier")
    workers = [row for row in now.values() if row[2] not in (None, parent_now) and _below(row[0], pid, now)]
    if not workers:
        raise UsageError(f"nothing runs below process {pid} ({comm or '?'}) in the later snapshot")
    page = old.page_size
    before, after = images(old), images(new)
    areas = private_areas(old, parent_then)
    rows = []
    lost, dropped, losers = (np.zeros(len(areas), np.int64) for _ in range(3))
    image_pages = np.zeros(len(areas), np.int64)
    for number, start_time, mm, _, name in workers:
        known = then.get(number)
        there = known is not None and known[1] == start_time and known[2] is not None
        found = survive(
            (before.of(parent_then), before.of(known[2] if known is not None and there else None)),
            (after.of(parent_now), after.of(mm)),
            old,
            areas,
            seconds,
        )
        image_pages = found.image_pages
        lost += found.lost_pages
        dropped += found.dropped_pages
        losers += found.lost_pages > 0
        rows.append(
            WorkerRow(
                number,
                name,
                there,
                int(found.old_pages.sum()) * page,
                int(found.new_pages.sum()) * page,
                found.survival_permille,
                int(found.lost_pages.sum()) * page,
                int(found.dropped_pages.sum()) * page,
                int(found.gained_pages.sum()) * page,
                round(found.lost_per_minute * page) if there else None,
            )
        )
    table = old.table("vmas", ("start", "end", "perms", "name"))
    listed = list(table.rows("start", "end", "perms", "name"))
    area_rows = []
    for at in np.flatnonzero(lost).tolist():
        start, end, perms, name = listed[areas[at]]
        had, gone, none = (int(pages[at]) * page for pages in (image_pages, lost, dropped))
        area_rows.append(AreaRow(start, end, perms, name, had, gone, none, int(losers[at])))
    return SurvivalAnswer(
        pid=pid,
        comm=comm,
        seconds=seconds,
        image_bytes=int(image_pages.sum()) * page,
        workers=tuple(sorted(rows, key=lambda row: (-row.lost_bytes, row.pid))),
        areas=tuple(sorted(area_rows, key=lambda row: (-row.lost_bytes, row.start))),
    )


def _below(pid: int, root: int, tasks: dict[int, tuple[int, int, int, int, str]]) -> bool:
    """Whether `root` is an ancestor of process `pid`."""
    seen = set()
    while pid in tasks and pid not in seen:
        seen.add(pid)
        pid = tasks[pid][3]
        if pid == root:
            return True
    return False
