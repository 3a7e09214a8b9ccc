"""Two snapshots of one boot, the earlier one first."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from vmprobe.errors import SnapshotError

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot


def demand_order(since: Snapshot, snapshot: Snapshot) -> float:
    """Refuse to follow entries from one boot into another, or back in time; return the seconds between.

    Raises
    ------
    SnapshotError
        The two are not of one boot, or in the wrong order.
    """
    where = since.path or "snapshot"
    before, after = (each.manifest["host"].get("boot_id") for each in (since, snapshot))
    if before is None or after is None:
        reason = "entries can be followed within one boot only, and the boot id is not in both snapshots"
        raise SnapshotError(where, reason, hint="it is left out by --redact")
    if before != after:
        reason = f"it is of another boot ({before}) than the snapshot it is compared with ({after})"
        raise SnapshotError(where, reason, hint="take both without a boot between them")
    begun, ended = (datetime.fromisoformat(each.manifest["time"]["start"]) for each in (since, snapshot))
    if begun > ended:
        raise SnapshotError(where, "it is the later one", hint="the earlier of the two snapshots comes first")
    return (ended - begun).total_seconds()
