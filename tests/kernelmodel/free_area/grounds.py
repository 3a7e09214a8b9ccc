"""Small grounds for tests: everything happens in a few hundred frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from kernelmodel.compaction.zone_layout import KIND_MASK, Frame, ZoneLayout
from kernelmodel.free_area.ground import Ground, ZoneGround
from kernelmodel.page_alloc.layout import Tuning

PAGEBLOCK_ORDER, NR_ORDERS = 4, 7
NAMES = ("DMA", "DMA32", "Normal", "Movable")
PLAIN = Tuning()
"""Nothing is held back, and CPUs keep no pages."""

USED = (Frame.ANON, Frame.CLEAN, Frame.DIRTY, Frame.FIXED, Frame.PINNED)


@dataclass(frozen=True)
class Shape:
    """A ground to be made.

    Parameters
    ----------
    ends
        Frame behind each zone; zones begin where the one before ends. All but the last are multiples of 64,
        so that no free block crosses from one zone into the next.
    zone_types
        Of each zone.
    start
        First frame of the first zone.
    free_share
        Tenths of the frames that are free.
    grain
        Frames come free in runs of so many.
    seed
        Of which frames are free and what the others are.
    tuning
        Of every zone.
    """

    ends: tuple[int, ...] = (128, 448, 630)
    zone_types: tuple[int, ...] = (0, 1, 2)
    start: int = 5
    free_share: int = 6
    grain: int = 4
    seed: int = 1
    tuning: Tuning = PLAIN


def ground_of(shape: Shape) -> Ground:
    """Return a ground."""
    rng = np.random.default_rng(shape.seed)
    nr_frames = -(-shape.ends[-1] // 64) * 64
    free = np.repeat(rng.integers(10, size=-(-nr_frames // shape.grain)) < shape.free_share, shape.grain)
    state = rng.choice(np.array(USED, np.uint8), size=nr_frames)
    state[free[:nr_frames]] = Frame.FREE
    state[rng.integers(40, size=nr_frames) == 0] = Frame.HOLE
    zones = []
    start = shape.start
    for end, zone_type in zip(shape.ends, shape.zone_types, strict=True):
        base, behind = start & -64, -(-end // 64) * 64
        of_zone = np.full(behind - base, Frame.HOLE, np.uint8)
        of_zone[start - base : end - base] = state[start:end]
        first, last = start >> PAGEBLOCK_ORDER, (end - 1) >> PAGEBLOCK_ORDER
        # By largest block, so that no free block has several types.
        types = np.repeat(rng.integers(3, size=(behind - base) >> 6), 4).astype(np.uint8)
        types = types[first - (base >> PAGEBLOCK_ORDER) :][: last - first + 1]
        layout = ZoneLayout(
            0, NAMES[zone_type], start, end, base, of_zone, np.ones(len(of_zone) >> 4, np.bool_),
            PAGEBLOCK_ORDER, NR_ORDERS,
        )  # fmt: skip
        managed = int((of_zone != Frame.HOLE).sum())
        zones.append(ZoneGround(layout, zone_type, managed, types, shape.tuning))
        start = end
    return Ground(tuple(zones))


def free_frames(ground: Ground) -> set[int]:
    """Return the frames that are free in the beginning."""
    return set(np.flatnonzero(ground.content() & KIND_MASK == Frame.FREE).tolist())


SHAPES = st.builds(
    Shape,
    ends=st.sampled_from(((128, 448, 630), (256, 512, 700), (64, 320, 390))),
    start=st.sampled_from((0, 5, 40)),
    free_share=st.integers(1, 10),
    grain=st.sampled_from((1, 4, 16)),
    seed=st.integers(0, 1 << 30),
)
"""Grounds of three zones without watermarks."""
