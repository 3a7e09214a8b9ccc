"""Pages pinned for long: buffers registered with io_uring, which compaction cannot move.

Kernel source: ``io_uring/rsrc.c: io_sqe_buffers_register``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import look
from lab.workloads.made import LIMIT_BYTES, bounded, need
from lab.workloads.memory import LIBC, NOHUGEPAGE, PAGE, Area, failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.workloads.made import Made

IO_URING_SETUP, IO_URING_REGISTER, REGISTER_BUFFERS = 425, 427, 0
PARAMS_BYTES: Final = 120
MAX_BUFFERS: Final = 1 << 14
MAX_BUFFER_BYTES: Final = 1 << 30
CAP_IPC_LOCK: Final = 14


class Buffer(ctypes.Structure):
    """``struct iovec``."""

    _fields_ = (("base", ctypes.c_void_p), ("nr_bytes", ctypes.c_size_t))


@contextmanager
def pinned(*, pages: int, spread: int = 1, seed: int = 0, limit: int = LIMIT_BYTES) -> Made:
    """Write pages and pin them.

    Parameters
    ----------
    pages
        Pinned.
    spread
        Each how many pages one is pinned; 1 pins the whole area as one buffer.
    seed
        Of the content.
    limit
        As for every workload.

    Yields
    ------
    dict
        ``bytes``; ``nr_pinned``; ``vm_pin_kib``, VmPin of status as it then reads; ``fd`` and ``inode`` of
        the ring; ``nr_buffers``; one area with the ranges ``written`` and ``pinned``.
    """
    need(pages >= 1, f"pages={pages}: at least 1")
    need(spread >= 1, f"spread={spread}: at least 1")
    nr_buffers = pages if spread > 1 else -(-pages * PAGE // MAX_BUFFER_BYTES)
    need(nr_buffers <= MAX_BUFFERS, f"pages={pages} spread={spread}: at most {MAX_BUFFERS} buffers")
    nr_bytes = bounded(pages * spread * PAGE, limit)
    may_lock(pages * PAGE)
    step = spread if spread > 1 else MAX_BUFFER_BYTES // PAGE
    chosen = [(at, at + 1 if spread > 1 else min(at + step, pages)) for at in range(0, pages * spread, step)]
    with Area(pages * spread) as area, ring() as fd:
        area.advise(NOHUGEPAGE)
        area.stamp(seed)
        before = vm_pin_kib()
        buffers = (Buffer * nr_buffers)(
            *(Buffer(area.start + first * PAGE, (end - first) * PAGE) for first, end in chosen)
        )
        if LIBC.syscall(IO_URING_REGISTER, fd, REGISTER_BUFFERS, buffers, nr_buffers):
            raise reason(failed("io_uring_register"), pages * PAGE)
        pin_kib = vm_pin_kib()
        look.expect_equal("VmPin in KiB", pin_kib - before, pages * PAGE // 1024)
        everything = [(0, area.nr_pages)]
        present = look.pages_with(look.entries(area.start, area.nr_pages), look.PRESENT)
        look.expect("written pages", present, everything)
        yield {
            "bytes": nr_bytes,
            "nr_pinned": pages,
            "vm_pin_kib": pin_kib,
            "fd": fd,
            "inode": os.fstat(fd).st_ino,
            "nr_buffers": nr_buffers,
            "areas": [
                {
                    "name": "pinned",
                    "start": area.start,
                    "nr_pages": area.nr_pages,
                    "written": everything,
                    "pinned": everything if spread == 1 else chosen,
                }
            ],
        }


@contextmanager
def ring() -> Iterator[int]:
    """Make the smallest ring there is."""
    fd = LIBC.syscall(IO_URING_SETUP, 1, ctypes.create_string_buffer(PARAMS_BYTES))
    if fd < 0:
        raise reason(failed("io_uring_setup"), 0)
    try:
        yield fd
    finally:
        os.close(fd)


def vm_pin_kib(pid: int | str = "self") -> int:
    """Return VmPin of /proc/PID/status, in KiB."""
    return int(look.status(pid)["VmPin"].split()[0])


def may_lock(nr_bytes: int) -> None:
    """Refuse what RLIMIT_MEMLOCK forbids; its soft limit is raised, as every process may."""
    if look.capable(CAP_IPC_LOCK):
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if hard != resource.RLIM_INFINITY and hard < nr_bytes:
        raise UnavailableError(
            f"{nr_bytes} bytes to pin, and RLIMIT_MEMLOCK is {soft}, at most {hard}, without CAP_IPC_LOCK"
        )
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))


def reason(error: OSError, nr_bytes: int) -> UnavailableError | OSError:
    """Return why the kernel refuses, as exactly as it can be known."""
    if error.errno == errno.ENOSYS:
        return UnavailableError("this kernel has no io_uring")
    if error.errno in {errno.EPERM, errno.EACCES}:
        try:
            off = look.text("/proc/sys/kernel/io_uring_disabled").strip()
        except UnavailableError:
            off = "not there"
        return UnavailableError(f"{error.strerror}; kernel.io_uring_disabled is {off}")
    if error.errno == errno.ENOMEM and nr_bytes:
        soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        return UnavailableError(
            f"{error.strerror}: {nr_bytes} bytes to pin, RLIMIT_MEMLOCK is {soft} for all of this user's"
        )
    return error
