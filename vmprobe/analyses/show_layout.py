"""The answer of ``vmprobe show`` laid out for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.analyses.parts import Column, Fact, Facts, Grid, Kind, Note, Parts, grid
from vmprobe.units import bytes_text

if TYPE_CHECKING:
    from vmprobe.analyses.show import Host, Show, UnreadRow
    from vmprobe.analyses.show_memory import Frames, FreeAreaRow, ZoneRow
    from vmprobe.analyses.show_processes import Processes

ZONES_PER_GRID: Final = 4
"""Zones side by side in the grid of free blocks; four fit 80 columns on a host of a few hundred GiB."""

_MATTERING: Final = ("CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH")


def layout(answer: Show) -> Parts:
    """Return the parts of the answer in reading order; parts that are missing say why at the end."""
    parts: list[Grid | Facts | Note] = [_host(answer.host, answer.path)]
    if answer.frames is not None:
        parts += _frames(answer.frames)
    if answer.zones is not None:
        parts += _zones(answer.zones, answer.host.page_size_bytes)
    if answer.free_areas is not None:
        parts += _free_areas(answer.free_areas)
    if answer.processes is not None:
        parts += _processes(answer.processes)
    parts += unread_parts(answer.unread)
    drift = answer.drift
    parts.append(
        Facts(
            "Drift while reading",
            (
                Fact("frames changed", drift.frames_changed, Kind.COUNT),
                Fact("of frames compared", drift.frames_compared, Kind.COUNT),
                Fact("entries changed", drift.entries_changed, Kind.COUNT),
                Fact("of entries compared", drift.entries_compared, Kind.COUNT),
                Fact("processes vanished", drift.processes_vanished, Kind.COUNT),
                Fact("processes appeared", drift.processes_appeared, Kind.COUNT),
                Fact("maps read torn", drift.torn_maps, Kind.COUNT),
                Fact("free pages", (drift.free_pages_before, drift.free_pages_after), Kind.CHANGE),
            ),
        )
    )
    if answer.cost:
        parts.append(
            grid(
                "Cost of reading" if answer.host.replayed is None else "Cost of reading the recording",
                answer.cost,
                ("name", "source", Kind.TEXT),
                ("duration_seconds", "time", Kind.SECONDS),
                ("nr_bytes", "bytes", Kind.BYTES),
                ("nr_reads", "reads", Kind.COUNT),
                ("bytes_per_second", "rate", Kind.RATE),
            )
        )
    if answer.missing:
        parts.append(Note("Missing", tuple(f"{row.part}: {row.reason}" for row in answer.missing)))
    return Parts(tuple(parts))


def _host(host: Host, path: str | None) -> Facts:
    held = [name for name in _MATTERING if name in host.capabilities]
    who = "unknown user" if host.euid is None else "root" if host.euid == 0 else f"user {host.euid}"
    userns = {True: "initial user namespace", False: "a user namespace of its own", None: None}
    privileges = [who, ", ".join(held) or "no capability that matters", userns[host.initial_userns]]
    replayed = (
        () if host.replayed is None else (Fact("replayed", f"from a recording, format {host.replayed}"),)
    )
    return Facts(
        "Snapshot",
        (
            Fact("from", path or f"{'taken' if host.replayed is None else 'replayed'} now, not saved"),
            *replayed,
            Fact("kernel", f"{host.release} {host.machine}, pages of {bytes_text(host.page_size_bytes)}"),
            Fact("memory", host.mem_total_bytes, Kind.BYTES),
            Fact("CPUs", host.nr_cpus, Kind.COUNT),
            Fact("taken", host.start),
            Fact("in", host.duration_seconds, Kind.SECONDS),
            Fact("up for", host.uptime_seconds, Kind.SECONDS),
            Fact("as", "; ".join(part for part in privileges if part)),
        ),
    )


def _frames(frames: Frames) -> list[Grid | Facts | Note]:
    parts: list[Grid | Facts | Note] = [
        grid(
            "Page frames by use",
            frames.classes,
            ("name", "class", Kind.TEXT),
            ("nr_frames", "frames", Kind.COUNT),
            ("nr_bytes", "size", Kind.BYTES),
            ("share_percent", "share", Kind.PERCENT),
            ("nr_unstable", "unstable", Kind.COUNT),
            ("meaning", "what it is", Kind.TEXT),
        )
    ]
    totals = [
        Fact("frames in all", frames.nr_frames, Kind.COUNT),
        Fact("without flag word", frames.nr_unread, Kind.COUNT),
        Fact("unstable", frames.nr_unstable, Kind.COUNT),
    ]
    parts.append(Facts("", tuple(totals)))
    unknown = frames.unknown
    if unknown.nr_frames:
        parts.append(
            Facts(
                "What the unknown frames can be",
                (
                    Fact("unknown frames", unknown.nr_frames, Kind.COUNT),
                    Fact("per-CPU free, at most", unknown.per_cpu_free_at_most, Kind.COUNT),
                    Fact("not yet given, at most", unknown.not_given_at_most, Kind.COUNT),
                    Fact("holes, at most", unknown.holes_at_most, Kind.COUNT),
                    Fact("kernel, at least", unknown.kernel_at_least, Kind.COUNT),
                ),
            )
        )
    return parts


def _zones(zones: tuple[ZoneRow, ...], page_size: int) -> list[Grid | Facts | Note]:
    present = [zone for zone in zones if zone.present_pages]
    sizes = ("spanned_pages", "present_pages", "managed_pages", "free_pages", "pcp_pages")
    labels = ("spanned", "present", "managed", "free", "per-CPU")
    rows = []
    for zone in present:
        pages = [getattr(zone, name) for name in sizes]
        rows.append((zone.node, zone.zone, *(None if p is None else p * page_size for p in pages)))
    columns = (Column("node", Kind.TEXT), Column("zone", Kind.TEXT))
    return [
        Grid("Zones", (*columns, *(Column(label, Kind.BYTES) for label in labels)), tuple(rows)),
        grid(
            "Watermarks in pages",
            present,
            ("node", "node", Kind.TEXT),
            ("zone", "zone", Kind.TEXT),
            ("free_pages", "free", Kind.COUNT),
            ("wmark_min_pages", "min", Kind.COUNT),
            ("wmark_low_pages", "low", Kind.COUNT),
            ("wmark_high_pages", "high", Kind.COUNT),
            ("boost_pages", "boost", Kind.COUNT),
        ),
    ]


def _free_areas(areas: tuple[FreeAreaRow, ...]) -> list[Grid | Facts | Note]:
    zones = list(dict.fromkeys((area.node, area.zone) for area in areas))
    orders = sorted({(area.order, area.block_bytes) for area in areas})
    counts = {(area.node, area.zone, area.order): (area.nr_free, area.nr_free_after) for area in areas}
    parts: list[Grid | Facts | Note] = []
    for first in range(0, len(zones), ZONES_PER_GRID):
        shown = zones[first : first + ZONES_PER_GRID]
        columns = (Column("order", Kind.TEXT), Column("block", Kind.BYTES))
        rows = tuple(
            (order, block_bytes, *(counts.get((node, zone, order)) for node, zone in shown))
            for order, block_bytes in orders
        )
        heads = tuple(Column(f"{node} {zone}", Kind.CHANGE) for node, zone in shown)
        title = "Free blocks before -> after the frames were read" if not first else ""
        parts.append(Grid(title, (*columns, *heads), rows))
    return parts


def _processes(found: Processes) -> list[Grid | Facts | Note]:
    parts: list[Grid | Facts | Note] = [
        Facts(
            "Processes",
            (
                Fact("processes", found.nr_processes, Kind.COUNT),
                Fact("kernel threads", found.nr_kernel_threads, Kind.COUNT),
                Fact("address spaces", found.nr_mms, Kind.COUNT),
                Fact("without a figure", found.nr_without_figure, Kind.COUNT),
            ),
        )
    ]
    if found.largest:
        parts.append(
            grid(
                "Largest processes",
                found.largest,
                ("pid", "pid", Kind.TEXT),
                ("comm", "name", Kind.TEXT),
                ("uid", "uid", Kind.TEXT),
                ("resident_bytes", "resident", Kind.BYTES),
                ("resident_pages", "pages", Kind.COUNT),
                ("swapped_pages", "swapped", Kind.COUNT),
                ("counted_from", "from", Kind.TEXT),
            )
        )
    if found.shared:
        rows = tuple(
            (row.mm, ", ".join(f"{pid} {comm or '?'}" for pid, comm in zip(row.pids, row.comms, strict=True)),
             row.evidence)
            for row in found.shared
        )  # fmt: skip
        columns = (
            Column("mm", Kind.TEXT),
            Column("processes", Kind.TEXT),
            Column("proved by", Kind.TEXT),
        )
        parts.append(Grid("Processes that share an address space", columns, rows))
    if found.errors:
        parts.append(
            grid(
                "Processes whose memory is missing",
                found.errors,
                ("nr_processes", "processes", Kind.COUNT),
                ("error", "because", Kind.TEXT),
            )
        )
    return parts


def unread_parts(rows: tuple[UnreadRow, ...]) -> list[Grid | Facts | Note]:
    """Lay out what could not be read; nothing where all was."""
    if not rows:
        return []
    return [
        grid(
            "Could not be read",
            rows,
            ("count", "times", Kind.COUNT),
            ("what", "what", Kind.TEXT),
            ("reason", "because", Kind.TEXT),
            ("needs", "needs", Kind.TEXT),
            ("lost", "lost", Kind.TEXT),
        )
    ]
