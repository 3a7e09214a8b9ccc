"""kernelmodel.compaction.selection: prices against all choices, and how far the bounds stand apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from kernelmodel.compaction import selection as module
from kernelmodel.compaction.cost import CostModel
from kernelmodel.compaction.eviction import Evict, EvictionLimits, MoveOrEvict
from kernelmodel.compaction.selection import IMPOSSIBLE, Task, select, select_most


def task_of(seed: int, nr_windows: int, order: int) -> Task:
    """Return windows with random contents, room for some, and swap for some."""
    rng = np.random.default_rng(seed)
    size = 1 << order
    classes = rng.multinomial(size, (0.3, 0.1, 0.3, 0.3), nr_windows)
    limits = EvictionLimits(int(rng.integers(0, size * nr_windows // 4)))
    if seed % 3 == 0:
        return Evict(classes[:, :3], limits)
    used = classes.sum(axis=1) - rng.integers(0, size // 8, nr_windows)
    room = int(rng.integers(0, size * nr_windows // 2))
    return MoveOrEvict(
        np.minimum(classes[:, :3], used[:, None]), used, limits, room_pages=room, nr_frames=size
    )


def best_of_all(task: Task, nr_chosen: int) -> int:
    rows = np.array(list(combinations(range(len(task.own)), nr_chosen)))
    charge = task.charge(task.holds[rows].sum(axis=1), nr_chosen)
    own = task.own[rows].sum(axis=1)
    return int(np.where(charge >= IMPOSSIBLE, IMPOSSIBLE, charge + own).min())


def check(seed: int) -> tuple[bool, bool]:
    """Choose 4 of 9 by sums and by prices; return whether it can be done, and whether prices did best."""
    task = task_of(seed, 9, 4)
    best = best_of_all(task, 4)
    exact = select(task, 4)
    assert (exact.cost, exact.lower_bound, exact.exact) == (best, best, True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_STEPS", 0)
        priced = select(task, 4)
    assert priced.lower_bound <= best <= priced.cost
    if priced.rows is not None:
        held = task.holds[priced.rows].sum(axis=0)[None, :]
        assert task.own[priced.rows].sum() + task.charge(held, 4)[0] == priced.cost
        assert len(set(priced.rows.tolist())) == 4
    return best < IMPOSSIBLE, priced.cost == best


def test_sums_find_the_best_and_prices_come_near_with_a_bound_that_holds() -> None:
    found = [check(seed) for seed in range(120)]
    nr_possible = sum(possible for possible, _ in found)
    assert 40 < nr_possible < 120
    assert sum(same for possible, same in found if possible) > 0.8 * nr_possible


def test_a_bound_that_promises_too_much_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = MoveOrEvict.priced

    def greedy(self: MoveOrEvict, prices: tuple[int, ...], nr: int) -> tuple[np.ndarray, int]:
        each, constant = honest(self, prices, nr)
        return each, constant + 20 * prices[0]

    monkeypatch.setattr(MoveOrEvict, "priced", greedy)
    with pytest.raises(AssertionError):
        [check(seed) for seed in range(120)]


def test_the_gap_is_below_a_tenth_of_a_percent_with_many_windows() -> None:
    gaps = []
    for seed in range(1, 13):
        task = task_of(seed, 1000, 9)
        found = select_most(task, 300)
        assert found.rows is not None
        if len(found.rows) == 300:
            gaps.append((found.cost - found.lower_bound) / found.lower_bound)
    assert len(gaps) >= 6
    assert max(gaps) <= 0.001


def test_windows_of_one_price_are_exchanged_until_the_resource_is_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_STEPS", 0)
    swap_is_cheap = CostModel(drop_us=(0, 2, 0), swap_us=(0, 1, 0))
    classes = np.array([[8, 0, 0]] * 200 + [[0, 0, 8]] * 200)
    found = select(Evict(classes, EvictionLimits(405, model=swap_is_cheap)), 100)
    assert found.rows is not None
    assert (int((found.rows >= 200).sum()), found.cost) == (50, 50 * 8000 + 50 * 16000)
    assert found.cost - found.lower_bound < 8000


def test_as_many_as_can_be_had_are_chosen() -> None:
    classes = np.array([[4, 0, 4], [8, 0, 0], [0, 0, 8], [2, 0, 6]])
    task = Evict(classes, EvictionLimits(10))
    assert select(task, 4).rows is None
    assert select_most(task, 4).rows.tolist() == [0, 1, 3]
    assert select_most(task, 9).rows.tolist() == [0, 1, 3]
    assert select_most(Evict(classes[:0], EvictionLimits(0)), 1).rows.tolist() == []
