"""Zones, free lists by type and pageblocks against zoneinfo and pagetypeinfo, read a second way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lab.ring.check import Check, equal

if TYPE_CHECKING:
    from lab.ring.visit import Round, Visit

WORDS: Final = {
    "min": "wmark_min",
    "low": "wmark_low",
    "high": "wmark_high",
    "spanned": "spanned_pages",
    "present": "present_pages",
    "managed": "managed_pages",
    "start_pfn:": "start_pfn",
    "pages free": "nr_free",
}
"""Words of zoneinfo as it prints them, and the columns that must hold their numbers."""


def compare_zones(_visit: Visit, taken: Round) -> str:
    """Compare extent, watermarks, reserves and free pages of every zone."""
    compared = 0
    parts = re.split(r"^Node (\d+), zone +(\S+)$", taken.text("zoneinfo"), flags=re.MULTILINE)[1:]
    rows = {
        (row[0], row[1]): row[2:]
        for row in taken.snapshot.table("zones").rows("node", "zone", *WORDS.values(), "lowmem_reserve")
    }
    equal(len(rows), len(parts) // 3, "zones")
    for node, zone, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        *values, reserve = rows[int(node), zone]
        protection = re.search(r"^ +protection: \((.*)\)$", text, re.MULTILINE)
        assert protection is not None
        equal(list(reserve), [int(nr) for nr in protection[1].split(",")], f"lowmem_reserve, {node} {zone}")
        for (word, column), found in zip(WORDS.items(), values, strict=True):
            printed = re.search(rf"^ +{re.escape(word)} +(\d+)$", text, re.MULTILINE)
            if printed is not None:
                equal(found, int(printed[1]), f"{column}, {node} {zone}")
                compared += 1
    return f"{compared} numbers of {len(rows)} zones"


def plant_zones(_visit: Visit, taken: Round) -> Round:
    """Plant a watermark that is a page off."""
    low = taken.snapshot.table("zones").column("wmark_low")
    return taken.changed("zones", "wmark_low", 0, low[0] + 1)


def compare_types(_visit: Visit, taken: Round) -> str:
    """Compare free blocks by migratetype and order, and pageblocks by migratetype."""
    text = taken.text("pagetypeinfo")
    listed = re.findall(r"^Node +(\d+), zone +(\S+), type +(\S+) (.*)$", text, re.MULTILINE)
    expected = {
        (int(node), zone, kind, order): int(nr)
        for node, zone, kind, counts in listed
        for order, nr in enumerate(counts.split())
    }
    areas = taken.snapshot.table("free_areas_by_type").rows("node", "zone", "migratetype", "order", "nr_free")
    equal({row[:4]: row[4] for row in areas}, expected, "free blocks by migratetype")
    kinds: list[str] = []
    blocks = {}
    for line in text.splitlines():
        if line.startswith("Number of blocks type"):
            kinds = line.removeprefix("Number of blocks type").split()
        elif kinds and (found := re.match(r"Node (\d+), zone +(\S+) (.*)$", line)):
            for kind, nr in zip(kinds, found[3].split(), strict=True):
                blocks[int(found[1]), found[2], kind] = int(nr)
    table = taken.snapshot.table("pageblocks_by_type").rows("node", "zone", "migratetype", "nr_pageblocks")
    equal({row[:3]: row[3] for row in table}, blocks, "pageblocks")
    return f"{len(expected)} lists, {sum(blocks.values()):,} pageblocks"


def plant_types(_visit: Visit, taken: Round) -> Round:
    """Plant a pageblock of another type."""
    blocks = taken.snapshot.table("pageblocks_by_type").column("nr_pageblocks")
    return taken.changed("pageblocks_by_type", "nr_pageblocks", 1, blocks[1] + 1)


CHECKS: Final = (
    Check("zones", "zoneinfo", compare_zones, plant_zones),
    Check("free lists and pageblocks", "pagetypeinfo", compare_types, plant_types),
)
"""Rows of the table about zones."""
