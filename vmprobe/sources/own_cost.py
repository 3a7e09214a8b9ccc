"""What this process took of the host so far."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from vmprobe.formats import stat, status


class OwnCost(NamedTuple):
    """Since the process was started, by whatever started it; None where there is no /proc to tell.

    Parameters
    ----------
    seconds
        Wall clock, to a clock tick: 10 ms.
    cpu_seconds
        CPU time of all threads, in the kernel too.
    max_rss_bytes
        Most memory resident: VmHWM, as getrusage(2) may tell of who called exec.
    """

    seconds: float | None
    cpu_seconds: float
    max_rss_bytes: int | None


def own_cost() -> OwnCost:
    """Return it."""
    seconds = max_rss_bytes = None
    try:
        started = stat.parse(_read("stat")).start_time / os.sysconf("SC_CLK_TCK")
        # Of the time namespace that this process is in, as the file (fs/proc/array.c: do_task_stat).
        seconds = max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
        max_rss_bytes = int(status.parse(_read("status")).fields["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):
        pass
    return OwnCost(seconds, time.process_time(), max_rss_bytes)


def _read(name: str) -> bytes:
    with open(f"/proc/self/{name}", "rb") as file:
        return file.read()
