"""Whole small files below /proc and /sys, and handles on processes that cannot be confused with later ones.

The roots are values: a container reads its host's ``/proc`` mounted elsewhere with ``--procfs``. A
`ProcessDir` holds a descriptor of ``/proc/PID``, which stays bound to that process: after its death all
below fails with ESRCH even when the pid has a new owner (`fs/proc/base.c`: the inode holds a `struct pid`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from vmprobe.sources.meter import Meter

FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC

CHUNK: Final = 4095
"""seq_file hands out about a page at a time whatever we ask. For a sysctl the kernel allocates what we ask
for and one byte more (`fs/proc/proc_sysctl.c: proc_sys_call_handler`): to ask for 64 KiB took a block of
128 KiB off the free lists, each time, while they were being counted."""


def read_fd(fd: int) -> tuple[bytes, int]:
    """Read `fd` to its end from where it stands; return the bytes and the number of reads."""
    parts = []
    while part := os.read(fd, CHUNK):
        parts.append(part)
    return b"".join(parts), len(parts) + 1


class Tree:
    """A root such as /proc or /sys, read through a meter.

    Parameters
    ----------
    root
        The folder.
    meter
        Where the cost of every read goes.
    """

    def __init__(self, root: str, meter: Meter) -> None:
        self.root = root
        self.meter = meter

    def path(self, name: str) -> str:
        """Return `name` below the root."""
        return f"{self.root}/{name}" if name else self.root

    def read(self, name: str, source: str | None = None) -> bytes:
        """Return the whole file.

        Parameters
        ----------
        name
            Path below the root.
        source
            Name in the cost table; `name` itself when None.

        Raises
        ------
        OSError
            What the kernel answered.
        """
        with self.meter.reading(source or name) as cost:
            fd = self.open(name)
            try:
                data, cost.nr_reads = read_fd(fd)
            finally:
                os.close(fd)
            cost.nr_bytes = len(data)
        return data

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a folder; empty when it is not there."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except OSError:
            return []

    def open(self, name: str) -> int:
        """Open for reading and return the descriptor, which the caller closes."""
        return os.open(self.path(name), FLAGS)

    def open_folder(self, name: str) -> int:
        """Open a folder and return the descriptor, which the caller closes."""
        return os.open(self.path(name), FLAGS | os.O_DIRECTORY)

    def open_in(self, folder_fd: int, folder: str, name: str) -> int:
        """Open `name` in a folder that is open; the caller closes it.

        Parameters
        ----------
        folder_fd
            What `open_folder` gave.
        folder
            What it was given.
        name
            Path below the folder.
        """
        del folder
        return os.open(name, FLAGS, dir_fd=folder_fd)

    def later(self) -> Tree | None:
        """Return where a second look finds what is there by then; None where there is nothing but one look.

        A machine that runs on is its own later self.
        """
        return self

    def pids(self) -> list[int]:
        """Return the thread group ids that are listed now, ascending.

        Raises
        ------
        OSError
            The root cannot be listed.
        """
        return sorted(int(name) for name in os.listdir(self.root) if name.isdecimal())


class ProcessDir:
    """An open ``/proc/PID`` or ``/proc/PID/task/TID``; use as a context manager.

    Raises
    ------
    OSError
        ENOENT or ESRCH when the process is gone, EACCES or EPERM under hidepid.
    """

    def __init__(self, tree: Tree, pid: int) -> None:
        self.pid = pid
        self.tree = tree
        self.fd = tree.open_folder(str(pid))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)

    def open(self, name: str) -> int:
        """Open a file of this process; the caller closes it."""
        return self.tree.open_in(self.fd, str(self.pid), name)

    def read(self, name: str, source: str) -> bytes:
        """Return a whole file of this process."""
        with self.tree.meter.reading(source) as cost:
            fd = self.open(name)
            try:
                data, cost.nr_reads = read_fd(fd)
            finally:
                os.close(fd)
            cost.nr_bytes = len(data)
        return data

    def thread_with_memory(self) -> str:
        """Return the folder, with its slash, of a thread beside the leader; empty where there is none."""
        return next((f"task/{tid}/" for tid in self.tids() if tid != self.pid), "")

    def tids(self) -> list[int]:
        """Return the thread ids of this process."""
        fd = os.open("task", FLAGS | os.O_DIRECTORY, dir_fd=self.fd)
        try:
            return sorted(int(name) for name in os.listdir(fd))
        finally:
            os.close(fd)
