"""Sliding to the top: as frame by frame, compiled and not, and the bottom is what it is for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given

from kernelmodel._jit import HAVE_NUMBA, compiled
from kernelmodel.compaction.gravity import gravity, slide
from kernelmodel.compaction.planner import minimum_moves
from kernelmodel.compaction.zone_layout import (
    FIRST_MOVABLE,
    HEAD,
    KIND_MASK,
    LAST_MOVABLE,
    TAIL,
    Frame,
    ZoneLayout,
)
from kernelmodel.errors import InvariantError
from tests.kernelmodel.compaction.layouts import drawing_of, layout_of, layouts
from tests.oracles import blit as oracle

if TYPE_CHECKING:
    from kernelmodel.compaction.result import Outcome


def triples(made: Outcome) -> list[tuple[int, int, int]]:
    base = made.before.base_pfn
    columns = (made.moves.source_pfn - base, made.moves.destination_pfn - base, made.moves.nr_pages)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@given(layouts())
def test_the_moves_are_those_of_the_slow_twin(layout: ZoneLayout) -> None:
    made = gravity(layout, 2)
    made.validate()
    made.before.with_state(made.after).validate()
    assert triples(made) == oracle.gravity(layout), drawing_of(layout.state)
    for order in range(4):
        again = gravity(layout, order)
        bound = minimum_moves(layout, order, again.gained_blocks)
        assert bound is not None
        assert again.moves.total_pages >= bound


@given(layouts(max_order=0))
def test_single_pages_leave_no_hole_above_them(layout: ZoneLayout) -> None:
    made = gravity(layout, 0)
    kinds = made.after & KIND_MASK
    movable = np.flatnonzero((kinds >= FIRST_MOVABLE) & (kinds <= LAST_MOVABLE))
    free = np.flatnonzero(kinds == Frame.FREE)
    if len(movable) and len(free):
        assert free[-1] < movable[0]
    # Then nothing more moves.
    assert len(gravity(layout.with_state(made.after), 0).moves) == 0


@pytest.mark.skipif(not HAVE_NUMBA, reason="numba is not installed")
@given(layouts())
def test_compiled_is_not_compiled(layout: ZoneLayout) -> None:
    found = []
    for pure in (False, True):
        state = layout.state.copy()
        fingers = np.array([(len(state) >> order << order) - (1 << order) for order in range(8)])
        columns = np.zeros((3, len(state)), np.int64)
        found.append((compiled(slide, pure=pure)(state, fingers, *columns), columns.tolist(), state.tolist()))
    assert found[0] == found[1]


def test_free_memory_gathers_at_the_bottom() -> None:
    made = gravity(layout_of("a.s. c.x. C--- .... x..a ...."), 3)
    assert triples(made) == [(0, 23, 1), (2, 22, 1), (4, 21, 1), (8, 12, 4), (19, 20, 1)]
    assert drawing_of(made.after)[:24] == "......x.....C---x...acsa"
    assert (made.gained_blocks, made.stopped_pfn) == (0, 20)
    assert gravity(layout_of("a.s. c... C--- ...x xxxa ...."), 3).gained_blocks == 1


def test_folios_go_whole_are_split_or_stay() -> None:
    whole = gravity(layout_of("A-.. x... .... xxxx"), 2)
    assert triples(whole) == [(0, 10, 2)]
    parts = gravity(layout_of("A-.. x.x. x.xx xxxx"), 2)
    assert triples(parts) == [(0, 2, 2)]
    split = gravity(layout_of("A-x. x.x. x.xx xxxx"), 2)
    assert triples(split) == [(0, 9, 1), (1, 7, 1)]
    assert split.after[7] == split.after[9] == Frame.ANON
    kept = gravity(layout_of("D!x. x.x. x.xx xxxx"), 2)
    assert (len(kept.moves), kept.blocked) == (0, {"fixed": 1})
    smaller = gravity(layout_of("A--- A-xx x.x. xxxx"), 2)
    assert triples(smaller) == [(4, 11, 1), (5, 9, 1)], "there is room for the second alone"
    small = gravity(layout_of("A--- xxx. xx.x xxxx"), 2)
    assert len(small.moves) == 0, "there is no room for all of it"
    assert small.after[0] == Frame.ANON | HEAD
    assert small.after[3] == Frame.ANON | TAIL


def test_what_stays_below_is_named() -> None:
    made = gravity(layout_of("..x..... ........ D!!!!!!! a.xxxxxx ...xx...".replace(" ", "")), 3)
    assert made.stopped_pfn is not None
    assert made.blocked["fixed"] >= 1
    stays = gravity(layout_of("D!!!!!!! ....xxxx x.x.x.x. x..x..x."), 3)
    assert stays.blocked == {"large folio": 1, "fixed": 2}


def test_it_can_lose_blocks_and_says_so() -> None:
    lost = gravity(layout_of("xaxaxaxa ........"), 3)
    assert lost.gained_blocks == -1


def test_a_planted_fault_in_the_outcome_is_found() -> None:
    made = gravity(layout_of("a.s. c.x. .C-- .... x..a ...."), 2)
    made.validate()
    with pytest.raises(InvariantError, match="move-doubled"):
        replace(
            made,
            moves=replace(
                made.moves, destination_pfn=np.repeat(made.moves.destination_pfn[:1], len(made.moves))
            ),
        ).validate()
    with pytest.raises(InvariantError, match="after-frames"):
        replace(made, held_back_pages=1).validate()
