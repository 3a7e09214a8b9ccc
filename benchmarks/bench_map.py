"""The map of a host of 24 GiB and of one of 1 TiB that is made up of runs of frames: strips, kinds, pictures.

The made-up host is one zone: a part of its pageblocks is free, a part holds runs of anonymous memory, page
cache and free frames, a part slab; as many page-table entries as there are anonymous pages, of a hundred
processes. ``--snapshot PATH`` measures a real one, after load.

    python benchmarks/bench_map.py [--frames N] [--seed S] [--snapshot PATH]
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from kernelmodel.pageflags import mask
from vmprobe.analyses.map import map_of
from vmprobe.bridge.standing import standing
from vmprobe.bridge.strip import page_kinds, strips
from vmprobe.render.picture_png import png_picture
from vmprobe.render.picture_svg import svg_picture
from vmprobe.schema import TABLES
from vmprobe.store import load
from vmprobe.tables import Coded, MemoryTables, Ranges, Snapshot, Table, from_rows

HOSTS = {"24 GiB": 6_291_456, "1 TiB": 268_435_456}
MEAN_RUN = 24
NR_PROCESSES = 100
WORDS = np.array(
    [
        mask("BUDDY"),
        mask("UPTODATE", "LRU", "MMAP", "ANON", "SWAPBACKED"),
        mask("UPTODATE", "LRU"),
        mask("SLAB"),
    ],
    np.uint64,
)
FREE, ANON, FILE, SLAB = range(4)


def made_up(nr_frames: int, seed: int) -> Snapshot:
    """Return a host of runs."""
    rng = np.random.default_rng(seed)
    length = rng.geometric(1 / MEAN_RUN, 2 * nr_frames // MEAN_RUN)
    start = np.cumsum(length) - length
    start = np.union1d(start[start < nr_frames], np.arange(0, nr_frames, 512))
    length = np.diff(np.append(start, nr_frames))
    content = rng.choice(3, nr_frames // 512, p=(0.33, 0.6, 0.07))[start // 512]
    use = np.where(content == 1, rng.choice((FREE, ANON, FILE), len(start)), np.where(content, SLAB, FREE))
    anon = np.flatnonzero(use == ANON)
    owner = np.sort(rng.integers(0, NR_PROCESSES, len(anon)))
    vpn = np.cumsum(length[anon]) + (1 << 20)
    frames: dict[str, Any] = {
        "pfn": Ranges(((0, nr_frames),)),
        "flags": np.repeat(WORDS[use], length),
        "unstable": np.zeros(nr_frames, np.bool_),
    }
    mappings: dict[str, Any] = {
        "mm": owner.astype(np.uint32),
        "vma": owner.astype(np.uint32),
        "vpn": vpn.astype(np.uint64),
        "nr_pages": length[anon].astype(np.uint64),
        "kind": Coded(np.zeros(len(anon), np.uint8), ("present",)),
        "pfn": start[anon].astype(np.uint64),
    }
    everybody = range(NR_PROCESSES)
    end = 1 << 46
    tables = {
        "frames": Table(TABLES["frames"], frames, nr_frames),
        "zones": from_rows(
            TABLES["zones"],
            ("node", "zone", "start_pfn", "spanned_pages", "present_pages", "managed_pages"),
            [(0, "Normal", 0, nr_frames, nr_frames, nr_frames)],
        ),
        "tasks": from_rows(
            TABLES["tasks"], ("pid", "comm", "mm"), [(mm + 1, f"worker{mm}", mm) for mm in everybody]
        ),
        "vmas": from_rows(TABLES["vmas"], ("mm", "start", "end"), [(mm, 4096, end) for mm in everybody]),
        "mappings": Table(TABLES["mappings"], mappings, len(anon)),
    }
    manifest = {
        "host": {"page_size": 4096, "release": "made up"},
        "time": {"start": "2026-01-01T00:00:00+00:00"},
        "frame_ranges": [[0, nr_frames]],
        "pageblock_order": 9,
        "max_order": 10,
    }
    return Snapshot(manifest, MemoryTables(tables))


def timed(snapshot: Snapshot, name: str) -> None:
    """Measure one host."""
    marks = [time.perf_counter()]

    def mark() -> float:
        marks.append(time.perf_counter())
        return marks[-1] - marks[-2]

    found = standing(snapshot)
    stood = mark()
    strips(snapshot, 9)
    stripped = mark()
    page_kinds(snapshot, found=found)
    told = [
        f"frames {stood:.2f} s",
        f"strips {stripped:.2f} s of which frames again",
        f"kinds {mark():.2f} s",
    ]
    del found
    answer = map_of(snapshot)
    mark()
    png = png_picture(answer)
    told.append(f"PNG {mark():.2f} s, {len(png) >> 10:,} KiB")
    svg = svg_picture(answer)
    told.append(f"SVG {mark():.2f} s, {len(svg) >> 10:,} KiB")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    nr = sum(len(zone) for zone in answer.zones)
    sys.stdout.write(f"{name}, {nr:,} pageblocks: {'; '.join(told)}; peak {peak_mib:,} MiB\n")
    sys.stdout.flush()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, action="append", help="default 24 GiB and 1 TiB")
    parser.add_argument("--seed", type=int, default=1998)
    parser.add_argument("--snapshot", type=Path)
    options = parser.parse_args()
    if options.snapshot is not None:
        timed(load(options.snapshot), "snapshot")
        return
    for name, nr_frames in HOSTS.items() if not options.frames else ((f"{n:,}", n) for n in options.frames):
        timed(made_up(nr_frames, options.seed), name)


if __name__ == "__main__":
    main()
