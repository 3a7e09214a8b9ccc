"""Watermarks computed again, and the inferred type of a pageblock: with totals, without, and nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kernelmodel.migratetype import Migratetype
from tests.synthetic import MANIFEST, frames, rows, snapshot
from vmprobe.bridge.model import host_model
from vmprobe.bridge.zones import block_type, type_counts, watermarks
from vmprobe.store import load

FIXTURES = Path(__file__).parents[2] / "fixtures" / "snapshots"
LRU = ("UPTODATE", "LRU", "ANON", "SWAPBACKED")


def test_a_guest_printed_what_the_formulas_give() -> None:
    marks = watermarks(load(FIXTURES / "6.1-quiet.vmsnap"))
    assert marks is not None
    assert [mark.zone for mark in marks] == ["DMA", "DMA32"], "empty zones are passed over"
    for mark in marks:
        assert {name: mark.computed[name] for name in ("min", "low", "high")} == {
            name: mark.printed[name] for name in ("min", "low", "high")
        }
        assert mark.printed["promo"] is None, "this kernel prints none"
        assert mark.lowmem_reserve_computed == mark.lowmem_reserve_printed


@pytest.mark.parametrize("without", ["zones", "counters"])
def test_without_zones_or_settings_there_are_no_watermarks(without: str) -> None:
    whole = load(FIXTURES / "6.1-quiet.vmsnap")
    assert watermarks(snapshot(without=(without,), manifest=dict(whole.manifest))) is None
    assert watermarks(snapshot()) is None, "the made-up host has no such settings"


def settings(min_free: int) -> Any:
    return rows(
        "counters",
        "source scope name value text",
        ("sysctl", "vm", "min_free_kbytes", min_free, None),
        ("sysctl", "vm", "watermark_scale_factor", 10, None),
        ("sysctl", "vm", "lowmem_reserve_ratio", None, "256 256 32"),
    )


def test_boost_is_no_part_of_a_watermark() -> None:
    zones = rows(
        "zones",
        "node zone start_pfn spanned_pages present_pages managed_pages nr_free wmark_min wmark_low wmark_high"
        " wmark_promo boost lowmem_reserve",
        (0, "DMA", 0, 4096, 4096, 4096, 9, 1029, 1031, 1033, None, 1000, [0, 0, 0]),
    )
    (mark,) = watermarks(snapshot(zones=zones, counters=settings(116))) or ()
    assert mark.computed == {"min": 29, "low": 36, "high": 43, "promo": 50}
    assert mark.printed == {"min": 29, "low": 31, "high": 33, "promo": None}


def host(*blocks: tuple[str, ...] | None, totals: dict[str, int] | None = None) -> tuple[Any, Any]:
    """A host of pageblocks of order 3, each full of one kind; None is memory with words of 0."""
    runs = [(() if names is None else names, 8) for names in blocks]
    nr = 8 * len(blocks)
    zone = rows(
        "zones",
        "node zone start_pfn spanned_pages present_pages managed_pages nr_free",
        (0, "Normal", 0, nr, nr, nr, 0),
    )
    tables: dict[str, Any] = {"frames": frames(runs), "zones": zone}
    if totals is not None:
        counted = [(0, "Normal", name, nr) for name, nr in totals.items()]
        names = "node zone migratetype nr_pageblocks"
        tables["pageblocks_by_type"] = rows("pageblocks_by_type", names, *counted)
    made = snapshot(manifest=MANIFEST | {"pageblock_order": 3, "frame_ranges": [[0, nr]]}, **tables)
    return made, host_model(made, averaged=False)


def types(made: tuple[Any, Any], nr_blocks: int) -> list[str | None]:
    found = [block_type(*made, 8 * block + 3) for block in range(nr_blocks)]
    return [None if told is None else told.migratetype for told in found]


def test_the_type_follows_the_content_and_the_totals() -> None:
    blocks = (LRU, ("SLAB",), ("PGTABLE",), LRU)
    made = host(*blocks, totals={"Movable": 2, "Reclaimable": 1, "Unmovable": 1})
    assert types(made, 4) == ["Movable", "Reclaimable", "Unmovable", "Movable"]
    told = block_type(*made, 0)
    assert told is not None
    assert told.constrained
    alone = block_type(*host(*blocks), 0)
    assert alone is not None
    assert (alone.migratetype, alone.constrained) == ("Movable", False)
    # Totals that speak of other blocks than there are say nothing of these.
    other = block_type(*host(*blocks, totals={"Movable": 7}), 0)
    assert other is not None
    assert not other.constrained


def test_memory_that_was_never_brought_online_has_no_type() -> None:
    made = host(None, LRU, ("PGTABLE",), None, None, totals={"Movable": 1, "Unmovable": 1})
    assert types(made, 5) == [None, "Movable", "Unmovable", None, None]
    counted = host(None, LRU, totals={"Movable": 1, "Unmovable": 1})
    assert None not in types(counted, 2), "the kernel counts it"
    assert types(host(None, None), 2) == [None, None]


def test_free_lists_tell_the_type_of_a_block_of_page_cache() -> None:
    # Of two blocks with as much page cache and free pages, the one with free pages in a row is Reclaimable.
    half, other = [(LRU, 4), (("BUDDY",), 4)], [(LRU, 1), (("BUDDY",), 1)] * 4
    runs = [*half, *other, (LRU, 16), (("SLAB",), 16)]
    zone = rows(
        "zones", "node zone start_pfn spanned_pages present_pages managed_pages nr_free",
        (0, "Normal", 0, 48, 48, 48, 8),
    )  # fmt: skip
    totals = rows(
        "pageblocks_by_type", "node zone migratetype nr_pageblocks",
        (0, "Normal", "Movable", 3), (0, "Normal", "Reclaimable", 3),
    )  # fmt: skip
    for orders, expected in (((2, 0), ["Reclaimable", "Movable"]), ((0, 2), ["Movable", "Reclaimable"])):
        lists = rows(
            "free_areas_by_type", "node zone migratetype order nr_free capped",
            *(
                (0, "Normal", name, order, {0: 4, 2: 1}[of] if order == of else 0, False)
                for name, of in zip(("Reclaimable", "Movable"), orders, strict=True)
                for order in range(11)
            ),
        )  # fmt: skip
        made = snapshot(
            manifest=MANIFEST | {"pageblock_order": 3, "frame_ranges": [[0, 48]]},
            frames=frames(runs), zones=zone, pageblocks_by_type=totals, free_areas_by_type=lists,
        )  # fmt: skip
        assert types((made, host_model(made, averaged=False)), 2) == expected


def by_type(
    *lists: tuple[str, int, int, bool], areas: tuple[int, ...] = (), **without: Any
) -> list[list[int]]:
    """Return the free blocks of order 0 and 1 on the lists of each type; of lists as pagetypeinfo prints."""
    made = snapshot(
        free_areas_by_type=rows(
            "free_areas_by_type", "node zone migratetype order nr_free capped",
            *((0, "DMA", *each) for each in lists), (0, "DMA32", "Movable", 0, 77, False),
        ),
        free_areas=rows(
            "free_areas", "node zone order nr_free nr_free_after",
            *((0, "DMA", order, nr, nr) for order, nr in enumerate(areas)),
        ),
        pageblocks_by_type=rows(
            "pageblocks_by_type", "node zone migratetype nr_pageblocks", (0, "DMA", "Movable", 2)
        ),
        **without,
    )  # fmt: skip
    counts = type_counts(made, 0, "DMA")
    assert counts is not None
    assert counts.nr_pageblocks == [0, 2, 0, 0, 0, 0]
    return counts.nr_free[:, :2].tolist()


def test_where_pagetypeinfo_stops_counting_buddyinfo_goes_on() -> None:
    lists = [("Unmovable", 0, 40, False), ("Unmovable", 1, 6, False), ("Movable", 0, 100_000, True)]
    movable = by_type(*lists, ("Movable", 1, 9, False), areas=(123_456, 15))[Migratetype.MOVABLE]
    assert movable == [123_416, 9]
    unknown = by_type(*lists, ("Movable", 1, 9, False))
    assert unknown == [[40, 6], [-1, 9], [0, 0], [0, 0], [0, 0], [0, 0]], (
        "types that are not printed have none"
    )
    two = by_type(*lists, ("Reclaimable", 0, 100_000, True), areas=(223_456, 15))
    assert (two[Migratetype.MOVABLE][0], two[Migratetype.RECLAIMABLE][0]) == (-1, -1)
    fewer = by_type(*lists, areas=(39, 15))
    assert fewer[Migratetype.MOVABLE][0] == -1, "read at two times: no count is below none"


def test_without_free_lists_none_is_counted() -> None:
    counted = rows("pageblocks_by_type", "node zone migratetype nr_pageblocks", (0, "DMA", "Movable", 2))
    made = snapshot(without=("free_areas_by_type",), pageblocks_by_type=counted)
    counts = type_counts(made, 0, "DMA")
    assert counts is not None
    assert (counts.nr_free == -1).all()
    assert type_counts(snapshot(without=("pageblocks_by_type",)), 0, "DMA") is None


def test_outside_every_zone_or_without_a_pageblock_order_there_is_no_type() -> None:
    made, model = host(LRU)
    assert block_type(made, model, 8) is None
    assert block_type(snapshot(manifest=MANIFEST | {"pageblock_order": None}), model, 0) is None
