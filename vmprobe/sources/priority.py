"""Give way to everybody else: what a report that nobody waits for does first."""

from __future__ import annotations

import contextlib
import os
from typing import Final

import psutil

NICE: Final = 19


def yield_to_others() -> None:
    """Run with the lowest share of CPU and disk from here on, also in threads that are started later.

    Nice 19, the idle class for the disk, and SCHED_BATCH: who wakes up never interrupts who is running
    (``kernel/sched/fair.c: check_preempt_wakeup_fair``). Not SCHED_IDLE, though it gives way still more:
    while we read a process's page tables we hold its ``mmap_lock``, and on a busy host an idle task may be
    kept from running on for long; the process would wait for us in its next mmap. With nice 19 we have
    15 parts of the CPU where others have 1,024, with SCHED_IDLE three (``kernel/sched/core.c``).

    Who has set less already keeps it. What the kernel refuses stays as it is.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    with contextlib.suppress(OSError):
        if os.sched_getscheduler(0) != os.SCHED_IDLE:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with contextlib.suppress(OSError, psutil.Error):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
