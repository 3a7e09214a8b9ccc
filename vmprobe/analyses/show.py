"""``vmprobe show``: what a snapshot holds, at a glance.

Each part that the snapshot lacks is None in the answer and has its reason in `Show.missing`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from vmprobe.analyses.evidence import Evidence, why_missing
from vmprobe.analyses.show_memory import Frames, FreeAreaRow, ZoneRow, frames, free_areas, zones
from vmprobe.analyses.show_processes import Processes, processes

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot

LARGEST = 10
"""Processes listed unless the caller wants another number."""


_FILES: Final = {
    "zones": "zoneinfo",
    "free_areas": "buddyinfo",
    "frames": "kpageflags",
    "tasks": "processes",
    "mappings": "pagemap",
}
"""The file that each table is read from, as the manifest names it."""


@dataclass(frozen=True)
class Host:
    """Which machine, when, how long, and with which privileges; None where it could not be told."""

    release: str
    machine: str
    page_size_bytes: int
    nr_cpus: int | None
    mem_total_bytes: int | None
    start: str
    duration_seconds: float
    uptime_seconds: float | None
    euid: int | None
    capabilities: tuple[str, ...]
    initial_userns: bool | None
    replayed: str | None
    """Format of the recording that the snapshot was taken from; None for one of a live host."""


@dataclass(frozen=True)
class UnreadRow:
    """Something that could not be read; `needs` names a missing privilege, `lost` what is null for it."""

    what: str
    reason: str
    needs: str | None
    lost: str | None
    count: int


@dataclass(frozen=True)
class CostRow:
    """What reading one source cost."""

    name: str
    duration_seconds: float
    nr_bytes: int
    nr_reads: int
    bytes_per_second: int | None


@dataclass(frozen=True)
class Drift:
    """How much the host changed while it was read; None where it was not measured."""

    frames_compared: int | None
    frames_changed: int | None
    entries_compared: int | None
    entries_changed: int | None
    processes_vanished: int | None
    processes_appeared: int | None
    torn_maps: int | None
    free_pages_before: int | None
    free_pages_after: int | None


@dataclass(frozen=True)
class MissingPart:
    """A part of the answer that the snapshot does not have, and why."""

    part: str
    reason: str


@dataclass(frozen=True)
class Show:
    """The answer."""

    path: str | None
    host: Host
    zones: tuple[ZoneRow, ...] | None
    free_areas: tuple[FreeAreaRow, ...] | None
    frames: Frames | None
    processes: Processes | None
    unread: tuple[UnreadRow, ...]
    drift: Drift
    cost: tuple[CostRow, ...]
    missing: tuple[MissingPart, ...]


def show(snapshot: Snapshot, *, largest: int = LARGEST) -> Show:
    """Return what `snapshot` holds.

    Parameters
    ----------
    snapshot
        The photograph; any of its tables may be missing.
    largest
        How many processes to list.
    """
    evidence = Evidence(snapshot)
    answer = Show(
        path=snapshot.path,
        host=host(snapshot),
        zones=zones(snapshot) if snapshot.has("zones") else None,
        free_areas=free_areas(snapshot) if snapshot.has("free_areas") else None,
        frames=frames(evidence),
        processes=processes(evidence, largest=largest) if snapshot.has("tasks") else None,
        unread=unread(snapshot),
        drift=drift(snapshot),
        cost=cost(snapshot),
        missing=(),
    )
    lacking = {
        "zones": answer.zones is None,
        "free_areas": answer.free_areas is None,
        "frames": answer.frames is None,
        "tasks": answer.processes is None,
        "mappings": not snapshot.has("mappings"),
    }
    missing = [
        MissingPart(part, why_missing(snapshot, part, _FILES[part])) for part, gone in lacking.items() if gone
    ]
    return replace(answer, missing=tuple(missing))


def host(snapshot: Snapshot) -> Host:
    """Return the manifest's word on the host."""
    machine = snapshot.manifest["host"]
    time, privileges = snapshot.manifest["time"], snapshot.manifest["privileges"]
    return Host(
        release=machine["release"],
        machine=machine["machine"],
        page_size_bytes=machine["page_size"],
        nr_cpus=machine.get("nr_cpus"),
        mem_total_bytes=machine.get("mem_total_bytes"),
        start=time["start"],
        duration_seconds=time["seconds"],
        uptime_seconds=time.get("uptime_seconds"),
        euid=privileges.get("euid"),
        capabilities=tuple(privileges.get("capabilities", ())),
        initial_userns=privileges.get("initial_userns"),
        replayed=_replayed(snapshot.manifest.get("replayed")),
    )


def _replayed(entry: Any) -> str | None:
    """Return the format's version in words; the entry is not one that every manifest has."""
    version = entry.get("format") if isinstance(entry, dict) else None
    if not isinstance(version, list):
        return None
    return ".".join(str(number) for number in version)


def unread(snapshot: Snapshot) -> tuple[UnreadRow, ...]:
    """Return what could not be read, in the manifest's order."""
    return tuple(
        UnreadRow(
            entry["what"], entry["reason"], entry.get("needs"), entry.get("lost"), entry.get("count", 1)
        )
        for entry in snapshot.manifest.get("unread", ())
    )


def cost(snapshot: Snapshot) -> tuple[CostRow, ...]:
    """Return what each source cost, the slowest first."""
    rows = []
    for entry in snapshot.manifest.get("sources", ()):
        seconds, nr_bytes = entry["seconds"], entry["bytes"]
        rate = round(nr_bytes / seconds) if seconds > 0 else None
        rows.append(CostRow(entry["name"], seconds, nr_bytes, entry["reads"], rate))
    return tuple(sorted(rows, key=lambda row: (-row.duration_seconds, row.name)))


def drift(snapshot: Snapshot) -> Drift:
    """Return the manifest's figures on what moved."""
    figures: dict[str, Any] = snapshot.manifest.get("volatility", {})
    return Drift(**{name: figures.get(name) for name in Drift.__dataclass_fields__})
