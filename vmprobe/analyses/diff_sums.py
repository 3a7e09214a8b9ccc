"""Sums of two snapshots side by side: free blocks, classes, sharing, counters.

All but counters can be compared across boots.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from vmprobe.analyses.diff_answer import (
    ClassChange,
    Event,
    FreePageblocks,
    MechanismChange,
    OrderChange,
    SharingChange,
)
from vmprobe.analyses.evidence import why_missing
from vmprobe.analyses.frag import FRAMES
from vmprobe.analyses.quirks import trust_ksm
from vmprobe.analyses.sharing import sharing
from vmprobe.analyses.show import MissingPart
from vmprobe.bridge.frag import indices
from vmprobe.bridge.obtainable import free_lists
from vmprobe.bridge.pageclass import classes
from vmprobe.errors import PrivilegeError, SnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmprobe.analyses.evidence import Evidence
    from vmprobe.analyses.sharing_answer import Sharing
    from vmprobe.tables import Snapshot

EVENTS: Final = ("compact_", "thp_", "pgmigrate_")
"""How the counters of vmstat begin that tell of huge pages: compaction, their faults, migration."""


@dataclass(frozen=True)
class Both:
    """Two snapshots."""

    old: Evidence
    new: Evidence

    def __iter__(self) -> Iterator[Evidence]:
        return iter((self.old, self.new))

    @cached_property
    def flags(self) -> tuple[bool, bool]:
        """Which of the two have flag words; to know it a column is read."""
        return self.old.has_flags, self.new.has_flags

    def said(self, part: str, *reasons: str | None) -> list[MissingPart]:
        """Return what is missing, from the reason in each of the two; None where nothing is."""
        words = ("earlier snapshot", "later snapshot")
        told = [(word, _short(why)) for word, why in zip(words, reasons, strict=True) if why is not None]
        if len(told) == len(words) and told[0][1] == told[1][1]:
            told = [("both snapshots", told[0][1])]
        return [MissingPart(part, f"{word}: {why}") for word, why in told]

    def lacking(self, part: str, table: str, file: str) -> list[MissingPart]:
        """Return in which of the two a table is missing, and why."""
        snapshots = (each.snapshot for each in self)
        return self.said(part, *(None if s.has(table) else why_missing(s, table, file) for s in snapshots))

    def lacking_flags(self, part: str) -> list[MissingPart]:
        """Return which of the two has no flag words, and why."""
        reasons = (
            None if has else why_missing(each.snapshot, *FRAMES)
            for each, has in zip(self, self.flags, strict=True)
        )
        return self.said(part, *reasons)


def _short(reason: str) -> str:
    """Return a reason without saying of which snapshot: that stands before it."""
    return reason.removeprefix("not in this snapshot").removeprefix(": ") or "not read"


def class_changes(both: Both) -> tuple[ClassChange, ...]:
    """Return the frames of each class; both have flag words."""
    sums: dict[int, list[tuple[int, int]]] = {}
    names: dict[int, str] = {}
    for at, evidence in enumerate(both):
        assert evidence.runs is not None
        for each in classes(evidence.snapshot, evidence.runs, trust_ksm=trust_ksm(evidence)).counts:
            names[each.page_class] = each.name
            sums.setdefault(each.page_class, [(0, 0), (0, 0)])[at] = each.nr_frames, each.nr_unstable
    return tuple(
        ClassChange(names[page_class], (then[0], now[0]), (then[1], now[1]))
        for page_class, (then, now) in sorted(sums.items())
    )


def order_changes(both: Both) -> tuple[OrderChange, ...]:
    """Return free blocks and indices of each zone and order; both have free lists."""
    tables = [_zone_figures(each.snapshot) for each in both]
    absent = (None, None, None)
    return tuple(
        OrderChange(*key, *zip(*(table.get(key, absent) for table in tables), strict=True))
        for key in dict.fromkeys((*tables[0], *tables[1]))
    )


def _zone_figures(snapshot: Snapshot) -> dict[tuple[int, str, int], tuple[int | None, ...]]:
    """Return free blocks and both indices by node, zone and order."""
    lists = free_lists(snapshot)
    assert lists is not None
    figures: dict[tuple[int, str, int], tuple[int | None, ...]] = {}
    for (node, zone), blocks in lists.items():
        told = indices(blocks)
        for order, each in enumerate(
            zip(blocks, told.unusable_permille, told.fragmentation_permille, strict=True)
        ):
            figures[node, zone, order] = each
    return figures


def listed_pageblocks(orders: tuple[OrderChange, ...], pageblock_order: int) -> FreePageblocks:
    """Return the pageblocks that free lists add up to."""
    sums = [0, 0]
    for row in orders:
        if row.order >= pageblock_order:
            for at, nr in enumerate(row.free_blocks):
                sums[at] += (nr or 0) << (row.order - pageblock_order)
    return FreePageblocks(sums[0], sums[1], "free lists")


def events(both: Both, seconds: float) -> tuple[Event, ...]:
    """Return how often things happened between two snapshots of one boot."""
    then, now = (each.counters for each in both)
    rows = []
    for key in sorted(now):
        if key in then and key[0] == "vmstat" and key[2].startswith(EVENTS):
            count = now[key] - then[key]
            rows.append(Event(key[2], count, round(count * 3600 / seconds, 2) if seconds else None))
    return tuple(rows)


def sharing_change(both: Both) -> tuple[SharingChange | None, list[MissingPart]]:
    """Return what is shared in both, or why that is not known."""
    found: list[Sharing] = []
    reasons: list[str | None] = []
    for evidence in both:
        try:
            found.append(sharing(evidence.snapshot))
        except (SnapshotError, PrivilegeError) as error:
            reasons.append(error.reason if isinstance(error, SnapshotError) else error.message)
        else:
            reasons.append(None)
    if len(found) < len(reasons):
        return None, both.said("sharing", *reasons)
    return SharingChange(found[0].totals, found[1].totals, tuple(_mechanisms(*found))), []


def _mechanisms(then: Sharing, now: Sharing) -> Iterator[MechanismChange]:
    """Return the mechanisms of which anything changed, those in bytes that changed most first."""
    rows: dict[tuple[str, str], list[tuple[int | None, ...]]] = {}
    nothing: tuple[int | None, ...] = (None, None, None)
    for at, answer in enumerate((then, now)):
        for row in answer.mechanisms:
            figures = (row.bytes, row.frames, row.processes)
            sides = rows.setdefault((row.mechanism, row.evidence), [nothing, nothing])
            sides[at] = figures if sides[at] == nothing else tuple(map(_sum, sides[at], figures))
    made = [MechanismChange(*key, *zip(*sides, strict=True)) for key, sides in rows.items()]
    changed = [row for row in made if any(a != b for a, b in (row.bytes, row.frames, row.processes))]
    changed.sort(key=lambda row: (-abs((row.bytes[1] or 0) - (row.bytes[0] or 0)), row.mechanism))
    return iter(changed)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
