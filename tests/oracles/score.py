"""A forecast against reality by sets of frames: slow, and plain enough to be believed."""

from __future__ import annotations

from typing import NamedTuple

FREE, UNKNOWN, HOLE = 0, 10, 11


class Twin(NamedTuple):
    """As the fields of `PageScore`."""

    gained_forecast: int
    gained_real: int
    free_mass_distance: float
    left_precision: float | None
    left_recall: float | None
    filled_precision: float | None
    filled_recall: float | None


def blocks(state: list[int], nr_orders: int) -> list[int]:
    """Return the maximal aligned free blocks of each order."""
    counts = [0] * nr_orders
    at = 0
    while at < len(state):
        order = next(
            (
                o
                for o in reversed(range(nr_orders))
                if at % (1 << o) == 0
                and at + (1 << o) <= len(state)
                and all(byte & 15 == FREE for byte in state[at : at + (1 << o)])
            ),
            None,
        )
        if order is None:
            at += 1
            continue
        counts[order] += 1
        at += 1 << order
    return counts


def drain(before: list[int], after: list[int]) -> list[int]:
    """Return a state in which what was in use and has no flag is free."""
    return [
        FREE if was & 15 not in (FREE, UNKNOWN, HOLE) and now & 15 == UNKNOWN else now
        for was, now in zip(before, after, strict=True)
    ]


def pages(
    before: list[int], forecast: list[int], real: list[int], order: int, nr_orders: int, *, drained: bool
) -> Twin:
    """Score one zone."""
    if drained:
        forecast, real = drain(before, forecast), drain(before, real)

    def at_hand(state: list[int]) -> int:
        return sum(nr << o - order for o, nr in enumerate(blocks(state, nr_orders)) if o >= order)

    def left(state: list[int]) -> set[int]:
        return {
            i for i, byte in enumerate(state)
            if byte & 15 == FREE and before[i] & 15 not in (FREE, UNKNOWN, HOLE)
        }  # fmt: skip

    def filled(state: list[int]) -> set[int]:
        return {
            i for i, byte in enumerate(state)
            if byte & 15 not in (FREE, UNKNOWN, HOLE) and before[i] & 15 == FREE
        }  # fmt: skip

    def shares(a: set[int], b: set[int]) -> tuple[float | None, float | None]:
        both = len(a & b)
        return (both / len(a) if a else None, both / len(b) if b else None)

    masses = [[nr << o for o, nr in enumerate(blocks(state, nr_orders))] for state in (forecast, real)]
    sums = [sum(mass) for mass in masses]
    if 0 in sums:
        distance = 0.0 if sums[0] == sums[1] else 1.0
    else:
        distance = sum(abs(a / sums[0] - b / sums[1]) for a, b in zip(*masses, strict=True)) / 2
    return Twin(
        at_hand(forecast) - at_hand(before),
        at_hand(real) - at_hand(before),
        distance,
        *shares(left(forecast), left(real)),
        *shares(filled(forecast), filled(real)),
    )
