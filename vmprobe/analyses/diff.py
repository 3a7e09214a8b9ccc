"""``vmprobe diff``: what changed between two snapshots of one host, and who took its huge pages.

Frames are compared within one boot only. What one of the two snapshots lacks is left out and named.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from vmprobe.analyses.boots import between
from vmprobe.analyses.diff_answer import Diff, FreePageblocks, Side
from vmprobe.analyses.diff_frames import frame_changes
from vmprobe.analyses.diff_processes import names, processes
from vmprobe.analyses.diff_sums import (
    Both,
    class_changes,
    events,
    listed_pageblocks,
    order_changes,
    sharing_change,
)
from vmprobe.analyses.diff_words import verdict
from vmprobe.analyses.evidence import Evidence
from vmprobe.analyses.frag import missing_names
from vmprobe.analyses.show import MissingPart
from vmprobe.bridge.diff import compare_frames, ownership
from vmprobe.bridge.strip import pageblock_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmprobe.tables import Snapshot

FRAME_PARTS: Final = "pageblocks and owners of frames"
CLASSES: Final = "classes of frames"
ORDERS: Final = "free blocks and indices"
PROCESSES: Final = "processes"
EVENTS: Final = "counters of vmstat"
"""Parts of the answer, as they are called where they are missing."""


def diff(old: Snapshot, new: Snapshot, *, top: int | None = 10) -> Diff:
    """Return what changed between two snapshots of one host.

    Parameters
    ----------
    old, new
        The earlier and the later one; any of their tables may be missing.
    top
        Most owners, processes, and changes of owner to list; None for all.

    Raises
    ------
    InputError
        The two are of different hosts: page size or architecture differ.
    UsageError
        `new` is the earlier one.
    SnapshotError
        The manifest's frame ranges of one do not cover its table.
    """
    lies = between(old, new)
    both = Both(Evidence(old), Evidence(new))
    order = pageblock_order(new)
    missing = list(_missing(both, lies.same_boot))
    parts = {row.part for row in missing}
    frames = None if FRAME_PARTS in parts else compare_frames(ownership(old), ownership(new), order)
    orders = None if ORDERS in parts else order_changes(both)
    has_tasks = PROCESSES not in parts
    shared, unshared = sharing_change(both)
    made = Diff(
        old=_side(old, frames=both.flags[0]),
        new=_side(new, frames=both.flags[1]),
        seconds=lies.seconds,
        same_boot=lies.same_boot,
        boot_evidence=lies.evidence,
        verdict="",
        page_size=new.page_size,
        pageblock_order=order,
        free_pageblocks=None if orders is None else listed_pageblocks(orders, order),
        frames=None,
        classes=None if CLASSES in parts else class_changes(both),
        orders=orders,
        processes=processes(both.old, both.new, top=top) if has_tasks and lies.same_boot else None,
        names=names(both.old, both.new, top=top) if has_tasks and not lies.same_boot else None,
        sharing=shared,
        events=None if EVENTS in parts else events(both, lies.seconds),
        missing=tuple(dict.fromkeys((*missing, *unshared))),
    )
    if frames is None:
        return replace(made, verdict=verdict(made))
    free = FreePageblocks(frames.free_before, frames.free_after, "frames")
    # The sentence does not depend on how many owners are listed.
    whole = replace(made, frames=frame_changes(frames, None), free_pageblocks=free)
    return replace(whole, frames=frame_changes(frames, top), verdict=verdict(whole))


def _side(snapshot: Snapshot, *, frames: bool) -> Side:
    time = snapshot.manifest["time"]
    return Side(
        path=snapshot.path,
        time=time["start"],
        uptime_seconds=time.get("uptime_seconds"),
        release=snapshot.manifest["host"]["release"],
        frames=frames,
        reader_pid=snapshot.manifest.get("program", {}).get("pid"),
    )


def _missing(both: Both, same_boot: bool | None) -> Iterator[MissingPart]:
    """Return which parts of the answer cannot be given, and what limits others."""
    if same_boot:
        yield from both.lacking_flags(FRAME_PARTS)
        if all(both.flags):
            for at, evidence in enumerate(both):
                for row in missing_names(evidence.snapshot):
                    yield from both.said(row.part + " of frames", *_reasons(at, row.reason))
    else:
        why = "a boot lies between" if same_boot is False else "whether a boot lies between is not known"
        yield MissingPart(FRAME_PARTS, f"frames are compared within one boot, and {why}")
        yield MissingPart(EVENTS, f"counters begin at boot, and {why}")
    yield from both.lacking_flags(CLASSES)
    yield from both.lacking(ORDERS, "free_areas", "buddyinfo")
    yield from both.lacking(PROCESSES, "tasks", "processes")
    if same_boot:
        yield from both.lacking(EVENTS, "counters", "vmstat")
    for at, evidence in enumerate(both):
        if evidence.snapshot.selective:
            reason = "only chosen ones are in it: who else came or went, or maps a frame, is not known"
            yield from both.said("other processes", *_reasons(at, reason))
    hashed = [bool(each.snapshot.manifest.get("options", {}).get("redact")) for each in both]
    if not same_boot and any(hashed):
        reasons = ("names are hashed, with a key of its own" if each else None for each in hashed)
        yield from both.said("processes by name", *reasons)


def _reasons(at: int, reason: str) -> tuple[str | None, str | None]:
    return (None, reason) if at else (reason, None)
