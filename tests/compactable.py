"""A made-up host that compaction can do something about: eight pageblocks, two zones, each figure by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tests.bridge.test_model import mappings, vmas
from tests.synthetic import MANIFEST, PAGE, frames, rows, snapshot
from vmprobe.schema import TABLES
from vmprobe.tables import Table

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot

FREE: Final = ("BUDDY",)
ANON: Final = ("UPTODATE", "LRU", "MMAP", "ANON", "SWAPBACKED")
FILE: Final = ("UPTODATE", "LRU")
DIRTY: Final = (*FILE, "DIRTY")
SLAB: Final = ("SLAB",)

Runs = list[tuple[tuple[str, ...], int]]
"""Flag names and frames, in physical order."""

RUNS: Final[Runs] = [
    (SLAB, 1), (FREE, 511),  # 0 DMA32: blocked
    (ANON, 100), (FREE, 412),  # 512
    (ANON, 300), (FREE, 212),  # 1024
    (FREE, 512),  # 1536
    (ANON, 50), (FREE, 462),  # 2048 Normal
    (FILE, 200), (FREE, 312),  # 2560
    (DIRTY, 8), (FREE, 504),  # 3072
    (SLAB, 200), (FREE, 312),  # 3584: blocked
]  # fmt: skip
WMARK: Final = {"DMA32": 10, "Normal": 20}
STILL: Final = {"frames_changed": 0, "free_pages_before": 3000, "free_pages_after": 3000}
NR_SHARED: Final = 10
"""Pages of the first run of anonymous memory that two processes map."""

MAPPED: Final = {512: 100, 1024: 300, 2048: 50}
ZONE_NAMES: Final = (
    "node zone start_pfn spanned_pages present_pages managed_pages nr_free wmark_min pcp_pages lowmem_reserve"
)


def zones(*, pcp_pages: int = 0, reserve: int = 0) -> Table:
    """Both zones; `reserve` keeps pages of the lower one from requests that the higher one would do for."""
    return rows(
        "zones",
        ZONE_NAMES,
        (0, "DMA32", 0, 2048, 2048, 2048, 1647, WMARK["DMA32"], pcp_pages, [0, reserve]),
        (0, "Normal", 2048, 2048, 2048, 2048, 1590, WMARK["Normal"], pcp_pages, [0, 0]),
    )


def frames_of(runs: Runs, mapped: dict[int, int] | None = None) -> Table:
    """Frames with map counts: 1 for each page of `mapped` (first frame to pages)."""
    made = frames(runs)
    counts = np.zeros(len(made), np.uint32)
    for first, nr in (MAPPED if mapped is None else mapped).items():
        counts[first : first + nr] = 1
    if mapped is None:
        counts[512 : 512 + NR_SHARED] = 2
    return Table(TABLES["frames"], {**made.columns, "mapcount": counts}, len(made))


def counters(**more: int) -> Table:
    """Counters of vmstat and meminfo; `more` adds others by name or changes these."""
    named = {"nr_foll_pin_acquired": 50, "nr_foll_pin_released": 50, "nr_zspages": 0, "SwapFree": 0} | more
    sources = {"SwapFree": "meminfo"}
    told = [(sources.get(name, "vmstat"), "", name, value) for name, value in named.items()]
    told += [
        ("sysctl", "vm", "compact_unevictable_allowed", 1),
        ("vmstat", "", "pgscan_khugepaged", 0),
        ("thp", "hugepages-64kB/stats", "anon_fault_alloc", 0),
        *(("zoneinfo", f"node 0 zone {zone}", "pcp_high_max", 0) for zone in WMARK),
    ]
    return rows("counters", "source scope name value", *told)


def host(**replaced: Any) -> Snapshot:
    """The host; tables and ``manifest`` can be replaced."""
    manifest = {
        "tables": {},
        "volatility": {**MANIFEST["volatility"], **STILL},
    } | replaced.pop("manifest", {})
    made = {
        "frames": frames_of(RUNS),
        "zones": zones(),
        "counters": counters(),
        "resources": rows("resources", "depth start last name", (0, 0, 4096 * PAGE - 1, "System RAM")),
        "vmas": vmas((1, 0, 5000, "rd"), (2, 0, 5000, "rd")),
        "mappings": mappings(
            (1, 0, 0, 100, "present", 512),
            (1, 0, 200, 300, "present", 1024),
            (2, 1, 0, NR_SHARED, "present", 512),
            (2, 1, 100, 50, "present", 2048),
        ),
    }
    return snapshot(manifest=manifest, without=("free_areas",), **(made | replaced))
