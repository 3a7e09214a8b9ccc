"""All address spaces: who shares one, one walk each, another look, and numbers for the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmprobe.collect.sharing import group_by_kcmp, merge_by_evidence
from vmprobe.collect.tasks import VANISHED, describe
from vmprobe.collect.unread import ADMIN, PTRACE
from vmprobe.errors import FormatError
from vmprobe.formats import pagemap

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from vmprobe.collect.address_space import AddressSpace, Reader
    from vmprobe.collect.tasks import Task
    from vmprobe.collect.unread import Unread


class Walks:
    """The address spaces of some processes.

    Parameters
    ----------
    tasks
        The processes; those without user memory are left alone.
    reader
        Reads one.
    unread
        Where refusals are noted.
    same_pids
        Whether kcmp may be asked about these pids.
    """

    def __init__(self, tasks: list[Task], reader: Reader, unread: Unread, *, same_pids: bool) -> None:
        self._tasks = tasks
        users = [task for task in tasks if task.has_memory]
        self.groups: list[list[Task]] = [[task] for task in users]
        self._told: set[int] = set()
        if same_pids:
            self.groups, self._told = group_by_kcmp(users)
        self.spaces: list[AddressSpace] = []
        self._reader = reader
        self._unread = unread
        self._found: dict[int, AddressSpace] = {}

    def first_pass(self) -> list[Callable[[], None]]:
        """Return the work that reads each address space."""
        return [self._reading(place, group) for place, group in enumerate(self.groups)]

    def _reading(self, place: int, group: list[Task]) -> Callable[[], None]:
        def work() -> None:
            # Sharers may end while we read: any of them gives the same address space.
            for task in group:
                try:
                    self._found[place] = self._reader.read(task)
                except OSError as error:
                    task.error = describe(error)
                    if task.error == VANISHED:
                        self._unread.add("memory of processes", VANISHED, lost="vmas, mappings")
                    else:
                        self._unread.failed("memory of processes", error, needs=PTRACE, lost="vmas, mappings")
                except FormatError as error:
                    task.error = error.without_text
                    self._unread.add("memory of processes", error.without_text, lost="vmas, mappings")
                else:
                    return

        return work

    def last_pass(self, mark: Callable[[NDArray[np.uint64]], None]) -> list[Callable[[], None]]:
        """Return the work that looks again; none where there is nothing to look at.

        Parameters
        ----------
        mark
            Given the frames of entries that changed.
        """
        if self._reader.later is None:
            return []
        return [self._rechecking(space, mark) for space in self._found.values()]

    def _rechecking(
        self, space: AddressSpace, mark: Callable[[NDArray[np.uint64]], None]
    ) -> Callable[[], None]:
        def work() -> None:
            moved = self._reader.recheck(space)
            if moved is not None:
                mark(moved)

        return work

    def names(self, prefixes: tuple[str, ...]) -> set[str]:
        """Return the names of VMAs that begin with one of `prefixes`."""
        named = (row.vma.name for space in self._found.values() for row in space.vmas)
        return {name for name in named if name.startswith(prefixes)}

    def number(self) -> None:
        """Give every address space an id, and each process that of its address space."""
        places = sorted(self._found)
        listed = [self._found[place] for place in places]
        merged = merge_by_evidence(listed, self._told)
        ids: dict[int, int] = {}
        for i, space in enumerate(listed):
            if i in merged:
                ids[i] = ids[merged[i]]
                space.task.mm_evidence = listed[merged[i]].task.mm_evidence = "exclusive-frames"
            else:
                ids[i] = len(self.spaces)
                self.spaces.append(space)
            for task in self.groups[places[i]]:
                task.mm = ids[i]
                task.error = space.error

    def frames_visible(self) -> bool:
        """Whether the kernel shows frame numbers and swap slots to us; note it when it prints zeros."""
        if not any(len(space.extents) for space in self.spaces):
            return True
        if any(bool((space.extents.word & pagemap.PFN_MASK).any()) for space in self.spaces):
            return True
        self._unread.add(
            "frame numbers in pagemap", "the kernel shows zeros", needs=ADMIN, lost="mappings.pfn"
        )
        return False

    def volatility(self) -> dict[str, Any]:
        """Return what the second look found, for the manifest; None where there was none."""
        spaces = self._found.values()
        looked = self._reader.later is not None
        return {
            "entries_compared": sum(space.extents.nr_entries for space in spaces) if looked else None,
            "entries_changed": sum(space.nr_changed for space in spaces) if looked else None,
            "processes_vanished": sum(1 for task in self._tasks if task.error == VANISHED)
            + sum(1 for space in spaces if space.recheck_error is not None),
            "torn_maps": sum(space.torn for space in spaces),
        }
