"""A guest that stands still while it is photographed: neither the kernel nor the photographer moves."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Final

MALLOC: Final = (
    "MALLOC_ARENA_MAX=1",
    "MALLOC_MMAP_THRESHOLD_=33554432",
    "MALLOC_TOP_PAD_=67108864",
    "MALLOC_TRIM_THRESHOLD_=2000000000",
    "PYTHONMALLOC=malloc",
)
"""Environment of a photographer that keeps its memory: from the second photograph on it hardly takes any."""

SETTLE_SECONDS: Final = 1.0
GIVE_UP_SECONDS: Final = 20.0


def calm() -> None:
    """Keep the kernel from moving memory on its own while the guest is photographed."""
    # Per-CPU lists that hold what is freed: otherwise 6.12 gives it back some seconds later.
    Path("/proc/sys/vm/percpu_pagelist_high_fraction").write_text("8")
    Path("/proc/sys/vm/stat_interval").write_text("600")
    # kcompactd moves pages unasked.
    Path("/proc/sys/vm/compaction_proactiveness").write_text("0")
    # khugepaged would make huge pages of our own memory.
    Path("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs").write_text("600000")
    PR_SET_THP_DISABLE = 41  # noqa: N806 - as the kernel calls it
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def settle() -> None:
    """Wait until the free lists stand still for a while; not for ever."""
    give_up = time.monotonic() + GIVE_UP_SECONDS
    since, last = time.monotonic(), b""
    while time.monotonic() < min(since + SETTLE_SECONDS, give_up):
        now = Path("/proc/buddyinfo").read_bytes()
        if now != last:
            since, last = time.monotonic(), now
        time.sleep(0.1)


def refresh() -> None:
    """Fold the counters that each CPU keeps for itself into the totals."""
    Path("/proc/sys/vm/stat_refresh").write_text("1")
