"""The open files of each process that are memory or lead to it: sharing that no page table shows."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any, Final

from vmprobe.collect import fd_kinds
from vmprobe.collect.tasks import ENDED, VANISHED
from vmprobe.collect.unread import PTRACE, reason
from vmprobe.errors import FormatError
from vmprobe.formats import fdinfo, mountinfo
from vmprobe.formats.lines import decode
from vmprobe.formats.stat import parse as parse_stat
from vmprobe.schema import TABLES
from vmprobe.sources.fds import internal_mounts, opened
from vmprobe.sources.procfs import ProcessDir
from vmprobe.tables import Table, from_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from vmprobe.collect.tasks import Task
    from vmprobe.collect.unread import Unread
    from vmprobe.formats.mountinfo import Mount
    from vmprobe.sources.fds import Fds
    from vmprobe.sources.procfs import Tree

MAX_FDS: Final = 1 << 16
"""Looked at in one process: a server with a million sockets would cost seconds."""

NAMES: Final = tuple(column.name for column in TABLES["fds"].columns)

_GONE: Final = frozenset({errno.ENOENT, errno.ESRCH, None})
"""Closed since it was listed, or the process ended; None is what a recording lacks."""


class OpenFiles:
    """Reads open files; one for a whole run.

    Parameters
    ----------
    proc
        The /proc to read.
    unread
        Where refusals are noted.
    wanted
        Whether they were asked for.
    """

    def __init__(self, proc: Tree, unread: Unread, *, wanted: bool) -> None:
        self._proc = proc
        self._unread = unread
        self._wanted = wanted
        self._internal = internal_mounts(proc) if wanted else {}
        self._mounts: dict[str, dict[int, Mount]] = {}
        self._rows: dict[int, list[tuple[Any, ...]]] = {}
        self._nr_asked = 0
        self._gone: str | None = None
        """Why a process could not be read of which nothing was said."""

    def works(self, tasks: list[Task], mapped: Container[str]) -> list[Callable[[], None]]:
        """Return the work that reads each process; `mapped` as for `fd_kinds.worth_a_look`.

        One that refused its memory is asked all the same: it is another file, and refuses for itself.
        """
        gone = {ENDED, VANISHED}
        users = [task for task in tasks if not task.kernel_thread and task.error not in gone]
        works = [self._reading(task, mapped) for task in users if self._wanted]
        self._nr_asked += len(works)
        return works

    def _reading(self, task: Task, mapped: Container[str]) -> Callable[[], None]:
        def work() -> None:
            try:
                with ProcessDir(self._proc, task.pid) as folder:
                    now = parse_stat(folder.read("stat", "stat"), file=f"{self._proc.root}/{task.pid}/stat")
                    if task.stat is not None and now.start_time != task.stat.start_time:
                        return  # the pid has a new owner since it was listed
                    fds = opened(folder, zombie_leader=now.zombie_leader)
                    with self._proc.meter.reading("fds") as cost:
                        self._rows[task.pid] = self._read(task.pid, fds, mapped)
                        cost.nr_reads, cost.nr_bytes = fds.nr_reads, fds.nr_bytes
            except OSError as error:
                if error.errno in _GONE:
                    self._gone = reason(error)
                else:
                    self._unread.failed("fds", error, needs=PTRACE, lost="fds")
            except FormatError as error:
                self._unread.add("fds", error.without_text, lost="fds")

        return work

    def _read(self, pid: int, fds: Fds, mapped: Container[str]) -> list[tuple[Any, ...]]:
        numbers = fds.numbers()
        if len(numbers) > MAX_FDS:
            why = f"more than {MAX_FDS} open files: only the first are looked at"
            self._unread.add("fds", why, lost="fds")
        mounts = self._mounts_of(fds)
        rows = []
        for number in numbers[:MAX_FDS]:
            try:
                link = decode(os.fsencode(fds.link(number)))
                row = None
                if fd_kinds.worth_a_look(link, mapped):
                    row = self._row(fds, number, link, mounts, mapped)
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                continue
            if row is not None:
                rows.append((pid, number, link, *row))
        return rows

    def _row(
        self, fds: Fds, number: int, link: str, mounts: dict[int, Mount], mapped: Container[str]
    ) -> tuple[Any, ...] | None:
        """Return what stands behind the link in a row, None for a file that is no memory."""
        fstype = fd_kinds.file_system_of(link)
        if not fd_kinds.has_info(link):
            return None, fd_kinds.inode_of(link), fstype, None, None, None
        about = fdinfo.parse(fds.info(number), file="fdinfo")
        if fstype is not None:
            inode = about.inode if link.startswith("/") else None
            return None, inode, fstype, None, None, about.info or None
        mount = mounts.get(about.mnt_id)
        fstype = self._internal.get(about.mnt_id) if mount is None else mount.fstype
        mode, dev = None, None if mount is None else mount.dev
        sizes: tuple[int | None, int | None] = (None, None)
        if fstype in fd_kinds.MEMORY_FILE_SYSTEMS:
            known = fds.stat(number)
            mode, dev = known.mode, known.dev
            if stat.S_ISREG(mode):
                sizes = known.size_bytes, known.allocated_bytes
        if not fd_kinds.is_kept(link, mode, fstype, mapped):
            return None
        return dev, about.inode, fstype, *sizes, about.info or None

    def _mounts_of(self, fds: Fds) -> dict[int, Mount]:
        namespace = fds.namespace()
        if namespace not in self._mounts:
            self._mounts[namespace] = mountinfo.parse(fds.mountinfo(), file="mountinfo")
        return self._mounts[namespace]

    def table(self) -> Table | None:
        """Return the table, None where it was not asked for or no process could be read, which is noted."""
        if not self._rows and self._gone is not None:
            self._unread.add("fds", self._gone, lost="fds")
        if not self._wanted or (self._nr_asked and not self._rows):
            return None
        return from_rows(TABLES["fds"], NAMES, [row for pid in sorted(self._rows) for row in self._rows[pid]])
