"""The tree in arrays against `kernelmodel.ordered`, its invariants, and the claim about imbalance."""

from __future__ import annotations

from operator import lt
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelmodel.errors import InvariantError
from kernelmodel.free_area import tree as module
from kernelmodel.free_area.areas import BALANCES, Areas
from kernelmodel.free_area.interface import Ask
from kernelmodel.free_area.registry import make
from kernelmodel.free_area.tree import (
    BEST,
    BLACK,
    LEFT,
    NR_COLUMNS,
    NR_FREE,
    NR_INFO,
    NR_SPARE,
    OWN,
    PARENT,
    RED,
    RIGHT,
    ROOT,
    ROTATIONS,
    START,
    TAG,
    Tree,
    insert,
    remove,
    write_area,
)
from kernelmodel.ordered import AvlTree, RedBlackTree
from kernelmodel.page_alloc.state import NO_PAGE
from tests.kernelmodel.free_area.grounds import Shape, ground_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.ordered.protocol import OrderedMap

FRAMES = 400


def empty(balance: str) -> Tree:
    tree = Tree(
        np.zeros((FRAMES, NR_COLUMNS), np.int32), np.zeros(FRAMES, np.int32), np.zeros(FRAMES, np.int32),
        np.zeros(NR_INFO, np.int64),
    )  # fmt: skip
    tree.info[module.BALANCE] = BALANCES[balance]
    tree.info[module.MAX_ORDER] = 6
    tree.node[0, BEST] = -1
    tree.node[0, TAG] = BLACK if balance == "rb" else 0
    return tree


def depth(tree: Tree, slot: int) -> int:
    return 1 + max(depth(tree, int(tree.node[slot, side])) for side in (LEFT, RIGHT)) if slot else 0


