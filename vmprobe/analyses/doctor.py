"""``vmprobe doctor``: what can be read on this host, at which price, what is lost without, and what to do.

The evidence is a snapshot that was just taken; a saved one tells the same about the host it came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from vmprobe.analyses.evidence import Evidence
from vmprobe.analyses.quirks import QuirkFinding, findings
from vmprobe.analyses.show import Host, UnreadRow, cost, host, unread

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmprobe.tables import Snapshot

DENIED: Final = ("Permission denied", "Operation not permitted")
"""The kernel's words for EACCES and EPERM."""

_ROOT: Final = "root, or CAP_DAC_READ_SEARCH"
_PTRACE: Final = "the same user, or CAP_SYS_PTRACE"
_OWNER: Final = "the same user, or CAP_DAC_READ_SEARCH"
_ADMIN: Final = "CAP_SYS_ADMIN in the initial user namespace"


class Source(NamedTuple):
    """A file that vmprobe reads, what it is good for, and the privilege it takes."""

    name: str
    gives: str
    needs: str | None


SOURCES: Final = (
    Source("kpageflags", "use of every frame", _ROOT),
    Source("kpagecount", "map count of frames", _ROOT),
    Source("kpagecgroup", "cgroup of each frame", _ROOT),
    Source("maps", "address spaces", _PTRACE),
    Source("pagemap", "page tables", _PTRACE),
    Source("frame numbers", "frame of each entry", _ADMIN),
    Source("zoneinfo", "zones and watermarks", None),
    Source("buddyinfo", "free blocks by order", None),
    Source("pagetypeinfo", "free blocks by type", _ROOT),
    Source("iomem", "memory and holes", _ADMIN),
    Source("vmstat", "kernel counters", None),
    Source("meminfo", "kernel totals", None),
    Source("swaps", "swap areas", None),
    Source("fds", "files that are memory", _PTRACE),
    Source("ksm_stat", "pages that KSM merged", _OWNER),
    Source("sysvipc", "System V segments", None),
    Source("loadavg", "threads in all", None),
)
"""Every source in order of weight; names as in the manifest, but for the frame numbers inside pagemap."""


@dataclass(frozen=True)
class SourceRow:
    """One source: `status` is yes, partly, no or not read; the cost is None where nothing was read."""

    name: str
    status: str
    gives: str
    needs: str | None
    reason: str | None
    duration_seconds: float | None
    nr_bytes: int | None
    bytes_per_second: int | None


@dataclass(frozen=True)
class Hint:
    """A next step: why, and the command where there is one."""

    why: str
    command: str | None


@dataclass(frozen=True)
class Doctor:
    """The answer; `complete` is whether every source could be read in full."""

    complete: bool
    verdict: str
    host: Host
    sources: tuple[SourceRow, ...]
    hints: tuple[Hint, ...]
    quirks: tuple[QuirkFinding, ...]
    unread: tuple[UnreadRow, ...]


def doctor(snapshot: Snapshot) -> Doctor:
    """Return what `snapshot` tells about the host's readability."""
    rows = tuple(_source_row(source, snapshot) for source in SOURCES)
    bad = [row.name for row in rows if row.status in {"no", "partly"}]
    skipped = [row.name for row in rows if row.status == "not read"]
    if bad:
        verdict = f"{len(bad)} of {len(rows)} sources cannot be read in full: {', '.join(bad)}"
    elif skipped:
        verdict = f"everything that was asked for can be read; not asked for: {', '.join(skipped)}"
    else:
        verdict = f"all {len(rows)} sources can be read"
    return Doctor(
        complete=not bad,
        verdict=verdict,
        host=host(snapshot),
        sources=rows,
        hints=hints(snapshot, rows),
        quirks=findings(Evidence(snapshot)),
        unread=unread(snapshot),
    )


def _source_row(source: Source, snapshot: Snapshot) -> SourceRow:
    status, reason = _status(source, snapshot)
    spent = next((row for row in cost(snapshot) if row.name == source.name), None)
    return SourceRow(
        source.name,
        status,
        source.gives,
        source.needs,
        reason,
        None if spent is None else spent.duration_seconds,
        None if spent is None else spent.nr_bytes,
        None if spent is None else spent.bytes_per_second,
    )


_PER_PROCESS: Final[dict[str, Callable[[Snapshot], bool]]] = {
    "fds": lambda snapshot: snapshot.has("fds"),
    "ksm_stat": lambda snapshot: snapshot.table("tasks", ("ksm_merging_pages",)).has("ksm_merging_pages"),
}
"""Sources that one process may refuse and another give, and whether one gave them."""


