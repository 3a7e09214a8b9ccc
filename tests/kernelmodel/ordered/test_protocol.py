"""Every kind of ordered map against a list that is sorted again at each step."""

from __future__ import annotations

import random
from operator import lt
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kernelmodel.errors import ModelError
from kernelmodel.ordered import TREES, Augment, AvlTree, MapFactory, MapleTree, RedBlackTree, SortedArray
from tests.oracles.ordered import Key, SortedPairs

NR_KEYS = 300
keys = st.integers(0, NR_KEYS).map(Key)
weights = st.integers(-100, 100)


class Weight:
    """A value that can change under the map."""

    def __init__(self, grams: int) -> None:
        self.grams = grams


def measure(key: Key, value: Weight) -> tuple[int, int, int, int]:
    """Return greatest weight, sum of weights, first key and last key."""
    return value.grams, value.grams, key.number, key.number


def combine(low: tuple[int, ...], high: tuple[int, ...]) -> tuple[int, ...]:
    """Not commutative: the keys tell which side was first."""
    return max(low[0], high[0]), low[1] + high[1], low[2], high[3]


class OrderedMapMachine(RuleBasedStateMachine):
    """Runs one map and its twin; the order is from the greatest number down."""

    factory: ClassVar[MapFactory]

    @initialize(augmented=st.booleans())
    def make(self, augmented: bool) -> None:
        self.nr_calls = 0
        self.augmented = augmented
        self.map: Any = self.factory(self.less, Augment(measure, combine) if augmented else None)
        self.twin = SortedPairs(lambda a, b: a.number > b.number)

    def less(self, a: Key, b: Key) -> bool:
        self.nr_calls += 1
        return a.number > b.number

    @rule(key=keys, grams=weights)
    def insert(self, key: Key, grams: int) -> None:
        value = Weight(grams)
        if self.twin.get(key) is None:
            self.map.insert(key, value)
            self.twin.insert(key, value)
        else:
            with pytest.raises(KeyError):
                self.map.insert(key, value)

    @rule(start=st.integers(0, NR_KEYS), nr=st.integers(2, 60), step=st.sampled_from([1, -1, 7]))
    def insert_many(self, start: int, nr: int, step: int) -> None:
        for number in range(start, start + nr * step, step):
            self.insert(Key(number % NR_KEYS), number % 11)

    @rule(key=keys)
    def remove(self, key: Key) -> None:
        if self.twin.get(key) is None:
            with pytest.raises(KeyError):
                self.map.remove(key)
        else:
            assert self.map.remove(key) is self.twin.remove(key)

    @rule(nr=st.integers(2, 40), seed=st.integers(0, 9), where=st.sampled_from(["front", "back", "any"]))
    def remove_many(self, nr: int, seed: int, where: str) -> None:
        present = [key for key, _ in self.twin.pairs]
        if where == "any":
            random.Random(seed).shuffle(present)
        for key in present[-nr:] if where == "back" else present[:nr]:
            self.remove(key)

    @rule(key=keys)
    def look(self, key: Key) -> None:
        assert self.map.get(key) is self.twin.get(key)
        assert self.map.floor(key) == self.twin.floor(key)
        assert self.map.ceiling(key) == self.twin.ceiling(key)
        assert list(self.map.items(key)) == self.twin.items(key)
        assert list(self.map.reversed_items(key)) == self.twin.reversed_items(key)

    @rule(key=keys, grams=weights)
    def change(self, key: Key, grams: int) -> None:
        value = self.twin.get(key)
        if value is None:
            with pytest.raises(KeyError):
                self.map.refresh(key)
        else:
            value.grams = grams
            self.map.refresh(key)

    @rule(at=st.integers(0, NR_KEYS), grams=weights)
    def change_one_that_is_there(self, at: int, grams: int) -> None:
        if self.twin.pairs:
            self.change(self.twin.pairs[at % len(self.twin.pairs)][0], grams)

    @rule(at=st.integers(0, NR_KEYS))
    def remove_one_that_is_there(self, at: int) -> None:
        if self.twin.pairs:
            self.remove(self.twin.pairs[at % len(self.twin.pairs)][0])

    @rule(limit=weights)
    def prune(self, limit: int) -> None:
        if self.augmented:
            found = list(self.map.prune(lambda summary: summary[0] >= limit))
            assert found == [pair for pair in self.twin.pairs if pair[1].grams >= limit]
        else:
            with pytest.raises(ModelError, match="augmentation"):
                self.map.prune(bool)

    @invariant()
    def agree(self) -> None:
        assert self.map.counters.nr_comparisons == self.nr_calls
        assert len(self.map) == len(self.twin.pairs)
        assert list(self.map.items()) == self.twin.pairs
        assert list(self.map.reversed_items()) == self.twin.pairs[::-1]
        assert self.map.first() == (self.twin.pairs or [None])[0]
        assert self.map.last() == (self.twin.pairs or [None])[-1]
        assert self.map.summary() == (self.twin.summary(measure, combine) if self.augmented else None)
        assert bool(self.map.depth()) == bool(self.twin.pairs)
        self.map.validate()
        self.nr_calls = self.map.counters.nr_comparisons  # validate() compares, and is not counted


def runs(kind: MapFactory) -> Any:
    """Return the machine for one kind as a test case."""
    return type("Machine", (OrderedMapMachine,), {"factory": staticmethod(kind)}).TestCase


