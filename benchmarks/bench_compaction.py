"""Forecasts on a host of 24 GiB and on one of 1 TiB that is made up: planner and Linux's scanners.

Budgets (DESIGN.md section 10): 24 GiB within 1 s after load; 1 TiB (268 million frames) through the planner
within 1 s and through the scanners within 30 s, under 6 GiB. The made-up host is one zone: a part of its
pageblocks is free, a part holds random holes, a part kernel pages. ``--snapshot PATH`` measures a real one.

    python benchmarks/bench_compaction.py [--frames N] [--seed S] [--snapshot PATH]
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

from kernelmodel.compaction.curve import curve
from kernelmodel.compaction.planner import plan
from kernelmodel.compaction.scanners import linux
from kernelmodel.compaction.zone_layout import Frame, ZoneLayout

HOSTS = {"24 GiB": 6_291_456, "1 TiB": 268_435_456}
PIECE = 1 << 22


def made_up(nr_frames: int, seed: int) -> ZoneLayout:
    """Return a zone: pageblocks that are free, that have holes at random, and those of the kernel."""
    rng = np.random.default_rng(seed)
    state = np.empty(nr_frames, np.uint8)
    for start in range(0, nr_frames, PIECE):
        part = state[start : start + PIECE].reshape(-1, 512)
        content = rng.choice(3, len(part), p=(0.33, 0.6, 0.07))
        holes = rng.random((len(part), 512), np.float32) < rng.random((len(part), 1), np.float32)
        part[:] = np.where(holes, np.uint8(Frame.FREE), np.uint8(Frame.ANON))
        part[content == 0] = Frame.FREE
        part[content == 2] = Frame.FIXED
    targets = (state.reshape(-1, 512)[:, 0] != Frame.FIXED).copy()
    return ZoneLayout(0, "Normal", 0, nr_frames, 0, state, targets)


def timed(layout: ZoneLayout, name: str) -> None:
    """Measure one zone."""
    begin = time.perf_counter()
    line = curve(layout, 9)
    drawn = time.perf_counter()
    plans = []
    for wanted in (min(1024, line.nr_attainable), line.nr_attainable // 2):
        begun = time.perf_counter()
        copies = plan(layout, 9, wanted).moves.total_pages
        plans.append(f"plan of {wanted:,} blocks {time.perf_counter() - begun:.2f} s, {copies:,} copies")
    planned = time.perf_counter()
    forecast = linux(layout, 9)
    done = time.perf_counter()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    sys.stdout.write(
        f"{name}, {len(layout.state):,} frames: curve {drawn - begin:.2f} s; {'; '.join(plans)};"
        f" linux {done - planned:.2f} s,"
        f" {forecast.moves.total_pages:,} moves, {forecast.gained_blocks:,} blocks gained,"
        f" {forecast.status.value}; peak {peak_mib:,} MiB\n"
    )
    sys.stdout.flush()


def snapshot(path: Path) -> None:
    """Measure the forecast of a real host, after load."""
    from vmprobe.bridge.compaction import kernel_rules, zone_layouts
    from vmprobe.bridge.model import frames
    from vmprobe.store import load

    opened = load(path)
    memmap = frames(opened)
    begin = time.perf_counter()
    zones = zone_layouts(opened, memmap=memmap)
    laid_out = time.perf_counter()
    rules = kernel_rules(opened).rules
    moves = sum(linux(zone, 9, rules).moves.total_pages for zone in zones)
    done = time.perf_counter()
    sys.stdout.write(
        f"{path.name}, {len(memmap):,} frames: layouts {laid_out - begin:.2f} s,"
        f" scanners {done - laid_out:.2f} s, {moves:,} moves\n"
    )


def main() -> None:
    """Measure; machine code is made on a small zone first, which is not measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, action="append", help="default 24 GiB and 1 TiB")
    parser.add_argument("--seed", type=int, default=1998)
    parser.add_argument("--snapshot", type=Path)
    options = parser.parse_args()
    warm = made_up(1 << 16, options.seed)
    plan(warm, 9, 1)
    linux(warm, 9)
    if options.snapshot is not None:
        snapshot(options.snapshot)
        return
    for name, nr_frames in HOSTS.items() if not options.frames else ((f"{n:,}", n) for n in options.frames):
        timed(made_up(nr_frames, options.seed), name)


if __name__ == "__main__":
    main()
