"""The processes of a snapshot: the largest ones, those that share an address space, those not read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vmprobe.analyses.evidence import coded
from vmprobe.bridge.resources import frames_inside

if TYPE_CHECKING:
    from vmprobe.analyses.evidence import Evidence

FROM_MAPPINGS = "page tables"
FROM_STAT = "stat"


@dataclass(frozen=True)
class ProcessRow:
    """An address space, under its lowest pid.

    Parameters
    ----------
    pid, comm, uid
        Of that process; None where unread.
    nr_processes
        Processes that share the address space.
    resident_pages, resident_bytes
        Pages with a present entry, each entry once. Without flag words the zero page and hugetlb pages count.
    swapped_pages
        Entries that are in swap; None where the page tables were not read.
    counted_from
        ``page tables``, or ``stat`` where those were not read: then the kernel's own approximate figure.
    """

    pid: int
    comm: str | None
    uid: int | None
    nr_processes: int
    resident_pages: int
    resident_bytes: int
    swapped_pages: int | None
    counted_from: str


@dataclass(frozen=True)
class SharedMmRow:
    """Processes that share one address space, and how that was proved."""

    mm: int
    pids: tuple[int, ...]
    comms: tuple[str | None, ...]
    evidence: str | None


@dataclass(frozen=True)
class TaskErrorRow:
    """Processes whose memory is missing for the same reason."""

    error: str
    nr_processes: int


@dataclass(frozen=True)
class Processes:
    """What the snapshot knows about processes.

    Parameters
    ----------
    nr_processes, nr_kernel_threads
        Rows of tasks, and those of them without an address space of their own.
    nr_mms
        Distinct address spaces that were identified.
    largest
        By resident pages, descending.
    nr_without_figure
        Processes that have neither page tables nor a figure of the kernel: they are in no ranking.
    shared
        Address spaces with more than one process.
    errors
        Why memory is missing, most frequent first.
    """

    nr_processes: int
    nr_kernel_threads: int
    nr_mms: int
    largest: tuple[ProcessRow, ...]
    nr_without_figure: int
    shared: tuple[SharedMmRow, ...]
    errors: tuple[TaskErrorRow, ...]


@dataclass(frozen=True)
class _Task:
    pid: int
    comm: str | None
    uid: int | None
    mm: int | None
    mm_evidence: str | None
    rss_pages: int | None
    kernel_thread: bool | None
    error: str | None


def pages_by_mm(evidence: Evidence, kind: str) -> dict[int, int] | None:
    """Return the entries of `kind` in each address space; None without mappings.

    Entries of the zero page and of hugetlb pages are left out where the flag words tell them: the kernel's
    Rss does not count them either (`fs/proc/task_mmu.c: smaps_pte_entry, smaps_hugetlb_range`).
    """
    if not evidence.snapshot.has("mappings"):
        return None
    table = evidence.snapshot.table("mappings", ("mm", "kind", "nr_pages", "pfn"))
    kinds = coded(table, "kind")
    if kind not in kinds.values:
        return {}
    chosen = kinds.codes == kinds.values.index(kind)
    mms, index = np.unique(table.column("mm")[chosen], return_inverse=True)
    pages = np.zeros(mms.size, np.int64)
    nr_pages = table.column("nr_pages")[chosen].astype(np.int64)
    if evidence.runs is not None and table.has("pfn"):
        uncounted = evidence.runs.having("ZERO_PAGE", "HUGE")
        pfn = table.column("pfn")[chosen].astype(np.int64)
        if len(uncounted):
            nr_pages = nr_pages - frames_inside(uncounted, pfn, pfn + nr_pages)
    np.add.at(pages, index, nr_pages)
    return dict(zip(mms.tolist(), pages.tolist(), strict=True))


def processes(evidence: Evidence, *, largest: int) -> Processes:
    """Return what the snapshot says about processes; each address space counts once.

    Parameters
    ----------
    evidence
        Of a snapshot that has tasks.
    largest
        How many of the largest to list.
    """
    snapshot = evidence.snapshot
    names = ("pid", "comm", "uid", "mm", "mm_evidence", "rss_pages", "kernel_thread", "error")
    tasks = [_Task(*row) for row in snapshot.table("tasks", names).rows(*names)]
    present, swapped = pages_by_mm(evidence, "present"), pages_by_mm(evidence, "swap")
    spaces: dict[tuple[str, int], list[_Task]] = {}
    for task in sorted(tasks, key=lambda t: t.pid):
        if not task.kernel_thread:
            key = ("pid", task.pid) if task.mm is None else ("mm", task.mm)
            spaces.setdefault(key, []).append(task)
    ranked = []
    nr_without_figure = 0
    for members in spaces.values():
        row = _process_row(members, present, swapped, snapshot.page_size)
        if row is None:
            nr_without_figure += len(members)
        else:
            ranked.append(row)
    ranked.sort(key=lambda row: (-row.resident_pages, row.pid))
    errors = Counter(task.error for task in tasks if task.error is not None)
    return Processes(
        nr_processes=len(tasks),
        nr_kernel_threads=sum(1 for task in tasks if task.kernel_thread),
        nr_mms=sum(1 for kind, _ in spaces if kind == "mm"),
        largest=tuple(ranked[:largest]),
        nr_without_figure=nr_without_figure,
        shared=tuple(
            SharedMmRow(
                mm,
                tuple(task.pid for task in members),
                tuple(task.comm for task in members),
                next((task.mm_evidence for task in members if task.mm_evidence), None),
            )
            for (kind, mm), members in spaces.items()
            if kind == "mm" and len(members) > 1
        ),
        errors=tuple(
            TaskErrorRow(error, count)
            for error, count in sorted(errors.items(), key=lambda item: (-item[1], item[0]))
        ),
    )


def _process_row(
    members: list[_Task], present: dict[int, int] | None, swapped: dict[int, int] | None, page_size: int
) -> ProcessRow | None:
    """Make the row of one address space; None without any figure for it."""
    first = members[0]
    pages: int | None
    read = any(task.error is None for task in members)
    if present is not None and first.mm is not None and (read or first.mm in present):
        pages = present.get(first.mm, 0)
        in_swap = None if swapped is None else swapped.get(first.mm, 0)
        counted_from = FROM_MAPPINGS
    else:
        pages = next((task.rss_pages for task in members if task.rss_pages is not None), None)
        in_swap, counted_from = None, FROM_STAT
    if pages is None:
        return None
    return ProcessRow(
        first.pid, first.comm, first.uid, len(members), pages, pages * page_size, in_swap, counted_from
    )
