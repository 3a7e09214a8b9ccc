"""Which processes are one address space: threads in disguise (CLONE_VM), vfork children before exec.

Candidates have the same code, stack and heap start in ``/proc/PID/stat`` (`fs/proc/array.c: do_task_stat`),
as all children of one fork have. kcmp proves it before anything is read. Where kcmp is refused or the pids
mean others (a host's /proc in a container), evidence does afterwards: equal VMAs and an anonymous frame that
both reach although the kernel says that it is mapped exactly once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from vmprobe.formats import pagemap
from vmprobe.sources.kcmp import compare_mm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vmprobe.collect.address_space import AddressSpace
    from vmprobe.collect.tasks import Task

Key = tuple[int | None, ...]

MAX_MARKS: Final = 256
"""Entries of an address space that are compared with others; those of one mm agree in nearly all."""


def _key(task: Task) -> Key | None:
    known = task.stat
    if known is None or not known.start_stack:
        return None
    return (known.start_code, known.end_code, known.start_stack, known.start_brk)


def group_by_kcmp(
    tasks: list[Task], compare: Callable[[int, int], int] = compare_mm
) -> tuple[list[list[Task]], set[int]]:
    """Return the tasks grouped by address space as far as kcmp tells, and the pids of which it told.

    Unknown means apart.

    Parameters
    ----------
    tasks
        Processes with user memory.
    compare
        Orders the address spaces of two pids; for tests.
    """
    apart: list[list[Task]] = []
    told: set[int] = set()
    candidates: dict[Key, list[list[Task]]] = {}
    for task in tasks:
        key = _key(task)
        if key is None or not _insert(candidates.setdefault(key, []), task, compare):
            apart.append([task])
        else:
            told.add(task.pid)
    return apart + [group for ordered in candidates.values() for group in ordered], told


def _insert(ordered: list[list[Task]], task: Task, compare: Callable[[int, int], int]) -> bool:
    """Put `task` into the group of its address space, by binary search; False if that cannot be told."""
    low, high = 0, len(ordered)
    while low < high:
        middle = (low + high) // 2
        try:
            order = compare(task.pid, ordered[middle][0].pid)
        except OSError:
            return False  # one of them ended, or kcmp is refused or missing
        if order == 0:
            ordered[middle].append(task)
            task.mm_evidence = ordered[middle][0].mm_evidence = "kcmp"
            return True
        low, high = (middle + 1, high) if order > 0 else (low, middle)
    ordered.insert(low, [task])
    return True


def merge_by_evidence(spaces: list[AddressSpace], told: set[int]) -> dict[int, int]:
    """Return, for spaces that are the same as an earlier one, index to earlier index.

    Equal VMAs alone prove nothing: a fork has them too, until one side writes. But a frame that is mapped
    exactly once and appears at the same place in both readings has one page table behind it, provided that
    neither entry changed between its two readings (a fork and a copy on write could hand a frame over).

    Parameters
    ----------
    spaces
        Address spaces that were read apart.
    told
        Pids that kcmp has compared with all others of their kind; two of these are never the same.
    """
    merged: dict[int, int] = {}
    first_with: dict[tuple[object, ...], int] = {}
    if all(space.task.pid in told for space in spaces):
        return merged
    for i, space in enumerate(spaces):
        for mark in _marks(space):
            j = first_with.setdefault(mark, i)
            if j != i and not {space.task.pid, spaces[j].task.pid} <= told:
                merged[i] = j
                break
    return merged


def _marks(space: AddressSpace) -> Iterator[tuple[object, ...]]:
    """Yield what no other address space has: anonymous entries whose frame is mapped exactly once."""
    key = _key(space.task)
    if key is None:
        return
    vmas = hash(tuple(row.vma for row in space.vmas))
    words = space.extents.word
    wanted = pagemap.PRESENT | pagemap.EXCLUSIVE
    chosen = (words & (wanted | pagemap.FILE)) == wanted
    chosen &= (words & pagemap.PFN_MASK) != 0
    chosen &= ~space.extents.unstable
    places = np.flatnonzero(chosen)[:MAX_MARKS]
    for vpn, word in zip(space.extents.vpn[places].tolist(), words[places].tolist(), strict=True):
        yield (key, vmas, vpn, word)
