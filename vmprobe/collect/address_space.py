"""One address space: its VMAs and its populated entries, read so that they belong together."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from vmprobe.collect.extents import Extents, VmaIndex, join, read_extents, recheck
from vmprobe.errors import FormatError
from vmprobe.formats import maps, smaps, stat
from vmprobe.sources.pagemap import VEC_LEN, PagemapScanner, coalesced, united
from vmprobe.sources.procfs import ProcessDir, read_fd

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from vmprobe.collect.tasks import Task
    from vmprobe.sources.meter import Meter
    from vmprobe.sources.procfs import Tree

MAX_TRIES: Final = 5
"""Attempts at a list of VMAs that is not torn, or at an address space that an exec does not replace."""

Identity = tuple[int | None, ...]
"""Addresses that an exec changes."""

USER_END: Final = 1 << 63
"""What lies above (the vsyscall page of x86-64) belongs to no address space and has no pagemap."""


@dataclass
class AddressSpace:
    """What was read of one mm.

    Attributes
    ----------
    task
        The process through which it was read.
    vmas
        Ascending; `smaps` rows when they were asked for, without fields and flags otherwise.
    error
        Why it is incomplete, or None.
    torn
        How often the list of VMAs had to be read again.
    """

    task: Task
    vmas: list[smaps.SmapsRow] = field(default_factory=list)
    extents: Extents = field(default_factory=lambda: join([]))
    error: str | None = None
    torn: int = 0
    recheck_error: str | None = None
    nr_changed: int = 0

    def user_rows(self) -> list[maps.MapsRow]:
        """Return the VMAs that have page tables of this address space."""
        return [row.vma for row in self.vmas if row.vma.end <= USER_END]


class Reader:
    """Reads address spaces; one for a whole run, shared by its threads.

    Parameters
    ----------
    proc
        The /proc to read.
    meter
        Where costs go.
    page_size
        Bytes.
    with_smaps
        Read ``smaps`` in place of ``maps``.
    """

    def __init__(self, proc: Tree, meter: Meter, page_size: int, *, with_smaps: bool) -> None:
        self.proc = proc
        self.later = proc.later()
        self.meter = meter
        self.page_size = page_size
        self.with_smaps = with_smaps
        self.scanner = PagemapScanner()

    @contextlib.contextmanager
    def _opened(
        self, proc: Tree, task: Task, *names: str
    ) -> Iterator[tuple[ProcessDir, Identity, list[int]]]:
        """Open files of a process's memory, through a live thread if its leader ended."""
        with ProcessDir(proc, task.pid) as folder:
            now = _stat(folder)
            if task.stat is not None and now.start_time != task.stat.start_time:
                raise ProcessLookupError  # the pid has a new owner since it was listed
            # Its leader may have ended since it was listed, too.
            prefix = folder.thread_with_memory() if now.zombie_leader else ""
            with contextlib.ExitStack() as stack:
                fds = []
                for name in names:
                    fds.append(folder.open(prefix + name))
                    stack.callback(os.close, fds[-1])
                yield folder, _identity(now), fds

    def read(self, task: Task) -> AddressSpace:
        """Read VMAs and entries; again when the process replaced its address space meanwhile (exec).

        Raises
        ------
        OSError
            The process is gone or refuses.
        """
        space = AddressSpace(task)
        names = ("smaps" if self.with_smaps else "maps", "pagemap")
        for _ in range(MAX_TRIES):
            with self._opened(self.proc, task, *names) as (folder, before, fds):
                space = AddressSpace(task)
                self._read_vmas(fds[0], space)
                self._read_entries(fds[1], space)
                if _identity(_stat(folder)) == before:
                    if not space.vmas:
                        raise ProcessLookupError  # it gave up its memory on its way out
                    return space
        space.error = "replaced its address space (exec) while it was read"
        return space

    def _read_vmas(self, fd: int, space: AddressSpace) -> None:
        """Read the list until it is whole: each read() of a few KiB sees another moment."""
        source = "smaps" if self.with_smaps else "maps"
        for _ in range(MAX_TRIES):
            os.lseek(fd, 0, os.SEEK_SET)
            with self.meter.reading(source) as cost:
                data, cost.nr_reads = read_fd(fd)
                cost.nr_bytes = len(data)
            file = f"{self.proc.root}/{space.task.pid}/{source}"
            if self.with_smaps:
                space.vmas = smaps.parse(data, file=file)
            else:
                space.vmas = [smaps.SmapsRow(row, {}, None) for row in maps.parse(data, file=file)]
            if not maps.torn([row.vma for row in space.vmas]):
                return
            space.torn += 1
        # It changes faster than it can be read: keep the rows that are in order, and say so.
        space.vmas = _in_order(space.vmas)
        space.error = f"its VMAs changed during each of {MAX_TRIES} readings; overlapping ones were dropped"

    def _read_entries(self, fd: int, space: AddressSpace) -> None:
        rows = space.user_rows()
        if rows:
            index = VmaIndex(rows, self.page_size)
            runs = coalesced(self._populated(fd, rows))
            space.extents = read_extents(fd, runs, index, self.meter, "pagemap")

    def _populated(self, fd: int, rows: list[maps.MapsRow]) -> list[tuple[int, int]]:
        """Return runs of page numbers that hold all entries: by the ioctl, or whole VMAs without it."""
        with self.meter.reading("pagemap-scan") as cost:
            runs = self.scanner.populated(fd, rows[0].start, rows[-1].end, self.page_size)
            cost.nr_reads = 1 + len(runs or ()) // VEC_LEN
        if runs is None:
            runs = [(row.start // self.page_size, row.end // self.page_size) for row in rows]
        return runs

    def recheck(self, space: AddressSpace) -> NDArray[np.uint64] | None:
        """Read the entries again; return the frames of those that changed, None when there was nothing to do.

        A process that is gone by now has changed all of them, and the map counts of their frames. What is
        mapped by now outside the VMAs of the first look is seen as far as it lies between the first and the
        last of them.
        """
        rows = space.user_rows()
        if not rows or self.later is None:
            return None
        before = space.extents.stretches()
        try:
            with self._opened(self.later, space.task, "pagemap") as (_, _, (fd,)):
                runs = united(self._populated(fd, rows), before)
                space.nr_changed, frames = recheck(fd, coalesced(runs), space.extents, self.meter)
        except (OSError, FormatError) as error:
            space.recheck_error = str(error)
            space.extents.unstable[:] = True
            space.nr_changed = space.extents.nr_entries
            return space.extents.frames()
        return frames


def _stat(folder: ProcessDir) -> stat.TaskStat:
    return stat.parse(folder.read("stat", "stat"), file=f"{folder.pid}/stat")


def _identity(now: stat.TaskStat) -> Identity:
    """Return what an exec changes; zeros without ptrace access, where nothing else can be read either."""
    return (now.start_code, now.end_code, now.start_stack, now.start_brk)


def _in_order(rows: list[smaps.SmapsRow]) -> list[smaps.SmapsRow]:
    kept: list[smaps.SmapsRow] = []
    for row in sorted(rows, key=lambda r: r.vma.start):
        if not kept or row.vma.start >= kept[-1].vma.end:
            kept.append(row)
    return kept
