"""The cheap sources, read before and after the expensive ones: zones, free lists, counters, settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vmprobe.collect.frames import zone_ranges
from vmprobe.collect.unread import ADMIN, ROOT
from vmprobe.formats import (
    buddyinfo,
    iomem,
    kernel_stat,
    loadavg,
    meminfo,
    pagetypeinfo,
    swaps,
    sysvipc_shm,
    vmstat,
    zoneinfo,
)
from vmprobe.schema import TABLES
from vmprobe.tables import Table, from_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vmprobe.collect.unread import Unread
    from vmprobe.sources.procfs import Tree

ZONE_COLUMNS: Final = {
    "start_pfn": "start_pfn",
    "spanned": "spanned_pages",
    "present": "present_pages",
    "managed": "managed_pages",
    "cma": "cma_pages",
    "free": "nr_free",
    "min": "wmark_min",
    "low": "wmark_low",
    "high": "wmark_high",
    "promo": "wmark_promo",
    "boost": "boost",
}
"""Words of zoneinfo that have a column of the zones table."""

SYSCTLS: Final = (
    "compaction_proactiveness",
    "compact_unevictable_allowed",
    "defrag_mode",
    "extfrag_threshold",
    "lowmem_reserve_ratio",
    "min_free_kbytes",
    "nr_hugepages",
    "overcommit_memory",
    "percpu_pagelist_high_fraction",
    "swappiness",
    "watermark_boost_factor",
    "watermark_scale_factor",
)

SYSFS_FOLDERS: Final = (
    ("ksm", "kernel/mm/ksm"),
    ("thp", "kernel/mm/transparent_hugepage"),
    ("hugepages", "kernel/mm/hugepages"),
)

Key = tuple[str, str, str]
"""Source, scope and name of a counter."""


@dataclass
class Cheap:
    """One reading of all cheap sources; what could not be read is None or missing."""

    zones: zoneinfo.ZoneInfo | None = None
    buddy: list[buddyinfo.BuddyRow] | None = None
    values: dict[Key, tuple[int | None, str | None, str | None]] = field(default_factory=dict)
    """Value, unit and text of each counter."""

    @property
    def free_pages(self) -> int | None:
        """Free pages on all free lists together."""
        if self.buddy is None:
            return None
        return sum(nr << order for row in self.buddy for order, nr in enumerate(row.nr_free))


T = TypeVar("T")


class _Files:
    """Reads and parses; a refusal or absence is noted, a file that does not make sense is an error."""

    def __init__(self, proc: Tree, unread: Unread) -> None:
        self.proc = proc
        self.unread = unread

    def parsed(
        self,
        name: str,
        parse: Callable[..., T],
        *,
        lost: str,
        needs: str | None = None,
        source: str | None = None,
    ) -> T | None:
        try:
            data = self.proc.read(name, source)
        except OSError as error:
            self.unread.failed(source or name, error, needs=needs, lost=lost)
            return None
        return parse(data, file=self.proc.path(name))


def read_cheap(proc: Tree, sys: Tree, unread: Unread) -> Cheap:
    """Read zones, free lists and counters once."""
    files = _Files(proc, unread)
    cheap = Cheap()
    cheap.buddy = files.parsed("buddyinfo", buddyinfo.parse, lost="free_areas")
    cheap.zones = files.parsed("zoneinfo", zoneinfo.parse, lost="zones")
    for name, value in (files.parsed("vmstat", vmstat.parse, lost="counters") or {}).items():
        cheap.values["vmstat", "", name] = (value, None, None)
    forks = (files.parsed("stat", kernel_stat.parse, lost="counters") or {}).get("processes")
    if forks is not None:
        cheap.values["stat", "", "processes"] = (forks, None, None)
    nr_threads = files.parsed("loadavg", loadavg.parse, lost="counters")
    if nr_threads is not None:
        cheap.values["loadavg", "", "nr_threads"] = (nr_threads, None, None)
    for row in files.parsed("meminfo", meminfo.parse, lost="counters") or []:
        cheap.values["meminfo", "", row.name] = (row.value, row.unit or None, None)
    if cheap.zones is not None:
        _add_zone_counters(cheap.zones, cheap)
    for source, folder in SYSFS_FOLDERS:
        _read_settings(sys, source, folder, "", cheap)
    for name in SYSCTLS:
        _read_setting(proc, f"sys/vm/{name}", ("sysctl", "vm", name), cheap)
    return cheap


def frame_ranges(proc: Tree) -> list[tuple[int, int]] | None:
    """Return the ranges of frames that zones cover, None when zoneinfo cannot be read."""
    try:
        data = proc.read("zoneinfo")
    except OSError:
        return None  # noted when the zones themselves are read
    return zone_ranges(zoneinfo.parse(data, file=proc.path("zoneinfo")).zones)


def _add_zone_counters(info: zoneinfo.ZoneInfo, cheap: Cheap) -> None:
    """Keep the counters of zones and those of nodes apart, though zoneinfo prints them together."""
    for zone in info.zones:
        for name, value in zone.fields.items():
            if name not in ZONE_COLUMNS:
                cheap.values["zoneinfo", f"node {zone.node} zone {zone.zone}", name] = (value, None, None)
        for name in ("high_min", "high_max"):
            # Up to 6.6 there is one limit, and it does not move.
            limits = [cpu.get(name, cpu.get("high")) for cpu in zone.cpus]
            found = [limit for limit in limits if limit is not None]
            if found:
                key = ("zoneinfo", f"node {zone.node} zone {zone.zone}", f"pcp_{name}")
                cheap.values[key] = (max(found), None, None)
    for node, stats in info.node_stats.items():
        for name, value in stats.items():
            cheap.values["zoneinfo", f"node {node}", name] = (value, None, None)


def _read_settings(sys: Tree, source: str, folder: str, scope: str, cheap: Cheap) -> None:
    """Read a sysfs folder and those below it: mTHP sizes and their statistics, huge page pools."""
    for name in sys.names(folder):
        path = f"{folder}/{name}"
        if name.startswith("hugepages-") or name in {"stats", "khugepaged"}:
            _read_settings(sys, source, path, f"{scope}/{name}".lstrip("/"), cheap)
        else:
            _read_setting(sys, path, (source, scope, name), cheap)


def _read_setting(tree: Tree, path: str, key: Key, cheap: Cheap) -> None:
    try:
        text = tree.read(path, key[0]).decode("utf-8", "backslashreplace").strip()
    except OSError:
        return  # not in this kernel, or write-only: the counter has no row, which is what absent means
    number = text.removeprefix("-")
    if number.isascii() and number.isdecimal() and int(number) < 1 << 63:
        cheap.values[key] = (int(text), None, None)
    else:
        cheap.values[key] = (None, None, text)


def tables(before: Cheap, after: Cheap) -> dict[str, Table]:
    """Return the tables of what could be read at both looks."""
    made = {"counters": counter_table(before, after)}
    if before.zones is not None:
        made["zones"] = zone_table(before.zones)
    if before.buddy is not None:
        made["free_areas"] = free_area_table(before.buddy, after.buddy)
    return made


def counter_table(before: Cheap, after: Cheap) -> Table:
    """Return the counters, both readings side by side."""
    rows = []
    for key in before.values | after.values:
        value, unit, text = before.values.get(key, (None, None, None))
        value_after, unit_after, text_after = after.values.get(key, (None, None, None))
        rows.append((*key, value, value_after, unit or unit_after, text or text_after))
    names = ("source", "scope", "name", "value", "value_after", "unit", "text")
    return from_rows(TABLES["counters"], names, rows)


def zone_table(info: zoneinfo.ZoneInfo) -> Table:
    """Return the zones; an empty zone has no first frame."""
    names = ("node", "zone", *ZONE_COLUMNS.values(), "pcp_pages", "lowmem_reserve")
    rows = []
    for zone in info.zones:
        pcp = sum(cpu.get("count", 0) for cpu in zone.cpus) if zone.cpus else None
        known = [zone.fields.get(word) for word in ZONE_COLUMNS]
        rows.append((zone.node, zone.zone, *known, pcp, zone.protection))
    return from_rows(TABLES["zones"], names, rows)


def free_area_table(before: list[buddyinfo.BuddyRow], after: list[buddyinfo.BuddyRow] | None) -> Table:
    """Return free blocks by node, zone and order, both readings side by side."""
    later = {(row.node, row.zone): row.nr_free for row in after or ()}
    rows = []
    for row in before:
        nr_after = later.get((row.node, row.zone), (None,) * len(row.nr_free))
        rows += [(row.node, row.zone, order, nr, nr_after[order]) for order, nr in enumerate(row.nr_free)]
    return from_rows(TABLES["free_areas"], ("node", "zone", "order", "nr_free", "nr_free_after"), rows)


def read_by_type(proc: Tree, unread: Unread, tables: dict[str, Table]) -> int | None:
    """Read free lists and pageblocks by type, once: the kernel walks every free list under its zone's lock.

    Returns
    -------
    int or None
        The pageblock order.
    """
    files = _Files(proc, unread)
    types = files.parsed("pagetypeinfo", pagetypeinfo.parse, lost="free_areas_by_type", needs=ROOT)
    if types is not None:
        rows = [
            (row.node, row.zone, row.migratetype, order, nr, row.capped[order])
            for row in types.free_areas
            for order, nr in enumerate(row.nr_free)
        ]
        _put(
            tables, "free_areas_by_type", ("node", "zone", "migratetype", "order", "nr_free", "capped"), rows
        )
        _put(tables, "pageblocks_by_type", ("node", "zone", "migratetype", "nr_pageblocks"), types.pageblocks)
    return types.pageblock_order if types else None


def read_once(proc: Tree, unread: Unread, tables: dict[str, Table]) -> None:
    """Read what does not move while we look: memory ranges, swap areas."""
    files = _Files(proc, unread)
    ranges = files.parsed("iomem", iomem.parse, lost="resources")
    if ranges is not None and iomem.hidden(ranges):
        unread.add("iomem", "the kernel shows zeros for addresses", needs=ADMIN, lost="resources")
    elif ranges is not None:
        _put(tables, "resources", ("depth", "start", "last", "name"), ranges)
    areas = files.parsed("swaps", swaps.parse, lost="swap_areas")
    if areas is not None:
        swap_rows = [(a.path, a.kind, a.size_kib * 1024, a.used_kib * 1024, a.priority) for a in areas]
        _put(tables, "swap_areas", ("path", "kind", "size_bytes", "used_bytes", "priority"), swap_rows)


def read_segments(proc: Tree, unread: Unread, tables: dict[str, Table]) -> None:
    """Read the System V shared memory segments: memory that needs neither a process nor a file to stay."""
    files = _Files(proc, unread)
    segments = files.parsed("sysvipc/shm", sysvipc_shm.parse, lost="sysv_shm", source="sysvipc")
    if segments is not None:
        _put(tables, "sysv_shm", sysvipc_shm.Segment._fields, segments)


def _put(tables: dict[str, Table], name: str, columns: tuple[str, ...], rows: Iterable[Any]) -> None:
    tables[name] = from_rows(TABLES[name], columns, list(rows))
