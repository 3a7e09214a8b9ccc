"""A guest that stands still while it is photographed: neither the kernel nor the photographer moves."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import socket
from pathlib import Path
from typing import Final

from vmprobe.collect.settle import settle as stand_still

MALLOC: Final = (
    "MALLOC_ARENA_MAX=1",
    "MALLOC_MMAP_THRESHOLD_=33554432",
    "MALLOC_TOP_PAD_=67108864",
    "MALLOC_TRIM_THRESHOLD_=2000000000",
    "PYTHONMALLOC=malloc",
)
"""Environment of a photographer that keeps its memory: from the second photograph on it hardly takes any."""

SMALLEST_LISTS: Final = "1000000"
"""``percpu_pagelist_high_fraction`` that leaves a CPU four batches."""
NR_SOCKETS: Final = 32
SOCKET_PIECE: Final = 60 << 10
"""Bytes written at once: as many as the kernel takes blocks of 32 KiB for."""

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


def settle(still_seconds: float = SETTLE_SECONDS) -> None:
    """Wait until the free lists stand still for a while; not for ever."""
    stand_still(still_seconds, GIVE_UP_SECONDS)


def refresh() -> None:
    """Fold the counters that each CPU keeps for itself into the totals."""
    Path("/proc/sys/vm/stat_refresh").write_text("1")


def drain() -> int:
    """Empty per-CPU lists and keep them as short as they can be; return the pages that are left on them.

    A short list gives back all it holds when its own CPU frees many pages of a higher order in a row
    (``mm/page_alloc.c: free_high``), and the buffers of a socket are such pages.
    """
    Path("/proc/sys/vm/percpu_pagelist_high_fraction").write_text(SMALLEST_LISTS)
    with contextlib.ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(NR_SOCKETS)]
        for end in itertools.chain.from_iterable(pairs):
            stack.enter_context(end).setblocking(False)
        cpus = os.sched_getaffinity(0)
        for cpu in cpus:
            os.sched_setaffinity(0, {cpu})
            _fill_and_empty(pairs)
        os.sched_setaffinity(0, cpus)
    return pages_on_lists()


def _fill_and_empty(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    """Write into sockets all that they take, then read it all."""
    for sender, _ in pairs:
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.send(bytes(SOCKET_PIECE))
    for _, receiver in pairs:
        with contextlib.suppress(BlockingIOError):
            while receiver.recv(SOCKET_PIECE):
                pass


def pages_on_lists() -> int:
    """Return the pages on the lists of all CPUs."""
    lines = Path("/proc/zoneinfo").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split()[:1] == ["count:"])
