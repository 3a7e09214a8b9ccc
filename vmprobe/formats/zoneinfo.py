"""/proc/zoneinfo: every zone with its watermarks, counters and per-CPU lists.

The first populated zone of a node also carries the node's statistics; they are kept apart here, since they
count the whole node::

    Node 0, zone      DMA
      per-node stats
          nr_inactive_anon 1576        -> node_stats
      pages free     3840              -> fields: free, not "pages free"
            boost    0
            ...
            protection: (0, 3019, 4171, 4171, 4171)
          nr_free_pages 3840           -> fields
      pagesets
        cpu: 0
                  count:    0          -> cpus
                  ...
      vm stats threshold: 4            -> cpus
      node_unreclaimable:  0           -> fields
      start_pfn:           1

A zone without pages ends after its protection line.

Kernel source: ``mm/vmstat.c: zoneinfo_show_print``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from vmprobe.formats.lines import Line, empty, ends_early, lines

_ITEM: Final = re.compile(r" +([A-Za-z_][A-Za-z0-9_ ]*?):? +([0-9]+)")
_PROTECTION: Final = re.compile(r" +protection: \(([0-9, ]+)\)")
# They follow the last CPU's items but are the zone's.
_ZONE_ITEMS: Final = frozenset({"node_unreclaimable", "all_unreclaimable", "start_pfn"})
_REQUIRED: Final = ("free", "min", "low", "high", "spanned", "present", "managed")


class ZoneRow(NamedTuple):
    """One zone.

    Parameters
    ----------
    node, zone
        NUMA node and zone name.
    fields
        Everything that the zone has one of, by the kernel's names: ``free``, ``boost``, ``min``, ``low``,
        ``high``, ``promo``, ``spanned``, ``present``, ``managed``, ``cma``, the ``nr_*`` and ``numa_*``
        counters, ``node_unreclaimable``, ``start_pfn``. Pages; counters that wrapped are below 0. A zone
        without pages has none of those behind ``cma``.
    protection
        Pages kept from allocations that prefer a higher zone, per zone type.
    cpus
        Per CPU: ``cpu`` (its number), ``count`` (pages on its lists), ``high``, ``batch``, ``high_min``,
        ``high_max`` and ``vm stats threshold``, as far as the kernel prints them.
    """

    node: int
    zone: str
    fields: dict[str, int]
    protection: tuple[int, ...]
    cpus: tuple[dict[str, int], ...]


class ZoneInfo(NamedTuple):
    """The whole file.

    Parameters
    ----------
    zones
        In the order printed, those without pages too.
    node_stats
        Node to its counters; a node without memory has none.
    """

    zones: list[ZoneRow]
    node_stats: dict[int, dict[str, int]]


def parse(data: bytes, *, file: str = "zoneinfo") -> ZoneInfo:
    """Return zones and node statistics.

    Raises
    ------
    FormatError
        A line is malformed or out of place, something comes twice, or a zone lacks what every kernel prints.
    """
    whole = ZoneInfo([], {})
    blocks: list[list[Line]] = []
    for line in lines(data, file):
        if line.text.startswith("Node"):
            blocks.append([line])
        elif blocks:
            blocks[-1].append(line)
        else:
            raise line.error("expected `Node N, zone NAME` first")
    if not blocks:
        raise empty(file)
    seen: set[tuple[int, str]] = set()
    for block in blocks:
        zone = _zone(block, whole.node_stats)
        if (zone.node, zone.zone) in seen:
            raise block[0].error("expected each zone once")
        seen.add((zone.node, zone.zone))
        whole.zones.append(zone)
    return whole


def _zone(block: list[Line], node_stats: dict[int, dict[str, int]]) -> ZoneRow:
    """Return the zone of one block of lines; its node's statistics go to `node_stats`."""
    node, name, rest = block[0].zone()
    if rest:
        raise block[0].error("expected `Node N, zone NAME` alone")
    fields: dict[str, int] = {}
    protection: tuple[int, ...] | None = None
    cpus: list[dict[str, int]] = []
    target = fields
    for line in block[1:]:
        words = line.text.strip()
        if words == "per-node stats":
            if node in node_stats:
                raise line.error("expected the statistics of a node once")
            target = node_stats[node] = {}
        elif words.startswith("protection:"):
            if protection is not None:
                raise line.error("expected one protection line per zone")
            protection = _protection(line)
        elif words != "pagesets":
            target = _take(line, target, fields, cpus)
    required = (*_REQUIRED, "start_pfn") if fields.get("present") else _REQUIRED
    missing = [key for key in required if key not in fields]
    if missing or protection is None:
        lacking = missing[0] if missing else "protection"
        raise ends_early(block[-1], f"{lacking} of node {node}, zone {name}")
    return ZoneRow(node, name, fields, protection, tuple(cpus))


def _take(
    line: Line, target: dict[str, int], fields: dict[str, int], cpus: list[dict[str, int]]
) -> dict[str, int]:
    """Store the item of `line` and return where: beside the one before, unless it opens something else."""
    match = _ITEM.fullmatch(line.text)
    if match is None:
        raise line.error("expected a name and a number")
    key = match[1]
    if key == "cpu":
        cpus.append({})
        target = cpus[-1]
    elif key.startswith("pages ") or key in _ZONE_ITEMS:
        key = key.removeprefix("pages ")
        target = fields
    if key in target:
        raise line.error(f"expected {key} once")
    target[key] = line.counter(match[2], f"a number for {key}")
    return target


def _protection(line: Line) -> tuple[int, ...]:
    match = _PROTECTION.fullmatch(line.text)
    if match is None:
        raise line.error("expected `protection: (n, n, ...)`")
    return tuple(line.unsigned(word, "a number of pages") for word in match[1].split(", "))
