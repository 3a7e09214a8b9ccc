"""The memory of a snapshot: zones, free blocks, and what every frame is used for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmprobe.analyses.quirks import trust_ksm
from vmprobe.bridge.pageclass import Classes, classes
from vmprobe.units import share_percent

if TYPE_CHECKING:
    from vmprobe.analyses.evidence import Evidence
    from vmprobe.tables import Snapshot


@dataclass(frozen=True)
class ZoneRow:
    """One zone, in pages, as the columns of the zones table say; None where the kernel does not tell."""

    node: int
    zone: str
    spanned_pages: int
    present_pages: int
    managed_pages: int
    free_pages: int
    pcp_pages: int | None
    wmark_min_pages: int
    wmark_low_pages: int
    wmark_high_pages: int
    boost_pages: int | None


@dataclass(frozen=True)
class FreeAreaRow:
    """Free blocks of one order in one zone, before and after the frames were read."""

    node: int
    zone: str
    order: int
    block_bytes: int
    nr_free: int
    nr_free_after: int | None


@dataclass(frozen=True)
class ClassRow:
    """Frames of one class.

    Parameters
    ----------
    name, meaning
        The class and one line on what is in it.
    nr_frames, nr_bytes
        How many.
    share_percent
        Of all frames that are not known to be holes; None for the holes.
    nr_unstable
        Those that changed while the snapshot was taken.
    """

    name: str
    meaning: str
    nr_frames: int
    nr_bytes: int
    share_percent: float | None
    nr_unstable: int


@dataclass(frozen=True)
class UnknownBounds:
    """What the frames with flag word 0 can be; None where the snapshot cannot bound it.

    Parameters
    ----------
    nr_frames
        Such frames, known holes not counted.
    per_cpu_free_at_most
        Free pages on per-CPU lists, as zoneinfo counted them.
    not_given_at_most
        Present pages that the buddy allocator does not manage: not yet initialised, or kept at boot.
    holes_at_most
        Frames without memory; 0 where /proc/iomem told them apart.
    kernel_at_least
        What is left over: kernel and driver allocations that carry no flag.
    """

    nr_frames: int
    per_cpu_free_at_most: int | None
    not_given_at_most: int | None
    holes_at_most: int | None
    kernel_at_least: int | None


@dataclass(frozen=True)
class Frames:
    """Every frame in one class: ``sum of nr_frames over classes + nr_unread == nr_frames``."""

    nr_frames: int
    nr_unread: int
    nr_unstable: int
    classes: tuple[ClassRow, ...]
    unknown: UnknownBounds


def zones(snapshot: Snapshot) -> tuple[ZoneRow, ...]:
    """Return the zones in the snapshot's order."""
    names = (
        "node", "zone", "spanned_pages", "present_pages", "managed_pages", "nr_free", "pcp_pages",
        "wmark_min", "wmark_low", "wmark_high", "boost",
    )  # fmt: skip
    return tuple(ZoneRow(*row) for row in snapshot.table("zones", names).rows(*names))


def free_areas(snapshot: Snapshot) -> tuple[FreeAreaRow, ...]:
    """Return the free blocks by order in the snapshot's order."""
    names = ("node", "zone", "order", "nr_free", "nr_free_after")
    return tuple(
        FreeAreaRow(node, zone, order, snapshot.page_size << order, nr_free, nr_free_after)
        for node, zone, order, nr_free, nr_free_after in snapshot.table("free_areas", names).rows(*names)
    )


def frames(evidence: Evidence) -> Frames | None:
    """Return the frames by class; None without flag words."""
    if evidence.runs is None:
        return None
    page_size = evidence.snapshot.page_size
    counted = classes(evidence.snapshot, evidence.runs, trust_ksm=trust_ksm(evidence))
    nr_memory = counted.nr_frames - counted.nr_holes
    rows = tuple(
        ClassRow(
            count.name,
            count.meaning,
            count.nr_frames,
            count.nr_frames * page_size,
            None if count.is_hole else share_percent(count.nr_frames, nr_memory),
            count.nr_unstable,
        )
        for count in counted.counts
    )
    return Frames(
        counted.nr_frames,
        counted.nr_unread,
        sum(row.nr_unstable for row in rows),
        rows,
        _unknown(evidence, counted),
    )


def _unknown(evidence: Evidence, counted: Classes) -> UnknownBounds:
    """Bound what the words of 0 can be."""
    nr_frames = counted.nr_unknown
    pcp = evidence.zone_sum("pcp_pages")
    present, managed = evidence.zone_sum("present_pages"), evidence.zone_sum("managed_pages")
    not_given = None
    if present is not None and managed is not None:
        # What is reserved for good is never given; it has a class of its own.
        not_given = max(0, present - managed - evidence.reserved_ram())
    holes: int | None = 0
    if not counted.holes_known:
        holes = None if present is None else max(0, counted.nr_frames - present)
    pcp, not_given, holes = (
        None if most is None else min(most, nr_frames) for most in (pcp, not_given, holes)
    )
    kernel = None
    if pcp is not None and not_given is not None and holes is not None:
        kernel = max(0, nr_frames - pcp - not_given - holes)
    return UnknownBounds(nr_frames, pcp, not_given, holes, kernel)
