"""Linux's two scanners: against the slow twin, and rule by rule on small drawings."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.compaction.result import Status
from kernelmodel.compaction.scanners import Rules, linux
from kernelmodel.compaction.zone_layout import Frame, ZoneLayout
from tests.kernelmodel.compaction.layouts import drawing_of, layout_of, layouts
from tests.oracles.scanners import Machine

KERNELS = (Rules(), Rules(large_folios=False, counts_skipped=False, finishes_block_it_is_in=False))
ALL_RULES = [Rules(*switches) for switches in product((True, False), repeat=7)]


def agree(layout: ZoneLayout, rules: Rules) -> None:
    """Hold one run against the twin's."""
    outcome = linux(layout, layout.pageblock_order, rules)
    outcome.validate()
    twin = Machine(layout, rules)
    stuck = twin.compact()
    base = layout.base_pfn
    moves = zip(outcome.moves.source_pfn, outcome.moves.destination_pfn, outcome.moves.nr_pages, strict=True)
    assert [(int(a) - base, int(b) - base, int(n)) for a, b, n in moves] == twin.moves
    assert (outcome.migrate_scanned, outcome.free_scanned) == (twin.migrate_scanned, twin.free_scanned)
    assert outcome.status is (Status.COMPLETE if stuck is None else Status.CONTENDED)
    assert outcome.stopped_pfn == base + (twin.migrate_pfn if stuck is None else stuck)
    assert outcome.failed_pages == twin.failed
    assert drawing_of(outcome.after) == drawing_of(twin.state())


@given(layouts(max_blocks=8), st.sampled_from(ALL_RULES))
def test_small_zones_of_everything(layout: ZoneLayout, rules: Rules) -> None:
    agree(layout, rules)


def wide(seed: int) -> ZoneLayout:
    """Return a zone whose pageblocks hold more than a batch: 64 frames each."""
    rng = np.random.default_rng(seed)
    nr_blocks = int(rng.integers(2, 24))
    pieces: list[str] = []
    for _ in range(nr_blocks * 2):
        kind = rng.integers(0, 6)
        if kind == 0:
            pieces.append("." * 64)
        elif kind == 1:
            pieces.append("C---D!!!A-s.a..." * 4)
        else:
            share = rng.random()
            pieces.append("".join(np.where(rng.random(64) < share, ".", rng.choice(list("acsxd?"), 64))))
    drawing = "".join(pieces)
    targets = [bool(t) for t in rng.random(len(drawing) // 64) < 0.8]
    return layout_of(
        drawing, pageblock_order=6, nr_orders=8, targets=targets, wmark_min=int(rng.integers(0, 99))
    )


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("rules", KERNELS, ids=("6.9", "6.1"))
def test_zones_with_whole_batches(seed: int, rules: Rules) -> None:
    agree(wide(seed), rules)


@pytest.mark.slow
@pytest.mark.parametrize("rules", ALL_RULES, ids=str)
def test_zones_with_whole_batches_and_every_switch(rules: Rules) -> None:
    for seed in range(1000, 1060):
        agree(wide(seed), rules)


def run(drawing: str, rules: Rules | None = None, **about: object) -> tuple[str, object]:
    """Return what a drawing becomes, and the outcome."""
    outcome = linux(layout_of(drawing, **about), 3, rules)  # type: ignore[arg-type]
    return drawing_of(outcome.after), outcome


def test_pages_climb_to_the_end_the_last_taken_first() -> None:
    after, outcome = run("a.c....." + "x" * 8 + "x.x.x.x.")
    assert after[:8] == "........"
    assert outcome.moves.source_pfn.tolist() == [2, 0]
    assert outcome.moves.destination_pfn.tolist() == [17, 19]


def test_a_block_that_is_free_as_a_whole_is_no_target() -> None:
    _, outcome = run("a......." + "x" * 8 + ".x......" + "........", targets=[True] * 4)
    assert outcome.moves.destination_pfn.tolist() == [16]


def test_only_movable_pageblocks_are_filled() -> None:
    drawing = "a......." + "x" * 8 + "x......." + "x......."
    _, outcome = run(drawing, targets=[True, True, True, False])
    assert outcome.moves.destination_pfn.tolist() == [17]
    _, outcome = run(drawing, Rules(movable_targets_only=False), targets=[True, True, True, False])
    assert outcome.moves.destination_pfn.tolist() == [25]


def test_a_dirty_large_folio_ends_the_zone_and_a_clean_one_is_split() -> None:
    room = "x.x.x.x." * 3
    _, outcome = run("D!!!a..." + room)
    assert (outcome.status, outcome.stopped_pfn, len(outcome.moves)) == (Status.CONTENDED, 0, 1)
    _, outcome = run("C---a..." + room)
    assert (outcome.status, outcome.moves.nr_pages.tolist()) == (Status.COMPLETE, [1] * 5)
    _, outcome = run("D!!!a..." + room, Rules(aborts=False))
    assert (outcome.status, outcome.failed_pages) == (Status.COMPLETE, 4)


def test_before_large_folios_a_compound_page_stays() -> None:
    _, outcome = run("C---a..." + "x......." * 2, replace(KERNELS[1]))
    assert outcome.moves.source_pfn.tolist() == [4]


def test_the_step_grows_while_nothing_is_found() -> None:
    drawing = "aa......" + "x" * 8 + ".x.x.x.x" + "x" * 8 + "x" * 8
    _, strides = run(drawing)
    _, single = run(drawing, Rules(stride=False))
    assert strides.free_scanned < single.free_scanned


def test_a_cpu_keeps_what_was_freed_last() -> None:
    after, outcome = run("aaaaaaaa" + "x" * 8 + ".x.x.x.x" * 2, Rules(pcp_high=2))
    assert (outcome.held_back_pages, after[:8].count("?")) == (2, 2)
    assert after[:2] == "??"
    assert outcome.after[0] == Frame.UNKNOWN


def test_single_pages_make_no_room_on_the_list_of_a_higher_order() -> None:
    after, outcome = run("A-aaaaaa" + "x" * 8 + "x......." * 2, Rules(pcp_high=2))
    assert (outcome.held_back_pages, after[:2], after[:8].count("?")) == (4, "??", 4)
    _, smaller = run("A-aaaaaa" + "x" * 8 + "x......." * 2, Rules(pcp_high=1))
    assert smaller.held_back_pages == 3


def test_the_watermark_ends_the_zone() -> None:
    _, outcome = run("aaaaaaaa" + "x" * 8 + ".x.x.x.x" * 2, wmark_min=7)
    assert outcome.status is Status.CONTENDED


def test_pageblocks_that_stay_are_counted_by_what_is_in_the_way() -> None:
    _, outcome = run("a..x...." + "p......." + "........" + "x.x.x.x." + "........" + "x......." * 3)
    assert outcome.blocked == {"fixed": 4, "pinned": 1}
