"""The claim about imbalance: free areas in a red-black tree, an AVL tree and one that is not balanced.

Run as ``python benchmarks/bench_gravity.py [REQUESTS]``. The mail of 1998 feared for its tree: one end is
taken from, the other given to, and nobody wants the middle. ``gravity`` runs the mixed demand on a fragmented
node of 2 GiB with each balance; all three hand out the same places. Seconds are those of the processor;
ratios to the red-black tree count. What the code does once (compiling) is not counted.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from bench_free_area import NR_CPUS, SEED, ground

from kernelmodel.compaction.zone_layout import KIND_MASK, Frame
from kernelmodel.free_area.registry import make
from kernelmodel.free_area.run import simulate
from kernelmodel.workload.mix import demand
from kernelmodel.workload.scale import Scale

NR_REQUESTS = 2_000_000
TREES = ("rb", "avl", "none")


def main() -> None:
    """Measure and print."""
    nr_requests = int(sys.argv[1]) if len(sys.argv) > 1 else NR_REQUESTS
    made = ground()
    free = int(np.count_nonzero(made.content() & np.uint8(KIND_MASK) == Frame.FREE))
    scale = Scale(free, max(zone.zone_type for zone in made.zones))
    short, whole = (demand([("mixed", 1)], nr, SEED, scale, NR_CPUS) for nr in (1000, nr_requests))
    first, blocks = 0.0, None
    print(f"{nr_requests:,} requests, {len(whole.events):,} events, gravity on 2 GiB")
    print(
        "tree  seconds  to rb  areas  depth  least  rotations/1000 insertions, removals  visits/event  left"
    )
    for tree in TREES:
        spec = f"gravity:tree={tree}"
        simulate(made, short, make(spec, made))
        policy = make(spec, made)
        begin = time.process_time()
        run = simulate(made, whole, policy)
        seconds = time.process_time() - begin
        first = first or seconds
        same = blocks is None or bool(np.array_equal(blocks, run.samples.free_blocks))
        blocks = run.samples.free_blocks
        counted = run.operations
        changes = counted["insertions"] + counted["removals"]
        print(
            f"{tree:4}  {seconds:7.2f}  {seconds / first:5.2f}  {counted['nodes']:5}  {counted['depth']:5}"
            f"  {counted['least_depth']:5}  {1000 * counted['rotations'] / changes:34.0f}"
            f"  {counted['visits'] / len(whole.events):12.1f}  {counted['left_permille']} per mille"
            f"{'' if same else '  OTHER PLACES'}"
        )


if __name__ == "__main__":
    main()
