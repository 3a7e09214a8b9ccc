"""Which processes are one address space: threads in disguise (CLONE_VM), vfork children before exec.

Candidates have the same code, stack and heap start in ``/proc/PID/stat`` (`fs/proc/array.c: do_task_stat`),
as all children of one fork have. kcmp proves it before anything is read. Where kcmp is refused or the pids
mean others (a host's /proc in a container), evidence does afterwards: equal VMAs and an anonymous frame that
both reach although the kernel says that it is mapped exactly once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vmprobe.formats import pagemap
from vmprobe.sources.kcmp import compare_mm

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmprobe.collect.address_space import AddressSpace
    from vmprobe.collect.tasks import Task

Key = tuple[int | None, ...]


def _key(task: Task) -> Key | None:
    known = task.stat
    if known is None or not known.start_stack:
        return None
    return (known.start_code, known.end_code, known.start_stack, known.start_brk)


def group_by_kcmp(tasks: list[Task], compare: Callable[[int, int], int] = compare_mm) -> list[list[Task]]:
    """Return the tasks grouped by address space as far as kcmp tells; unknown means apart.

    Parameters
    ----------
    tasks
        Processes with user memory.
    compare
        Orders the address spaces of two pids; for tests.
    """
    apart: list[list[Task]] = []
    candidates: dict[Key, list[list[Task]]] = {}
    for task in tasks:
        key = _key(task)
        if key is None or not _insert(candidates.setdefault(key, []), task, compare):
            apart.append([task])
    return apart + [group for ordered in candidates.values() for group in ordered]


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


def same_by_evidence(a: AddressSpace, b: AddressSpace) -> bool:
    """Whether two address spaces that were read apart are one.

    Equal VMAs alone prove nothing: a fork has them too, until one side writes. But a frame that is mapped
    exactly once and appears at the same place in both readings has one page table behind it, provided that
    neither entry changed between its two readings (a fork and a copy on write could hand a frame over).
    """
    if _key(a.task) is None or _key(a.task) != _key(b.task):
        return False
    if [row.vma for row in a.vmas] != [row.vma for row in b.vmas]:
        return False
    common = np.intersect1d(_exclusive(a), _exclusive(b))
    return len(common) > 0


def _exclusive(space: AddressSpace) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """Return (page number, word) of anonymous entries that are mapped exactly once and show their frame."""
    words = space.extents.word
    wanted = pagemap.PRESENT | pagemap.EXCLUSIVE
    chosen = (words & (wanted | pagemap.FILE)) == wanted
    chosen &= (words & pagemap.PFN_MASK) != 0
    chosen &= ~space.extents.unstable
    both = np.stack((space.extents.vpn[chosen], words[chosen]), axis=1)
    return np.ascontiguousarray(both).view([("vpn", np.uint64), ("word", np.uint64)]).reshape(-1)


def merge_by_evidence(spaces: list[AddressSpace]) -> dict[int, int]:
    """Return, for spaces that are the same as an earlier one, index to earlier index."""
    merged: dict[int, int] = {}
    seen: dict[Key, list[int]] = {}
    for i, space in enumerate(spaces):
        key = _key(space.task)
        if key is None:
            continue
        for j in seen.setdefault(key, []):
            if same_by_evidence(spaces[j], space):
                merged[i] = j
                break
        else:
            seen[key].append(i)
    return merged