@pytest.mark.parametrize(("balance", "other"), [("rb", RedBlackTree), ("avl", AvlTree)])
@given(frames=st.lists(st.integers(0, FRAMES // 2 - 1), max_size=120))
@settings(max_examples=60)
def test_rotations_and_depth_are_those_of_the_ordered_trees(
    balance: str, other: Callable[..., OrderedMap[int, int]], frames: list[int]
) -> None:
    tree, twin = empty(balance), other(lt)
    for frame in frames:
        slot = frame + 1
        if twin.get(frame) is None:
            twin.insert(frame, slot)
            write_area(tree, slot, 2 * frame, 1)
            insert(tree, slot)
        else:
            twin.remove(frame)
            remove(tree, slot)
        assert tree.info[ROTATIONS] == twin.counters.nr_rotations
    assert depth(tree, int(tree.info[ROOT])) == twin.depth()
    assert in_order(tree, int(tree.info[ROOT])) == [2 * frame for frame, _ in twin.items()]


def in_order(tree: Tree, slot: int) -> list[int]:
    if not slot:
        return []
    sides = [in_order(tree, int(tree.node[slot, side])) for side in (LEFT, RIGHT)]
    return [*sides[0], int(tree.node[slot, START]), *sides[1]]


def churn(policy: Any, nr_steps: int, seed: int) -> list[int]:
    """Take and give back at random; return what was taken."""
    rng = np.random.default_rng(seed)
    limits = policy.ground.limits()
    held: list[tuple[int, int]] = []
    taken = []
    for _ in range(nr_steps):
        if held and rng.integers(5) < 2:
            policy.free(*held.pop(int(rng.integers(len(held)))))
            continue
        order, zone = int(min(6, rng.geometric(0.5) - 1)), int(rng.integers(3))
        index = policy.alloc(Ask(order, 1, 0, zone, int(limits[zone]), 0))
        taken.append(index)
        if index != NO_PAGE:
            held.append((index, order))
    return taken


@pytest.mark.parametrize("rule", ["gravity", "gravity:large=2", "first-fit", "best-fit"])
def test_however_the_tree_is_balanced_places_are_the_same(rule: str) -> None:
    ground = ground_of(Shape(ends=(128, 2048, 4000), seed=8))
    placed = {tree: churn(make(f"{rule}:tree={tree}", ground, pure=True), 1500, 3) for tree in BALANCES}
    assert placed["rb"] == placed["avl"] == placed["none"]
    assert len(set(placed["rb"])) > 80


@pytest.mark.slow
def test_placements_are_the_same_over_half_a_million_steps() -> None:
    pytest.importorskip("numba")
    ground = ground_of(Shape(ends=(4096, 65536, 200_000), seed=8, free_share=4, grain=1))
    policies: list[Any] = [make(f"gravity:tree={tree}", ground) for tree in ("rb", "avl")]
    placed = [churn(policy, 500_000, 5) for policy in policies]
    assert placed[0] == placed[1]
    for policy in policies:
        policy.validate()
        counted = policy.counters()
        assert counted["rotations"]
        assert counted["least_depth"] <= counted["depth"] <= 2 * counted["least_depth"]


def test_small_requests_come_from_the_top_and_large_ones_from_the_bottom() -> None:
    policy: Any = make(
        "gravity:large=4", ground_of(Shape(free_share=10, grain=1, start=0, seed=4)), pure=True
    )
    first, last = policy.areas()[0], policy.areas()[-1]
    assert policy.alloc(Ask(0, 1, 0, 2, 630, 0)) == last[1] - 1
    large = policy.alloc(Ask(4, 1, 0, 2, 630, 0))
    assert first[0] <= large < 320
    assert policy.alloc(Ask(0, 1, 0, 0, 128, 0)) < 128


def sound(balance: str = "rb") -> Areas:
    policy = make(f"gravity:tree={balance}", ground_of(Shape(grain=1)), pure=True)
    assert isinstance(policy, Areas)
    churn(policy, 40, 1)
    return policy


def leaf(tree: Tree) -> int:
    """Return a node without children."""
    slot = int(tree.info[ROOT])
    while tree.node[slot, LEFT] or tree.node[slot, RIGHT]:
        slot = int(tree.node[slot, LEFT] or tree.node[slot, RIGHT])
    return slot


def wrong_parent(tree: Tree) -> None:
    tree.node[leaf(tree), PARENT] = tree.info[ROOT]


def wrong_order(tree: Tree) -> None:
    left, right = tree.node[tree.info[ROOT], LEFT], tree.node[tree.info[ROOT], RIGHT]
    tree.node[tree.info[ROOT], LEFT], tree.node[tree.info[ROOT], RIGHT] = right, left


def wrong_own(tree: Tree) -> None:
    tree.node[leaf(tree), OWN] += 1


def wrong_best(tree: Tree) -> None:
    tree.node[tree.info[ROOT], BEST] += 1


def red_root(tree: Tree) -> None:
    tree.node[tree.info[ROOT], TAG] = RED


def all_black(tree: Tree) -> None:
    tree.node[leaf(tree), TAG] ^= 1


def wrong_height(tree: Tree) -> None:
    tree.node[leaf(tree), TAG] += 1


def touching(tree: Tree) -> None:
    slots = [slot for slot in range(1, len(tree.node)) if tree.node[slot, BEST] and tree.node[slot, PARENT]]
    start = sorted(int(tree.node[slot, START]) for slot in slots)
    slot = int(tree.at[start[1]])
    before = next(frame for frame in range(start[1] - 1, -1, -1) if tree.at[frame])
    length = int(tree.node[slot, module.LENGTH]) + int(tree.node[slot, START]) - before - 1
    write_area(tree, slot, before + 1, length)
    module.refresh(tree, slot)


def stray_end(tree: Tree) -> None:
    tree.at[np.flatnonzero(tree.at == 0)[0]] = 1


def lost_slot(tree: Tree) -> None:
    tree.info[NR_SPARE] -= 1


def wrong_count(tree: Tree) -> None:
    tree.info[NR_FREE] += 1


@pytest.mark.parametrize(
    ("invariant", "plant", "balance"),
    [
        ("parent-link", wrong_parent, "rb"),
        ("tree-order", wrong_order, "rb"),
        ("own-order", wrong_own, "rb"),
        ("best-order", wrong_best, "avl"),
        ("color", red_root, "rb"),
        ("color", all_black, "rb"),
        ("height", wrong_height, "avl"),
        ("apart", touching, "none"),
        ("area-ends", stray_end, "rb"),
        ("slots", lost_slot, "avl"),
        ("free-pages", wrong_count, "rb"),
    ],
)
def test_each_planted_fault_is_found(invariant: str, plant: Callable[[Tree], None], balance: str) -> None:
    policy = sound(balance)
    policy.validate()
    plant(policy.state)
    with pytest.raises(InvariantError) as caught:
        policy.validate()
    assert caught.value.invariant == invariant, caught.value
