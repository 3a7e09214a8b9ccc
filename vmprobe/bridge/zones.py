"""What the kernel derives from the sizes of zones, computed again; the likeliest type of each pageblock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.geometry import Geometry
from kernelmodel.migratetype import BY_NAME, Migratetype
from kernelmodel.mmzone import Node, Zone, lowmem_reserves, zone_watermarks
from kernelmodel.page_alloc.pageblock_flags import BlockEvidence, block_evidence, infer_migratetypes
from vmprobe.bridge.model import counter

if TYPE_CHECKING:
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
    if not snapshot.has("zones") or None in (scale, ratios, min_free):
        return None
    rows = list(snapshot.table("zones").rows(*COLUMNS))
    if any(row[column] is None for row in rows for column in (3, 4, 5, 11)):
        return None
    zones = [Zone(int(row[0]), row[1], row[5], row[2], row[3], row[4]) for row in rows]
    nodes = [Node(n, tuple(z for z in zones if z.node == n)) for n in dict.fromkeys(z.node for z in zones)]
    listed = [int(word) for word in str(ratios).split()]
    if any(len(node.zones) > len(listed) for node in nodes) or not any(z.managed_pages for z in zones):
        return None
    marks = zone_watermarks(zones, int(min_free), int(scale), Geometry(page_size=snapshot.page_size))
    reserves = [reserve for node in nodes for reserve in lowmem_reserves(node, listed)]
    found = []
    for row, zone, mark, reserve in zip(rows, zones, marks, reserves, strict=True):
        if not zone.managed_pages:
            continue
        names = mark._fields
        boost = row[10] or 0
        shown = {n: None if v is None else v - boost for n, v in zip(names, row[6:10], strict=True)}
        computed = dict(zip(names, mark, strict=True))
        found.append(ZoneMarks(zone.node, zone.name, computed, shown, reserve, tuple(map(int, row[11]))))
    return tuple(found)


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
    zone = next((zone for zone in model.zones if zone.start_pfn <= pfn < zone.end_pfn), None)
    if order is None or zone is None:
        return None
    evidence = block_evidence(model.frames, zone.start_pfn, zone.end_pfn, order)
    # Blocks at either end that hold nothing but holes and words of 0 are memory that was never brought
    # online: the kernel does not count them.
    held = np.flatnonzero(evidence.free + evidence.movable + evidence.unmovable + evidence.slab)
    if not len(held):
        return None
    inner = slice(int(held[0]), int(held[-1]) + 1)
    totals = block_totals(snapshot, zone.node, zone.zone)
    if totals is None or sum(totals) == len(evidence.free):
        inner = slice(0, len(evidence.free))
    elif sum(totals) != inner.stop - inner.start:
        totals = None
    at = (pfn >> order) - (zone.start_pfn >> order) - inner.start
    if not 0 <= at < inner.stop - inner.start:
        return None
    first = (zone.start_pfn >> order) + inner.start
    inferred = infer_migratetypes(BlockEvidence(*(column[inner] for column in evidence)), first, totals)
    return BlockType(
        Migratetype(int(inferred.block_type[at])).printed,
        int(inferred.confidence_permille[at]),
        inferred.constrained,
    )


def block_totals(snapshot: Snapshot, node: int, zone: str) -> list[int] | None:
    """Return a zone's pageblocks of each type as pagetypeinfo counted them; None where it was not read."""
    if not snapshot.has("pageblocks_by_type"):
        return None
    totals = [0] * len(Migratetype)
    rows = snapshot.table("pageblocks_by_type").rows("node", "zone", "migratetype", "nr_pageblocks")
    for of_node, name, type_name, nr in rows:
        if (of_node, name) == (node, zone) and type_name in BY_NAME:
            totals[BY_NAME[type_name]] += nr
    return totals
