"""Room for small requests: the cheapest windows, the smallest holes, and what a full reverse map is worth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.compaction.blit import blit
from kernelmodel.compaction.curve import curve
from kernelmodel.compaction.planner import minimum_moves
from kernelmodel.compaction.result import Status
from kernelmodel.compaction.single_entry import blit_difference, busy_frames, shared_frames
from kernelmodel.compaction.zone_layout import KIND_MASK, Frame, ZoneLayout
from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.pageflags import mask
from tests.kernelmodel.compaction.layouts import NR_ORDERS, drawing_of, layout_of, layouts
from tests.kernelmodel.hosts import RANGES, Host
from tests.oracles import blit as oracle

if TYPE_CHECKING:
    from kernelmodel.compaction.result import Outcome
    from kernelmodel.host import HostModel

ORDERS = st.integers(0, NR_ORDERS - 1)


def triples(made: Outcome) -> list[tuple[int, int, int]]:
    base = made.before.base_pfn
    columns = (made.moves.source_pfn - base, made.moves.destination_pfn - base, made.moves.nr_pages)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def marked(layout: ZoneLayout, frames: set[int]) -> np.ndarray:
    held = np.zeros(len(layout.state), np.bool_)
    held[[at for at in frames if at < len(held)]] = True
    return held


@given(layouts(), ORDERS, st.integers(0, 8), st.sets(st.integers(0, 95), max_size=6), st.integers(0, 9))
def test_the_moves_are_those_of_the_slow_twin(
    layout: ZoneLayout, order: int, nr_blocks: int, held: set[int], reserve: int
) -> None:
    made = blit(layout, order, nr_blocks, marked(layout, held), reserve_pages=reserve)
    made.validate()
    made.before.with_state(made.after).validate()
    expected = oracle.blit(layout, order, nr_blocks, held, reserve)
    assert triples(made) == expected, drawing_of(layout.state)
    cleared = {at >> order for at, _, _ in expected}
    assert made.gained_blocks == len(cleared)
    assert made.status == (Status.COMPLETE if len(cleared) == nr_blocks else Status.INFEASIBLE)
    bound = minimum_moves(layout, order, made.gained_blocks)
    assert bound is not None
    assert made.moves.total_pages >= bound


@given(layouts(letters="....aaaasceupx?_"), ORDERS, st.integers(0, 8))
def test_where_every_page_can_be_copied_nothing_is_cheaper(
    layout: ZoneLayout, order: int, nr_blocks: int
) -> None:
    line = curve(layout, order)
    made = blit(layout, order, nr_blocks)
    folios = [at for at, _ in oracle.candidates(layout, order, set())]
    if len(folios) == line.nr_candidates:
        nr_made = min(nr_blocks, line.nr_attainable)
        assert (made.gained_blocks, made.moves.total_pages) == (nr_made, int(line.pages[nr_made]))


def test_the_cheapest_window_goes_into_the_smallest_hole() -> None:
    layout = layout_of("a.a. ..s. x.c. x..x ....")
    made = blit(layout, 2, 1, reserve_pages=0)
    assert triples(made) == [(6, 9, 1)]
    assert drawing_of(made.after)[:20] == "a.a.....xsc.x..x...."
    # Without that hole one of two frames, rather than one beside pages that the next request may want.
    other = blit(layout_of("a.a. ..s. xdcd x..x ...."), 2, 1, reserve_pages=0)
    assert triples(other) == [(6, 13, 1)]


def test_free_blocks_of_the_wanted_order_are_not_broken_and_the_reserve_is_left() -> None:
    layout = layout_of("..s. .... x.xx")
    assert blit(layout, 2, 1, reserve_pages=0).gained_blocks == 1
    assert blit(layout, 2, 1, reserve_pages=1).gained_blocks == 0
    assert blit(layout, 2, 1).status == Status.INFEASIBLE
    assert blit(layout, 2, 1).blocked["no room"] == 1
    assert blit(replace(layout, wmark_min=1), 2, 1, reserve_pages=0).gained_blocks == 1
    assert len(blit(layout_of("..s. ...."), 2, 1, reserve_pages=0).moves) == 0


def test_what_would_have_to_wait_stays() -> None:
    for letter in "do":
        made = blit(layout_of(f"..{letter}. ..xx xxxx xxxx"), 2, 1, reserve_pages=0)
        assert (len(made.moves), made.status) == (0, Status.INFEASIBLE)
    made = blit(layout_of("..d. .... ..x. x.x. xxxx xxxx"), 2, 1, reserve_pages=0)
    assert made.blocked == {"dirty": 1, "fixed": 2}


def test_large_folios_go_whole_or_in_pages_but_are_not_cut_at_a_window() -> None:
    whole = blit(layout_of("A-.. xx.. ...x xxxx"), 2, 1, reserve_pages=0)
    assert triples(whole) == [(0, 6, 2)]
    parts = blit(layout_of("A-.. x.xx x.xx x.xx"), 2, 1, reserve_pages=0)
    assert triples(parts) == [(0, 5, 1), (1, 9, 1)]
    assert drawing_of(parts.after)[:16] == "....xaxxxaxxx.xx"
    both = blit(layout_of("A-s. xx.. xx.. xxxx"), 2, 1, reserve_pages=0)
    assert triples(both) == [(0, 6, 2), (2, 10, 1)]
    cut = blit(layout_of("A------- x.xx x.xx x.xx x.xx"), 2, 1, reserve_pages=0)
    assert (len(cut.moves), cut.blocked) == (0, {"fixed": 2, "large folio": 1})


def test_a_planted_fault_in_the_outcome_is_found() -> None:
    made = blit(layout_of("a.a. ..s. x.c. x..x ...."), 2, 1, reserve_pages=0)
    made.validate()
    wrong = made.after.copy()
    wrong[6] = Frame.ANON
    with pytest.raises(InvariantError, match="after-frames"):
        replace(made, after=wrong).validate()
    into_use = replace(made.moves, destination_pfn=np.array([8]))
    with pytest.raises(InvariantError, match="move-to"):
        replace(made, moves=into_use).validate()


@given(layouts(), ORDERS, st.sets(st.integers(0, 95), max_size=12))
def test_the_difference_is_what_both_variants_come_to(
    layout: ZoneLayout, order: int, shared: set[int]
) -> None:
    of_both = marked(layout, shared)
    found = blit_difference(layout, order, of_both)
    full, single = blit(layout, order, 99), blit(layout, order, 99, of_both)
    assert (found.blocks_full, found.pages_full) == (full.gained_blocks, full.moves.total_pages)
    assert (found.blocks_single, found.pages_single) == (single.gained_blocks, single.moves.total_pages)
    alike = blit(layout, order, single.gained_blocks)
    assert found.pages_full_alike == alike.moves.total_pages <= found.pages_single
    assert found.windows_single <= found.windows_full
    assert found.windows_full == len(oracle.candidates(layout, order, set()))
    held = marked(layout, {3, 17})
    both = blit_difference(layout, order, of_both, held)
    assert both.windows_single == len(oracle.candidates(layout, order, shared | {3, 17}))


def host() -> HostModel:
    """Frames 16 to 21: mapped once, twice, not, by one unseen as well, locked, under writeback."""
    made = Host()
    word = mask("LRU", "ANON", "SWAPBACKED", "UPTODATE")
    made.words = {pfn: mask("BUDDY") for start, end in RANGES for pfn in range(start, end)}
    made.words |= dict.fromkeys((16, 17, 18, 19, 1024), word)
    made.words |= {20: word | mask("LOCKED"), 21: word | mask("WRITEBACK"), 1026: word | mask("LOCKED")}
    made.vmas = [(1, 0, 9), (2, 0, 9)]
    made.entries = {(1, 0): 16, (1, 1): 17, (2, 1): 17, (1, 2): 19, (1, 3): 1024, (2, 3): 1024}
    model = made.model()
    assert model.frames.mapcount is not None
    model.frames.mapcount[19 - 16] = 2
    return model


def test_who_is_shared_and_who_is_busy() -> None:
    model = host()
    low = ZoneLayout(0, "DMA32", 16, 272, 0, np.zeros(272, np.uint8), np.ones(17, np.bool_), 4, 5)
    high = ZoneLayout(0, "Normal", 1024, 1280, 1024, np.zeros(256, np.uint8), np.ones(16, np.bool_), 4, 5)
    assert np.flatnonzero(shared_frames(model, low)).tolist() == [17, 19]
    assert np.flatnonzero(shared_frames(model, high)).tolist() == [0]
    assert np.flatnonzero(busy_frames(model, low)).tolist() == [20, 21]
    assert np.flatnonzero(busy_frames(model, high)).tolist() == [2]
    untold = replace(model, frames=replace(model.frames, mapcount=None))
    assert np.flatnonzero(shared_frames(untold, low)).tolist() == [17]
    assert np.flatnonzero(shared_frames(replace(model, entries=None), low)).tolist() == [17, 19]


@pytest.mark.parametrize(
    "state", [[9, 0, 9, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]], ids=["no window", "no room"]
)
def test_who_asks_in_vain_does_not_pay_for_lists(state: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    zone = ZoneLayout(0, "Normal", 0, 8, 0, np.array(state, np.uint8), np.ones(1, np.bool_), 3, 4)
    monkeypatch.setattr("kernelmodel.compaction.blit.free_blocks", None)
    made = blit(zone, 2, 1, reserve_pages=0)
    assert (made.gained_blocks, len(made.moves), made.status) == (0, 0, Status.INFEASIBLE)


def test_an_order_that_the_zone_does_not_have_is_refused() -> None:
    with pytest.raises(ModelError, match="order 5"):
        blit(layout_of("a..."), NR_ORDERS, 1)


@given(layouts())
def test_nothing_wanted_is_nothing_done(layout: ZoneLayout) -> None:
    made = blit(layout, 1, 0)
    made.validate()
    assert (made.after & KIND_MASK == layout.kinds).all()
    assert made.status == Status.COMPLETE
