"""``vmprobe map``: the pageblocks of each zone side by side, whose they are, what a compaction does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from vmprobe.analyses.compact import STRATEGIES, demand_order, prepared
from vmprobe.analyses.evidence import (
    Evidence,
    demand_frames,
    demand_tables,
    refuse_hidden_frames,
    why_missing,
)
from vmprobe.analyses.frag import missing_names
from vmprobe.analyses.map_answer import CHANGES, CONTENTS, Map, MapForecast
from vmprobe.analyses.process import address_space
from vmprobe.bridge.compact import run
from vmprobe.bridge.interval import intervals
from vmprobe.bridge.strip import pageblock_order, strips, strips_after
from vmprobe.errors import SnapshotError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vmprobe.analyses.map_answer import ZoneStrip
    from vmprobe.bridge.compact import Host
    from vmprobe.bridge.strip import Strips
    from vmprobe.tables import Snapshot

FREE: Final = CONTENTS.index("free")
MOST_LISTED: Final = 8
"""Cgroups that an error lists."""


def map_of(
    snapshot: Snapshot,
    *,
    owner: str | None = None,
    forecast: str | None = None,
    order: int = 9,
    host: Host | None = None,
) -> Map:
    """Return the pageblocks of a host.

    Parameters
    ----------
    snapshot
        With frames and zones.
    owner
        Whose pages are counted in each: a pid, and with it all that share its address space; or the path of a
        cgroup, and with it those below it.
    forecast
        The strategy of compaction of which the strips afterwards are wanted; None for none.
    order
        Order of the blocks that the forecast is to gain.
    host
        What strategies work on, of the same snapshot; made here when None.

    Raises
    ------
    SnapshotError, PrivilegeError
        There are no frames or zones, or of the owner not what tells which pages are its.
    UsageError
        There is no such owner or strategy, or there are no free blocks of that order.
    """
    demand_frames(Evidence(snapshot))
    if not snapshot.has("zones"):
        where = snapshot.path or "snapshot"
        raise SnapshotError(where, f"zones are {why_missing(snapshot, 'zones', 'zoneinfo')}")
    whose = _Whose(None, None, None) if owner is None else _whose(snapshot, owner)
    block_order = pageblock_order(snapshot)
    made = strips(snapshot, block_order, mms=whose.mms, inodes=whose.inodes)
    return Map(
        page_size=snapshot.page_size,
        pageblock_order=block_order,
        time=str(snapshot.manifest["time"]["start"]),
        release=str(snapshot.manifest["host"]["release"]),
        contents=CONTENTS,
        owners=made.owners,
        zones=made.zones,
        chosen=whose.name,
        forecast=None if forecast is None else _forecast(snapshot, made, forecast, order, host),
        missing=tuple(missing_names(snapshot)),
    )


class _Whose(NamedTuple):
    """The owner that was asked for: how it is called, and its address spaces or cgroups."""

    name: str | None
    mms: tuple[int, ...] | None
    inodes: tuple[int, ...] | None


def _whose(snapshot: Snapshot, owner: str) -> _Whose:
    if owner.startswith("/"):
        return _cgroup(snapshot, owner)
    if not owner.isdecimal():
        hint = "a pid, or the path of a cgroup, which begins with /"
        raise UsageError(f"--owner {owner}: neither a process nor a cgroup", hint=hint)
    demand_tables(snapshot, "vmas", "mappings")
    comm, mm = address_space(snapshot, int(owner))
    if not snapshot.table("mappings", ("pfn",)).has("pfn"):
        refuse_hidden_frames(snapshot)
    return _Whose(f"process {int(owner)} ({comm or '?'})", (mm,), None)


def _cgroup(snapshot: Snapshot, path: str) -> _Whose:
    where = snapshot.path or "snapshot"
    if not snapshot.has("cgroups"):
        raise SnapshotError(where, f"cgroups are {why_missing(snapshot, 'cgroups', 'cgroups')}")
    if not snapshot.table("frames", ("memcg",)).has("memcg"):
        reason = snapshot.manifest["tables"]["frames"]["null_columns"]["memcg"]
        raise SnapshotError(where, f"it does not tell which cgroup is charged: kpagecgroup: {reason}")
    wanted = path.rstrip("/")
    listed = sorted((each, inode) for inode, each in snapshot.table("cgroups").rows("inode", "path"))
    inodes = tuple(
        inode for each, inode in listed if each == (wanted or "/") or each.startswith(f"{wanted}/")
    )
    if not inodes:
        names = ", ".join(each for each, _ in listed[:MOST_LISTED])
        more = f" and {len(listed) - MOST_LISTED} more" if len(listed) > MOST_LISTED else ""
        hint = f"there are {names}{more}: see the table cgroups"
        raise UsageError(f"no cgroup {path} is in the snapshot", hint=hint)
    return _Whose(f"cgroup {wanted or '/'}", None, inodes)


def _forecast(snapshot: Snapshot, made: Strips, strategy: str, order: int, host: Host | None) -> MapForecast:
    if strategy not in STRATEGIES:
        raise UsageError(f"no strategy {strategy}", hint=f"there are {', '.join(STRATEGIES)}")
    host = host or prepared(snapshot)
    demand_order(host, order)
    outcomes = run(host, strategy, order, None)
    after = strips_after(made.found, outcomes, pageblock_order(snapshot))
    return MapForecast(
        strategy=strategy,
        order=order,
        gained_blocks=sum(outcome.gained_blocks for outcome in outcomes),
        interval=intervals(snapshot, host, strategy, outcomes, None).total,
        zones=after,
        changes=tuple(map(changes, made.zones, after)),
    )


def changes(before: ZoneStrip, after: ZoneStrip) -> NDArray[np.uint8]:
    """Return what becomes of each pageblock: uint8, an index in `CHANGES`."""
    was, is_ = before.content == FREE, after.content == FREE
    conditions = {
        "becomes_free": is_ & ~was,
        "is_filled": was & ~is_,
        "more_free": after.free > before.free,
        "less_free": after.free < before.free,
    }
    codes = [np.uint8(CHANGES.index(name)) for name in conditions]
    return np.select(list(conditions.values()), codes, np.uint8(CHANGES.index("same"))).astype(np.uint8)
