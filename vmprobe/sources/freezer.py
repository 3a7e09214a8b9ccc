"""Stop every thread of chosen processes for a short time, and always let them go.

PTRACE_SEIZE and PTRACE_INTERRUPT (`kernel/ptrace.c`) through python-ptrace's binding; its own `addProcess`
stops one thread of a process only. SEIZE has the property that all rests on: when the tracer dies, by SIGKILL
too, the kernel detaches its tracees and they run on (`exit_ptrace`). A ptrace relation belongs to the thread
that made it, so one thread must freeze and release.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from ptrace.binding.func import ptrace
from ptrace.error import PtraceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psutil

PTRACE_DETACH: Final = 17
PTRACE_SEIZE: Final = 0x4206
PTRACE_INTERRUPT: Final = 0x4207
WALL: Final = 0x40000000
"""__WALL: wait for threads and processes alike."""

POLL_SECONDS: Final = 0.0005
RELEASE_SECONDS: Final = 2.0
"""How long release waits for a thread that never came to its stop (state D); its tracer's end frees it."""


@dataclass
class Frozen:
    """One process that is, or was, stopped."""

    pid: int
    stopped_at: float = 0.0
    stopped_seconds: float = 0.0
    released_early: bool = False
    error: str | None = None
    tids: set[int] = field(default_factory=set)


class Freezer:
    """Holds processes still; use as a context manager so that nothing stays stopped.

    Parameters
    ----------
    limit_seconds
        Nothing is held longer: `overdue` turns true and the owner calls `release`.
    """

    def __init__(self, limit_seconds: float) -> None:
        self.limit_seconds = limit_seconds
        self.processes: list[Frozen] = []
        self._running: set[int] = set()
        self._stopped: dict[int, int] = {}
        self._deadline = 0.0
        self._released = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def freeze(self, handles: Iterable[psutil.Process]) -> None:
        """Stop all threads of the given processes.

        A process that cannot be stopped gets an `error` and runs on at once; the others are stopped.
        """
        self._deadline = time.monotonic() + self.limit_seconds
        for handle in handles:
            frozen = Frozen(handle.pid, stopped_at=time.monotonic())
            self.processes.append(frozen)
            try:
                if not handle.is_running():
                    frozen.error = "vanished"
                    continue
                self._seize_all(frozen)
            except (PtraceError, OSError) as error:
                frozen.error = _reason(error, frozen.pid)
            else:
                if not frozen.tids:
                    frozen.error = "has ended (zombie)"
                elif not self._await(frozen.tids):
                    frozen.error = "the limit was over before all its threads had stopped"
            if frozen.error is not None:
                self._let_go(frozen.tids)

    def _seize_all(self, frozen: Frozen) -> None:
        """Seize until a look at the thread list finds nobody new: threads may start others meanwhile."""
        tried: set[int] = set()
        while tids := {int(t) for t in os.listdir(f"/proc/{frozen.pid}/task")} - tried:
            tried |= tids
            for tid in tids:
                try:
                    ptrace(PTRACE_SEIZE, tid, 0, 0)
                except PtraceError as error:
                    if error.errno == errno.ESRCH or _is_dead(frozen.pid, tid):
                        continue  # ended since the list was made, or a leader that outlived its own exit
                    raise
                self._running.add(tid)
                frozen.tids.add(tid)
                ptrace(PTRACE_INTERRUPT, tid)
            self._await(tids)

    def _await(self, tids: Iterable[int]) -> bool:
        """Collect stops of `tids` until all are stopped or the deadline; return whether all are."""
        waiting = set(tids) & self._running
        while waiting and time.monotonic() < self._deadline:
            waiting = {tid for tid in waiting if not self._poll(tid)}
            if waiting:
                time.sleep(POLL_SECONDS)
        return not waiting

    def _poll(self, tid: int) -> bool:
        """Look once; return whether `tid` is stopped or gone."""
        try:
            pid, status = os.waitpid(tid, WALL | os.WNOHANG)
        except ChildProcessError:
            self._running.discard(tid)
            return True
        if pid == 0:
            return False
        if os.WIFSTOPPED(status):
            # An event in the third byte is our own stop; without one the thread stopped on its way to a
            # signal, which must be handed back when it goes on.
            self._stopped[tid] = 0 if status >> 16 else os.WSTOPSIG(status)
        self._running.discard(tid)
        return True

    def _let_go(self, tids: Iterable[int]) -> None:
        """Detach from `tids`; a thread must come to its stop before it can be detached."""
        held = set(tids)
        give_up = time.monotonic() + RELEASE_SECONDS
        while True:
            waiting = {tid for tid in held & self._running if not self._poll(tid)}
            for tid in held & self._stopped.keys():
                _detach(tid, self._stopped.pop(tid))
            if not waiting or time.monotonic() >= give_up:
                break
            time.sleep(POLL_SECONDS)
        for tid in waiting:
            _detach(tid, 0)  # works if its stop was consumed by an interrupted poll

    def stopped_pids(self) -> set[int]:
        """Return the processes of which every thread was stopped."""
        return {p.pid for p in self.processes if p.error is None}

    @property
    def overdue(self) -> bool:
        """Whether something is held and its time is over."""
        return bool(self._stopped) and time.monotonic() >= self._deadline

    def release(self, *, early: bool = False) -> None:
        """Let everything run on; harmless to call again.

        Parameters
        ----------
        early
            The time limit, not the end of the reading, is the reason.
        """
        if self._released:
            return
        self._released = True
        self._let_go(self._running | self._stopped.keys())
        for frozen in self.processes:
            if frozen.error is None:
                frozen.stopped_seconds = time.monotonic() - frozen.stopped_at
                frozen.released_early = early


def _detach(tid: int, signal: int) -> None:
    try:
        ptrace(PTRACE_DETACH, tid, 0, signal)
    except PtraceError:
        return  # killed while it was stopped, or never stopped: the end of the tracer frees it


def _is_dead(pid: int, tid: int) -> bool:
    try:
        with open(f"/proc/{pid}/task/{tid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in {b"Z", b"X"}
    except OSError:
        return True


def _reason(error: Exception, pid: int) -> str:
    code = getattr(error, "errno", None)
    if code == errno.EPERM and (tracer := _tracer(pid)):
        return f"traced by process {tracer} already"
    return os.strerror(code) if code else str(error)


def _tracer(pid: int) -> int:
    """Return the pid of the process's tracer, 0 for none."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return int(file.read().partition(b"TracerPid:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        return 0
