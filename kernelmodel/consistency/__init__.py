"""The whole model against itself and against the kernel's own counts, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernelmodel.consistency.buddy import ZoneBlocks, check_buddy
from kernelmodel.consistency.counts import CountCheck, check_counts
from kernelmodel.consistency.entries import check_entries
from kernelmodel.consistency.folios import check_folios
from kernelmodel.consistency.violation import Violation
from kernelmodel.consistency.vmas import check_vmas

if TYPE_CHECKING:
    from kernelmodel.host import HostModel

__all__ = ["Consistency", "CountCheck", "Violation", "ZoneBlocks", "check"]


@dataclass(frozen=True)
class Consistency:
    """What a check of the whole model found.

    Parameters
    ----------
    zones
        Free blocks, rebuilt and by the kernel.
    counts
        Map counts; None without page tables or without counts.
    nr_vma_violations
        How many of the violations are about VMAs.
    violations
        All contradictions; of each kind the first few, then how many more there are.
    """

    zones: tuple[ZoneBlocks, ...]
    counts: CountCheck | None
    nr_vma_violations: int
    violations: tuple[Violation, ...]


def check(model: HostModel) -> Consistency:
    """Check all that the model holds: buddy allocator, folios, VMAs, reverse entries and map counts."""
    zones, violations = check_buddy(model)
    violations += check_folios(model)
    counts = None
    nr_vmas = 0
    if model.tables is not None and model.entries is not None:
        of_vmas = check_vmas(model.tables)
        nr_vmas = len(of_vmas)
        violations += of_vmas
        violations += check_entries(model.tables, model.entries)
        counts, _, of_counts = check_counts(model)
        violations += of_counts
    return Consistency(tuple(zones), counts, nr_vmas, tuple(violations))
