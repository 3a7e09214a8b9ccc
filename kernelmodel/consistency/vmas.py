"""VMAs of every address space: not empty, in order, disjoint; entries inside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.consistency.violation import Violation, each_with_next, witnesses

if TYPE_CHECKING:
    from kernelmodel.page_tables import PageTables


def check_vmas(tables: PageTables) -> list[Violation]:
    """Check VMAs and the runs in them.

    Violations are ``vma-empty``, ``vmas-ordered``, ``vmas-overlap``, ``runs-overlap`` and
    ``run-outside-vma``.
    """
    vmas = tables.vmas
    listed = np.flatnonzero(vmas.listed)
    mm, start, end = vmas.mm[listed], vmas.start_vpn[listed], vmas.end_vpn[listed]

    def where(row: int) -> str:
        return f"mm {mm[row]} VMA [{start[row]:#x}, {end[row]:#x})"

    violations = witnesses("vma-empty", end <= start, lambda row: (where(row), "end is not behind start"))
    same = each_with_next(mm[1:] == mm[:-1], len(mm))
    following = np.append(start[1:], 0)[: len(mm)]
    violations += witnesses(
        "vmas-ordered",
        (same & (following < start)) | each_with_next(mm[1:] < mm[:-1], len(mm)),
        lambda row: (where(row), f"followed by {where(row + 1)}"),
    )
    violations += witnesses(
        "vmas-overlap",
        same & (following >= start) & (following < end),
        lambda row: (where(row), f"followed by {where(row + 1)}"),
    )
    run_mm = vmas.mm[tables.vma]

    def run(row: int) -> str:
        return f"mm {run_mm[row]} vpn {tables.vpn[row]:#x}"

    overlap = each_with_next(tables.key[1:] < (tables.key + tables.nr_pages)[:-1], len(tables.key))
    violations += witnesses(
        "runs-overlap",
        overlap,
        lambda row: (run(row), f"{tables.nr_pages[row]} entries reach into the next run"),
    )
    low, high = vmas.start_vpn[tables.vma], vmas.end_vpn[tables.vma]
    outside = (tables.vpn < low) | (tables.vpn + tables.nr_pages > high)
    violations += witnesses(
        "run-outside-vma", outside, lambda row: (run(row), f"its VMA is [{low[row]:#x}, {high[row]:#x})")
    )
    return violations
