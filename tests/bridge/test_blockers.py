"""Who blocks what on a made-up host, owner by owner, added up by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.bridge.test_model import mappings, vmas
from tests.synthetic import frames, rows, snapshot
from vmprobe.bridge import standing
from vmprobe.bridge.blockers import blockers
from vmprobe.bridge.pins import Pins
from vmprobe.errors import SnapshotError
from vmprobe.schema import TABLES
from vmprobe.tables import Coded, Snapshot, Table

FREE = ("BUDDY",)
ANON = ("UPTODATE", "LRU", "MMAP", "ANON", "SWAPBACKED")
LOCKED = (*ANON, "UNEVICTABLE", "MLOCKED")
HUGE = ("HUGE", "MMAP")

RUNS: list[tuple[tuple[str, ...], int]] = [
    (FREE, 500), (("SLAB",), 12),  # 0: slab
    (HUGE, 512),  # 512: hugetlb, of processes 70 and 90
    (HUGE, 512),  # 1024: hugetlb, of process 90
    (FREE, 100), (("PGTABLE",), 2), ((), 10), (ANON, 400),  # 1536
    (ANON, 510), (FREE, 2),  # 2048: pinned at 2100
    (LOCKED, 12), (FREE, 500),  # 2560: mlocked, of process 70
    (ANON, 256), (FREE, 256),  # 3072: nobody
    (("RESERVED",), 8), (("BUDDY",), 504),  # 3584: the kernel
]  # fmt: skip
CGROUPS = {1636: 7, 1637: 9, 1638: 7, 1639: 7}
"""Page tables of two cgroups; two words of 0 of the first."""


def host(**replaced: Table) -> Snapshot:
    """Eight pageblocks of one zone, and what is needed to name who holds them."""
    made = frames(RUNS)
    memcg = np.zeros(4096, np.uint16)
    for pfn, inode in CGROUPS.items():
        memcg[pfn] = (0, 7, 9).index(inode)
    table = Table(TABLES["frames"], {**made.columns, "memcg": Coded(memcg, (0, 7, 9))}, 4096)
    names = "node zone start_pfn spanned_pages present_pages managed_pages nr_free wmark_min pcp_pages"
    tables: dict[str, Table] = {
        "frames": table,
        "zones": rows("zones", names, (0, "DMA32", 0, 4096, 4096, 4000, 1862, 8, 8)),
        "resources": rows("resources", "depth start last name", (0, 0, 4096 * 4096 - 1, "System RAM")),
        "cgroups": rows("cgroups", "inode path", (7, "/service")),
        "counters": rows(
            "counters",
            "source scope name value",
            ("sysctl", "vm", "compact_unevictable_allowed", 0),
            ("vmstat", "", "nr_zspages", 0),
        ),
        "vmas": vmas((1, 0, 5000, ""), (2, 0, 5000, "")),
        "mappings": mappings(
            (1, 0, 0, 512, "present", 512),
            (1, 0, 600, 1, "present", 512),
            (1, 0, 1000, 12, "present", 2560),
            (1, 0, 2000, 100, "present", 2048),
            (2, 1, 0, 1024, "present", 512),
        ),
    }
    return snapshot(manifest={"tables": {}}, without=("free_areas",), **(tables | replaced))


def pin(monkeypatch: pytest.MonkeyPatch, *pfn: int) -> None:
    """Have these frames known to be pinned, and three more pins."""
    found = Pins(np.array(pfn, np.int64), len(pfn) + 3, 3)
    monkeypatch.setattr(standing, "pinned_frames", lambda *_, **__: found)


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, 2100, 3900)


KINDS = {
    # One pageblock is held by page tables, a cgroup and words of 0: it counts under each, alone under none.
    "process": (3, 3, 2, 1036, 500),
    "slab": (1, 1, 0, 12, 500),
    "page tables": (1, 0, 0, 2, 100),
    "cgroup": (1, 0, 0, 2, 100),
    "unknown": (1, 0, 0, 8, 100),
    "pinned": (1, 1, 0, 1, 2),
    "kernel": (1, 1, 0, 8, 504),
}
OWNERS = {
    # (kind, owner, pid): pageblocks, without another owner, full, pages, trapped
    ("process", "worker", 70): (2, 1, 1, 524, 500),
    ("process", "a [red]name[/]\x1b[31m", 90): (2, 1, 2, 1024, 0),
    ("slab", None, None): (1, 1, 0, 12, 500),
    ("page tables", "/service", None): (1, 0, 0, 1, 100),
    ("page tables", "cgroup with inode 9", None): (1, 0, 0, 1, 100),
    ("cgroup", "/service", None): (1, 0, 0, 2, 100),
    ("unknown", "flag word 0", None): (1, 0, 0, 8, 100),
    ("pinned", "worker", 70): (1, 1, 0, 1, 2),
    ("kernel", "reserved at boot", None): (1, 1, 0, 8, 504),
}


def figures(row: Any) -> tuple[int, ...]:
    names = ("pageblocks", "alone_pageblocks", "full_pageblocks", "pages", "trapped_free_pages")
    return tuple(getattr(row, name) for name in names)


@pytest.mark.usefixtures("pinned")
def test_sums_are_those_that_were_added_up_by_hand() -> None:
    found = blockers(host(), 9)
    assert {row.kind: figures(row) for row in found.kinds} == KINDS
    assert {(row.kind, row.owner, row.pid): figures(row) for row in found.owners} == OWNERS
    # Nine owners, seven kinds, and seven of eight pageblocks: each counted once.
    assert (found.pageblocks, found.held_pageblocks) == (8, 7)
    assert found.trapped_free_pages == 500 + 0 + 0 + 100 + 2 + 500 + 504
    # The second pin is on a page that is free by its word: it was read later, and blocks nothing.
    assert (found.pins, found.pins_located, found.pins_unlocated) == (5, 2, 3)
    assert found.kinds[0].kind == "process"


@pytest.mark.usefixtures("pinned")
def test_a_larger_order_holds_more_together() -> None:
    found = blockers(host(), 10)
    assert (found.pageblocks, found.held_pageblocks) == (4, 4)
    kinds = {row.kind: row for row in found.kinds}
    assert (kinds["process"].pageblocks, kinds["process"].full_pageblocks) == (3, 0)
    assert kinds["slab"].alone_pageblocks == 0


def test_other_zones_are_left_out() -> None:
    assert blockers(host(), 9, {(0, "Normal")}).pageblocks == 0
    assert blockers(host(), 9, {(0, "DMA32")}).pageblocks == 8


def test_pageblocks_with_holes_are_nobodys() -> None:
    """Slab and a hole: without the slab it could not be a free block either."""
    ram = rows("resources", "depth start last name", (0, 4096, 4096 * 4096 - 1, "System RAM"))
    found = blockers(host(frames=frames([((), 1), (FREE, 499), *RUNS[1:]]), resources=ram), 9)
    assert (found.pageblocks, found.held_pageblocks) == (7, 5)
    assert "slab" not in {row.kind for row in found.kinds}


def test_a_pin_keeps_the_whole_folio(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folio of two pageblocks of which one frame is pinned, and a page beside it that is."""
    large = [((*ANON, "COMPOUND_HEAD"), 1), ((*ANON, "COMPOUND_TAIL"), 1023), (ANON, 3072)]
    pin(monkeypatch, 1020, 1030)
    found = blockers(host(frames=frames(large)), 9)
    assert {row.kind: figures(row) for row in found.kinds} == {"pinned": (3, 3, 2, 1025, 0)}
    pin(monkeypatch, 1024)
    found = blockers(host(frames=frames(large)), 9)
    assert {row.kind: figures(row) for row in found.kinds} == {"pinned": (1, 1, 0, 1, 0)}


