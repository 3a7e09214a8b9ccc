"""Swapped entries of a snapshot as the model takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.sharing.facts import SwapRuns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vmprobe.tables import Snapshot


def swap_runs(snapshot: Snapshot) -> tuple[SwapRuns, NDArray[np.int64]]:
    """Return the runs of swapped entries, and the first virtual page of each; none where slots are hidden."""
    table = snapshot.table("mappings", ("mm", "vma", "vpn", "nr_pages", "kind", "swap_type", "swap_offset"))
    none = np.empty(0, np.int64)
    if not (table.has("swap_offset") and table.has("swap_type") and table.has("vma")):
        return SwapRuns(none, none, none, none, none), none
    # What no VMA of the list covers belongs to nobody who could be named.
    chosen = table.equals("kind", "swap") & table.is_valid("swap_offset") & table.is_valid("vma")
    rows = np.flatnonzero(chosen)
    names = ("mm", "swap_type", "swap_offset", "nr_pages", "vma", "vpn")
    mm, area, offset, nr_pages, vma, vpn = (table.column(name)[rows].astype(np.int64) for name in names)
    return SwapRuns(mm, area, offset, nr_pages, vma), vpn
