"""Two snapshots of one host, the earlier one first: how long lies between them, and whether a boot does."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vmprobe.errors import InputError, UsageError

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot

TOLERANCE_SECONDS: Final = 5.0
"""By how much a clock that is set now and then may be off, of the moment of boot that it tells twice."""


class Between(NamedTuple):
    """What lies between two snapshots.

    Parameters
    ----------
    seconds
        From the start of the earlier to that of the later.
    same_boot
        Whether both are of one boot; None where that is not known.
    evidence
        What tells: ``boot id``, ``uptime``, or ``nothing``.
    """

    seconds: float
    same_boot: bool | None
    evidence: str


def between(old: Snapshot, new: Snapshot) -> Between:
    """Return what lies between two snapshots.

    Raises
    ------
    InputError
        They are of different machines: page size or architecture differ.
    UsageError
        `new` is the earlier one.
    """
    for what, name in (("pages", "page_size"), ("architecture", "machine")):
        one, other = (each.manifest["host"][name] for each in (old, new))
        if one != other:
            raise InputError(
                f"{_name(old)} and {_name(new)} are of different hosts: {what} {one} and {other}",
                hint="give two snapshots of one host",
            )
    same_boot, evidence = _same_boot(old, new)
    begins = [_uptime_at_start(each) for each in (old, new)] if same_boot else [None, None]
    # The clock may be set between; uptime only runs.
    seconds = (_start(new) - _start(old)).total_seconds()
    if begins[0] is not None and begins[1] is not None:
        seconds = begins[1] - begins[0]
    if seconds < 0:
        hint = f"the earlier one comes first: vmprobe diff {new.path or 'NEW'} {old.path or 'OLD'}"
        raise UsageError(f"{_name(new)} was taken before {_name(old)}", hint=hint)
    return Between(round(seconds, 3), same_boot, evidence)


def _name(snapshot: Snapshot) -> str:
    return snapshot.path or "the snapshot taken now"


def _same_boot(old: Snapshot, new: Snapshot) -> tuple[bool | None, str]:
    """Return whether both are of one boot, and what tells."""
    ids = [each.manifest["host"].get("boot_id") for each in (old, new)]
    if None not in ids:
        return ids[0] == ids[1], "boot id"
    uptimes = [_time(each).get("uptime_seconds") for each in (old, new)]
    if uptimes[0] is None or uptimes[1] is None:
        return None, "nothing"
    ends = [datetime.fromisoformat(_time(each)["end"]) for each in (old, new)]
    # What uptime and clock say that lies between, where no boot does.
    ahead = uptimes[1] - uptimes[0] - (ends[1] - ends[0]).total_seconds()
    if abs(ahead) <= TOLERANCE_SECONDS and old.manifest["host"]["release"] == new.manifest["host"]["release"]:
        return True, "uptime"
    # More uptime than time has passed is no boot: the clock was set, or it is another host.
    return (False, "uptime") if ahead < 0 else (None, "nothing")


def _time(snapshot: Snapshot) -> dict[str, Any]:
    told: dict[str, Any] = snapshot.manifest["time"]
    return told


def _start(snapshot: Snapshot) -> datetime:
    return datetime.fromisoformat(_time(snapshot)["start"])


def _uptime_at_start(snapshot: Snapshot) -> float | None:
    """Return the uptime when the snapshot was begun; the manifest has that of its end."""
    told = _time(snapshot)
    uptime = told.get("uptime_seconds")
    return None if uptime is None else uptime - told["seconds"]
