"""Forks that do one thing and then sleep until they are let go."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from lab.workloads.look import asleep
from lab.workloads.made import DisagreesError
from lab.workloads.memory import SET_PDEATHSIG, fold_rss, prctl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

END_SECONDS: Final = 5.0


@contextmanager
def family(works: list[Callable[[], None]]) -> Iterator[list[int]]:
    """Fork a child for each work; they do it one after the other and then sleep until the end.

    Raises
    ------
    DisagreesError
        A child ended.
    """
    hold_reader, hold_writer = os.pipe2(os.O_CLOEXEC)
    pids: list[int] = []
    try:
        for work in works:
            done_reader, done_writer = os.pipe2(os.O_CLOEXEC)
            parent, pid = os.getpid(), os.fork()
            if pid == 0:
                _live(work, parent, done_writer, hold_reader, hold_writer)
            pids.append(pid)
            os.close(done_writer)
            word = os.read(done_reader, 1)
            os.close(done_reader)
            if not word:
                raise DisagreesError(f"child {pid} ended before it had written its pages")
            asleep(pid)
        yield pids
    finally:
        os.close(hold_writer)
        os.close(hold_reader)
        for pid in pids:
            _reap(pid)


def _live(work: Callable[[], None], parent: int, done: int, hold: int, hold_writer: int) -> NoReturn:
    """Be a child: nothing of the parent's may be cleaned up here, so it never returns."""
    status = 1
    with contextlib.suppress(BaseException):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        prctl(SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            os.close(hold_writer)
            work()
            os.write(done, b"1")
            os.close(done)
            fold_rss()
            os.read(hold, 1)
            status = 0
    os._exit(status)


def _reap(pid: int) -> None:
    """Wait for a child that was let go, also when somebody stopped it; end it if it does not go."""
    os.kill(pid, signal.SIGCONT)
    until = time.monotonic() + END_SECONDS
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        time.sleep(0.005)
