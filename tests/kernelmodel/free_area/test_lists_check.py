"""Every invariant of free blocks on lists is tripped, by name, by a fault planted in sound lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from kernelmodel.errors import InvariantError
from kernelmodel.free_area.lists import FreeLists, add_block, del_block
from kernelmodel.free_area.lists_state import NEXT, NO_BLOCK, NR_FRAMES, NR_FREE, ORDER, PREV
from tests.kernelmodel.free_area.grounds import Shape, ground_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.free_area.lists_state import Lists


def first(lists: Lists, order: int) -> int:
    """Return the first frame that begins a block of an order."""
    return int(np.flatnonzero(lists.page[: lists.info[NR_FRAMES], ORDER] == order)[0])


def broken_link(lists: Lists) -> None:
    lists.page[first(lists, 2), PREV] += 1


def broken_last_link(lists: Lists) -> None:
    lists.page[lists.info[NR_FRAMES] + 2, PREV] = first(lists, 2) + 1


def out_of_the_arrays(lists: Lists) -> None:
    lists.page[lists.info[NR_FRAMES] + 6, NEXT] = -7


def wrong_order(lists: Lists) -> None:
    lists.page[first(lists, 2), ORDER] = 1


def on_no_list(lists: Lists) -> None:
    at = first(lists, 2)
    del_block(lists, at, 2)
    lists.page[at, ORDER] = 2


def askew(lists: Lists) -> None:
    at = first(lists, 2)
    del_block(lists, at, 2)
    add_block(lists, at + 1, 2)


def overlapping(lists: Lists) -> None:
    add_block(lists, first(lists, 2) + 2, 1)


def wrong_count(lists: Lists) -> None:
    lists.nr_blocks[3] += 1


def wrong_pages(lists: Lists) -> None:
    lists.info[NR_FREE] += 1


def unmerged(lists: Lists) -> None:
    at = first(lists, 2)
    del_block(lists, at, 2)
    for half in (at, at + 2):
        add_block(lists, half, 1)


@pytest.mark.parametrize(
    ("invariant", "plant"),
    [
        ("list-links", broken_link),
        ("list-links", broken_last_link),
        ("list-links", out_of_the_arrays),
        ("list-order", wrong_order),
        ("list-order", on_no_list),
        ("alignment", askew),
        ("no-overlap", overlapping),
        ("area-count", wrong_count),
        ("free-pages", wrong_pages),
        ("merged-buddies", unmerged),
    ],
)
def test_each_planted_fault_is_found(invariant: str, plant: Callable[[Lists], None]) -> None:
    policy = FreeLists("buddy-lifo", ground_of(Shape()), pure=True)
    policy.validate()
    assert policy.state.page[first(policy.state, 2) + 1, ORDER] == NO_BLOCK
    plant(policy.state)
    with pytest.raises(InvariantError) as caught:
        policy.validate()
    assert caught.value.invariant == invariant, caught.value
