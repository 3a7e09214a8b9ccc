"""The sorted array: what it counts, and its rules, each broken once."""

from __future__ import annotations

from operator import lt
from typing import TYPE_CHECKING, Any

import pytest

from kernelmodel.errors import InvariantError
from kernelmodel.ordered import SortedArray

if TYPE_CHECKING:
    from collections.abc import Callable


def filled() -> Any:
    tree: SortedArray[int, str] = SortedArray(lt)
    for key in range(10):
        tree.insert(key, str(key))
    return tree


def test_shifted_entries_are_counted() -> None:
    tree = filled()
    assert tree.counters.nr_rotations == 0
    tree.insert(-1, "")
    assert tree.counters.nr_rotations == 10
    tree.remove(0)
    assert tree.counters.nr_rotations == 10 + 9
    tree.remove(9)
    assert tree.counters.nr_rotations == 10 + 9


def drops_a_value(tree: Any) -> None:
    tree._values.pop()


def keys_change_places(tree: Any) -> None:
    tree._keys[3:5] = [4, 3]


def a_key_twice(tree: Any) -> None:
    tree._keys[4] = 3


FAULTS = [(drops_a_value, "length"), (keys_change_places, "order"), (a_key_twice, "order")]


@pytest.mark.parametrize(("plant", "rule"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_each_fault_is_named(plant: Callable[[Any], None], rule: str) -> None:
    tree = filled()
    tree.validate()
    plant(tree)
    with pytest.raises(InvariantError) as caught:
        tree.validate()
    assert caught.value.invariant == rule
