"""One node of a snapshot as the ground that policies of free areas work on, and its scale for demands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.compaction.zone_layout import KIND_MASK, Frame
from kernelmodel.free_area.ground import Ground, ZoneGround
from kernelmodel.geometry import Geometry
from kernelmodel.migratetype import NR_PCPTYPES
from kernelmodel.mmzone import pcp_batch, pcp_high
from kernelmodel.page_alloc.layout import Tuning
from kernelmodel.workload.scale import Scale
from vmprobe.bridge.model import counter
from vmprobe.errors import SnapshotError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.compaction.zone_layout import ZoneLayout
    from vmprobe.bridge.compact import Host
    from vmprobe.tables import Snapshot

ZONE_TYPES: Final = {"DMA": 0, "DMA32": 1, "Normal": 2, "Movable": 3}
"""Zones that ordinary requests come from, by their place among the kernel's zone types on x86-64."""


def ground(
    snapshot: Snapshot, host: Host, node: int | None = None, swap_free_pages: int | None = None
) -> Ground:
    """Return the ground of one node.

    Parameters
    ----------
    snapshot
        With zones.
    host
        Its zones as layouts.
    node
        Which node; None for the one with the most memory.
    swap_free_pages
        What swap is taken to have room for; None for what it had.

    Raises
    ------
    UsageError
        There is no such node.
    SnapshotError
        Sizes or watermarks of its zones were not read.
    """
    layouts = [each for each in host.layouts if each.zone in ZONE_TYPES]
    frames = {each.node: 0 for each in layouts}
    for each in layouts:
        frames[each.node] += int(np.count_nonzero(each.kinds != Frame.HOLE))
    chosen = max(frames, key=lambda number: (frames[number], -number)) if node is None else node
    if chosen not in frames:
        listed = ", ".join(str(each) for each in sorted(frames))
        raise UsageError(f"the host has no node {chosen}", hint=f"nodes with memory are {listed}")
    mine = sorted((each for each in layouts if each.node == chosen), key=lambda each: each.start_pfn)
    zones = tuple(_zone(snapshot, layout) for layout in mine)
    room = host.swap_free_pages if swap_free_pages is None else swap_free_pages
    return Ground(zones, room, host.kernel.rules)


def _zone(snapshot: Snapshot, layout: ZoneLayout) -> ZoneGround:
    columns = (
        "node", "zone", "managed_pages", "wmark_min", "wmark_low", "wmark_high", "boost", "lowmem_reserve"
    )  # fmt: skip
    rows = snapshot.table("zones").rows(*columns)
    row = next(each for each in rows if (each[0], each[1]) == (layout.node, layout.zone))
    if None in row[2:6] or row[7] is None:
        where = snapshot.path or "snapshot"
        raise SnapshotError(where, f"watermarks of node {row[0]} zone {row[1]} were not read: take it anew")
    managed, boost = int(row[2]), int(row[6] or 0)
    wmark_min, wmark_low, wmark_high = (int(mark) - boost for mark in row[3:6])
    nr_cpus = int(snapshot.manifest["host"].get("nr_cpus") or 1)
    batch = pcp_batch(managed, Geometry(page_size=snapshot.page_size))
    high_min, high_max = _pcp_high(snapshot, layout, managed, wmark_low)
    boost_factor = counter(snapshot, "sysctl", "watermark_boost_factor")
    tuning = Tuning(
        wmark_min=wmark_min,
        wmark_low=wmark_low,
        wmark_high=wmark_high,
        lowmem_reserve=tuple(int(each) for each in row[7]),
        watermark_boost_factor=boost_factor if isinstance(boost_factor, int) else 0,
        nr_cpus=nr_cpus,
        pcp_batch=batch,
        pcp_high_min=high_min,
        pcp_high_max=high_max,
        defrag_mode=counter(snapshot, "sysctl", "defrag_mode") == 1,
    )
    return ZoneGround(layout, ZONE_TYPES[layout.zone], managed, _block_type(layout), tuning)


def _pcp_high(snapshot: Snapshot, layout: ZoneLayout, managed: int, wmark_low: int) -> tuple[int, int]:
    """Return the bounds of the limit of a CPU's lists: as the kernel printed them, or as it works them out.

    Fidelity: which CPUs a node has is not in a snapshot; worked out, each node has equally many.
    """
    scope = f"node {layout.node} zone {layout.zone}"
    least, most = (counter(snapshot, "zoneinfo", f"pcp_high_{end}", scope) for end in ("min", "max"))
    # Kernels before 6.13 print the limit of the moment alone, which stands for both then.
    if least != most and None not in (least, most):
        return int(least), int(most)
    geometry = Geometry(page_size=snapshot.page_size)
    nr_nodes = len({node for (node,) in snapshot.table("zones").rows("node")})
    nr_cpus = max(1, int(snapshot.manifest["host"].get("nr_cpus") or 1) // nr_nodes)
    fraction = counter(snapshot, "sysctl", "percpu_pagelist_high_fraction")
    if isinstance(fraction, int) and fraction:
        # mm/page_alloc.c: zone_highsize: set by hand, the limit does not tune itself.
        high = max(managed // fraction // nr_cpus, 4 * pcp_batch(managed, geometry))
        return high, high
    return pcp_high(managed, wmark_low, nr_cpus, geometry)


def _block_type(layout: ZoneLayout) -> NDArray[np.uint8]:
    """Return the likeliest type of each pageblock from the one that holds the zone's first frame on.

    Where one free block spans pageblocks that are thought to be of types which do not merge, they are of one.
    """
    assert layout.block_types is not None
    types = layout.block_types.copy()
    shift, largest = layout.pageblock_order, layout.nr_orders - 1
    free = (layout.state & np.uint8(KIND_MASK) == Frame.FREE).reshape(-1, 1 << largest).all(axis=1)
    by_largest = types.reshape(-1, 1 << (largest - shift))
    mixed = free & (by_largest >= NR_PCPTYPES).any(axis=1)
    by_largest[mixed] = by_largest[mixed][:, :1]
    first, last = layout.start_pfn - layout.base_pfn, layout.end_pfn - 1 - layout.base_pfn
    return types[first >> shift : (last >> shift) + 1]


def scale(snapshot: Snapshot, made: Ground) -> Scale:
    """Return what demands must know of a node; the sizes of processes and VMAs are the host's."""
    content = made.content() & np.uint8(KIND_MASK)
    processes: list[int] = []
    if snapshot.has("tasks"):
        rows = snapshot.table("tasks").rows("rss_pages", "kernel_thread")
        processes = [int(rss) for rss, of_kernel in rows if rss and not of_kernel]
    vmas: list[int] = []
    if snapshot.has("vmas"):
        bounds = snapshot.table("vmas").rows("start", "end")
        vmas = [int(end - start) // snapshot.page_size for start, end in bounds]
    return Scale(
        free_pages=int(np.count_nonzero(content == Frame.FREE)),
        highest_zone=max(zone.zone_type for zone in made.zones),
        nr_orders=made.nr_orders,
        huge_order=min(made.zones[0].layout.pageblock_order, made.nr_orders - 1),
        process_pages=np.array(processes, np.int64),
        vma_pages=np.array(vmas, np.int64),
    )
