"""Choose K of many windows at the least cost when a resource binds: exact where small, else between bounds.

Cost is a sum over the chosen windows plus a charge that depends only on what they hold in sum (how many pages
of each kind), or says that it cannot be done. Few windows: all reachable sums are gone through, each once
with the least cost (dynamic programming). Many: each resource gets a price, the K windows cheapest at these
prices are one sort, and their cost less what the prices promise is a lower bound at any prices
(Lagrange). Two choices beside the best price, one that does not fit and one that does, differ in few
windows; exchanging them one after the other gives the answer::

    cost |   o         o  fits          price too low: does not fit
         |     o   x      does not      price too high: fits, dearer than it need be
         +--------------- lower bound

Mirrors: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Chain: TypeAlias = "tuple[int, Chain] | None"
"""Rows of a choice, last one first."""

IMPOSSIBLE: Final = 1 << 62
"""Charge for what cannot be done."""
MAX_STEPS: Final = 100_000
"""Steps of dynamic programming before prices are used instead: about 0.1 s."""


class Task(Protocol):
    """What to choose from."""

    own: NDArray[np.int64]
    """int64, shape (n,): cost of each window in itself."""
    holds: NDArray[np.int64]
    """int64, shape (n, r): what each window holds that the charge depends on."""
    highest_price: tuple[int, ...]
    """For each resource, a price at which nothing but that resource decides."""

    def charge(self, held: NDArray[np.int64], nr_chosen: int) -> NDArray[np.int64]:
        """Return the cost beside their own of choices that hold `held`, int64 (m, r); or `IMPOSSIBLE`."""

    def priced(self, prices: tuple[int, ...], nr_chosen: int) -> tuple[NDArray[np.int64], int]:
        """Return the cost of each window at these prices, and what is added to the sum.

        The sum of any choice is no more than that choice costs.
        """

    def lacks(self, held: NDArray[np.int64], prices: tuple[int, ...]) -> bool:
        """Return whether a choice uses too much of the last resource at these prices."""


@dataclass(frozen=True)
class Selection:
    """Windows chosen.

    Parameters
    ----------
    rows
        int64, ascending; None where no choice was found.
    cost
        What they cost.
    lower_bound
        What any choice of so many costs at least; equal to `cost` where `exact`.
    exact
        Whether all choices were gone through.
    """

    rows: NDArray[np.int64] | None
    cost: int
    lower_bound: int
    exact: bool


def select(task: Task, nr_chosen: int) -> Selection:
    """Choose `nr_chosen` windows."""
    nr_windows = len(task.own)
    if nr_chosen > nr_windows:
        return Selection(None, IMPOSSIBLE, IMPOSSIBLE, exact=True)
    search = _Search(task, nr_chosen)
    search.at((0,) * len(task.highest_price))
    if search.rows is not None and search.cost == search.lower_bound:
        # No resource binds: what is cheapest in itself is the answer.
        return Selection(np.sort(search.rows), search.cost, search.cost, exact=True)
    found = _by_sums(task, nr_chosen)
    if found is not None:
        return found
    search.resource(1, task.highest_price[:1])
    if search.rows is not None:
        search.resource(0, ())
    rows = None if search.rows is None else np.sort(search.rows)
    return Selection(rows, search.cost, search.lower_bound, exact=False)


def select_most(task: Task, nr_chosen: int) -> Selection:
    """Choose `nr_chosen` windows, or as many as there can be; any part of a choice can be had as well."""
    found = select(task, nr_chosen)
    enough, too_many = 0, nr_chosen
    best = select(task, 0) if found.rows is None else found
    while found.rows is None and too_many - enough > 1:
        middle = (enough + too_many) // 2
        tried = select(task, middle)
        if tried.rows is None:
            too_many = middle
        else:
            enough, best = middle, tried
    return best


def _by_sums(task: Task, nr_chosen: int) -> Selection | None:
    """Go through all sums that can be reached; None where there are too many."""
    levels: list[dict[tuple[int, ...], tuple[int, Chain]]] = [{} for _ in range(nr_chosen + 1)]
    levels[0][(0,) * task.holds.shape[1]] = (0, None)
    steps = 0
    own, holds = task.own.tolist(), task.holds.tolist()
    for row in range(len(own)):
        for level in range(min(row, nr_chosen - 1), -1, -1):
            target = levels[level + 1]
            steps += len(levels[level])
            if steps > MAX_STEPS:
                return None
            for held, (cost, chain) in levels[level].items():
                key = tuple(a + b for a, b in zip(held, holds[row], strict=True))
                if key not in target or cost + own[row] < target[key][0]:
                    target[key] = (cost + own[row], (row, chain))
    last = levels[nr_chosen]
    sums = np.array(list(last), np.int64).reshape(len(last), task.holds.shape[1])
    total = task.charge(sums, nr_chosen)
    total = np.where(total >= IMPOSSIBLE, IMPOSSIBLE, total + np.array([cost for cost, _ in last.values()]))
    best = int(total.argmin())
    if total[best] >= IMPOSSIBLE:
        return Selection(None, IMPOSSIBLE, IMPOSSIBLE, exact=True)
    chain = list(last.values())[best][1]
    rows = []
    while chain is not None:
        rows.append(chain[0])
        chain = chain[1]
    cost = int(total[best])
    return Selection(np.array(rows[::-1], np.int64), cost, cost, exact=True)


class _Search:
    """Search of the prices, one inside the other: the best choice and the best bound so far."""

    def __init__(self, task: Task, nr_chosen: int) -> None:
        self.task, self.nr_chosen = task, nr_chosen
        self.rows: NDArray[np.int64] | None = None
        self.cost = IMPOSSIBLE
        self.lower_bound = 0

    def resource(self, index: int, prices: tuple[int, ...]) -> tuple[int, NDArray[np.int64]]:
        """Find the best price of resource `index` and of those behind it; return the bound and the choice.

        The bound first rises with a price and then falls.
        """
        if index == len(self.task.highest_price):
            return self.at(prices)
        low, high = 0, self.task.highest_price[index]
        under = self.resource(index + 1, (*prices, low))
        if not self.rises(index, prices, low, under):
            return under
        over = self.resource(index + 1, (*prices, high))
        while high - low > 1:
            middle = (low + high) // 2
            found = self.resource(index + 1, (*prices, middle))
            if self.rises(index, prices, middle, found):
                low, under = middle, found
            else:
                high, over = middle, found
        self.exchange(under[1], over[1])
        return max(under, over, key=lambda found: found[0])

    def rises(
        self, index: int, prices: tuple[int, ...], price: int, found: tuple[int, NDArray[np.int64]]
    ) -> bool:
        """Return whether the bound rises where resource `index` is dearer than `price`."""
        if index == len(self.task.highest_price) - 1:
            return self.task.lacks(self.task.holds[found[1]].sum(axis=0), (*prices, price))
        return self.resource(index + 1, (*prices, price + 1))[0] > found[0]

    def at(self, prices: tuple[int, ...]) -> tuple[int, NDArray[np.int64]]:
        """Choose the windows cheapest at these prices."""
        each, constant = self.task.priced(prices, self.nr_chosen)
        nr = self.nr_chosen
        rows = np.argpartition(each, nr - 1)[:nr] if 0 < nr < len(each) else np.arange(nr)
        bound = int(each[rows].sum()) + constant
        self.lower_bound = max(self.lower_bound, bound)
        charge = int(self.task.charge(self.task.holds[rows].sum(axis=0)[None, :], nr)[0])
        if charge < IMPOSSIBLE and charge + int(self.task.own[rows].sum()) < self.cost:
            self.cost, self.rows = charge + int(self.task.own[rows].sum()), rows
        return bound, rows

    def exchange(self, under: NDArray[np.int64], over: NDArray[np.int64]) -> None:
        """Go from one choice to another by exchanging windows one by one, and keep the cheapest."""
        leave, enter = np.setdiff1d(under, over), np.setdiff1d(over, under)
        holds, own = self.task.holds, self.task.own
        held = holds[under].sum(axis=0) + np.cumsum(holds[enter] - holds[leave], axis=0)
        total = self.task.charge(held, self.nr_chosen)
        possible = np.flatnonzero(total < IMPOSSIBLE)
        if not len(possible):
            return
        total = total + own[under].sum() + np.cumsum(own[enter] - own[leave])
        best = possible[total[possible].argmin()]
        if total[best] < self.cost:
            self.cost = int(total[best])
            self.rows = np.concatenate((np.setdiff1d(under, leave[: best + 1]), enter[: best + 1]))
