"""Nodes, zones and the numbers that the kernel derives from their sizes.

Every formula is the kernel's, in integers, so that it gives what /proc/zoneinfo prints; `differences` says
where it does not.

Mirrors: mm/page_alloc.c: __setup_per_zone_wmarks, setup_per_zone_lowmem_reserve,
calculate_totalreserve_pages, calculate_min_free_kbytes, nr_free_zone_pages, zone_batchsize,
zone_highsize; mm/khugepaged.c: set_recommended_min_free_kbytes.
Fidelity: no highmem. Before 6.6 Movable counted as lowmem and had no fixed min watermark. Watermarks are as
old as the last write of a sysctl or of THP's switch, at first boot, when init sections and initrd were
not yet managed: from today's sizes some pages more or less come out (at most 1.8 % on the guests of
fixtures/). Reserves follow every change.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Final, NamedTuple

from kernelmodel.errors import ModelError
from kernelmodel.migratetype import NR_PCPTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernelmodel.geometry import Geometry

ZONE_TYPES: Final = ("DMA", "DMA32", "Normal", "Movable", "Device")
"""Zone types of x86-64 from the lowest, as /proc/zoneinfo lists them for every node."""

SWAP_CLUSTER_MAX: Final = 32
MIN_PERCPU_PAGELIST_HIGH_FRACTION: Final = 8


class Watermarks(NamedTuple):
    """Watermarks of one zone in pages, without boost.

    Only urgent requests may go below `min`; kswapd wakes below `low` and stops at `high`, or at `promo` when
    it makes room for promoted pages.
    """

    min: int
    low: int
    high: int
    promo: int


@dataclass(frozen=True)
class Zone:
    """One zone of one node.

    Parameters
    ----------
    node
        Number of its node.
    name
        One of a kernel's zone types.
    managed_pages
        Pages given to the buddy allocator; 0 for a zone that is only a name.
    start_pfn
        First frame, None for an empty zone.
    spanned_pages, present_pages
        Frames from first to last, and those with memory behind them.
    """

    node: int
    name: str
    managed_pages: int
    start_pfn: int | None = None
    spanned_pages: int = 0
    present_pages: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.managed_pages <= self.present_pages <= self.spanned_pages:
            raise ModelError(
                f"node {self.node} zone {self.name}: {self.managed_pages} managed of {self.present_pages} "
                f"present of {self.spanned_pages} spanned"
            )

    @property
    def is_lowmem(self) -> bool:
        """Whether any allocation of the kernel may be met from it."""
        return self.name not in {"Movable", "Device"}


@dataclass(frozen=True)
class Node:
    """One NUMA node with all its zones, empty ones too, from the lowest type up."""

    number: int
    zones: tuple[Zone, ...]


def zone_watermarks(
    zones: Sequence[Zone], min_free_kbytes: int, watermark_scale_factor: int, geometry: Geometry
) -> list[Watermarks]:
    """Return the watermarks of each zone of a host.

    Parameters
    ----------
    zones
        All zones of all nodes: lowmem zones share the minimum in proportion to their size.
    min_free_kbytes
        The sysctl, in KiB.
    watermark_scale_factor
        The sysctl, in ten-thousandths of a zone: the least distance between two watermarks.
    geometry
        For the page size.

    Examples
    --------
    >>> from kernelmodel.geometry import Geometry
    >>> zones = [Zone(0, "DMA", 3840, 1, 4095, 3998), Zone(0, "DMA32", 114952, 4096, 126940, 126940)]
    >>> zone_watermarks(zones, 2730, 10, Geometry())[1]
    Watermarks(min=659, low=823, high=987, promo=1151)
    """
    pages_min = min_free_kbytes >> (geometry.page_shift - 10)
    lowmem_pages = sum(zone.managed_pages for zone in zones if zone.is_lowmem)
    found = []
    for zone in zones:
        share = pages_min * zone.managed_pages // lowmem_pages
        at_least = share
        if zone.name == "Movable":
            at_least = min(max(zone.managed_pages // 1024, SWAP_CLUSTER_MAX), 128)
        gap = max(share >> 2, zone.managed_pages * watermark_scale_factor // 10000)
        found.append(Watermarks(at_least, at_least + gap, at_least + 2 * gap, at_least + 3 * gap))
    return found


def lowmem_reserves(node: Node, ratios: Sequence[int]) -> list[tuple[int, ...]]:
    """Return for each zone of a node the pages it keeps from requests meant for each zone type.

    Parameters
    ----------
    node
        The node, with an entry for every zone type.
    ratios
        The sysctl lowmem_reserve_ratio: one number a zone type, 0 for none.

    Examples
    --------
    >>> sizes = {"DMA": 3840, "DMA32": 494220, "Normal": 120719, "Movable": 0, "Device": 0}
    >>> node = Node(0, tuple(Zone(0, name, n, 0, n, n) for name, n in sizes.items()))
    >>> lowmem_reserves(node, (256, 256, 32, 0, 0))[0]
    (0, 1930, 2402, 2402, 2402)
    """
    found = []
    for low, zone in enumerate(node.zones):
        reserve, above = [], 0
        for high, upper in enumerate(node.zones):
            above += upper.managed_pages if high > low else 0
            ratio = ratios[low] if zone.managed_pages and high > low else 0
            reserve.append(above // ratio if ratio > 0 else 0)
        found.append(tuple(reserve))
    return found


def totalreserve_pages(
    zones: Sequence[Zone], watermarks: Sequence[Watermarks], reserves: Sequence[Sequence[int]]
) -> int:
    """Return the pages that no user of overcommit may count on: high watermarks and lowmem reserves."""
    return sum(
        min(max(reserve) + mark.high, zone.managed_pages)
        for zone, mark, reserve in zip(zones, watermarks, reserves, strict=True)
    )


def nr_free_buffer_pages(zones: Sequence[Zone], high: Sequence[int]) -> int:
    """Return the lowmem pages beyond the high watermarks given, in pages."""
    return sum(
        max(zone.managed_pages - mark, 0) for zone, mark in zip(zones, high, strict=True) if zone.is_lowmem
    )


def default_min_free_kbytes(zones: Sequence[Zone], geometry: Geometry) -> int:
    """Return min_free_kbytes as boot sets it, in KiB: four times the root of the lowmem KiB.

    >>> from kernelmodel.geometry import Geometry
    >>> default_min_free_kbytes([Zone(0, "Normal", 1 << 20, 0, 1 << 20, 1 << 20)], Geometry())
    8192
    """
    lowmem_kbytes = nr_free_buffer_pages(zones, [0] * len(zones)) * (geometry.page_size >> 10)
    return min(max(isqrt(lowmem_kbytes * 16), 128), 262144)


def recommended_min_free_kbytes(
    zones: Sequence[Zone], watermark_scale_factor: int, geometry: Geometry
) -> int:
    """Return min_free_kbytes as it is where transparent huge pages are on, in KiB.

    khugepaged raises boot's value to two pageblocks a zone and one for each pair of types, but to no
    more than a twentieth of lowmem.
    """
    boot = default_min_free_kbytes(zones, geometry)
    high = [mark.high for mark in zone_watermarks(zones, boot, watermark_scale_factor, geometry)]
    nr_zones = sum(1 for zone in zones if zone.present_pages and zone.is_lowmem)
    pages = geometry.pageblock_pages * nr_zones * (2 + NR_PCPTYPES * NR_PCPTYPES)
    pages = min(pages, nr_free_buffer_pages(zones, high) // 20)
    return max(boot, pages << (geometry.page_shift - 10))


def pcp_batch(managed_pages: int, geometry: Geometry) -> int:
    """Return how many pages a CPU's lists move at once.

    >>> from kernelmodel.geometry import Geometry
    >>> [pcp_batch(pages, Geometry()) for pages in (3840, 120719, 494220)]
    [1, 31, 63]
    """
    batch = min(managed_pages >> 12, (256 << 10) // geometry.page_size)
    if batch <= 1:
        return 1
    return (1 << (batch + batch // 2).bit_length() - 1) - 1


def pcp_high(managed_pages: int, wmark_low: int, nr_cpus: int, geometry: Geometry) -> tuple[int, int]:
    """Return the bounds of a CPU's limit in pages: high_min and high_max.

    Parameters
    ----------
    managed_pages
        Of the zone.
    wmark_low
        Its low watermark without boost.
    nr_cpus
        CPUs of its node, or all CPUs if the node has none.
    geometry
        For the page size.

    Examples
    --------
    >>> from kernelmodel.geometry import Geometry
    >>> pcp_high(120719, 2695, 2, Geometry())
    (1347, 7544)
    """
    least = 4 * pcp_batch(managed_pages, geometry)
    high_max = managed_pages // MIN_PERCPU_PAGELIST_HIGH_FRACTION // nr_cpus
    return max(wmark_low // nr_cpus, least), max(high_max, least)


@dataclass(frozen=True)
class Difference:
    """A number that the kernel printed and the formula does not give.

    `field` is ``min``, ``low``, ``high``, ``promo``, or ``lowmem_reserve[j]`` for zone type j; `computed` and
    `printed` are in pages, the latter without boost.
    """

    node: int
    zone: str
    field: str
    computed: int
    printed: int


@dataclass(frozen=True)
class Printed:
    """What /proc/zoneinfo printed for one zone; None for what that kernel does not print.

    Parameters
    ----------
    watermarks
        min, low, high, promo, as printed: with boost.
    boost
        Pages of boost in each of them.
    lowmem_reserve
        The list called protection.
    """

    watermarks: tuple[int, int, int, int | None]
    boost: int
    lowmem_reserve: tuple[int, ...]


def differences(
    zones: Sequence[Zone],
    printed: Sequence[Printed],
    watermarks: Sequence[Watermarks],
    reserves: Sequence[Sequence[int]],
) -> list[Difference]:
    """Return where computed and printed numbers differ, zone by zone.

    Zones without managed pages are passed over: nothing is allocated there, and what kernels print for an
    empty Movable zone has changed (32 since 6.6).

    All four are in the same order, the last two as `zone_watermarks` and `lowmem_reserves` return them.
    """
    found = []
    for zone, shown, marks, reserve in zip(zones, printed, watermarks, reserves, strict=True):
        if not zone.managed_pages:
            continue
        rows = [
            (name, computed, value - shown.boost)
            for name, computed, value in zip(Watermarks._fields, marks, shown.watermarks, strict=True)
            if value is not None
        ]
        kept = enumerate(zip(reserve, shown.lowmem_reserve, strict=True))
        rows += [(f"lowmem_reserve[{high}]", computed, value) for high, (computed, value) in kept]
        found += [Difference(zone.node, zone.name, *row) for row in rows if row[1] != row[2]]
    return found
