"""``vmprobe check``: whether a snapshot fits together, and fits the kernel's own counts.

What cannot be checked is None in the answer and has its reason in `Check.missing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vmprobe.analyses.evidence import Evidence, why_missing
from vmprobe.analyses.quirk_detectors import PRESENT, averaged_mapcounts
from vmprobe.analyses.show import MissingPart
from vmprobe.bridge.check import check_address_spaces, check_host
from vmprobe.bridge.zones import watermarks
from vmprobe.errors import SnapshotError

if TYPE_CHECKING:
    from vmprobe.bridge.check import Consistency, ZoneBlocks
    from vmprobe.tables import Snapshot


@dataclass(frozen=True)
class Buddy:
    """The buddy allocator, zone by zone."""

    zones: tuple[ZoneBlocks, ...]


@dataclass(frozen=True)
class Rmap:
    """Reverse entries against map counts.

    Parameters
    ----------
    frames_mapped
        Frames that a page table leads to or that the kernel counts as mapped.
    entries
        Reverse entries.
    counts_match
        Frames with as many entries as the kernel counts.
    unstable
        Frames that changed while they were read: nothing is said of them.
    explained
        Reason to frames, for those whose counts differ and should.
    unexplained
        Frames whose counts differ for no known reason.
    hidden_entries
        Entries that processes must have whose page tables could not be read.
    hidden_at_most
        How many they can have; None where that is not known or there are none.
    """

    frames_mapped: int
    entries: int
    counts_match: int
    unstable: int
    explained: dict[str, int]
    unexplained: int
    hidden_entries: int
    hidden_at_most: int | None


@dataclass(frozen=True)
class Vmas:
    """Address spaces, their VMAs, and rules that those break."""

    address_spaces: int
    vmas: int
    violations: int


@dataclass(frozen=True)
class WatermarkRow:
    """Watermarks of one zone in pages, without boost: by the kernel's formulas, and as zoneinfo printed them.

    Kernels compute them when a setting is written, from the sizes that zones had then, so that some pages
    more or less contradict nothing; the reserves follow every change of size.
    """

    node: int
    zone: str
    computed: dict[str, int]
    printed: dict[str, int | None]
    lowmem_reserve_equal: bool


@dataclass(frozen=True)
class ViolationRow:
    """One contradiction: which rule, where, what was found."""

    kind: str
    where: str
    detail: str


@dataclass(frozen=True)
class Check:
    """The answer; `ok` when nothing that was checked contradicts anything."""

    ok: bool
    buddy: Buddy | None
    rmap: Rmap | None
    vmas: Vmas | None
    watermarks: tuple[WatermarkRow, ...] | None
    violations: tuple[ViolationRow, ...]
    missing: tuple[MissingPart, ...]


def check(snapshot: Snapshot) -> Check:
    """Check a snapshot page by page.

    Raises
    ------
    SnapshotError
        There is nothing in it that could be checked.
    """
    evidence = Evidence(snapshot)
    missing = []
    result: Consistency | None = None
    nr_entries = None
    if not evidence.has_flags:
        missing.append(MissingPart("buddy", why_missing(snapshot, "frames", "kpageflags")))
    else:
        averaged = averaged_mapcounts(evidence).status == PRESENT
        result, nr_entries = check_host(snapshot, averaged=averaged)
    violations = [] if result is None else list(result.violations)
    nr_vma_violations = 0 if result is None else result.nr_vma_violations
    rmap = _rmap(result, nr_entries)
    if rmap is None:
        missing.append(MissingPart("rmap", _why_no_rmap(snapshot, evidence)))
    vmas = None
    if not snapshot.has("vmas"):
        missing.append(MissingPart("vmas", why_missing(snapshot, "vmas", "maps")))
    else:
        if nr_entries is None:
            alone = check_address_spaces(snapshot)
            violations += alone
            nr_vma_violations = len(alone)
        table = snapshot.table("vmas", ("mm",))
        vmas = Vmas(int(np.unique(table.column("mm")).size), len(table), nr_vma_violations)
    if result is None and vmas is None:
        reasons = "; ".join(dict.fromkeys(row.reason for row in missing))
        raise SnapshotError(snapshot.path or "snapshot", f"nothing in it can be checked: {reasons}")
    marks = _watermarks(snapshot, missing)
    return Check(
        ok=not violations,
        buddy=None if result is None else Buddy(result.zones),
        rmap=rmap,
        vmas=vmas,
        watermarks=marks,
        violations=tuple(ViolationRow(*violation) for violation in violations),
        missing=tuple(missing),
    )


def _watermarks(snapshot: Snapshot, missing: list[MissingPart]) -> tuple[WatermarkRow, ...] | None:
    marks = watermarks(snapshot)
    if marks is None:
        what = "zones" if not snapshot.has("zones") else "counters"
        missing.append(MissingPart("watermarks", why_missing(snapshot, what, "sysctl")))
        return None
    return tuple(
        WatermarkRow(
            mark.node,
            mark.zone,
            mark.computed,
            mark.printed,
            mark.lowmem_reserve_computed == mark.lowmem_reserve_printed,
        )
        for mark in marks
    )


def _rmap(result: Consistency | None, nr_entries: int | None) -> Rmap | None:
    if result is None or result.counts is None or nr_entries is None:
        return None
    counts = result.counts
    return Rmap(
        frames_mapped=counts.nr_mapped,
        entries=nr_entries,
        counts_match=counts.nr_match,
        unstable=counts.nr_unstable,
        explained=counts.explained,
        unexplained=counts.nr_unexplained,
        hidden_entries=counts.hidden_entries,
        hidden_at_most=counts.hidden_at_most,
    )


def _why_no_rmap(snapshot: Snapshot, evidence: Evidence) -> str:
    if not snapshot.has("mappings"):
        return why_missing(snapshot, "mappings", "pagemap")
    if not snapshot.table("mappings", ("pfn",)).has("pfn"):
        return "not in this snapshot: the kernel hides frame numbers from who lacks CAP_SYS_ADMIN"
    if not evidence.has_flags:
        return why_missing(snapshot, "frames", "kpageflags")
    columns = snapshot.manifest.get("tables", {}).get("frames", {}).get("null_columns", {})
    return f"not in this snapshot: kpagecount: {columns.get('mapcount', 'not read')}"