TestRedBlackTree = runs(RedBlackTree)
TestAvlTree = runs(AvlTree)
TestMapleTree = runs(MapleTree)
TestSortedArray = runs(SortedArray)


def test_every_kind_is_run_here() -> None:
    assert list(TREES.values()) == [RedBlackTree, AvlTree, MapleTree, SortedArray]


@pytest.mark.parametrize("kind", TREES.values(), ids=TREES)
def test_prune_passes_by_what_holds_nothing_of_interest(kind: MapFactory) -> None:
    """One entry in 4,096 is wanted; a tree looks at the nodes on the way and beside it."""
    tree = kind(lt, Augment(lambda _, value: value, max))
    for number in range(4096):
        tree.insert(number, int(number == 1234))
    tree.counters.nr_visits = 0
    assert list(tree.prune(bool)) == [(1234, 1)]
    if kind is SortedArray:
        assert tree.counters.nr_visits == 4096
    elif kind is MapleTree:  # a node knows the summaries of those below: it looks at none in vain
        assert tree.counters.nr_visits == tree.depth()
    else:
        assert tree.counters.nr_visits <= 2 * tree.depth() + 1


@pytest.mark.parametrize("nr", [1, 16, 300])
@pytest.mark.parametrize("kind", TREES.values(), ids=TREES)
def test_refresh_reaches_every_summary_above(kind: MapFactory, nr: int) -> None:
    tree = kind(lt, Augment(measure=lambda _, value: value.grams, combine=int.__add__))
    values = [Weight(1) for _ in range(nr)]
    for number, value in enumerate(values):
        tree.insert(number, value)
    for number, value in enumerate(values):
        value.grams = 1000
        tree.refresh(number)
        tree.validate()
        assert tree.summary() == nr + 999 * (number + 1)


@pytest.mark.parametrize("kind", TREES.values(), ids=TREES)
def test_a_measure_that_changed_early_is_mended_by_refresh(kind: MapFactory) -> None:
    """Rotations and splits between the change and refresh() carry stale summaries about."""
    for changed in range(0, 40, 3):
        tree = kind(lt, Augment(measure=lambda _, value: value.grams, combine=int.__add__))
        values = {number: Weight(1) for number in range(0, 40, 3)}
        for number, value in values.items():
            tree.insert(number, value)
        values[changed].grams = 1000
        for number in range(1, 40, 3):
            tree.insert(number, Weight(1))
        for number in range(0, 40, 6):
            if number != changed:
                tree.remove(number)
        tree.refresh(changed)
        tree.validate()


@pytest.mark.parametrize("kind", TREES.values(), ids=TREES)
def test_a_search_counts_what_it_looks_at(kind: MapFactory) -> None:
    tree = kind(lt)
    for number in range(1000):
        tree.insert(number, number)
    for number in range(0, 1000, 37):
        tree.counters.nr_visits = tree.counters.nr_comparisons = 0
        tree.get(number)
        assert 0 < tree.counters.nr_comparisons <= 21
        # Slots of the array are looked at one by one.
        assert 0 < tree.counters.nr_visits <= (10 if kind is SortedArray else tree.depth())


@pytest.mark.parametrize("kind", [RedBlackTree, AvlTree, MapleTree])
def test_the_ends_are_as_far_as_the_nodes_on_the_way(kind: MapFactory) -> None:
    """The extreme nodes of ascending keys: the left edge is the shallow one in a binary tree."""
    tree: Any = kind(lt)
    for number in range(1000):
        tree.insert(number, number)
    for end, side in ((tree.first, "left"), (tree.last, "right")):
        tree.counters.nr_visits = 0
        end()
        nr, node = 0, None if kind is MapleTree else tree._links.root
        while node is not None:
            nr, node = nr + 1, getattr(node, side)
        assert tree.counters.nr_visits == (tree.depth() if kind is MapleTree else nr)


@pytest.mark.parametrize("kind", [RedBlackTree, AvlTree])
def test_a_binary_search_compares_once_a_level_and_once_at_the_end(kind: MapFactory) -> None:
    tree: Any = kind(lt)
    for number in range(1000):
        tree.insert(number, number)
    root = tree._links.root
    for search, extra in ((tree.get, 1), (tree.floor, 0)):
        tree.counters.nr_visits = tree.counters.nr_comparisons = 0
        search(-1)
        way, node = 0, root
        while node is not None:
            way, node = way + 1, node.left
        assert tree.counters.nr_visits == way
        assert tree.counters.nr_comparisons == way  # nothing is before -1: no need to tell equal from less
        tree.counters.nr_comparisons = 0
        search(1000)
        way, node = 0, root
        while node is not None:
            way, node = way + 1, node.right
        assert tree.counters.nr_comparisons == way + extra


@pytest.mark.parametrize(("kind", "most"), [(RedBlackTree, 6), (AvlTree, 6), (MapleTree, 16)])
def test_a_summary_that_stays_ends_the_climb(kind: MapFactory, most: int) -> None:
    nr_calls = 0

    def combine_and_count(low: int, high: int) -> int:
        nonlocal nr_calls
        nr_calls += 1
        return max(low, high)

    tree = kind(lt, Augment(lambda _, value: value, combine_and_count))
    for number in range(0, 8192, 2):
        tree.insert(number, 100)
    spent = []
    for number in range(1, 8192, 502):
        nr_calls = 0
        tree.insert(number, 1)
        spent.append(nr_calls)
    # Most insertions turn and split nothing: one binary node, or one leaf, is combined anew.
    assert sorted(spent)[len(spent) // 2] <= most
