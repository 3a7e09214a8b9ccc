"""GFP flags as the kernel spells them, told apart."""

from __future__ import annotations

import numpy as np
import pytest

from kernelmodel.compaction.zone_layout import Frame
from kernelmodel.priority import Priority
from vmprobe.bridge import gfp

# Values that a stock kernel 6.12 recorded, and what it calls them.
RECORDED = {
    0xCC0: ("GFP_KERNEL", Priority.WAITS, gfp.ZONE_NORMAL, Frame.FIXED),
    0x820: ("GFP_ATOMIC", Priority.ATOMIC, gfp.ZONE_NORMAL, Frame.FIXED),
    0x2800: ("GFP_NOWAIT|__GFP_NOWARN", Priority.NOWAIT, gfp.ZONE_NORMAL, Frame.FIXED),
    0x140CCA: ("GFP_HIGHUSER_MOVABLE|__GFP_COMP", Priority.WAITS, gfp.ZONE_MOVABLE, Frame.CLEAN),
    0x140DCA: ("GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO", Priority.WAITS, gfp.ZONE_MOVABLE, Frame.ANON),
    0x148C48: (
        "GFP_NOFS|__GFP_NOFAIL|__GFP_COMP|__GFP_MOVABLE",
        Priority.WAITS,
        gfp.ZONE_NORMAL,
        Frame.CLEAN,
    ),
    0x52C50: ("GFP_NOFS|...|__GFP_RECLAIMABLE", Priority.WAITS, gfp.ZONE_NORMAL, Frame.FIXED),
    0x52830: ("GFP_ATOMIC|...|__GFP_RECLAIMABLE", Priority.ATOMIC, gfp.ZONE_NORMAL, Frame.FIXED),
    0xD20C0: ("__GFP_IO|__GFP_FS|...", Priority.NOWAIT, gfp.ZONE_NORMAL, Frame.FIXED),
    0x500CC2: ("GFP_HIGHUSER|...", Priority.WAITS, gfp.ZONE_NORMAL, Frame.FIXED),
    0xCC1: ("GFP_KERNEL|GFP_DMA", Priority.WAITS, gfp.ZONE_DMA, Frame.FIXED),
    0xCC4: ("GFP_KERNEL|GFP_DMA32", Priority.WAITS, gfp.ZONE_DMA32, Frame.FIXED),
}


@pytest.mark.parametrize("flags", RECORDED, ids=[row[0] for row in RECORDED.values()])
def test_what_a_request_may_do_and_where_it_goes(flags: int) -> None:
    _, priority, zone, kind = RECORDED[flags]
    column = np.array([flags], np.uint32)
    assert gfp.priority(column).tolist() == [priority]
    assert gfp.highest_zone(column).tolist() == [zone]
    assert gfp.kind(column).tolist() == [kind]


def test_columns_are_those_of_a_demand() -> None:
    column = np.array(list(RECORDED), np.uint32)
    for made in (gfp.priority(column), gfp.highest_zone(column), gfp.kind(column)):
        assert made.dtype == np.uint8
        assert made.shape == column.shape
    assert gfp.priority(np.empty(0, np.uint32)).shape == (0,)
