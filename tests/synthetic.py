"""A small made-up host: 4096 frames, 3584 of them RAM, five processes, one of everything that matters.

Every number below is chosen by hand, so that tests can state what must come out.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from kernelmodel.pageflags import mask
from vmprobe.schema import TABLES
from vmprobe.tables import MemoryTables, Snapshot, Table, from_rows

PAGE = 4096
NR_FRAMES = 4096
NR_RAM = 3584

ANON = ("UPTODATE", "LRU", "MMAP", "ANON", "SWAPBACKED", "OWNER_2")
FILE = ("REFERENCED", "UPTODATE", "LRU")
LARGE = (*FILE, "MMAP", "THP")

RUNS: list[tuple[tuple[str, ...], int]] = [
    (("RESERVED",), 100),
    (("BUDDY",), 960),
    (("BUDDY", "UPTODATE"), 64),
    (("SLAB",), 240),
    (("SLAB", "ANON", "KSM"), 16),
    (("PGTABLE",), 32),
    (ANON, 512),
    (("UPTODATE", "MMAP", "ANON", "SWAPBACKED"), 10),
    (("UPTODATE", "LRU", "MMAP", "ANON", "SWAPBACKED", "KSM"), 4),
    (("UPTODATE", "LRU", "SWAPBACKED", "MMAP"), 64),
    (("UPTODATE", "LRU", "SWAPBACKED", "SWAPCACHE"), 6),
    (FILE, 300),
    ((*LARGE, "COMPOUND_HEAD"), 1),
    ((*LARGE, "COMPOUND_TAIL"), 15),
    (("ZERO_PAGE", "RESERVED"), 1),
    (("MMAP",), 2),
    (("COMPOUND_TAIL",), 50),
    ((), 1207),
    ((), NR_FRAMES - NR_RAM),
]
"""Flag names and frames, in physical order; the last run lies outside System RAM."""

CLASSES = {
    "hole": 512, "free": 1024, "slab": 256, "page table": 32, "zero page": 1, "reserved": 100, "ksm": 4,
    "anonymous": 522, "swap cache": 6, "shmem": 64, "file": 316, "driver": 2, "kernel": 50, "unknown": 1207,
}  # fmt: skip
"""Frames by class, added up by hand from `RUNS`."""

MANIFEST: dict[str, Any] = {
    "format": {"name": "vmprobe-snapshot", "version": [1, 0]},
    "program": {"name": "vmprobe", "version": "0.1.0"},
    "host": {
        "release": "6.99.0-test",
        "machine": "x86_64",
        "page_size": PAGE,
        "boot_id": "00000000-0000-0000-0000-000000000000",
        "nr_cpus": 2,
        "clock_ticks": 100,
        "mem_total_bytes": 14_000_000,
        "config": {"NO_PAGE_MAPCOUNT": False},
    },
    "time": {
        "start": "2026-01-02T03:04:05.678900+00:00",
        "end": "2026-01-02T03:04:06.928900+00:00",
        "seconds": 1.25,
        "uptime_seconds": 93784.5,
    },
    "privileges": {
        "euid": 0,
        "capabilities": ["CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"],
        "initial_userns": True,
    },
    "scan_ioctl": {"supported": True, "stale_walk_end": True},
    "options": {
        "pids": [], "trees": [], "cgroups": [], "frames": True, "freeze": False, "redact": False,
        "smaps": False, "pace_percent": 100,
    },
    "sources": [
        {"name": "maps", "seconds": 0.004, "bytes": 8192, "reads": 4},
        {"name": "kpageflags", "seconds": 0.25, "bytes": 32768, "reads": 1},
        {"name": "kpagecount", "seconds": 0.2, "bytes": 32768, "reads": 1},
        {"name": "buddyinfo", "seconds": 0.0, "bytes": 300, "reads": 2},
        {"name": "pagemap-scan", "seconds": 0.001, "bytes": 0, "reads": 4},
    ],
    "unread": [
        {"what": "kpagecgroup", "reason": "No such file or directory", "needs": None,
         "lost": "frames.memcg", "count": 1},
        {"what": "maps of processes", "reason": "Permission denied",
         "needs": "the same user, or CAP_SYS_PTRACE", "lost": None, "count": 1},
    ],
    "frozen": [],
    "volatility": {
        "frames_compared": 4096, "frames_changed": 7, "entries_compared": 700, "entries_changed": 2,
        "processes_vanished": 1, "processes_appeared": 2,
        "torn_maps": 0, "free_pages_before": 1024, "free_pages_after": 1020,
    },
    "frame_ranges": [[0, NR_FRAMES]],
    "pageblock_order": 9,
    "max_order": 10,
    "tables": {"frames": {"null_columns": {"memcg": "No such file or directory"}}},
}  # fmt: skip


def frames(runs: list[tuple[tuple[str, ...], int]], unstable: tuple[int, ...] = ()) -> Table:
    """Make the frames table of `runs`; `unstable` are rows."""
    flags = np.concatenate([np.full(count, mask(*names), np.uint64) for names, count in runs])
    marks = np.zeros(flags.size, np.bool_)
    marks[list(unstable)] = True
    columns = {"pfn": np.arange(flags.size, dtype=np.uint64), "flags": flags, "unstable": marks}
    return Table(TABLES["frames"], columns, flags.size)


def rows(table: str, names: str, *values: tuple[Any, ...]) -> Table:
    """Make a small table from rows; `names` are separated by spaces."""
    return from_rows(TABLES[table], names.split(), values)


def tables() -> dict[str, Table]:
    """Make the tables of the made-up host."""
    orders = [(order, 3 - order % 3) for order in range(11)]
    return {
        "frames": frames(RUNS, unstable=(100, 101, 1412, 1413, 1414, 2400, 2401)),
        "zones": rows(
            "zones",
            "node zone start_pfn spanned_pages present_pages managed_pages cma_pages nr_free wmark_min"
            " wmark_low wmark_high wmark_promo boost pcp_pages lowmem_reserve",
            (0, "DMA", 0, 1024, 1000, 900, 0, 24, 8, 10, 12, 14, 0, 0, [0, 0, 0]),
            (0, "DMA32", 1024, 2560, 2560, 2400, 0, 1000, 80, 100, 120, 140, None, 150, [0, 0, 0]),
            (0, "Movable", None, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, None, [0, 0, 0]),
        ),
        "free_areas": rows(
            "free_areas",
            "node zone order nr_free nr_free_after",
            *((0, "DMA", order, count, count) for order, count in orders),
            *((0, "DMA32", order, 1000 * count, 1000 * count - order) for order, count in orders),
        ),
        "counters": rows(
            "counters",
            "source scope name value value_after unit text",
            ("ksm", "", "pages_shared", 4, None, None, None),
            ("meminfo", "", "MemTotal", 13671, None, "kB", None),
        ),
        "tasks": rows(
            "tasks",
            "pid ppid comm uid mm mm_evidence nr_threads rss_pages kernel_thread frozen state error",
            (1, 0, "init", 0, None, None, 1, 40, False, False, "S", "Permission denied"),
            (2, 0, "kthreadd", 0, None, None, 1, 0, True, False, "S", None),
            (70, 1, "worker", 1000, 1, "kcmp", 1, 500, False, False, "S", None),
            (71, 70, "worker", 1000, 1, "kcmp", 1, 500, False, False, "S", None),
            (90, 1, "a [red]name[/]\x1b[31m", 1001, 2, None, 3, 90, False, False, "R", None),
            (91, 1, None, None, None, None, None, None, None, False, None, "vanished"),
        ),
        "mappings": rows(
            "mappings",
            "mm vma vpn nr_pages kind pfn swap_type swap_offset exclusive file soft_dirty uffd_wp unstable",
            (1, 0, 16, 400, "present", 1412, None, None, True, False, False, False, False),
            (1, 0, 500, 112, "present", 1812, None, None, True, False, False, False, True),
            (1, 0, 700, 3, "swap", None, 0, 77, False, False, False, False, False),
            (1, 0, 800, 1, "guard", None, 31, None, False, False, False, False, False),
            (2, 1, 16, 80, "present", 2010, None, None, False, True, False, False, False),
            (2, 1, 99, 2, "frame-entry", 2000, 25, None, False, False, False, False, False),
        ),
        "resources": rows(
            "resources",
            "depth start last name",
            (0, 0, 0xFFF, "Reserved"),
            (0, 0x1000, NR_RAM * PAGE - 1, "System RAM"),
            (1, 0x10000, 0x1FFFF, "Kernel code"),
            (0, 0, 0xFFF, "System RAM"),
        ),
    }


def snapshot(
    *,
    without: tuple[str, ...] = (),
    path: str | None = None,
    manifest: dict[str, Any] | None = None,
    **replaced: Table,
) -> Snapshot:
    """Make the made-up host's snapshot; `without` drops tables, `replaced` puts others in their place.

    `manifest` replaces the top-level keys that it has.
    """
    made = {name: table for name, table in tables().items() if name not in without} | replaced
    told = copy.deepcopy(MANIFEST) | (manifest or {})
    if "frames" in replaced and "frame_ranges" not in (manifest or {}):
        told["frame_ranges"] = [[0, len(replaced["frames"])]]
    if "frames" in without:
        told["frame_ranges"] = []
    return Snapshot(told, MemoryTables(made), path)
