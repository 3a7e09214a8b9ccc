"""Buddy allocator and reverse map of a large host, built after load, against the load itself.

Run as ``python benchmarks/bench_model.py [FRAMES [MAPPED]]``: 6.5 million frames and 1 million mapped pages
by default. The host is made up, in two layouts: blocks of 32 frames with runs of 8 entries, and the worst
one, where every second frame is free and no two entries continue one another. Figures are medians of ROUNDS;
a check of the whole model (``vmprobe check``) is timed beside them.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kernelmodel.consistency import check
from kernelmodel.host import HostModel, Unseen, build
from kernelmodel.pageflags import mask
from vmprobe.bridge.model import frames, page_tables, zones
from vmprobe.schema import TABLES
from vmprobe.store import load, write
from vmprobe.tables import Coded, MemoryTables, Ranges, Snapshot, Table, from_rows

ROUNDS = 5
PAGE = 4096
NR_ORDERS = 11
ANON = mask("UPTODATE", "LRU", "MMAP", "ANON", "SWAPBACKED")
VMA_PAGES = 4096


@dataclass(frozen=True)
class Layout:
    """How a host is laid out."""

    name: str
    block_order: int
    run_pages: int


LAYOUTS = (Layout("blocks", 5, 8), Layout("every second frame free", 0, 1))


def made_up(layout: Layout, nr_frames: int, nr_mapped: int) -> Snapshot:
    """Make a snapshot of a host: half of its frames free, `nr_mapped` entries that lead to the others."""
    rng = np.random.default_rng(1)
    size = 1 << layout.block_order
    used = (
        np.resize(np.array([False, True]), -(-nr_frames // size))
        if size == 1
        else rng.random(-(-nr_frames // size)) < 0.5
    )
    used = np.repeat(used, size)[:nr_frames]
    flags = np.where(used, np.uint64(ANON), np.uint64(mask("BUDDY")))
    nr_runs = nr_mapped // layout.run_pages
    starts = np.flatnonzero(used)[:: layout.run_pages]
    pfn = rng.choice(starts, nr_runs, replace=nr_runs > len(starts))
    counts = np.zeros(nr_frames + layout.run_pages, np.uint32)
    for page in range(layout.run_pages):
        np.add.at(counts, pfn + page, 1)
    per_vma = VMA_PAGES // layout.run_pages // 2
    vma = np.arange(nr_runs) // per_vma
    nr_vmas = int(vma[-1]) + 1
    mm = vma // 40
    start = np.arange(nr_vmas, dtype=np.uint64) * np.uint64(2 * VMA_PAGES) + np.uint64(16)
    # Every other run is left out, so that no two continue one another.
    vpn = start[vma] + (np.arange(nr_runs) % per_vma * 2 * layout.run_pages).astype(np.uint64)
    no = np.zeros(nr_runs, np.bool_)
    mappings = {
        "mm": mm.astype(np.uint32),
        "vma": vma.astype(np.uint32),
        "vpn": vpn,
        "nr_pages": np.full(nr_runs, layout.run_pages, np.uint32),
        "kind": Coded(np.zeros(nr_runs, np.uint8), ("present",)),
        "pfn": pfn.astype(np.uint64),
        **{name: no.copy() for name in ("exclusive", "file", "soft_dirty", "uffd_wp", "unstable")},
    }
    vmas = [
        (i, int(m), int(s) * PAGE, (int(s) + VMA_PAGES) * PAGE, "rw-p", 0, "0:0", 0, "")
        for i, (m, s) in enumerate(zip(np.arange(nr_vmas) // 40, start, strict=True))
    ]
    tables = {
        "frames": Table(
            TABLES["frames"],
            {
                "pfn": Ranges(((0, nr_frames),)),
                "flags": flags,
                "mapcount": counts[:nr_frames],
                "unstable": np.zeros(nr_frames, np.bool_),
            },
            nr_frames,
        ),
        "zones": from_rows(
            TABLES["zones"],
            ("node", "zone", "start_pfn", "spanned_pages", "present_pages", "managed_pages", "nr_free",
             "wmark_min", "wmark_low", "wmark_high"),
            [(0, "Normal", 0, nr_frames, nr_frames, nr_frames, 0, 0, 0, 0)],
        ),
        "tasks": from_rows(TABLES["tasks"], ("pid", "mm", "frozen"), []),
        "vmas": from_rows(
            TABLES["vmas"], ("vma", "mm", "start", "end", "perms", "pgoff", "dev", "inode", "name"), vmas
        ),
        "mappings": Table(TABLES["mappings"], mappings, nr_runs),
    }  # fmt: skip
    return Snapshot(manifest(nr_frames), MemoryTables(tables))


def manifest(nr_frames: int) -> dict[str, object]:
    """Return what the store demands of a manifest."""
    moment = "2026-01-01T00:00:00+00:00"
    drift = ("frames_compared", "frames_changed", "entries_compared", "entries_changed", "processes_appeared")
    return {
        "format": {"name": "vmprobe-snapshot", "version": [1, 0]},
        "program": {"name": "vmprobe", "version": "0"},
        "host": {
            "release": "made up", "machine": "x86_64", "page_size": PAGE, "boot_id": None, "nr_cpus": 2,
            "clock_ticks": 100, "mem_total_bytes": nr_frames * PAGE, "config": None,
        },
        "time": {"start": moment, "end": moment, "seconds": 0.0, "uptime_seconds": None},
        "privileges": {"euid": 0, "capabilities": [], "initial_userns": True},
        "options": {
            "pids": [], "trees": [], "cgroups": [], "frames": True, "freeze": False, "redact": False,
            "smaps": False, "pace_percent": 100,
        },
        "sources": [], "unread": [], "frozen": [],
        "volatility": {
            **dict.fromkeys(drift), "processes_vanished": 0, "torn_maps": 0, "free_pages_before": None,
            "free_pages_after": None,
        },
        "frame_ranges": [[0, nr_frames]], "pageblock_order": 9, "max_order": NR_ORDERS - 1,
        "tables": {},
    }  # fmt: skip


def built(snapshot: Snapshot) -> tuple[float, HostModel]:
    """Build the model from loaded tables; return seconds."""
    memmap, spans, tables = frames(snapshot), zones(snapshot), page_tables(snapshot)
    begin = time.perf_counter()
    model = build(memmap, spans, tables, unseen=Unseen(0, 0), zspages=0, averaged=False, nr_orders=NR_ORDERS)
    return time.perf_counter() - begin, model


def measure(layout: Layout, nr_frames: int, nr_mapped: int, folder: Path) -> None:
    """Write, load and build one host, and print."""
    path = folder / f"{layout.block_order}.vmsnap"
    write(made_up(layout, nr_frames, nr_mapped), str(path))
    loads, builds, checks = [], [], []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        snapshot = load(path)
        for name in ("frames", "mappings", "vmas"):
            snapshot.table(name)
        loads.append(time.perf_counter() - begin)
        seconds, model = built(snapshot)
        builds.append(seconds)
        begin = time.perf_counter()
        found = check(model)
        checks.append(time.perf_counter() - begin)
        assert not found.violations, found.violations[:3]
    assert model.entries is not None
    nr_blocks = sum(len(free.order) for free in model.free)
    blocks_bytes = sum(free.start_pfn.nbytes + free.order.nbytes for free in model.free)
    load_s, build_s, check_s = (statistics.median(times) for times in (loads, builds, checks))
    print(f"{layout.name}: {nr_frames:,} frames, {nr_blocks:,} free blocks, {len(model.entries):,} entries")
    ratio = build_s / load_s
    print(f"  load {load_s:.3f} s   build {build_s:.3f} s   ratio {ratio:.2f}   check {check_s:.3f} s")
    print(f"  memory: reverse entries {model.entries.nr_bytes / 2**20:.1f} MiB", end="")
    print(f" ({model.entries.nr_bytes / len(model.entries):.1f} bytes each), free blocks", end="")
    print(f" {blocks_bytes / 2**20:.1f} MiB, flag words {model.frames.words.nbytes / 2**20:.1f} MiB")


def main() -> None:
    """Measure both layouts."""
    nr_frames = int(sys.argv[1]) if len(sys.argv) > 1 else 6_553_600
    nr_mapped = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        for layout in LAYOUTS:
            measure(layout, nr_frames, nr_mapped, Path(folder))


if __name__ == "__main__":
    main()
