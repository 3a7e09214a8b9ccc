"""The whole model of a snapshot held against itself and against the kernel's counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.consistency import Consistency, ZoneBlocks, check
from kernelmodel.consistency.vmas import check_vmas
from kernelmodel.page_tables import PageTables
from vmprobe.bridge.model import host_model, vma_table

__all__ = ["Consistency", "ZoneBlocks", "check_address_spaces", "check_host"]

if TYPE_CHECKING:
    from kernelmodel.consistency import Violation
    from vmprobe.tables import Snapshot


def check_host(snapshot: Snapshot, *, averaged: bool) -> tuple[Consistency, int | None]:
    """Return what a check of everything found, and how many reverse entries there are (None: no page tables).

    Raises
    ------
    SnapshotError
        The snapshot has no flag words.
    """
    model = host_model(snapshot, averaged=averaged)
    return check(model), None if model.entries is None else len(model.entries)


def check_address_spaces(snapshot: Snapshot) -> list[Violation]:
    """Check the VMAs alone, where frames or page tables are missing."""
    none = np.empty(0, np.int64)
    return check_vmas(PageTables(none, none, none, none, vma_table(snapshot)))
