"""What this thread does in the kernel, told by one of the kernel's trace events.

perf sees the event for this thread alone and ends with the descriptor, whatever ends us. Its number stands in
tracefs, which where it is not mounted is read through a mount that no mount namespace has: nothing of the
host changes.

Kernel source: ``fs/fsopen.c``; ``kernel/events/core.c: perf_event_open``;
``include/uapi/linux/perf_event.h``.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
import platform
import struct
from typing import TYPE_CHECKING, Final, Self

from vmprobe.formats import tracepoint
from vmprobe.sources.procfs import FLAGS, read_fd

if TYPE_CHECKING:
    from collections.abc import Iterator

PERF_EVENT_OPEN: Final = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319, "s390x": 331}
"""The number of perf_event_open per machine; a machine that is not here answers as a kernel without it."""

FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432
"""The same on every machine."""

MOUNTED: Final = "/sys/kernel/tracing"
CLOEXEC, CMD_CREATE, MOUNT_READ_ONLY = 1, 6, 1
TYPE_TRACEPOINT, SAMPLE_RAW, PERF_CLOEXEC = 2, 1 << 10, 8
RECORD_LOST, RECORD_SAMPLE = 2, 9
ATTR_BYTES: Final = 112
DATA_PAGES: Final = 16
"""A power of two; 64 KiB are a thousand records of compaction."""

DATA_HEAD: Final = 1024
"""Offset of ``data_head`` in ``struct perf_event_mmap_page``."""


class Tracepoint:
    """The records of one event from now on; use as a context manager.

    Parameters
    ----------
    name
        Such as ``compaction/mm_compaction_end``.

    Raises
    ------
    OSError
        The kernel has no such event, no perf, no tracefs, or refuses them (CAP_SYS_ADMIN).
    FormatError
        It describes the event in a way that cannot be read.
    """

    def __init__(self, name: str) -> None:
        self.event = _describe(name)
        self._fd = _perf_open(self.event.identity)
        try:
            self._ring = mmap.mmap(self._fd, (1 + DATA_PAGES) * mmap.PAGESIZE)
        except OSError:
            os.close(self._fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._ring.close()
        os.close(self._fd)

    def records(self) -> list[dict[str, int | str]] | None:
        """Return the fields of every record, oldest first; None where there were more than fit."""
        (head,) = struct.unpack_from("=Q", self._ring, DATA_HEAD)
        data = self._ring[mmap.PAGESIZE : mmap.PAGESIZE + head]
        found = []
        for kind, body in split(data):
            if kind == RECORD_LOST:
                return None
            if kind == RECORD_SAMPLE:
                found.append(self.event.read(body[4:]))  # behind its own length
        return found if head <= DATA_PAGES * mmap.PAGESIZE else None


def split(data: bytes) -> Iterator[tuple[int, bytes]]:
    r"""Yield type and body of each record of a ring that has not wrapped.

    >>> list(split(b"\x09\0\0\0\0\0\x10\0abcdefgh"))
    [(9, b'abcdefgh')]
    """
    at = 0
    while at + 8 <= len(data):
        kind, _, size = struct.unpack_from("=IHH", data, at)
        if size < 8:
            return
        yield kind, data[at + 8 : at + size]
        at += size


def _describe(name: str) -> tracepoint.Event:
    """Read what tracefs says of an event."""
    file = f"events/{name}/format"
    folder = tracefs()
    try:
        fd = os.open(file, FLAGS, dir_fd=folder)
        try:
            data, _ = read_fd(fd)
        finally:
            os.close(fd)
    finally:
        os.close(folder)
    return tracepoint.parse(data, file=file)


def tracefs(*, writable: bool = False) -> int:
    """Open tracefs where it is mounted, or by a mount that is gone with its descriptor.

    Raises
    ------
    OSError
        There is none, or it is refused.
    """
    if os.path.isdir(f"{MOUNTED}/events") and (not writable or os.access(MOUNTED, os.W_OK)):
        # Before 6.0 another mount would give its root back the owner and mode of the first one.
        return os.open(MOUNTED, FLAGS | os.O_DIRECTORY)
    context = _call(FSOPEN, b"tracefs", CLOEXEC)
    try:
        _call(FSCONFIG, context, CMD_CREATE, None, None, 0)
        return _call(FSMOUNT, context, CLOEXEC, 0 if writable else MOUNT_READ_ONLY)
    finally:
        os.close(context)


def _perf_open(identity: int) -> int:
    """Open an event for this thread on every CPU, each record with its fields."""
    number = PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    attr = ctypes.create_string_buffer(ATTR_BYTES)
    # type, size, config, sample_period, sample_type.
    struct.pack_into("=IIQQQ", attr, 0, TYPE_TRACEPOINT, ATTR_BYTES, identity, 1, SAMPLE_RAW)
    this_thread, every_cpu, no_group = 0, -1, -1
    return _call(number, attr, this_thread, every_cpu, no_group, PERF_CLOEXEC)


@functools.cache
def _libc() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library


def _call(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make a system call.

    Raises
    ------
    OSError
        What the kernel answered.
    """
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = _libc().syscall(ctypes.c_long(number), *wide)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
