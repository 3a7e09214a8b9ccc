"""The interval tree over every ordered map, against a list."""

from __future__ import annotations

from operator import lt
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.interval_tree import IntervalTree
from kernelmodel.ordered import Augment, AvlTree, MapFactory, MapleTree, RedBlackTree, SortedArray
from tests.oracles.interval_tree import Intervals

if TYPE_CHECKING:
    from collections.abc import Callable

numbers = st.integers(0, 120)
lengths = st.sampled_from([0, 1, 2, 5, 40, 120])


class IntervalTreeMachine(RuleBasedStateMachine):
    """Runs one tree and its twin; values are told apart by identity alone."""

    factory: ClassVar[MapFactory]

    @initialize()
    def make(self) -> None:
        self.tree: IntervalTree[Any] = IntervalTree(self.factory)
        self.twin = Intervals()

    @rule(start=numbers, length=lengths)
    def insert(self, start: int, length: int) -> None:
        value: list[int] = []
        self.tree.insert(start, start + length, value)
        self.twin.insert(start, start + length, value)

    @rule(start=numbers, length=lengths, nr=st.integers(1, 30), step=st.integers(0, 4))
    def insert_many(self, start: int, length: int, nr: int, step: int) -> None:
        for i in range(nr):
            self.insert(start + i * step, length)

    @rule(data=st.data(), nr=st.integers(1, 30))
    def remove(self, data: st.DataObject, nr: int) -> None:
        for _ in range(min(nr, len(self.twin.all))):
            interval = self.twin.all[data.draw(st.integers(0, len(self.twin.all) - 1))]
            self.tree.remove(*interval)
            self.twin.remove(*interval)

    @rule(first=st.integers(-10, 250), length=lengths)
    def search(self, first: int, length: int) -> None:
        found = list(self.tree.iter_overlaps(first, first + length))
        expected = self.twin.overlaps(first, first + length)
        assert [id(value) for value in found] == [id(value) for value in expected]

    @rule(start=numbers, length=lengths)
    def remove_another_value(self, start: int, length: int) -> None:
        with pytest.raises(KeyError):
            self.tree.remove(start, start + length, [])

    @invariant()
    def agree(self) -> None:
        assert len(self.tree) == len(self.twin.all)
        assert [(*ends, id(value)) for *ends, value in self.tree.items()] == [
            (*ends, id(value)) for *ends, value in self.twin.all
        ]
        self.tree.validate()


def runs(kind: MapFactory) -> Any:
    """Return the machine for one kind of map as a test case."""
    return type("Machine", (IntervalTreeMachine,), {"factory": staticmethod(kind)}).TestCase


TestOverRedBlackTree = runs(RedBlackTree)
TestOverAvlTree = runs(AvlTree)
TestOverMapleTree = runs(MapleTree)
TestOverSortedArray = runs(SortedArray)


def test_ends_are_closed() -> None:
    tree = IntervalTree[str](RedBlackTree)
    value = "page 7"
    tree.insert(7, 7, value)
    asked = [(first, last) for first in range(5, 10) for last in range(first, 10)]
    met = [pair for pair in asked if [*tree.iter_overlaps(*pair)] == [value]]
    assert met == [(5, 7), (5, 8), (5, 9), (6, 7), (6, 8), (6, 9), (7, 7), (7, 8), (7, 9)]


def test_an_empty_interval_is_refused() -> None:
    tree = IntervalTree[str](RedBlackTree)
    with pytest.raises(ModelError, match="empty"):
        tree.insert(7, 6, "")
    assert len(tree) == 0


def test_a_value_twice_under_the_same_ends_is_refused() -> None:
    tree = IntervalTree[str](RedBlackTree)
    value = "vma"
    tree.insert(1, 5, value)
    tree.insert(1, 6, value)
    with pytest.raises(ModelError, match="already"):
        tree.insert(1, 5, value)
    tree.remove(1, 5, value)
    tree.insert(1, 5, value)
    assert len(tree) == 2


@pytest.mark.parametrize("kind", [RedBlackTree, AvlTree, MapleTree])
def test_a_search_looks_at_little(kind: MapFactory) -> None:
    """4,096 intervals without overlap; the augmentation leads to the one that is wanted."""
    tree = IntervalTree[int](kind)
    for number in range(4096):
        tree.insert(10 * number, 10 * number + 4, number)
    for number in range(0, 4096, 97):
        tree.counters.nr_visits = 0
        assert list(tree.iter_overlaps(10 * number + 4, 10 * number + 9)) == [number]
        hit = tree.counters.nr_visits
        tree.counters.nr_visits = 0
        assert list(tree.iter_overlaps(10 * number + 5, 10 * number + 9)) == []
        assert 0 < max(hit, tree.counters.nr_visits) <= 3 * 17


def test_one_long_interval_does_not_hide_the_others() -> None:
    """The first interval reaches over all: no subtree with it can be passed by, all others can."""
    tree = IntervalTree[int](RedBlackTree)
    tree.insert(0, 10**6, -1)
    for number in range(1, 1000):
        tree.insert(number, number, number)
    assert list(tree.iter_overlaps(500, 501)) == [-1, 500, 501]
    tree.counters.nr_visits = 0
    assert list(tree.iter_overlaps(5000, 5001)) == [-1]
    assert tree.counters.nr_visits <= 2 * 20


def ends_before_its_start(tree: Any) -> None:
    _replace(tree, (10, 1), (9, tree._map.get((10, 1))[1]))


def stands_under_another_number(tree: Any) -> None:
    tree._map.insert((10, 77), tree._map.remove((10, 1)))


def noted_but_not_there(tree: Any) -> None:
    tree._sequences[0, 0, 0] = 5


def another_value(tree: Any) -> None:
    _replace(tree, (10, 1), (19, object()))


def summary_of_something_else(tree: Any) -> None:
    other: Any = RedBlackTree(lt, Augment(lambda _, entry: entry[0] - 1, max))
    for entry in tree._map.items():
        other.insert(*entry)
    tree._map = other


def stale_summary(tree: Any) -> None:
    tree._map._links.root.summary += 1


def _replace(tree: Any, key: tuple[int, int], entry: tuple[int, object]) -> None:
    tree._map.remove(key)
    tree._map.insert(key, entry)


FAULTS = [
    (ends_before_its_start, "interval-ends"),
    (stands_under_another_number, "interval-key"),
    (noted_but_not_there, "interval-key"),
    (another_value, "interval-key"),
    (summary_of_something_else, "subtree-last"),
    (stale_summary, "summary"),
]


@pytest.mark.parametrize(("plant", "rule_name"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_each_fault_is_named(plant: Callable[[Any], None], rule_name: str) -> None:
    tree = IntervalTree[object](RedBlackTree)
    for start in range(0, 100, 10):
        tree.insert(start, start + 9, object())
    tree.validate()
    plant(tree)
    with pytest.raises(InvariantError) as caught:
        tree.validate()
    assert caught.value.invariant == rule_name
