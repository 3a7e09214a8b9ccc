"""What reading costs: seconds, bytes and reads per source, and the pace that keeps it low.

Every snapshot prints its own cost (DESIGN.md section 4), so every read goes through a `Meter`.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Cost:
    """Seconds inside reads (summed over threads), bytes and number of reads of one source."""

    seconds: float = 0.0
    nr_bytes: int = 0
    nr_reads: int = 0


class Meter:
    """Adds up costs per source; threads may share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.costs: dict[str, Cost] = {}

    def add(self, source: str, seconds: float, nr_bytes: int, nr_reads: int = 1) -> None:
        """Account one or more reads to `source`."""
        with self._lock:
            cost = self.costs.setdefault(source, Cost())
            cost.seconds += seconds
            cost.nr_bytes += nr_bytes
            cost.nr_reads += nr_reads

    @contextmanager
    def reading(self, source: str) -> Iterator[Cost]:
        """Time a block; the block fills in bytes and reads of the `Cost` that it is given."""
        spent = Cost()
        begin = time.perf_counter()
        try:
            yield spent
        finally:
            self.add(source, time.perf_counter() - begin, spent.nr_bytes, spent.nr_reads)


class Pace:
    """Sleeps so that reading takes at most a share of one CPU's time.

    Parameters
    ----------
    percent
        1 to 100; 100 never sleeps.

    >>> Pace(100).rest_after(0.5)
    0.0
    >>> Pace(25).rest_after(0.5)
    1.5
    """

    def __init__(self, percent: int) -> None:
        self.percent = percent

    def rest_after(self, busy_seconds: float) -> float:
        """Return the seconds to rest after `busy_seconds` of work."""
        return busy_seconds * (100 - self.percent) / self.percent

    def rest(self, busy_seconds: float, cancelled: threading.Event) -> None:
        """Rest, but wake when the run is cancelled."""
        seconds = self.rest_after(busy_seconds)
        if seconds > 0:
            cancelled.wait(seconds)


def now() -> float:
    """Return a monotonic clock in seconds."""
    return time.perf_counter()
