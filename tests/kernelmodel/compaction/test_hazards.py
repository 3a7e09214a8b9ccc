"""What a layout cannot tell, assumed one way or the other."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from kernelmodel.compaction.hazards import Hazards, assume
from kernelmodel.compaction.scanners import linux
from kernelmodel.compaction.zone_layout import SECTION_ORDER, Frame, ZoneLayout
from tests.kernelmodel.compaction.layouts import drawing_of, layout_of, layouts


def assumed(drawing: str, hazards: Hazards, pcp_pages: int | None = None) -> str:
    """Return what a drawing is taken for."""
    return drawing_of(assume(layout_of(drawing, pcp_pages=pcp_pages), hazards).state)


def test_nothing_is_assumed_by_itself() -> None:
    layout = layout_of("ap?x....")
    assert assume(layout, Hazards()) is layout


def test_pins_let_go() -> None:
    assert assumed("P---ap..", Hazards(pins_hold=False))[:8] == "A---aa.."


def test_lists_are_drained_as_far_as_they_have_pages() -> None:
    drawing = "a.?....." + "xx????.." + "????...." + "p?......"
    # Fewest that stay come first, then fewest words of 0: the block of one, that of four; one page is left.
    assert assumed(drawing, Hazards(drained=True), pcp_pages=6)[:8] == "a......."
    assert assumed(drawing, Hazards(drained=True), pcp_pages=6) == (
        "a......." + "xx????.." + "........" + "p......."
    )
    assert assumed(drawing, Hazards(drained=True), pcp_pages=5)[24:] == "p?......"
    assert assumed(drawing, Hazards(drained=True)) == drawing


def test_whole_blocks_of_nothing_are_out_for_reporting() -> None:
    assert assumed("????????" + "???????a", Hazards(reported_free=True)) == "........" + "???????a"


def test_others_take_the_shortest_runs_first() -> None:
    assert assumed("a..a.a.." + "........", Hazards(foreign_pages=3)) == "axxaxa.." + "........"
    assert assumed("aaaaaaa." + "aaaaaaaa", Hazards(foreign_pages=9)) == "aaaaaaax" + "aaaaaaaa"


@given(layouts())
def test_as_many_pages_come_as_go_where_free_blocks_are_broken(layout: ZoneLayout) -> None:
    churned = assume(layout, Hazards(churn_pages=3, churn_seed=layout.state.sum()))
    changed = np.flatnonzero(churned.state != layout.state)
    broken = layout.state == Frame.FREE
    broken &= ~np.repeat(
        broken.reshape(-1, 1 << layout.pageblock_order).all(axis=1), 1 << layout.pageblock_order
    )
    nr_pages = min(3, np.count_nonzero(broken), np.count_nonzero(layout.state == Frame.ANON))
    assert len(changed) == 2 * nr_pages
    assert np.count_nonzero(broken[changed]) == nr_pages
    assert sorted(churned.state[changed]) == sorted(layout.state[changed])


def test_other_seeds_draw_other_pages() -> None:
    drawing = "a.a.a.a." * 8
    assert len({assumed(drawing, Hazards(churn_pages=2, churn_seed=seed)) for seed in range(6)}) > 3


def test_absent_sections_are_scanned_only_where_that_is_assumed() -> None:
    size = 1 << SECTION_ORDER
    state = np.full(3 * size, Frame.HOLE, np.uint8)
    state[:size] = Frame.FIXED
    state[2 * size :] = Frame.FIXED
    state[0] = Frame.ANON
    targets = np.ones(3 * size >> 9, np.bool_)
    zone = ZoneLayout(0, "Normal", 0, 3 * size, 0, state, targets)
    skipped = linux(zone, 9)
    scanned = linux(assume(zone, Hazards(absent_skipped=False)), 9)
    assert skipped.free_scanned is not None
    # By then the free scanner looks at every 32nd frame alone.
    assert scanned.free_scanned == skipped.free_scanned + size // 32


@given(layouts())
def test_what_is_assumed_is_a_layout(layout: ZoneLayout) -> None:
    for hazards in (
        Hazards(pins_hold=False),
        Hazards(drained=True),
        Hazards(reported_free=True),
        Hazards(absent_skipped=False),
        Hazards(foreign_pages=5),
    ):
        found = assume(layout, hazards)
        found.validate()
        same = found.state == layout.state
        assert (~same).sum() <= max(len(layout.state), 5)
        if hazards.foreign_pages:
            assert (~same).sum() == min(5, int((layout.kinds == Frame.FREE).sum()))
