"""What the kernel derives from the sizes of zones, computed again; the likeliest type of each pageblock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelmodel.geometry import Geometry
from kernelmodel.migratetype import BY_NAME, Migratetype
from kernelmodel.mmzone import (
    Node,
    Zone,
    lowmem_reserves,
    recommended_min_free_kbytes,
    zone_watermarks,
)
from kernelmodel.page_alloc.evidence import block_evidence
from kernelmodel.page_alloc.pageblock_flags import infer_migratetypes
from kernelmodel.page_alloc.type_fit import TypeCounts, free_lists
from vmprobe.bridge.model import counter, nr_orders

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.host import HostModel
    from vmprobe.tables import Snapshot

COLUMNS = (
    "node", "zone", "start_pfn", "spanned_pages", "present_pages", "managed_pages", "wmark_min", "wmark_low",
    "wmark_high", "wmark_promo", "boost", "lowmem_reserve",
)  # fmt: skip


@dataclass(frozen=True)
class ZoneMarks:
    """Watermarks of one zone in pages without boost: by the kernel's formulas, and as zoneinfo printed them.

    Parameters
    ----------
    node, zone
        Which zone.
    computed, printed
        ``min``, ``low``, ``high`` and ``promo``; None for one that this kernel does not print.
    lowmem_reserve_computed, lowmem_reserve_printed
        Pages kept from requests meant for each zone type.
    """

    node: int
    zone: str
    computed: dict[str, int]
    printed: dict[str, int | None]
    lowmem_reserve_computed: tuple[int, ...]
    lowmem_reserve_printed: tuple[int, ...]


def watermarks(snapshot: Snapshot) -> tuple[ZoneMarks, ...] | None:
    """Compute the watermarks of every zone that has pages; None where zones or settings were not read."""
    scale, ratios, min_free = (
        counter(snapshot, "sysctl", name)
        for name in ("watermark_scale_factor", "lowmem_reserve_ratio", "min_free_kbytes")
    )
    found = _zones(snapshot)
    if found is None or None in (scale, ratios, min_free):
        return None
    rows, zones = found
    nodes = [Node(n, tuple(z for z in zones if z.node == n)) for n in dict.fromkeys(z.node for z in zones)]
    listed = [int(word) for word in str(ratios).split()]
    if any(len(node.zones) > len(listed) for node in nodes):
        return None
    marks = zone_watermarks(zones, int(min_free), int(scale), Geometry(page_size=snapshot.page_size))
    reserves = [reserve for node in nodes for reserve in lowmem_reserves(node, listed)]
    printed = []
    for row, zone, mark, reserve in zip(rows, zones, marks, reserves, strict=True):
        if not zone.managed_pages:
            continue
        names = mark._fields
        boost = row[10] or 0
        shown = {n: None if v is None else v - boost for n, v in zip(names, row[6:10], strict=True)}
        computed = dict(zip(names, mark, strict=True))
        printed.append(ZoneMarks(zone.node, zone.name, computed, shown, reserve, tuple(map(int, row[11]))))
    return tuple(printed)


def recommended_min_free(snapshot: Snapshot) -> int | None:
    """Return what khugepaged would raise vm.min_free_kbytes to; None where what it hangs on was not read.

    With so much free, pages of one type seldom have to go into pageblocks of another.
    """
    found, scale = _zones(snapshot), counter(snapshot, "sysctl", "watermark_scale_factor")
    if found is None or scale is None:
        return None
    order, nr_lists = snapshot.manifest.get("pageblock_order"), nr_orders(snapshot)
    if order is None or not 0 < order < nr_lists:
        return None
    geometry = Geometry(snapshot.page_size, order, nr_lists)
    return recommended_min_free_kbytes(found[1], int(scale), geometry)


def _zones(snapshot: Snapshot) -> tuple[list[tuple[Any, ...]], list[Zone]] | None:
    """Return the rows of zones, and those as the model has them; None where they were not read whole."""
    if not snapshot.has("zones"):
        return None
    rows = list(snapshot.table("zones").rows(*COLUMNS))
    if any(row[column] is None for row in rows for column in (3, 4, 5, 11)):
        return None
    zones = [Zone(int(row[0]), row[1], row[5], row[2], row[3], row[4]) for row in rows]
    return (rows, zones) if any(zone.managed_pages for zone in zones) else None


@dataclass(frozen=True)
class BlockType:
    """The likeliest migratetype of a pageblock.

    Parameters
    ----------
    migratetype
        As the kernel spells it.
    confidence_permille
        0 as good as drawn by lot, 1000 beyond doubt.
    constrained
        Whether the zone's totals of pagetypeinfo were there to go by.
    """

    migratetype: str
    confidence_permille: int
    constrained: bool


def block_type(snapshot: Snapshot, model: HostModel, pfn: int) -> BlockType | None:
    """Infer the type of the pageblock that holds a frame; None outside every zone or without its order."""
    order = snapshot.manifest.get("pageblock_order")
    at = next((i for i, zone in enumerate(model.zones) if zone.start_pfn <= pfn < zone.end_pfn), None)
    if order is None or at is None:
        return None
    zone = model.zones[at]
    evidence = block_evidence(model.frames, zone.start_pfn, zone.end_pfn, order)
    # Blocks at either end that hold nothing but holes and words of 0 are memory that was never brought
    # online: the kernel does not count them.
    held = np.flatnonzero(evidence.free + evidence.movable + evidence.unmovable + evidence.slab)
    if not len(held):
        return None
    nr_all = len(evidence.free)
    inner = slice(int(held[0]), int(held[-1]) + 1)
    counts = type_counts(snapshot, zone.node, zone.zone)
    if counts is None or sum(counts.nr_pageblocks) == nr_all:
        inner = slice(0, nr_all)
    elif sum(counts.nr_pageblocks) != inner.stop - inner.start:
        counts = None
    block = (pfn >> order) - (zone.start_pfn >> order) - inner.start
    if not 0 <= block < inner.stop - inner.start:
        return None
    totals, lists = None, None
    if counts is not None:
        totals = counts.nr_pageblocks
        lists = free_lists(counts.nr_free, model.free[at], zone.start_pfn >> order, nr_all, order).of(inner)
    inferred = infer_migratetypes(evidence.of(inner), (zone.start_pfn >> order) + inner.start, totals, lists)
    return BlockType(
        Migratetype(int(inferred.block_type[block])).printed,
        int(inferred.confidence_permille[block]),
        inferred.constrained,
    )


def type_counts(snapshot: Snapshot, node: int, zone: str) -> TypeCounts | None:
    """Return what pagetypeinfo counted of a zone; None where it was not read."""
    if not snapshot.has("pageblocks_by_type"):
        return None
    totals = [0] * len(Migratetype)
    rows = snapshot.table("pageblocks_by_type").rows("node", "zone", "migratetype", "nr_pageblocks")
    for of_node, name, type_name, nr in rows:
        if (of_node, name) == (node, zone) and type_name in BY_NAME:
            totals[BY_NAME[type_name]] += nr
    return TypeCounts(totals, _free_by_type(snapshot, node, zone))


def _free_by_type(snapshot: Snapshot, node: int, zone: str) -> NDArray[np.int64]:
    """Return the free blocks on the lists of each type by order, -1 where that is not known.

    pagetypeinfo stops at 100,000 blocks of a list, and buddyinfo does not: what is not on the other lists
    is on that one.
    """
    nr_free = np.full((len(Migratetype), nr_orders(snapshot)), -1, np.int64)
    if not snapshot.has("free_areas_by_type"):
        return nr_free
    names = ("node", "zone", "migratetype", "order", "nr_free", "capped")
    printed = set()
    for of_node, name, type_name, order, nr, capped in snapshot.table("free_areas_by_type").rows(*names):
        if (of_node, name) == (node, zone) and type_name in BY_NAME:
            printed.add(BY_NAME[type_name])
            nr_free[BY_NAME[type_name], order] = -1 if capped else nr
    for migratetype in set(Migratetype) - printed:
        # This kernel has no such lists.
        nr_free[migratetype] = 0
    if snapshot.has("free_areas"):
        for of_node, name, order, nr in snapshot.table("free_areas").rows("node", "zone", "order", "nr_free"):
            uncounted = np.flatnonzero(nr_free[:, order] < 0)
            if (of_node, name) == (node, zone) and len(uncounted) == 1:
                nr_free[uncounted[0], order] = max(-1, nr - int(nr_free[:, order].sum()) - 1)
    return nr_free
