"""Pages that the kernel holds beside page tables: registered with io_uring, in a pipe, watched."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import look
from lab.workloads.memory import LIBC, PAGE, Area, failed
from lab.workloads.pinned import (
    IO_URING_REGISTER,
    IO_URING_SETUP,
    PARAMS_BYTES,
    REGISTER_BUFFERS,
    Buffer,
    vm_pin_kib,
)
from tests.live.workloads import witness
from tests.live.workloads.anonymous import NR_PAGES, small
from tests.live.workloads.bare import Keep, bare
from tests.live.workloads.made import Expected, Made

if TYPE_CHECKING:
    from tests.live.workloads.made import Holding

USERFAULTFD, CLOSE_ON_EXEC_AND_NONBLOCKING = 323, 0o2004000
UFFDIO_API, UFFDIO_REGISTER, UFFD_MISSING = 0xC018AA3F, 0xC020AA00, 1
NR_PIPE_PAGES: Final = 16
"""What a pipe holds unless somebody resizes it."""


@contextmanager
def pinned(control: bool) -> Holding:
    """Register memory as a fixed buffer of io_uring; the control has a ring without one."""

    def work() -> Keep:
        area, ring = small(NR_PAGES), _ring()
        area.stamp(1)
        if not control:
            _register(ring, area)
        return Keep([area], fds=[ring])

    with bare(work) as (one,):
        look.expect_equal("VmPin", vm_pin_kib(one.pid), 0 if control else NR_PAGES * PAGE // 1024)
        yield Made([one.pid], Expected(frames=NR_PAGES, processes=1))


@contextmanager
def pinned_unmapped() -> Holding:
    """Register memory as a fixed buffer of io_uring, and unmap it."""

    def work() -> Keep:
        area, ring = small(NR_PAGES), _ring()
        area.stamp(1)
        _register(ring, area)
        pfns = witness.frames(os.getpid(), area.start, NR_PAGES)
        area.close()
        return Keep(fds=[ring], facts={"pfns": pfns})

    with bare(work) as (one,):
        _expect_unmapped(one.facts["pfns"])
        yield Made([one.pid], Expected(frames=NR_PAGES))


def _ring() -> int:
    """Make the smallest ring there is."""
    fd: int = LIBC.syscall(IO_URING_SETUP, 1, ctypes.create_string_buffer(PARAMS_BYTES))
    if fd < 0:
        raise UnavailableError(str(failed("io_uring_setup (kernel.io_uring_disabled may forbid it)")))
    return fd


def _register(ring: int, area: Area) -> None:
    buffer = Buffer(area.start, area.nr_bytes)
    if LIBC.syscall(IO_URING_REGISTER, ring, REGISTER_BUFFERS, ctypes.byref(buffer), 1):
        raise UnavailableError(str(failed("io_uring_register")))


def _expect_unmapped(pfns: list[int]) -> None:
    """Check that pages are mapped nowhere and are alive all the same."""
    look.expect_equal("pages that live on", witness.alive_unmapped(pfns), [True] * len(pfns))


@contextmanager
def pipe_buffer() -> Holding:
    """Give memory to a pipe, and unmap it."""

    def work() -> Keep:
        area, (reader, writer) = small(NR_PIPE_PAGES), os.pipe()
        area.stamp(1)
        pfns = witness.frames(os.getpid(), area.start, NR_PIPE_PAGES)
        buffer = Buffer(area.start, area.nr_bytes)
        given = LIBC.vmsplice(writer, ctypes.byref(buffer), ctypes.c_size_t(1), 0)
        look.expect_equal("bytes in the pipe", given, area.nr_bytes)
        area.close()
        return Keep(fds=[reader, writer], facts={"pfns": pfns})

    with bare(work) as (one,):
        _expect_unmapped(one.facts["pfns"])
        yield Made([one.pid], Expected(frames=NR_PIPE_PAGES))


@contextmanager
def userfaultfd(control: bool) -> Holding:
    """Have a handler told of what is missing in some memory; the control has no handler."""

    def work() -> Keep:
        area = small(NR_PAGES)
        area.stamp(1)
        return Keep([area], fds=[] if control else [faulting(area)])

    with bare(work) as (one,):
        flags = look.text(f"/proc/{one.pid}/smaps").split()
        look.expect_equal("VmFlags um", "um" in flags, not control)
        yield Made([one.pid], Expected(frames=NR_PAGES, processes=1))


def faulting(area: Area) -> int:
    """Register an area with a new userfaultfd of this process, for what is missing in it.

    Raises
    ------
    UnavailableError
        There is none here.
    """
    fd: int = LIBC.syscall(USERFAULTFD, CLOSE_ON_EXEC_AND_NONBLOCKING)
    if fd < 0:
        raise UnavailableError(str(failed("userfaultfd")))
    fcntl.ioctl(fd, UFFDIO_API, bytearray(struct.pack("=3Q", 0xAA, 0, 0)))
    watched = struct.pack("=4Q", area.start, area.nr_bytes, UFFD_MISSING, 0)
    fcntl.ioctl(fd, UFFDIO_REGISTER, bytearray(watched))
    return fd
