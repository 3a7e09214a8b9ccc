"""An address space on each kind of ordered map: what a lookup, a mapping and a search for a gap cost.

Run as ``python benchmarks/bench_mm.py [SEED]``. Every kind gets the same processes and the same
requests, in turn, in one run of this program; times are medians of the rounds, and the ratio is to the
sorted array's. The near gap is the first that is long enough, a few VMAs from where the search begins;
the far gap lies beyond all VMAs, and all holes on the way are too short. ``vm.max_map_count`` allows
65,530 VMAs.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from typing import TYPE_CHECKING

from kernelmodel.mm.address_space import AddressSpace
from kernelmodel.mm.types import Layout
from kernelmodel.ordered import TREES
from kernelmodel.vmflags import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 4096
SIZES = (30, 300, 3_000, 40_000)
ROUNDS = 5
NR_LOOKUPS, NR_CALLS, NR_SEARCHES = 10_000, 1_000, 50
PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS
BASE = 1 << 40
STEPS = ("find_vma", "mmap + munmap", "near gap", "far gap")


def process(kind: str, nr_vmas: int) -> AddressSpace:
    """Return an address space with `nr_vmas` mappings of 1 to 4 pages, and a hole as long between them.

    The search for free addresses begins right below the highest.
    """
    mm = AddressSpace(TREES[kind], Layout(mmap_base=end(nr_vmas - 1)))
    address = BASE
    for i in range(nr_vmas):
        length = PAGE * (1 + i % 4)
        prot = PROT_READ | PROT_WRITE if i % 2 else PROT_READ
        mm.mmap(address, length, prot, PRIVATE | MAP_FIXED)
        address += 2 * length
    return mm


def end(nr_vmas: int) -> int:
    """Return where the hole above `nr_vmas` mappings ends."""
    return BASE + 2 * PAGE * sum(1 + i % 4 for i in range(nr_vmas))


def seconds(work: Callable[[], None], nr: int) -> float:
    """Return how long each of the `nr` requests in `work` takes."""
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) / nr


def one_round(mm: AddressSpace, wanted: list[int]) -> dict[str, float]:
    """Return the seconds of each kind of request."""

    def find() -> None:
        for address in wanted:
            mm.find_vma(address)

    def map_and_unmap() -> None:
        for address in wanted[:NR_CALLS]:
            page = address - address % PAGE - (1 << 38)
            mm.mmap(page, PAGE, PROT_NONE, PRIVATE | MAP_FIXED)
            mm.munmap(page, PAGE)

    def near() -> None:
        for _ in range(NR_CALLS):
            mm.mm.get_unmapped_area(0, 3 * PAGE, 0)

    def far() -> None:
        for _ in range(NR_SEARCHES):
            mm.mm.get_unmapped_area(0, 5 * PAGE, 0)

    works = ((find, NR_LOOKUPS), (map_and_unmap, NR_CALLS), (near, NR_CALLS), (far, NR_SEARCHES))
    return {step: seconds(work, nr) for step, (work, nr) in zip(STEPS, works, strict=True)}


def main(seed: int) -> None:
    """Measure and print."""
    print(f"seed {seed}, {ROUNDS} rounds; microseconds a request (ratio to the sorted array)")
    print(f"{'VMAs':>6} {'map':>12}" + "".join(f"{step:>18}" for step in STEPS) + f"{'depth':>7}")
    for nr_vmas in SIZES:
        rng = random.Random(seed)
        wanted = [rng.randrange(BASE, end(nr_vmas)) for _ in range(NR_LOOKUPS)]
        spaces = {kind: process(kind, nr_vmas) for kind in TREES}
        rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in TREES}
        for _ in range(ROUNDS):
            for kind, mm in spaces.items():
                rounds[kind].append(one_round(mm, wanted))
        micros = {
            kind: {step: 1e6 * statistics.median(costs[step] for costs in all_costs) for step in STEPS}
            for kind, all_costs in rounds.items()
        }
        for kind, mm in spaces.items():
            ratios = {step: micros[kind][step] / micros["sortedarray"][step] for step in STEPS}
            cells = "".join(f"{micros[kind][step]:10.1f} ({ratios[step]:5.2f})" for step in STEPS)
            print(f"{nr_vmas:6} {kind:>12} {cells} {mm.mm.vmas.map.depth():6}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
