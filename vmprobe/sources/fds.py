"""What a process has open: /proc/PID/fd, fdinfo, its mounts, and stat of files that are memory.

Nothing is ever opened through /proc/PID/fd, and stat goes through a link only where the file system is the
kernel's own memory: on a network or FUSE file system whose server is gone it would wait for ever, and its
owner could make us wait on purpose.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypeVar

from vmprobe.formats import fdinfo, recorded_fds
from vmprobe.formats.recorded_fds import FileStat
from vmprobe.sources.procfs import FLAGS, read_fd
from vmprobe.sources.recording import RecordedTree

if TYPE_CHECKING:
    from vmprobe.sources.procfs import ProcessDir, Tree

HUGE_ORDERS: Final = range(14, 40)
"""log2 of the bytes in a huge page (include/uapi/asm-generic/hugetlb_encode.h)."""

MFD_HUGE_SHIFT: Final = 26

T = TypeVar("T")


class Fds:
    """The open files of one process, or of one thread of it.

    Parameters
    ----------
    folder
        The process.
    prefix
        Folder, with its slash, of the thread to look at; empty for the leader.

    Attributes
    ----------
    nr_reads, nr_bytes
        What was read so far of links and texts: there are thousands, metered by the caller all together.
    """

    def __init__(self, folder: ProcessDir, prefix: str) -> None:
        self._folder = folder
        self._prefix = prefix
        self.nr_reads = 0
        self.nr_bytes = 0

    def numbers(self) -> list[int]:
        """Return the descriptors, ascending.

        Raises
        ------
        OSError
            EACCES or EPERM without the right to trace it; gone.
        """
        fd = os.open(f"{self._prefix}fd", FLAGS | os.O_DIRECTORY, dir_fd=self._folder.fd)
        try:
            return sorted(int(name) for name in os.listdir(fd))
        finally:
            os.close(fd)

    def link(self, fd: int) -> str:
        """Return where the link of a descriptor leads, as the kernel words it."""
        self.nr_reads += 1
        return os.readlink(f"{self._prefix}fd/{fd}", dir_fd=self._folder.fd)

    def info(self, fd: int) -> bytes:
        """Return the text of fdinfo."""
        return self._text(f"fdinfo/{fd}")

    def stat(self, fd: int) -> FileStat:
        """Return the stat of a file, which must be on a file system in memory."""
        found = os.stat(f"{self._prefix}fd/{fd}", dir_fd=self._folder.fd)
        dev = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
        return FileStat(found.st_mode, dev, found.st_size, found.st_blocks * 512)

    def namespace(self) -> str:
        """Return the mount namespace, ``mnt:[number]``."""
        return os.readlink(f"{self._prefix}ns/mnt", dir_fd=self._folder.fd)

    def mountinfo(self) -> bytes:
        """Return the text of mountinfo."""
        return self._text("mountinfo")

    def _text(self, name: str) -> bytes:
        fd = self._folder.open(self._prefix + name)
        try:
            data, nr_reads = read_fd(fd)
        finally:
            os.close(fd)
        self.nr_reads += nr_reads
        self.nr_bytes += len(data)
        return data


class RecordedFds(Fds):
    """The same of a recorded process; a descriptor that was not recorded is one that was closed."""

    def __init__(self, folder: ProcessDir, prefix: str) -> None:
        super().__init__(folder, prefix)
        name = f"{prefix}fds.json"
        file = folder.tree.path(f"{folder.pid}/{name}")
        self._recorded = recorded_fds.parse(folder.read(name, "fds"), file=file)

    def numbers(self) -> list[int]:  # type: ignore[explicit-override]
        """Return the descriptors."""
        return sorted(self._recorded.files)

    def link(self, fd: int) -> str:  # type: ignore[explicit-override]
        """Return the recorded link."""
        return self._recorded.files[fd].link

    def info(self, fd: int) -> bytes:  # type: ignore[explicit-override]
        """Return the recorded text."""
        return _there(self._recorded.files[fd].info)

    def stat(self, fd: int) -> FileStat:  # type: ignore[explicit-override]
        """Return the recorded stat."""
        return _there(self._recorded.files[fd].stat)

    def namespace(self) -> str:  # type: ignore[explicit-override]
        """Return the recorded mount namespace."""
        return self._recorded.namespace

    def mountinfo(self) -> bytes:  # type: ignore[explicit-override]
        """Return the text that was recorded once for the namespace."""
        number = self._recorded.namespace.strip("mnt:[]")
        return self._folder.tree.read(f"mountinfo/{number}", "fds")


def _there(value: T | None) -> T:
    if value is None:
        raise FileNotFoundError
    return value


def opened(folder: ProcessDir, *, zombie_leader: bool) -> Fds:
    """Return the open files of a process; those of a leader that ended are with another thread.

    Raises
    ------
    OSError
        It is gone, or the recorder could not read them.
    InputError
        The recording is damaged.
    """
    prefix = folder.thread_with_memory() if zombie_leader else ""
    return (RecordedFds if isinstance(folder.tree, RecordedTree) else Fds)(folder, prefix)


def internal_mounts(proc: Tree) -> dict[int, str]:
    """Return the mounts of memory file systems that no mountinfo lists: those of memfd and System V segments.

    They are found by an empty file of our own on each: one for ordinary pages and one for each size of huge
    pages. A size that the kernel does not have is refused.
    """
    if isinstance(proc, RecordedTree):
        name = "internal_mounts.json"
        try:
            return recorded_fds.parse_mounts(proc.read(name, "fds"), file=proc.path(name))
        except OSError:
            return {}  # a recording without open files
    found = {}
    for order in (0, *HUGE_ORDERS):
        try:
            fd = os.memfd_create(
                "vmprobe", os.MFD_CLOEXEC | (order and os.MFD_HUGETLB | order << MFD_HUGE_SHIFT)
            )
        except OSError:
            continue
        try:
            with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
                found[fdinfo.parse(file.read()).mnt_id] = "hugetlbfs" if order else "tmpfs"
        except OSError:
            continue
        finally:
            os.close(fd)
    return found
