"""The four ordered maps side by side: what insertion, lookup and removal cost at four sizes.

Run as ``python benchmarks/bench_ordered.py [SEED]``. All kinds get the same keys in the same order, in turn,
in one run of this program; times are medians of the rounds, and the ratio is to the sorted array's. Keys are
inserted, looked up and removed at random, all of them. In the queue an insertion at one end and a removal at
the other are one operation.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from operator import lt
from typing import TYPE_CHECKING, NamedTuple

from kernelmodel.ordered import TREES, Counters

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.ordered import OrderedMap

SIZES = (100, 1_000, 10_000, 40_000)
ROUNDS = 5
STEPS = ("insert", "floor", "remove", "queue")


class Cost(NamedTuple):
    """What one step of one round cost, for each operation."""

    seconds: float
    comparisons: float
    rotations: float


def measured(tree: OrderedMap[int, int], nr: int, work: Callable[[], None]) -> Cost:
    """Return the cost of each of the `nr` operations in `work`."""
    tree.counters.nr_comparisons = tree.counters.nr_rotations = 0
    begin = time.perf_counter()
    work()
    seconds = time.perf_counter() - begin
    spent: Counters = tree.counters
    return Cost(seconds / nr, spent.nr_comparisons / nr, spent.nr_rotations / nr)


def one_round(
    kind: str, keys: list[int], wanted: list[int], leaving: list[int]
) -> tuple[dict[str, Cost], int]:
    """Fill a map, look up, queue through it and empty it; return costs by step, and the depth when full."""
    tree: OrderedMap[int, int] = TREES[kind](lt)
    nr = len(keys)

    def insert() -> None:
        for key in keys:
            tree.insert(key, key)

    def floor() -> None:
        for key in wanted:
            tree.floor(key)

    def remove() -> None:
        for key in leaving:
            tree.remove(key)

    def queue() -> None:
        for key in range(nr):
            tree.insert(nr + key, key)
            tree.remove(key)

    costs = {"insert": measured(tree, nr, insert)}
    depth = tree.depth()
    costs["floor"] = measured(tree, nr, floor)
    costs["remove"] = measured(tree, nr, remove)
    for key in range(nr):
        tree.insert(key, key)
    costs["queue"] = measured(tree, nr, queue)
    return costs, depth


def main() -> None:
    """Measure in turn and print."""
    rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 1998)
    print("each operation           time    comparisons  rotations*  to sorted array  depth")
    for nr in SIZES:
        keys = rng.sample(range(4 * nr), nr)
        wanted = [rng.randrange(4 * nr) for _ in range(nr)]
        leaving = rng.sample(keys, nr)
        found: dict[str, list[dict[str, Cost]]] = {kind: [] for kind in TREES}
        depths: dict[str, int] = {}
        for _ in range(ROUNDS):
            for kind in TREES:
                costs, depths[kind] = one_round(kind, keys, wanted, leaving)
                found[kind].append(costs)
        for step in STEPS:
            times = {
                kind: statistics.median(costs[step].seconds for costs in rounds)
                for kind, rounds in found.items()
            }
            print(f"{step}, n = {nr:,}")
            for kind in TREES:
                cost, ratio = found[kind][0][step], times[kind] / times["sortedarray"]
                print(
                    f"  {kind:<16}{times[kind] * 1e6:10.2f} us {cost.comparisons:11.1f}"
                    f"  {cost.rotations:10.2f}  {ratio:15.2f}  {depths[kind]:5}"
                )
    print("* of a binary tree; splits and joins of a B-tree; entries shifted in an array (a block move in C)")


if __name__ == "__main__":
    main()
