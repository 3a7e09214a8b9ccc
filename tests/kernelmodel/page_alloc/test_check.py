"""Every invariant of the allocator is tripped, by name, by a fault planted in a sound zone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from kernelmodel.errors import InvariantError
from kernelmodel.page_alloc import state
from kernelmodel.page_alloc.freelist import (
    add_to_free_list,
    del_from_free_list,
    free_list,
    list_add,
    list_del,
    pcp_list,
)
from tests.kernelmodel.page_alloc.zones import GEOMETRY, Shape, pair_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.page_alloc.allocator import BuddyAllocator
    from kernelmodel.page_alloc.state import Zone

TYPES = (state.MOVABLE, state.UNMOVABLE, state.HIGHATOMIC, state.CMA)


def sound() -> BuddyAllocator:
    """Return a zone with free blocks of many orders and types, per-CPU pages and used blocks."""
    buddy, _ = pair_of(Shape(5, 1002, free_share=0.97, clustered=False, types=TYPES, seed=3))
    for order in (0, 0, 1, 4):
        buddy.alloc(order, state.MOVABLE, state.ALLOC_NO_WATERMARKS)
    return buddy


def first(zone: Zone, kind: int, order: int | None = None) -> int:
    """Return the first frame of a kind, and of an order if one is given."""
    words = zone.page[: zone.info[state.NR_FRAMES], state.WORD]
    found = (words & state.KIND_MASK) == kind
    if order is not None:
        found &= (words & state.ORDER_MASK) == order
    return int(np.flatnonzero(found)[0])


def unknown_kind(zone: Zone) -> None:
    zone.page[first(zone, state.USED, 0), state.WORD] = 0xA0


def order_too_large(zone: Zone) -> None:
    zone.page[first(zone, state.USED, 0), state.WORD] = state.USED | GEOMETRY.nr_orders


def unaligned(zone: Zone) -> None:
    at = first(zone, state.FREE, 2)
    zone.page[at, state.WORD] = state.TAIL
    zone.page[at + 1, state.WORD] = state.FREE | 2


def beyond_the_zone(zone: Zone) -> None:
    zone.page[zone.info[state.ZONE_END], state.WORD] = state.USED


def overlapping(zone: Zone) -> None:
    zone.page[first(zone, state.FREE, 2) + 1, state.WORD] = state.USED


def uncovered(zone: Zone) -> None:
    zone.page[first(zone, state.USED, 0), state.WORD] = state.TAIL


def broken_link(zone: Zone) -> None:
    zone.page[first(zone, state.FREE), state.PREV] += 1


def broken_last_link(zone: Zone) -> None:
    zone.page[free_list(zone, 0, state.ISOLATE), state.PREV] = first(zone, state.USED)


def link_out_of_the_arrays(zone: Zone) -> None:
    zone.page[free_list(zone, 0, state.ISOLATE), state.NEXT] = -7


def off_its_list(zone: Zone) -> None:
    list_del(zone, first(zone, state.FREE))


def used_on_a_list(zone: Zone) -> None:
    list_add(zone, first(zone, state.USED), free_list(zone, 0, state.MOVABLE), False)


def on_two_lists(zone: Zone) -> None:
    list_add(zone, first(zone, state.FREE, 2), pcp_list(zone, 1, 13), False)


def wrong_order(zone: Zone) -> None:
    at = first(zone, state.FREE, 2)
    list_del(zone, at)
    list_add(zone, at, free_list(zone, 3, int(zone.block_type[at >> GEOMETRY.pageblock_order])), False)


def free_block_of_a_cpu(zone: Zone) -> None:
    at = first(zone, state.FREE, 0)
    list_del(zone, at)
    list_add(zone, at, pcp_list(zone, 0, state.MOVABLE), False)


def wrong_pcp_order(zone: Zone) -> None:
    at = first(zone, state.PCP, 0)
    list_del(zone, at)
    list_add(zone, at, pcp_list(zone, 0, 3), False)


def pcp_block_on_a_free_list(zone: Zone) -> None:
    at = first(zone, state.PCP, 0)
    list_del(zone, at)
    list_add(zone, at, free_list(zone, 0, state.MOVABLE), False)


def wrong_type(zone: Zone) -> None:
    block = first(zone, state.FREE, 3) >> GEOMETRY.pageblock_order
    zone.block_type[block] = state.RECLAIMABLE


def mixed_type(zone: Zone) -> None:
    block = first(zone, state.FREE, GEOMETRY.max_order) >> GEOMETRY.pageblock_order
    zone.block_type[block + 1] = state.RECLAIMABLE


def counter(which: int) -> Callable[[Zone], None]:
    def off_by_one(zone: Zone) -> None:
        zone.info[which] += 1

    return off_by_one


def wrong_pcp_count(zone: Zone) -> None:
    zone.pcp[1, state.PCP_COUNT] += 1


def unmerged(zone: Zone) -> None:
    at = first(zone, state.FREE, 3)
    migratetype = int(zone.block_type[at >> GEOMETRY.pageblock_order])
    del_from_free_list(zone, at, 3)
    for half in (at, at + 4):
        add_to_free_list(zone, half, 2, migratetype, False)


def unmerged_pageblocks(zone: Zone) -> None:
    at = first(zone, state.FREE, GEOMETRY.max_order)
    migratetype = int(zone.block_type[at >> GEOMETRY.pageblock_order])
    del_from_free_list(zone, at, GEOMETRY.max_order)
    for half in (at, at + 32):
        add_to_free_list(zone, half, 5, migratetype, False)


FAULTS = [
    ("frame-word", unknown_kind),
    ("frame-word", order_too_large),
    ("natural-alignment", unaligned),
    ("natural-alignment", beyond_the_zone),
    ("no-overlap", overlapping),
    ("no-overlap", uncovered),
    ("list-links", broken_link),
    ("list-links", broken_last_link),
    ("list-links", on_two_lists),
    ("list-links", link_out_of_the_arrays),
    ("list-membership", off_its_list),
    ("list-membership", used_on_a_list),
    ("list-order", wrong_order),
    ("list-order", free_block_of_a_cpu),
    ("list-order", wrong_pcp_order),
    ("list-order", pcp_block_on_a_free_list),
    ("block-type", wrong_type),
    ("block-type", mixed_type),
    ("area-count", counter(state.NR_FREE_OF + 2)),
    ("free-pages", counter(state.NR_FREE)),
    ("free-highatomic", counter(state.NR_FREE_HIGHATOMIC)),
    ("free-cma", counter(state.NR_FREE_CMA)),
    ("reserved-highatomic", counter(state.NR_RESERVED_HIGHATOMIC)),
    ("pcp-count", wrong_pcp_count),
    ("merged-buddies", unmerged),
    ("merged-buddies", unmerged_pageblocks),
]


@pytest.mark.parametrize(("invariant", "plant"), FAULTS, ids=[f"{n}-{f.__name__}" for n, f in FAULTS])
def test_each_planted_fault_is_found(invariant: str, plant: Callable[[Zone], None]) -> None:
    buddy = sound()
    buddy.validate()
    plant(buddy.zone)
    with pytest.raises(InvariantError) as caught:
        buddy.validate()
    assert caught.value.invariant == invariant, caught.value


def test_buddies_may_stand_apart_once_a_reserve_was_given_back() -> None:
    buddy = sound()
    unmerged_pageblocks(buddy.zone)
    buddy.zone.info[state.NR_UNRESERVED] = 1
    buddy.validate()
