"""A small snapshot with everything in it: nulls, lists, strings, codes, an empty table, an unread column."""

from __future__ import annotations

import copy
import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vmprobe.schema import TABLES
from vmprobe.tables import Coded, MemoryTables, Snapshot, Table, from_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MANIFEST: dict[str, Any] = {
    "program": {"name": "vmprobe", "version": "0.1.0"},
    "host": {
        "release": "6.12.0", "machine": "x86_64", "page_size": 4096, "boot_id": None, "nr_cpus": 2,
        "clock_ticks": 100, "mem_total_bytes": 1 << 31, "config": {"NO_PAGE_MAPCOUNT": False},
    },
    "time": {
        "start": "2026-11-23T11:38:00.123456+00:00", "end": "2026-11-23T11:38:01+00:00",
        "seconds": 1.02, "uptime_seconds": 532.1,
    },
    "privileges": {"euid": 0, "capabilities": ["CAP_SYS_ADMIN"], "initial_userns": True},
    "options": {
        "pids": [7], "trees": [], "cgroups": [], "frames": True, "freeze": False, "redact": False,
        "smaps": False, "pace_percent": 100,
    },
    "sources": [{"name": "kpageflags", "seconds": 0.31, "bytes": 800, "reads": 1}],
    "unread": [{"what": "kpagecgroup", "reason": "gone", "needs": None, "lost": "frames.memcg", "count": 1}],
    "frozen": [{"pid": 7, "nr_threads": 8, "stopped_us": 123456, "released_early": False}],
    "volatility": {
        "frames_compared": 100, "frames_changed": 1, "entries_compared": 0, "entries_changed": 0,
        "processes_vanished": 0, "processes_appeared": None,
        "torn_maps": 0, "free_pages_before": 5, "free_pages_after": None,
    },
    "frame_ranges": [[0, 60], [100, 140]],
    "pageblock_order": 9,
    "max_order": None,
    "tables": {"frames": {"null_columns": {"mapcount": "Permission denied"}}},
}  # fmt: skip

NR_FRAMES = 100


def _tables() -> dict[str, Table]:
    pfn = np.r_[0:60, 100:140].astype(np.uint32)
    frames = Table(
        TABLES["frames"],
        {
            "pfn": pfn,
            "flags": pfn.astype(np.uint64) << np.uint64(30),
            "memcg": Coded((pfn % 3).astype(np.uint16), (0, 4242, 2**64 - 1)),
            "unstable": pfn == 7,
        },
        NR_FRAMES,
        {"flags": pfn % 10 != 3},
    )
    kinds = Coded(np.array([1, 0, 1], np.uint8), ("swap", "it's ü"))
    mappings = Table(
        TABLES["mappings"],
        {
            "mm": np.array([1, 1, 2], np.uint32),
            "vpn": np.array([2**52 - 1, 0, 5], np.uint64),
            "nr_pages": np.array([1, 2, 3], np.uint32),
            "kind": kinds,
            "exclusive": np.array([True, False, True]),
        },
        3,
    )
    zones = from_rows(
        TABLES["zones"],
        ["node", "zone", "start_pfn", "lowmem_reserve"],
        [(0, "DMA", 1, [0, 1, 2**64 - 1]), (0, "Normal", None, []), (1, "☃", 2**63, [7])],
    )
    tasks = from_rows(
        TABLES["tasks"],
        ["pid", "comm", "frozen", "error"],
        [(1, "systemd", False, "Permission denied"), (2, None, True, None), (7, "a\x00\n'b\"", False, None)],
    )
    cgroups = from_rows(TABLES["cgroups"], ["inode", "path"], [])
    return {"tasks": tasks, "frames": frames, "zones": zones, "mappings": mappings, "cgroups": cgroups}


@pytest.fixture
def sample() -> Snapshot:
    """The small snapshot, in memory."""
    return Snapshot(copy.deepcopy(MANIFEST), MemoryTables(_tables()))


@pytest.fixture(scope="session")
def manifest() -> dict[str, Any]:
    """What the collector would say, without frames."""
    return {**copy.deepcopy(MANIFEST), "frame_ranges": [], "tables": {}}


@pytest.fixture
def edit_manifest() -> Callable[[Path, Callable[[dict[str, Any]], object]], None]:
    """Change the manifest of a written snapshot in place."""

    def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
        path = folder / "manifest.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Snapshot], dict[str, list[tuple[Any, ...]]]]:
    """All rows of all tables as plain Python values."""

    def plain(value: Any) -> Any:
        return [int(v) for v in value] if isinstance(value, list | np.ndarray) else value

    def rows(snapshot: Snapshot) -> dict[str, list[tuple[Any, ...]]]:
        return {
            name: [tuple(plain(v) for v in row) for row in snapshot.table(name).rows()]
            for name in snapshot.tables()
        }

    return rows


@pytest.fixture(scope="session")
def writer_program() -> list[str]:
    """A Python command line that writes snapshots of its own into the folders named by its arguments."""
    return [sys.executable, "-c", _WRITER]


_WRITER = """
import importlib.util, sys
from vmprobe.errors import VmprobeError
from vmprobe.store import write
from vmprobe.tables import MemoryTables, Snapshot
spec = importlib.util.spec_from_file_location("samples", sys.argv[1])
samples = importlib.util.module_from_spec(spec)
spec.loader.exec_module(samples)
snapshot = Snapshot(samples.MANIFEST, MemoryTables(samples._tables()))
print("ready", flush=True)
sys.stdin.readline()
force = sys.argv[3] == "loop"
while True:
    try:
        write(snapshot, sys.argv[2], force=force)
    except VmprobeError as error:
        sys.exit(str(error))
    if not force:
        break
"""
