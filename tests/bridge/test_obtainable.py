"""Blocks that can be taken now, from free lists alone: the same as from frames, where both can be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compactable import WMARK, host, zones
from tests.synthetic import rows
from vmprobe.analyses.compact import prepared
from vmprobe.bridge.can_alloc import chances, together
from vmprobe.bridge.obtainable import ZoneFree, obtainable_now, room_for, zones_free
from vmprobe.store import load

SNAPSHOTS = Path(__file__).parents[2] / "fixtures" / "snapshots"
QUICK = "6.12-fragmented"
NAMES = sorted(path.stem for path in SNAPSHOTS.glob("*.vmsnap"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == QUICK else pytest.mark.slow) for name in NAMES]
)
def test_free_lists_and_frames_say_the_same(name: str) -> None:
    snapshot = load(SNAPSHOTS / f"{name}.vmsnap")
    made, found = prepared(snapshot), zones_free(snapshot)
    assert found is not None
    moved = snapshot.manifest["volatility"]
    drift = abs(moved["free_pages_before"] - moved["free_pages_after"])
    for order in (9, 18) if name == QUICK else (0, 4, 9, 10, 18):
        of_frames, of_lists = together(chances(snapshot, made, order)[0]).now, obtainable_now(found, order)
        if order == 18 and of_lists is None:
            continue  # only the frames can tell whether blocks lie side by side
        assert of_lists is not None
        # That one was taken while a program in the guest was at work.
        assert abs(of_lists - of_frames) << order <= (drift if name.endswith("-compacting") else 0)


def lists(**nr_free: tuple[int, ...]) -> object:
    values = ((0, zone, order, nr, nr) for zone, free in nr_free.items() for order, nr in enumerate(free))
    return rows("free_areas", "node zone order nr_free nr_free_after", *values)


@pytest.mark.parametrize(
    ("nr_free", "reserve", "now"),
    [
        # floor((F - wmark_min - reserve) / 512): one page decides.
        (1024 + WMARK["DMA32"], 0, 2),
        (1023 + WMARK["DMA32"], 0, 1),
        (1024 + WMARK["DMA32"], 1, 1),
        (WMARK["DMA32"], 0, 0),
        (0, 0, 0),
    ],
)
def test_watermarks_and_reserves_are_left_alone(nr_free: int, reserve: int, now: int) -> None:
    blocks = (nr_free % 512, *[0] * 8, nr_free // 512)
    asked = host(zones=zones(reserve=reserve), free_areas=lists(DMA32=blocks, Normal=(0,) * 10))
    found = zones_free(asked)
    assert found is not None
    assert obtainable_now(found, 9) == room_for(found, 9) == now


def test_a_boost_is_no_reserve() -> None:
    names = "node zone start_pfn spanned_pages present_pages wmark_min boost lowmem_reserve"
    boosted = rows("zones", names, (0, "Normal", 0, 4096, 4096, 500, 480, [0]))
    found = zones_free(host(zones=boosted, free_areas=lists(Normal=(0,) * 9 + (2,))))
    assert found == (ZoneFree(0, "Normal", (0,) * 9 + (2,), 20),)


def test_room_is_more_than_what_lies_together() -> None:
    scattered = [ZoneFree(0, "Normal", (1034, *[0] * 10), 10)]
    assert obtainable_now(scattered, 9) == 0
    assert room_for(scattered, 9) == 2


def test_what_is_not_known_is_not_zero() -> None:
    full = host(free_areas=lists(DMA32=(1,), Normal=(1,)))
    assert zones_free(full) is not None
    assert zones_free(host()) is None, "no free lists"
    assert zones_free(host(free_areas=lists(DMA32=(1,)))) is None, "none of one zone"
    unmarked = rows("zones", "node zone present_pages", (0, "DMA32", 2048))
    assert zones_free(host(free_areas=lists(DMA32=(1,)), zones=unmarked)) is None, "no watermark"


def test_ranges_above_the_largest_block_are_for_frames_to_tell() -> None:
    zone = ZoneFree(0, "Normal", (0, 0, 3), 0)
    assert obtainable_now([zone], 3) is None, "two of three may lie side by side"
    assert obtainable_now([zone], 4) == 0, "three do not make four"
    assert obtainable_now([zone._replace(nr_free=(100, 0, 3))], 4) == 0, "nor with what lies elsewhere"
    assert obtainable_now([zone._replace(reserve_pages=8)], 3) == 0, "the watermark keeps them anyway"
