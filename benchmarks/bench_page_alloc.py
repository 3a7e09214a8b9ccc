"""The buddy allocator on a zone of 24 GiB: operations a second with numba and without; free lists rebuilt.

Run as ``python benchmarks/bench_page_alloc.py``. The stream allocates and frees blocks of order 0 to 9 in the
three ordinary types on two CPUs, and fills the zone to a half. Figures are medians of several rounds on fresh
zones, in seconds of the processor, so that other processes count less; making the zone and the stream is
not counted. The first call compiles, once for each version of the code; numba keeps the result.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel._jit import HAVE_NUMBA
from kernelmodel.geometry import Geometry
from kernelmodel.mmzone import Zone, pcp_high, zone_watermarks
from kernelmodel.mmzone import pcp_batch as batch_of
from kernelmodel.page_alloc import state, stream
from kernelmodel.page_alloc.allocator import BuddyAllocator
from kernelmodel.page_alloc.layout import Layout, Tuning
from kernelmodel.page_alloc.rebuild import free_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

NR_PAGES = 6_553_600
NR_OPS = 1_000_000
NR_PURE_OPS = 20_000
NR_CPUS = 2
ROUNDS = 7
ORDERS = (0.50, 0.15, 0.10, 0.08, 0.05, 0.04, 0.03, 0.02, 0.01, 0.02)
TYPES = (0.2, 0.7, 0.1)
FLAGS = state.ALLOC_WMARK_LOW | state.ALLOC_KSWAPD


def empty_zone(*, pure: bool) -> BuddyAllocator:
    """Return a zone of 24 GiB with everything free and the watermarks that the kernel would set."""
    geometry = Geometry()
    zone = Zone(0, "Normal", NR_PAGES, 0, NR_PAGES, NR_PAGES)
    marks = zone_watermarks([zone], 67584, 10, geometry)[0]
    high_min, high_max = pcp_high(NR_PAGES, marks.low, NR_CPUS, geometry)
    tuning = Tuning(
        wmark_min=marks.min,
        wmark_low=marks.low,
        wmark_high=marks.high,
        nr_cpus=NR_CPUS,
        pcp_batch=batch_of(NR_PAGES, geometry),
        pcp_high_min=high_min,
        pcp_high_max=high_max,
    )
    free = free_blocks(np.array([[0, NR_PAGES]]), 0, NR_PAGES)
    block_type = np.full(NR_PAGES // geometry.pageblock_pages, state.MOVABLE, np.uint8)
    return BuddyAllocator(Layout(0, NR_PAGES, NR_PAGES, free, block_type), tuning, pure=pure)


def mixed_stream(nr_ops: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return allocations and frees of random order, type and victim."""
    ops = np.zeros((nr_ops, 6), np.int64)
    orders = rng.choice(len(ORDERS), nr_ops, p=ORDERS)
    types = rng.choice(len(TYPES), nr_ops, p=TYPES)
    wish, victim = rng.random(nr_ops), rng.random(nr_ops)
    live: list[int] = []
    nr_pages = 0
    for number in range(nr_ops):
        cpu = number >> 8 & 1
        if live and wish[number] < (0.5 if nr_pages > NR_PAGES // 2 else 0.3):
            at = int(victim[number] * len(live))
            live[at], live[-1] = live[-1], live[at]
            freed = live.pop()
            nr_pages -= 1 << int(ops[freed, 1])
            ops[number] = stream.OP_FREE_RESULT, freed, 0, 0, cpu, 0
        else:
            ops[number] = stream.OP_ALLOC, orders[number], types[number], FLAGS, cpu, 0
            live.append(number)
            nr_pages += 1 << int(orders[number])
    return ops


def measure(ops: NDArray[np.int64], rounds: int, *, pure: bool) -> tuple[float, NDArray[np.int64]]:
    """Return operations a second on fresh zones, and the results of the last round."""
    rates, results = [], np.zeros(0, np.int64)
    for _ in range(rounds):
        buddy = empty_zone(pure=pure)
        begin = time.process_time()
        results = buddy.run(ops)
        rates.append(len(ops) / (time.process_time() - begin))
        buddy.validate()
    return statistics.median(rates), results


def rebuilding() -> float:
    """Return seconds to make blocks of 6.5 million frames of which every second one is free."""
    start = np.arange(0, NR_PAGES, 2, dtype=np.int64)
    ranges = np.stack([start, start + 1], axis=1)
    seconds = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        free_blocks(ranges, 0, NR_PAGES)
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds)


def main() -> None:
    """Measure and print."""
    print(f"rebuild, every second frame of 6.5 M  {rebuilding() * 1e3:.0f} ms")
    ops = mixed_stream(NR_OPS, np.random.default_rng(1998))
    if not HAVE_NUMBA:
        print("numba is not installed")
        return
    begin = time.process_time()
    empty_zone(pure=False).alloc(0, state.MOVABLE)
    print(
        f"first call                            {time.process_time() - begin:.1f} s (compiling, or the cache)"
    )
    compiled, results = measure(ops, ROUNDS, pure=False)
    print(f"with numba                            {compiled / 1e6:.1f} M operations/s   (target 5)")
    plain, first = measure(ops[:NR_PURE_OPS], 3, pure=True)
    print(f"plain Python                          {plain / 1e6:.2f} M operations/s")
    print(f"ratio                                 {compiled / plain:.0f}")
    print(f"the same frames                       {np.array_equal(first, results[:NR_PURE_OPS])}")


if __name__ == "__main__":
    main()
