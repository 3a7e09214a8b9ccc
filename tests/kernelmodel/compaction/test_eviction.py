"""kernelmodel.compaction.eviction: what is dropped, written and swapped, and where that ends."""

from __future__ import annotations

import pytest

from kernelmodel.compaction.cost import CostModel
from kernelmodel.compaction.eviction import EvictionLimits, evict
from kernelmodel.compaction.result import Status
from tests.kernelmodel.compaction.layouts import drawing_of, layout_of

ZONE = "cccccccc dddd.... aa...... cs...... .....e.. .o...... x....... c......."


@pytest.mark.parametrize(
    ("limits", "evicted"),
    [
        (EvictionLimits(0, writes=False), [[56], [*range(8), 56]]),
        (EvictionLimits(0), [[56], [*range(8), 56], [*range(12), 56]]),
        (EvictionLimits(1), [[56], [*range(8), 56], [*range(8), 24, 25, 56]]),
        (EvictionLimits(3, writes=False), [[56], [*range(8), 56], [*range(8), 24, 25, 56]]),
        (EvictionLimits(2, model=CostModel(swap_us=(0, 0.1, 0))), [[16, 17], [16, 17, 56]]),
    ],
    ids=["drop only", "drop and write", "one page of swap", "no writing", "swap is cheap"],
)
def test_the_cheapest_windows_are_freed(limits: EvictionLimits, evicted: list[list[int]]) -> None:
    zone = layout_of(ZONE)
    for nr, frames in enumerate(evicted, start=1):
        outcome = evict(zone, 3, nr, limits)
        outcome.validate()
        assert outcome.evicted_pfn.tolist() == frames
        assert (outcome.status, outcome.gained_blocks, len(outcome.moves)) == (Status.COMPLETE, nr, 0)


def test_what_swap_is_too_small_for_is_told_apart_from_what_cannot_be_evicted() -> None:
    outcome = evict(layout_of(ZONE), 3, 9, EvictionLimits(1))
    assert (outcome.status, outcome.gained_blocks) == (Status.INFEASIBLE, 4)
    assert outcome.blocked == {"fixed": 1, "unevictable": 1, "movable_ops": 1, "no swap": 1}
    kept = evict(layout_of(ZONE), 3, 9, EvictionLimits(0, writes=False))
    assert (kept.gained_blocks, kept.blocked["no swap"]) == (2, 2)


def test_a_folio_of_which_a_part_is_evicted_falls_into_pages() -> None:
    outcome = evict(layout_of("D!!!!!!! xxxxxxxx"), 2, 1, EvictionLimits(0))
    outcome.validate()
    assert drawing_of(outcome.after)[:8] == "....dddd"
    outcome.before.with_state(outcome.after).validate()


def test_eviction_needs_no_room() -> None:
    outcome = evict(layout_of("cccccccc cccccccc"), 4, 1, EvictionLimits(0))
    assert (outcome.status, outcome.gained_blocks, len(outcome.evicted_pfn)) == (Status.COMPLETE, 1, 16)
