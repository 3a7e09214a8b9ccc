"""Two readers: work of two kinds done side by side where the kernel allows.

Reads of frame words are long system calls that release the interpreter; walks of processes are short ones
with Python between them. One thread prefers each kind and helps the other when it has none left, so that the
kernel works on both at once and Python is rarely contended by two walkers.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from vmprobe.sources.meter import Pace, now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Work = Callable[[], None]

TICK_SECONDS = 0.02
"""How often the waiting thread looks at the clock: bounds how late a frozen process is released."""


class Lanes:
    """Runs two queues of work on two threads, or on one below full pace.

    Parameters
    ----------
    pace
        Rests after each piece of work.
    on_tick
        Called by the waiting thread every `TICK_SECONDS`, and when a lane ends; may raise.
    """

    def __init__(self, pace: Pace, on_tick: Callable[[], None]) -> None:
        self._pace = pace
        self._on_tick = on_tick
        self._cancelled = threading.Event()
        self._nr_threads = 2 if pace.percent == 100 else 1
        self._started: list[int] = []

    @property
    def nr_started(self) -> int:
        """Threads that were started so far: the kernel counts each as a fork."""
        return len(self._started)

    def run(
        self, long_reads: Iterable[Work], walks: Iterable[Work], step: Callable[[int, int], None]
    ) -> None:
        """Do all the work; return when it is done.

        Parameters
        ----------
        long_reads, walks
            The two kinds.
        step
            Called with pieces done and pieces in all.

        Raises
        ------
        BaseException
            The first that any piece of work or the waiting thread raised, after both threads have stopped.
        """
        queues = (deque(long_reads), deque(walks))
        total = len(queues[0]) + len(queues[1])
        with ThreadPoolExecutor(
            self._nr_threads, "vmprobe-read", lambda: self._started.append(threading.get_ident())
        ) as executor:
            orders = (queues, queues[::-1])[: self._nr_threads]
            running: set[Future[None]] = {executor.submit(self._drain, order) for order in orders}
            try:
                while running:
                    done, running = wait(running, TICK_SECONDS, FIRST_COMPLETED)
                    for future in done:
                        future.result()
                    self._on_tick()
                    step(total - len(queues[0]) - len(queues[1]), total)
            except BaseException:
                self._cancelled.set()
                raise

    def walk(self, walks: Sequence[Work], step: Callable[[int, int], None]) -> None:
        """Do work of many short system calls on the calling thread.

        Two threads of that kind wait for the interpreter, not for the kernel: open files took four times as
        long on two as on one.
        """
        for done, work in enumerate(walks, 1):
            begin = now()
            work()
            self._pace.rest(now() - begin, self._cancelled)
            self._on_tick()
            step(done, len(walks))

    def _drain(self, queues: tuple[deque[Work], ...]) -> None:
        try:
            for queue in queues:
                while not self._cancelled.is_set():
                    try:
                        work = queue.popleft()
                    except IndexError:
                        break
                    begin = now()
                    work()
                    self._pace.rest(now() - begin, self._cancelled)
        except BaseException:
            self._cancelled.set()
            raise
