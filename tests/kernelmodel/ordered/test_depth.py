"""How deep the trees get, and what keeping them so costs, over sizes and orders of insertion."""

from __future__ import annotations

import math
import random
from operator import lt
from typing import TYPE_CHECKING

import pytest

from kernelmodel.ordered import AvlTree, MapleTree, RedBlackTree
from kernelmodel.ordered.maple_node import MIN_SLOTS, RANGE64_SLOTS
from kernelmodel.ordered.protocol import Augment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelmodel.ordered import MapFactory, OrderedMap

SIZES = (1, 2, 3, 16, 17, 100, 1000, pytest.param(4000, marks=pytest.mark.slow))


def built(
    kind: MapFactory, nr: int, augment: Augment[int, int] | None = None
) -> Iterator[OrderedMap[int, int]]:
    """Yield a tree of `nr` keys for each way of filling it."""
    shuffled = random.Random(nr).sample(range(nr), nr)
    for order in (range(nr), range(nr)[::-1], shuffled):
        tree = kind(lt, augment)
        for key in order:
            tree.insert(key, key)
        yield tree
    # A queue: one end taken, the other given, as free areas are.
    for end in (1, -1):
        tree = kind(lt, augment)
        for key in range(4 * nr):
            tree.insert(end * key, key)
            if len(tree) > nr:
                entry = tree.first() if end == 1 else tree.last()
                assert entry == (end * (key - nr), key - nr)
                tree.remove(entry[0])
        yield tree
    # Shrunk: all but each eighth taken out again.
    tree = kind(lt, augment)
    for key in range(8 * nr):
        tree.insert(key, key)
    for key in random.Random(nr).sample(range(8 * nr), 8 * nr):
        if key % 8:
            tree.remove(key)
    yield tree


@pytest.mark.parametrize("nr", SIZES)
def test_red_black_depth(nr: int) -> None:
    for tree in built(RedBlackTree, nr):
        tree.validate()
        assert len(tree) == nr
        assert math.log2(nr + 1) <= tree.depth() <= 2 * math.log2(nr + 1)


@pytest.mark.parametrize("nr", SIZES)
def test_avl_depth(nr: int) -> None:
    for tree in built(AvlTree, nr):
        tree.validate()
        assert len(tree) == nr
        assert math.log2(nr + 1) <= tree.depth() <= 1.44 * math.log2(nr + 2)


@pytest.mark.parametrize("augment", [None, Augment(lambda key, _: key, max)], ids=["range64", "arange64"])
@pytest.mark.parametrize("nr", SIZES)
def test_maple_depth(nr: int, augment: Augment[int, int] | None) -> None:
    most = 16 if augment is None else 10
    for tree in built(MapleTree, nr, augment):
        tree.validate()
        assert len(tree) == nr
        depth = tree.depth()
        assert nr <= RANGE64_SLOTS * most ** (depth - 1)
        if depth > 1:
            # The emptiest tree: a root of two slots, all below at the minimum.
            assert nr >= 2 * MIN_SLOTS[most] ** (depth - 2) * MIN_SLOTS[RANGE64_SLOTS]


def test_an_ascending_stream_leaves_full_leaves_behind() -> None:
    """Splitting alone would leave them half empty."""
    tree: MapleTree[int, int] = MapleTree(lt)
    for key in range(4096):
        tree.insert(key, key)
    level = [tree._nodes.root]
    while not level[0].is_leaf:
        level = [child for node in level for child in node.slots]
    assert len(level) <= 4096 / 15 + 3
    assert tree.counters.nr_rotations <= 2.5 * len(level)


@pytest.mark.parametrize(("kind", "inserting", "removing"), [(RedBlackTree, 2, 3), (AvlTree, 2, 20)])
def test_rotations_of_one_operation_are_few(kind: MapFactory, inserting: int, removing: int) -> None:
    """Red-black trees bound them by a constant; that of AVL trees grows with the depth."""
    tree = kind(lt)
    keys = random.Random(7).sample(range(2000), 2000)
    for key in keys:
        tree.counters.nr_rotations = 0
        tree.insert(key, key)
        assert tree.counters.nr_rotations <= inserting
    worst = 0
    for key in keys[::3] + keys[1::3] + keys[2::3]:
        tree.counters.nr_rotations = 0
        tree.remove(key)
        worst = max(worst, tree.counters.nr_rotations)
    assert 2 <= worst <= removing


@pytest.mark.parametrize("kind", [RedBlackTree, AvlTree, MapleTree])
@pytest.mark.parametrize("seed", range(3))
def test_growing_and_shrinking_in_waves(kind: MapFactory, seed: int) -> None:
    """Long enough to be three and four levels deep in a B-tree, and empty again between."""
    rng = random.Random(seed)
    tree = kind(lt, Augment(lambda key, _: (key,), tuple.__add__))
    present: set[int] = set()
    for size in (1500, 0, 400, 20, 700, 0):
        while len(present) != size:
            key = rng.randrange(3000)
            if (key in present) == (len(present) < size):
                continue
            if key in present:
                tree.remove(key)
            else:
                tree.insert(key, key)
            present ^= {key}
            if rng.randrange(100) == 0:
                tree.validate()
        tree.validate()
        assert tree.summary() == (tuple(sorted(present)) or None)
