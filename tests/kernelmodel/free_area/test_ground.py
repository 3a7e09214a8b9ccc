"""One numbering over the zones of a node."""

from __future__ import annotations

import numpy as np
import pytest

from kernelmodel.compaction.zone_layout import Frame, ZoneLayout
from kernelmodel.errors import ModelError
from kernelmodel.free_area.ground import Ground, ZoneGround
from kernelmodel.page_alloc.layout import Tuning

DMA, DMA32 = 0, 1


def zone(name: str, zone_type: int, start: int, end: int, *, nr_orders: int = 4) -> ZoneGround:
    """Return a zone in which every third frame is used, in arrays rounded to blocks of 8 frames."""
    base = start & -8
    state = np.full(-(-end // 8) * 8 - base, Frame.HOLE, np.uint8)
    inside = np.arange(start, end)
    state[inside - base] = np.where(inside % 3 == 0, Frame.ANON, Frame.FREE)
    nr_blocks = -(-end // 4) - start // 4
    layout = ZoneLayout(0, name, start, end, base, state, np.ones(len(state) >> 2, np.bool_), 2, nr_orders)
    tuning = Tuning(wmark_min=zone_type + 2)
    return ZoneGround(layout, zone_type, end - start, np.zeros(nr_blocks, np.uint8), tuning)


GROUND = Ground((zone("DMA", DMA, 17, 32), zone("DMA32", DMA32, 44, 52)))


def test_frames_are_counted_from_the_first_zone_on() -> None:
    content = GROUND.content()
    assert (GROUND.base_pfn, GROUND.nr_frames, len(content)) == (16, 40, 40)
    holes = np.flatnonzero(content == Frame.HOLE) + GROUND.base_pfn
    assert holes.tolist() == [16, *range(32, 44), *range(52, 56)]
    assert (content[18 - 16], content[45 - 16], content[46 - 16]) == (Frame.ANON, Frame.ANON, Frame.FREE)


def test_limits_rise_with_the_zone_type() -> None:
    assert GROUND.limits().tolist() == [16, 36, 36, 36, 36, 36, 36, 36]
    assert Ground((zone("DMA32", DMA32, 44, 52),)).limits()[:2].tolist() == [0, 12]
    assert GROUND.wmark_min == 5


def test_contents_go_back_to_the_zones_they_are_of() -> None:
    content = GROUND.content()
    content[20 - 16], content[50 - 16] = Frame.PINNED, Frame.DIRTY
    first, second = GROUND.layouts(content)
    for layout, pfn, kind in ((first, 20, Frame.PINNED), (second, 50, Frame.DIRTY)):
        layout.validate()
        changed = np.flatnonzero(layout.state != next(
            each.layout.state for each in GROUND.zones if each.layout.zone == layout.zone
        ))  # fmt: skip
        assert changed.tolist() == [pfn - layout.base_pfn]
        assert layout.state[changed[0]] == kind


def test_free_blocks_are_those_of_the_zones() -> None:
    counts = sum(zone.layout.free_blocks() for zone in GROUND.zones)
    assert GROUND.free_blocks().counts().tolist() == counts.tolist()


@pytest.mark.parametrize(
    ("zones", "message"),
    [
        ((), "without zones"),
        ((zone("DMA32", DMA32, 44, 52), zone("DMA", DMA, 17, 32)), "zone DMA does not stand behind"),
        ((zone("DMA", DMA, 17, 32), zone("DMA32", DMA32, 44, 52, nr_orders=3)), "different orders"),
    ],
)
def test_grounds_that_make_no_sense_are_refused(zones: tuple[ZoneGround, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Ground(zones)