def _status(source: Source, snapshot: Snapshot) -> tuple[str, str | None]:
    """Return the status of a source and the reason where it is not yes."""
    if source.name == "frame numbers":
        return _frame_numbers(snapshot)
    refused = [row for row in unread(snapshot) if row.what == source.name]
    if refused:
        return _refused(source, snapshot, refused)
    if source.name in {"maps", "pagemap"}:
        return _processes(snapshot)
    if any(entry["name"] == source.name for entry in snapshot.manifest.get("sources", ())):
        return "yes", None
    return "not read", None


def _refused(source: Source, snapshot: Snapshot, refused: list[UnreadRow]) -> tuple[str, str | None]:
    """Tell whether a source was refused by all that could give it."""
    if source.name not in _PER_PROCESS or not _PER_PROCESS[source.name](snapshot):
        return "no", refused[0].reason
    if refused[0].reason.startswith(DENIED):
        return "partly", f"refused {sum(row.count for row in refused)} times"
    return "partly", refused[0].reason


def _frame_numbers(snapshot: Snapshot) -> tuple[str, str | None]:
    """Tell whether present entries carry frame numbers: the kernel prints 0 without the privilege."""
    if not snapshot.has("mappings"):
        return "not read", None
    table = snapshot.table("mappings", ("kind", "pfn"))
    if not len(table):
        return "not read", None
    if bool(np.any(table.is_valid("pfn"))):
        return "yes", None
    return "no", "the kernel hides them"


def _processes(snapshot: Snapshot) -> tuple[str, str | None]:
    """Tell how many processes refused; those that vanished are no fault of ours."""
    if not snapshot.has("tasks"):
        return "not read", None
    errors = [error for (error,) in snapshot.table("tasks", ("error",)).rows("error")]
    refused = sum(1 for error in errors if error is not None and error.startswith(DENIED))
    if not refused:
        return "yes", None
    status = "no" if refused == len(errors) else "partly"
    return status, f"{refused} of {len(errors)} processes refuse"


def hints(snapshot: Snapshot, rows: tuple[SourceRow, ...]) -> tuple[Hint, ...]:
    """Return the next steps, the simplest first."""
    lacking = [row for row in rows if row.status in {"no", "partly"} and row.needs and _denied(row)]
    found = []
    privileges = snapshot.manifest["privileges"]
    held = set(privileges.get("capabilities", ()))
    if lacking and privileges.get("initial_userns") is False:
        found.append(
            Hint(
                "in a user namespace of its own no capability uncovers frame numbers: run it outside",
                "sudo vmprobe doctor",
            )
        )
        found.append(
            Hint(
                "or in a container that shares the host's namespaces",
                "docker run --userns=host --pid=host --privileged -v /proc:/host/proc:ro -v /sys:/host/sys:ro"
                " IMAGE vmprobe doctor --procfs /host/proc --sysfs /host/sys",
            )
        )
    elif lacking and privileges.get("euid") != 0:
        found.append(Hint("root can read everything", "sudo vmprobe doctor"))
        names = ("sys_admin", "sys_ptrace", "dac_read_search")
        missing = [name for name in names if f"CAP_{name.upper()}" not in held]
        if missing:
            caps = ",".join(f"+{name}" for name in names)
            found.append(
                Hint(
                    "or the capabilities alone, as your own user",
                    'sudo setpriv --reuid="$(id -u)" --regid="$(id -g)" --init-groups'
                    f" --inh-caps={caps} --ambient-caps={caps} vmprobe doctor",
                )
            )
    elif lacking and all(row.status == "partly" for row in lacking):
        found.append(
            Hint("some processes stay closed even to root (an LSM or a sandbox); the others are read", None)
        )
    elif lacking:
        found.append(
            Hint(
                "root is refused too: a container without these capabilities, kernel lockdown or an LSM",
                "docker run --pid=host --cap-add SYS_ADMIN --cap-add SYS_PTRACE --cap-add DAC_READ_SEARCH"
                " -v /proc:/host/proc:ro -v /sys:/host/sys:ro"
                " IMAGE vmprobe doctor --procfs /host/proc --sysfs /host/sys",
            )
        )
    if any(row.what == "processes" and "hidepid" in row.reason for row in unread(snapshot)):
        found.append(
            Hint(
                "/proc hides other users' processes (hidepid): CAP_SYS_PTRACE sees them, or as root",
                "mount -o remount,hidepid=0 /proc",
            )
        )
    return tuple(found)


def _denied(row: SourceRow) -> bool:
    """Whether a privilege would help; a file that this kernel does not have stays missing."""
    reason = row.reason or ""
    return reason.startswith(DENIED) or "refuse" in reason or "hides" in reason or "shows zeros" in reason
