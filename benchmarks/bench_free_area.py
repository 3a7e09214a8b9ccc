"""Policies of free areas on a fragmented node of 2 GiB: seconds for 10 million requests, and what help costs.

Run as ``python benchmarks/bench_free_area.py [REQUESTS]``. Every policy gets the same ground and the same
demand, so that the ratios to ``buddy-lifo`` count, not the seconds. Each runs once for a thousandth of the
requests first: that compiles, once for each version of the code; numba keeps the result. Seconds are those of
the processor, so that other processes count less. Making the demand is not counted; checking it is.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from kernelmodel._jit import HAVE_NUMBA
from kernelmodel.compaction.zone_layout import Frame, ZoneLayout
from kernelmodel.free_area.ground import Ground, ZoneGround
from kernelmodel.free_area.registry import make
from kernelmodel.free_area.result import Came
from kernelmodel.free_area.run import simulate
from kernelmodel.page_alloc.layout import Tuning
from kernelmodel.page_alloc.state import MOVABLE, RECLAIMABLE, UNMOVABLE
from kernelmodel.workload.demand import Demand
from kernelmodel.workload.mix import demand as demand_of
from kernelmodel.workload.scale import Scale

POLICIES = (
    "buddy-lifo",
    "buddy-fifo",
    "reserve:t=4:n=8",
    "gravity",
    "gravity:tree=avl",
    "best-fit",
    "first-fit",
    "buddy-grouped",
    "buddy-grouped:defrag_mode=1",
)
NR_REQUESTS = 10_000_000
NR_HELPED = 100_000
NR_FRAMES = 1 << 19
DMA_FRAMES = 1 << 12
NR_CPUS = 2
SEED = 8
HELP = ("blit", "evict", "linux")


def ground() -> Ground:
    """Return 2 GiB in two zones, half free: runs of 1 to 64 frames between what is used."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    lengths = 1 << rng.integers(0, 7, NR_FRAMES)
    ends = np.cumsum(lengths)
    kinds = np.array([Frame.ANON, Frame.CLEAN, Frame.CLEAN, Frame.DIRTY, Frame.FIXED], np.uint8)
    of_run = np.where(rng.integers(0, 2, NR_FRAMES) == 1, 0, rng.choice(kinds, NR_FRAMES)).astype(np.uint8)
    content = of_run[np.searchsorted(ends, np.arange(NR_FRAMES), side="right")]
    zones = []
    for number, (start, end) in enumerate(((0, DMA_FRAMES), (DMA_FRAMES, NR_FRAMES))):
        nr_blocks = (end - start) >> 9
        mark = (end - start) >> 9
        tuning = Tuning(
            wmark_min=mark,
            wmark_low=mark * 5 // 4,
            wmark_high=mark * 3 // 2,
            lowmem_reserve=(0, 1900, 1900, 1900, 0) if number == 0 else (0, 0, 0, 0, 0),
            nr_cpus=NR_CPUS,
            pcp_batch=63 if number else 1,
            pcp_high_min=540 if number else 4,
            pcp_high_max=540 if number else 4,
        )
        layout = ZoneLayout(
            0, ("DMA", "DMA32")[number], start, end, start, content[start:end].copy(),
            np.ones(nr_blocks, np.bool_), wmark_min=mark,
        )  # fmt: skip
        types = rng.choice(
            np.array([MOVABLE, MOVABLE, MOVABLE, UNMOVABLE, RECLAIMABLE], np.uint8), nr_blocks >> 1
        )
        zones.append(ZoneGround(layout, number, end - start, np.repeat(types, 2), tuning))
    return Ground(tuple(zones), swap_free_pages=1 << 18)


def scale(base: Ground) -> Scale:
    """Return the host that the demand is for: processes and VMAs of ordinary sizes."""
    free_pages = int(np.count_nonzero(base.content() == Frame.FREE))
    return Scale(free_pages, highest_zone=1, nr_orders=base.nr_orders)


def row(spec: str, demand: Demand, base: Ground, help_: tuple[str, ...]) -> float:
    """Run one policy, print its line, and return its seconds."""
    started, compiled_after = time.process_time(), 0.0
    few = Demand(demand.sources, demand.requests, demand.events[: max(2, len(demand.events) // 1000)],
                 demand.standing_pfn)  # fmt: skip
    simulate(base, few, make(spec, base), help=help_)
    compiled_after = time.process_time() - started
    started = time.process_time()
    run = simulate(base, demand, make(spec, base), help=help_)
    seconds = time.process_time() - started
    tally = run.tally.sum(axis=(0, 1, 2))
    nr = int(tally.sum())
    not_met = int(tally[Came.FAILED] + tally[Came.DEFERRED])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"{spec:28} {seconds:7.2f} s {nr / seconds / 1e6:6.2f} M/s  not met {100 * not_met / nr:6.2f} %"
        f"  helped {int(tally[Came.HELPED]):6}  first {compiled_after:6.1f} s  peak {peak:5} MiB",
        flush=True,
    )
    for name, each in run.help.items():
        print(f"    {name:6} {each}")
    return seconds


def main() -> None:
    """Print one line for each policy, without help and with."""
    nr_requests = int(sys.argv[1]) if len(sys.argv) > 1 else NR_REQUESTS
    print(f"numba: {HAVE_NUMBA}")
    base = ground()
    demand = demand_of([("mixed", 1)], nr_requests, SEED, scale(base), NR_CPUS)
    print(f"{nr_requests} requests, {len(demand.events)} events, no help")
    seconds = {spec: row(spec, demand, base, ()) for spec in POLICIES}
    for spec, each in seconds.items():
        print(f"{spec:28} {each / seconds['buddy-lifo']:6.2f} times buddy-lifo")
    demand = demand_of([("mixed", 1)], NR_HELPED, SEED, scale(base), NR_CPUS)
    print(f"{NR_HELPED} requests, {len(demand.events)} events, help: {', '.join(HELP)}")
    for spec in ("buddy-lifo", "buddy-grouped"):
        alone = row(spec, demand, base, ())
        helped = row(spec, demand, base, HELP)
        print(f"    share of help {100 * (1 - alone / helped):.0f} %")


if __name__ == "__main__":
    main()
