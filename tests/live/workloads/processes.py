"""Processes that share an address space, that cannot be seen, and that left their address space behind."""

from __future__ import annotations

import ctypes
import os
import select
import signal
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import look
from lab.workloads.folders import own_folder
from lab.workloads.made import DisagreesError
from lab.workloads.memory import LIBC, PAGE, SET_PDEATHSIG, Area, failed, prctl
from tests.live.workloads import witness
from tests.live.workloads.anonymous import NR_PAGES, small
from tests.live.workloads.bare import SLEEP, Keep, Stub, bare, spawn
from tests.live.workloads.made import Expected, Made
from tests.live.workloads.pins import faulting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from tests.live.workloads.made import Holding

CLONE_VM, CLONE_VFORK, CLONE_NEWNS, CLONE_NEWPID = 0x100, 0x4000, 0x20000, 0x20000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
PIDFD_GETFD, PROCESS_VM_READV = 438, 310
WAIT_SECONDS: Final = 20.0


class _Cloning(Stub):
    """A stub that puts a second process into the address space, when all else of it is ready."""

    def clone(self, offset: int, flags: int, argument: int) -> int:
        """Start a process in this address space at an instruction of the stub, and return its pid."""
        top = ctypes.c_void_p(small(1).start + PAGE)
        at = ctypes.c_void_p(self.start + offset)
        pid: int = LIBC.clone(at, top, CLONE_VM | signal.SIGCHLD | flags, ctypes.c_void_p(argument))
        if pid < 0:
            raise failed("clone")
        return pid

    def strip(self, ranges: Sequence[tuple[int, int]]) -> NoReturn:
        """Be two before all but these ranges is unmapped."""
        look.asleep(self.clone(SLEEP, 0, 0))  # until then it needs its stack
        super().strip(ranges)


class _Vforking(_Cloning):
    """A stub whose child strips the address space, while the parent waits in vfork."""

    def strip(self, ranges: Sequence[tuple[int, int]]) -> NoReturn:
        """Have it done by a child that never runs a program, so that this call does not return."""
        self.clone(0, CLONE_VFORK, self.keep_only(ranges))
        raise AssertionError


@contextmanager
def shared_mm(control: bool) -> Holding:
    """Clone a process into this address space; the control forks, into one of its own."""

    def work() -> Keep:
        area = small(NR_PAGES)
        area.stamp(1)
        if control:
            spawn(lambda: Keep([area]))
            return Keep([area])
        return Keep([area], stub=_Cloning())

    with bare(work) as (one,):
        yield _in_one_space(one.pid, nr_processes=2)


@contextmanager
def vfork(control: bool) -> Holding:
    """Be suspended in vfork while the child sleeps before it runs a program; the control does not vfork."""

    def work() -> Keep:
        area = small(NR_PAGES)
        area.stamp(1)
        return Keep([area], stub=Stub() if control else _Vforking())

    with bare(work) as (one,):
        yield _in_one_space(one.pid, nr_processes=1 if control else 2)


def _in_one_space(pid: int, nr_processes: int) -> Made:
    """Check that a process and its children have the same pages."""
    pids = [pid, *map(int, look.text(f"/proc/{pid}/task/{pid}/children").split())]
    look.expect_equal("processes", len(pids), nr_processes)
    for each in pids:
        look.expect_equal("present pages", witness.present_pages(each), NR_PAGES + 1)
    return Made(pids, Expected(frames=NR_PAGES + 1, processes=2))


@contextmanager
def hidden_mappers(control: bool) -> Holding:
    """Look from inside a PID namespace at pages that one outside maps too; the control has none."""
    with ExitStack() as stack:
        folder = stack.enter_context(own_folder("/tmp", f"proc-{int(control)}"))

        def work() -> Keep:
            area = small(NR_PAGES)
            area.stamp(1)

            def inner() -> Keep:
                if not control:
                    _mount_proc(folder)
                return Keep([area])

            if not control and LIBC.unshare(CLONE_NEWPID):
                raise failed("unshare")
            return Keep([area], facts={"child": spawn(inner).pid, "start": area.start})

        (one,) = stack.enter_context(bare(work))
        child = one.facts["child"]
        pfns = witness.frames(child, one.facts["start"], NR_PAGES)
        witness.expect_counts("pages of both", pfns, NR_PAGES, 2)
        expected = Expected(frames=NR_PAGES, processes=1)
        if control:
            yield Made([child, one.pid], expected)
            return
        yield Made([child, one.pid], expected, procfs=f"/proc/{child}/root{folder}", ask=1)


def _mount_proc(folder: str) -> None:
    """Mount the proc of this PID namespace in a mount namespace of our own."""
    if LIBC.unshare(CLONE_NEWNS):
        raise failed("unshare")
    if LIBC.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None):
        raise failed("mount")
    if LIBC.mount(b"proc", folder.encode(), b"proc", ctypes.c_ulong(0), None):
        raise failed("mount proc")


@contextmanager
def exiting_mm() -> Holding:
    """End a process while another reads its memory: it is a zombie, and its page tables still stand."""
    try:
        with open("/proc/1/maps", "rb") as file:
            file.read(1)
    except OSError as error:
        raise UnavailableError("a process that nobody may read (PID 1) would map the same") from error

    def work() -> Keep:
        area, trap = small(NR_PAGES), Area(1)
        area.stamp(1)
        fd = faulting(trap)
        return Keep([area, trap], fds=[fd], facts={"start": area.start, "trap": trap.start, "fd": fd})

    with ExitStack() as stack:
        (one,) = stack.enter_context(bare(work))
        pfns = witness.frames(one.pid, one.facts["start"], NR_PAGES)
        pidfd = os.pidfd_open(one.pid)
        fd = LIBC.syscall(PIDFD_GETFD, pidfd, one.facts["fd"], 0)
        os.close(pidfd)
        if fd < 0:
            raise failed("pidfd_getfd")
        stack.callback(os.close, fd)
        reader = _read_from(one.pid, one.facts["trap"])
        stack.callback(os.waitpid, reader, 0)
        stack.callback(os.kill, reader, signal.SIGKILL)
        if not select.select([fd], [], [], WAIT_SECONDS)[0]:
            raise DisagreesError("the reader did not stop at the page that is missing")
        os.kill(one.pid, signal.SIGKILL)
        os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)
        witness.expect_counts("pages without a task", pfns, NR_PAGES, 1)
        yield Made([reader], Expected(frames=NR_PAGES))


def _read_from(pid: int, address: int) -> int:
    """Fork a child that reads a page of another process's memory, and return its pid."""
    reader = os.fork()
    if reader:
        return reader
    prctl(SET_PDEATHSIG, signal.SIGKILL)
    here = ctypes.create_string_buffer(8)
    vectors = [(ctypes.c_uint64 * 2)(at, 8) for at in (ctypes.addressof(here), address)]
    one = ctypes.c_ulong(1)
    LIBC.syscall(PROCESS_VM_READV, pid, vectors[0], one, vectors[1], one, ctypes.c_ulong(0))
    os._exit(1)