def test_unevictable_pages_block_where_compaction_leaves_them_alone() -> None:
    allowed = rows(
        "counters",
        "source scope name value",
        ("sysctl", "vm", "compact_unevictable_allowed", 1),
        ("vmstat", "", "nr_zspages", 0),
    )
    rows_of = {row.kind: row for row in blockers(host(counters=allowed), 9).kinds}
    assert (rows_of["process"].pageblocks, rows_of["process"].pages) == (2, 1024)


def test_without_page_tables_and_cgroups_there_are_kinds_without_names() -> None:
    made = host()
    tables = {name: made.table(name) for name in made.tables() if name not in {"mappings", "vmas", "cgroups"}}
    tables["frames"] = frames(RUNS)
    found = blockers(snapshot(without=("mappings", "free_areas"), manifest={"tables": {}}, **tables), 9)
    named = {(row.kind, row.owner) for row in found.owners}
    assert ("kernel", "huge pages that no process maps") in named
    assert ("kernel", "unevictable pages that no process maps") in named
    assert ("page tables", None) in named
    assert not {"process", "cgroup"} & {row.kind for row in found.kinds}


def test_frames_are_needed() -> None:
    with pytest.raises(SnapshotError, match="no page frames"):
        blockers(snapshot(without=("frames",)), 9)
