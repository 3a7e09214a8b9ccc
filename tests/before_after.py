"""Two snapshots of one made-up host, 21 hours apart: eight pageblocks, and every change chosen by hand.

==========  ============================  ===================================================
pageblock   before                        after
==========  ============================  ===================================================
0           8 reserved, else free         the same
1           free                          512 of the process eater, which came
2           free                          300 of page cache, 100 of eater, else free
3           free                          1 of slab, 200 of page cache, else free
4           100 of worker, else free      the same, and a page table beside them
5           50 of page cache, else free   the same, and 2 of flag word 0
6           512 of leaver                 free: leaver went
7           12 of slab, else free         free
==========  ============================  ===================================================
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernelmodel.pageflags import mask
from tests.synthetic import MANIFEST, PAGE, rows, snapshot
from vmprobe.schema import TABLES
from vmprobe.tables import Snapshot, Table

Runs = list[tuple[tuple[str, ...], int]]

FREE = ("BUDDY",)
ANON = ("UPTODATE", "LRU", "MMAP", "ANON", "SWAPBACKED")
FILE = ("REFERENCED", "UPTODATE", "LRU")
BLOCK = 512
NR_FRAMES = 8 * BLOCK

BEFORE: Runs = [
    (("RESERVED",), 8), (FREE, 504),
    (FREE, 512),
    (FREE, 512),
    (FREE, 512),
    (ANON, 100), (FREE, 412),
    (FILE, 50), (FREE, 462),
    (ANON, 512),
    (("SLAB",), 12), (FREE, 500),
]  # fmt: skip
AFTER: Runs = [
    (("RESERVED",), 8), (FREE, 504),
    (ANON, 512),
    (FILE, 300), (ANON, 100), (FREE, 112),
    (("SLAB",), 1), (FILE, 200), (FREE, 311),
    (ANON, 100), (("PGTABLE",), 1), (FREE, 411),
    (FILE, 50), ((), 2), (FREE, 460),
    (FREE, 512),
    (FREE, 512),
]  # fmt: skip

VMA_NAMES = "vma mm start end perms pgoff dev inode name"
RUN_NAMES = "mm vma vpn nr_pages kind pfn exclusive file soft_dirty uffd_wp unstable"
TASK_NAMES = "pid ppid start_time comm mm rss_pages nr_threads kernel_thread frozen state"
SECONDS = 21 * 3600


def frame_table(runs: Runs, unstable: tuple[int, ...] = ()) -> Table:
    """Make the frames of `runs`; anonymous ones are mapped once."""
    flags = np.concatenate([np.full(nr, mask(*names), np.uint64) for names, nr in runs])
    marks = np.zeros(flags.size, np.bool_)
    marks[list(unstable)] = True
    mapped = (flags & np.uint64(mask("ANON"))) != 0
    columns = {
        "pfn": np.arange(flags.size, dtype=np.uint64),
        "flags": flags,
        "mapcount": mapped.astype(np.uint32),
        "unstable": marks,
    }
    return Table(TABLES["frames"], columns, flags.size)


def areas(*mms: int) -> Table:
    """Make one large VMA for each address space."""
    made = ((row, mm, 16 * PAGE, 9000 * PAGE, "rw-p", 0, "0:0", 0, "") for row, mm in enumerate(mms))
    return rows("vmas", VMA_NAMES, *made)


def entries(*runs: tuple[int, int, int, int, int]) -> Table:
    """Make runs of mm, VMA, first page, pages, frame, each mapped by nobody else."""
    return rows("mappings", RUN_NAMES, *((*run[:4], "present", run[4], True, *(False,) * 4) for run in runs))


def tasks(*made: tuple[int, int, str, int, int | None]) -> Table:
    """Make processes of pid, start time, name, mm, resident pages as stat has them: not quite."""
    return rows(
        "tasks",
        TASK_NAMES,
        (2, 0, 1, "kthreadd", None, 0, 1, True, False, "S"),
        *((pid, 1, start, comm, mm, rss, 1, False, False, "S") for pid, start, comm, mm, rss in made),
    )


def zones(nr_free: int) -> Table:
    names = "node zone start_pfn spanned_pages present_pages managed_pages nr_free wmark_min pcp_pages"
    return rows("zones", names, (0, "DMA32", 0, NR_FRAMES, NR_FRAMES, 4000, nr_free, 8, 8))


def lists(*nr_free: int) -> Table:
    made = ((0, "DMA32", order, nr, nr) for order, nr in enumerate(nr_free))
    return rows("free_areas", "node zone order nr_free nr_free_after", *made)


def counters(**vmstat: int) -> Table:
    told = (("sysctl", "vm", "compact_unevictable_allowed", 1), ("vmstat", "", "nr_zspages", 0))
    counted = (("vmstat", "", name, value) for name, value in vmstat.items())
    return rows("counters", "source scope name value", *told, *counted)


def manifest(*, later: bool) -> dict[str, Any]:
    """Return the entries of the manifest that differ from the made-up host's."""
    day = "2026-01-02T03:04:0" if not later else "2026-01-03T00:04:0"
    time = MANIFEST["time"] | {
        "start": f"{day}5.678900+00:00",
        "end": f"{day}6.928900+00:00",
        "uptime_seconds": MANIFEST["time"]["uptime_seconds"] + later * SECONDS,
    }
    return {"time": time, "tables": {}, "unread": []}


RAM = rows("resources", "depth start last name", (0, 0, NR_FRAMES * PAGE - 1, "System RAM"))


def before(**replaced: Any) -> Snapshot:
    """Make the earlier snapshot; tables and manifest entries may be replaced, None leaves a table out."""
    tables = {
        "frames": frame_table(BEFORE),
        "zones": zones(3414),
        "free_areas": lists(4, 1, 1, 1, 2, 2, 1, 2, 6, 3, 0),
        "counters": counters(compact_stall=5, compact_success=2, thp_fault_alloc=100, thp_fault_fallback=7),
        "tasks": tasks((70, 500, "worker", 1, 96), (80, 600, "leaver", 2, 512)),
        "vmas": areas(1, 2),
        "mappings": entries((1, 0, 16, 100, 2048), (2, 1, 16, 512, 3072)),
        "resources": RAM,
    }
    return _made(tables, manifest(later=False), replaced)


def after(**replaced: Any) -> Snapshot:
    """Make the later snapshot; as `before`."""
    tables = {
        "frames": frame_table(AFTER),
        "zones": zones(2822),
        "free_areas": lists(4, 2, 3, 2, 2, 3, 3, 2, 4, 2, 0),
        "counters": counters(
            compact_stall=9, compact_success=2, thp_fault_alloc=160, thp_fault_fallback=1267
        ),
        "tasks": tasks((70, 500, "worker", 1, 104), (80, 90_000, "other", 2, 0), (95, 7000, "eater", 3, 608)),
        "vmas": areas(1, 2, 3),
        "mappings": entries((1, 0, 16, 100, 2048), (3, 2, 16, 512, 512), (3, 2, 600, 100, 1324)),
        "resources": RAM,
    }
    return _made(tables, manifest(later=True), replaced)


def _made(tables: dict[str, Table], told: dict[str, Any], replaced: dict[str, Any]) -> Snapshot:
    told |= replaced.pop("manifest", {})
    path = replaced.pop("path", None)
    without = tuple(name for name, table in replaced.items() if table is None)
    tables |= replaced
    kept = {name: table for name, table in tables.items() if name not in without}
    return snapshot(manifest=told, without=without, path=path, **kept)
