"""Pageblocks that trade types: every pair is tried, and every sum is taken anew."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np


class Zone(NamedTuple):
    """What there is to go by; lists of `free` and `counted` by order, -1 where nothing was counted."""

    free: list[list[int]]
    counted: list[list[int]]
    cost: list[list[int]]
    weight: list[int]
    parts: int


def free_parts(
    blocks: list[tuple[int, int]], first_block: int, nr_blocks: int, pageblock_order: int, nr_orders: int
) -> tuple[np.ndarray, int]:
    """Return the parts of free blocks by pageblock and order, frame by frame, and the parts of a block."""
    parts = 2 ** max(0, nr_orders - 1 - pageblock_order)
    frames = np.zeros((nr_blocks, nr_orders))
    for pfn, order in blocks:
        for frame in range(pfn, pfn + 2**order):
            frames[frame // 2**pageblock_order - first_block, order] += parts / 2**order
    return frames, parts


def misfit(zone: Zone, types: list[int]) -> int:
    total = sum(cost[kind] for cost, kind in zip(zone.cost, types, strict=True))
    for kind, row in enumerate(zone.counted):
        for order, counted in enumerate(row):
            inside = sum(free[order] for free, of in zip(zone.free, types, strict=True) if of == kind)
            if counted >= 0:
                total += zone.weight[order] * abs(inside - zone.parts * counted)
    return total


def trades(zone: Zone, types: list[int]) -> list[tuple[int, int, int]]:
    """Return by how much each trade fits worse, and its two blocks, that of the lower type first."""
    found = []
    for pair in combinations(range(len(types)), 2):
        one, other = sorted(pair, key=lambda block: types[block])
        if types[one] != types[other]:
            traded = list(types)
            traded[one], traded[other] = types[other], types[one]
            found.append((misfit(zone, traded) - misfit(zone, types), one, other))
    return sorted(found)


def fit(zone: Zone, types: list[int]) -> list[int]:
    """Make the trade that mends most, until none mends anything."""
    types = list(types)
    while (found := trades(zone, types)) and found[0][0] < 0:
        _, one, other = found[0]
        types[one], types[other] = types[other], types[one]
    return types
