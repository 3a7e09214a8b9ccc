"""Blocks that can be had on a made-up host, added up by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compactable import FREE, RUNS, SLAB, WMARK, Runs, counters, frames_of, host, zones
from vmprobe.bridge import compact as bridge
from vmprobe.bridge.can_alloc import ZoneChances, chances, together
from vmprobe.bridge.compact import run
from vmprobe.bridge.interval import intervals

MAPPED_CACHE = ("UPTODATE", "LRU", "MMAP")


def found(order: int, **replaced: Any) -> dict[str, ZoneChances]:
    asked = host(**replaced)
    made = bridge.host(asked, averaged=False)
    rows, dirty = chances(asked, made, order)
    assert not dirty
    assert [zone.zone for zone in rows] == ["DMA32", "Normal"]
    assert together(rows).now == sum(zone.now for zone in rows)
    return {zone.zone: zone for zone in rows}


def half_free(nr_free: int) -> Runs:
    """One zone of free pages from its start, the other of slab."""
    return [(FREE, nr_free), (SLAB, 4096 - nr_free)]


@pytest.mark.parametrize(
    ("nr_free", "reserve", "now", "withheld"),
    [
        # floor((F - wmark_min - reserve) / 512): one page decides.
        (1024 + WMARK["DMA32"], 0, 2, 0),
        (1023 + WMARK["DMA32"], 0, 1, 1),
        (1024, 0, 1, 1),
        (2048, 1024, 1, 3),
        (2048, 1536 - WMARK["DMA32"], 1, 3),
        (2048, 1537 - WMARK["DMA32"], 0, 4),
    ],
)
def test_watermarks_and_reserves_are_left_alone(nr_free: int, reserve: int, now: int, withheld: int) -> None:
    zone = found(9, frames=frames_of(half_free(nr_free), {}), zones=zones(reserve=reserve))["DMA32"]
    assert (zone.now, zone.withheld) == (now, withheld)
    assert (zone.low, zone.mid, zone.high) == (now, now, now), "moving makes no more room"
    assert zone.windows == 4


@pytest.mark.parametrize("order", [0, 3, 9, 10])
def test_compaction_is_the_forecast_of_linux_within_the_room(order: int) -> None:
    asked = host()
    made = bridge.host(asked, averaged=False)
    outcomes = run(made, "linux", order, None)
    between = intervals(asked, made, "linux", outcomes, None)
    for outcome, (low, high), zone in zip(outcomes, between.zones, found(order).values(), strict=True):
        blocks = outcome.before.free_blocks()
        before = sum(int(nr) << of - order for of, nr in enumerate(blocks) if of >= order)
        free = sum(int(nr) << of for of, nr in enumerate(blocks))
        room = free - WMARK[zone.zone] >> order
        assert zone.now == min(before, room)
        assert zone.mid == min(before + outcome.gained_blocks, room)
        assert (zone.low, zone.high) == (max(0, min(before + low, room)), min(before + high, room))


def test_cache_that_nobody_maps_is_dropped_whole_folios_alone() -> None:
    assert found(9)["Normal"].evicted_pages == 208
    runs = list(RUNS)
    at = runs.index((("UPTODATE", "LRU"), 200))
    runs[at : at + 1] = [
        (MAPPED_CACHE, 100),
        ((*MAPPED_CACHE, "COMPOUND_HEAD"), 1),
        ((*MAPPED_CACHE, "COMPOUND_TAIL"), 3),
        (("UPTODATE", "LRU", "COMPOUND_HEAD"), 1),
        (("UPTODATE", "LRU", "COMPOUND_TAIL"), 3),
        (("UPTODATE", "LRU"), 92),
    ]
    # All of the hundred pages, and one of the first folio's four, are mapped.
    mapped = {512: 100, 1024: 300, 2048: 50, 2560: 100, 2662: 1}
    assert found(9, frames=frames_of(runs, mapped))["Normal"].evicted_pages == 208 - 104


def test_after_dropping_cache_linux_compacts_what_is_left() -> None:
    dropped = [(FREE if "LRU" in flags and "ANON" not in flags else flags, nr) for flags, nr in RUNS]
    asked, emptied = found(9), found(9, frames=frames_of(dropped))
    assert emptied["Normal"].mid > asked["Normal"].mid
    for zone, later in zip(asked.values(), emptied.values(), strict=True):
        assert (zone.after_eviction, zone.after_eviction_low) == (later.mid, later.low)


@pytest.mark.usefixtures("nothing_churns")
def test_pins_that_are_not_located_lower_what_is_sure() -> None:
    sure = found(9)["Normal"]
    pinned = found(9, counters=counters(nr_foll_pin_acquired=51))["Normal"]
    assert (pinned.mid, pinned.after_eviction) == (sure.mid, sure.after_eviction)
    assert pinned.low == sure.low - 1
    assert pinned.after_eviction_low == sure.after_eviction_low, "what the cache leaves free needs no moves"


def test_at_most_counts_swap_once() -> None:
    def at_most(swap_pages: int) -> list[int]:
        rows = found(9, counters=counters(SwapFree=4 * swap_pages))
        return [zone.at_most for zone in rows.values()]

    # DMA32 has 1135 pages free outside block 3, 400 anonymous: 1647 - 10 is three blocks and 101 pages.
    assert at_most(0) == [3, 3]
    # The highest zone swaps first: its 50, then up to 400 of DMA32 for a fourth block, which slab keeps.
    assert at_most(1000) == [3, 3]
    assert [zone.movable for zone in found(9).values()] == [3, 3]


def test_what_is_cache_is_room_once_it_is_dropped() -> None:
    runs = [(SLAB, 2048), (("UPTODATE", "LRU"), 2000), (FREE, 48)]
    zone = found(9, frames=frames_of(runs, {}))["Normal"]
    assert (zone.now, zone.mid) == (0, 0)
    # All 2048 frames are free then, of which the watermark keeps 20.
    assert (zone.after_eviction, zone.after_eviction_low, zone.at_most) == (3, 3, 3)


def test_memory_is_short_before_windows_are() -> None:
    anon = ("UPTODATE", "LRU", "MMAP", "ANON", "SWAPBACKED")
    runs = [(anon, 1800), (FREE, 248), (SLAB, 2048)]
    mapped = {0: 1800}

    def at_most(swap_pages: int) -> tuple[int, int]:
        swap = counters(SwapFree=4 * swap_pages)
        zone = found(9, frames=frames_of(runs, mapped), counters=swap)["DMA32"]
        return zone.at_most, zone.movable

    assert at_most(0) == (0, 4)
    assert at_most(512 + 10 - 248) == (1, 4)
    assert at_most(512 + 10 - 249) == (0, 4)
    # The other zone is the first to swap, and takes what this one needs.
    runs[2:] = [(anon, 1), (SLAB, 2047)]
    mapped[2048] = 1
    assert at_most(512 + 10 - 248) == (0, 4)
    assert at_most(512 + 10 - 247) == (1, 4)


def test_a_range_above_the_largest_block_is_subject_to_the_watermark() -> None:
    zone = found(11, frames=frames_of([(FREE, 4096)], {}))["DMA32"]
    assert (zone.windows, zone.now, zone.withheld, zone.mid, zone.at_most) == (1, 0, 1, 0, 0)


def test_a_range_is_had_by_clearing_it() -> None:
    anon = ("UPTODATE", "LRU", "MMAP", "ANON", "SWAPBACKED")
    # One zone of all memory: two ranges of 2048 frames, one of them with a hundred pages in it.
    runs = [(anon, 100), (FREE, 1948), (FREE, 1024), (SLAB, 1), (FREE, 1023)]
    one = zones()
    columns = {name: one.column(name)[1:].copy() for name in one.columns}
    columns["start_pfn"][:], columns["spanned_pages"][:] = 0, 4096
    asked = host(frames=frames_of(runs, {0: 100}), zones=type(one)(one.schema, columns, 1))
    made = bridge.host(asked, averaged=False)
    (zone,), _ = chances(asked, made, 11)
    assert (zone.now, zone.low, zone.mid, zone.high, zone.windows) == (0, 1, 1, 1, 2)
    pins = host(
        frames=frames_of(runs, {0: 100}),
        zones=type(one)(one.schema, columns, 1),
        counters=counters(nr_foll_pin_acquired=51),
    )
    (zone,), _ = chances(pins, bridge.host(pins, averaged=False), 11)
    assert (zone.low, zone.mid) == (0, 1)
