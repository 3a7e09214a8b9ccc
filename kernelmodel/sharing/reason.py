"""Why the entries that lead to a frame are not as many as the kernel counts.

Mirrors: ``fs/proc/page.c: kpagecount_read``, ``include/linux/rmap.h: folio_add_anon_rmap_pte`` and the others
that count, or do not (``mm/memory.c: vm_normal_page``).
Fidelity: a frame has one reason, the first that fits; that two of them meet in one frame is not looked for.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.pageclass import PageClass, classify
from kernelmodel.pageflags import mask
from kernelmodel.sharing.runs import coverage, row_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.host import Unseen
    from kernelmodel.memmap import MemMap
    from kernelmodel.page_tables import PageTables


class Reason(IntEnum):
    """Why found and counted differ, or that they do not."""

    NOT_MAPPED = 0
    MATCH = 1
    UNSTABLE = 2
    ZERO_PAGE = 3
    HUGE_ZERO_PAGE = 4
    HUGETLB_PMD_SHARING = 5
    PFNMAP = 6
    LARGE_FOLIO_AVERAGE = 7
    ZSMALLOC = 8
    HIDDEN_MAPPERS = 9
    EXITING_MM = 10
    DAX = 11
    NO_FRAME = 12
    UNEXPLAINED = 13


REASON_INFO: Final = {
    Reason.ZERO_PAGE: ("zero-page", "the shared zero page is mapped without being counted"),
    Reason.HUGE_ZERO_PAGE: ("huge-zero-page", "the shared huge zero page is mapped without being counted"),
    Reason.HUGETLB_PMD_SHARING: (
        "hugetlb-pmd-sharing",
        "processes share a page table of huge pages: one entry counts for all",
    ),
    Reason.PFNMAP: ("pfnmap", "entries of VM_PFNMAP areas are not counted"),
    Reason.LARGE_FOLIO_AVERAGE: (
        "large-folio-average",
        "this kernel prints the average of a large folio on each of its pages",
    ),
    Reason.ZSMALLOC: ("zsmalloc", "zsmalloc keeps an offset where the count is; nobody maps the page"),
    Reason.HIDDEN_MAPPERS: ("hidden-mappers", "processes map it whose page tables could not be read"),
    Reason.EXITING_MM: (
        "exiting-mm",
        "a process mapped it that began or ended while page tables were read, and no other is hidden",
    ),
    Reason.DAX: ("dax", "a page of persistent memory or of a device is mapped; its frame is not online"),
    Reason.NO_FRAME: ("no-frame", "an entry leads to an address that no frame of this host has"),
}
"""Name in output and one sentence, of the reasons that are explanations."""


def explain(
    frames: MemMap,
    tables: PageTables,
    found: NDArray[np.int32],
    counted: NDArray[np.uint32],
    *,
    unseen: Unseen,
    zspages: int | None,
    averaged: bool,
) -> NDArray[np.uint8]:
    """Return the `Reason` of each row.

    Parameters
    ----------
    frames, tables
        Frames, and the page tables that lead to them.
    found, counted
        Entries that lead to each row, and the kernel's count.
    unseen, zspages, averaged
        As for `kernelmodel.host.HostModel`.
    """
    codes = np.full(len(frames), Reason.NOT_MAPPED, np.uint8)
    codes[(found > 0) | (counted > 0)] = Reason.MATCH
    # The same bits: no more than 2**31 entries lead to a frame.
    rows = np.flatnonzero(found.view(np.uint32) != counted)
    surplus = found[rows].astype(np.int64) - counted[rows]
    words, more = frames.words[rows], surplus > 0

    def has(*names: str) -> NDArray[np.bool_]:
        wanted = np.uint64(mask(*names))
        held: NDArray[np.bool_] = (words & wanted) == wanted
        return held

    zero, large = has("ZERO_PAGE"), has("COMPOUND_HEAD") | has("COMPOUND_TAIL")
    # Pages of the pool are no folios, and no process maps them.
    zsmalloc = (classify(words) == PageClass.DRIVER) & ~large & (found[rows] == 0) & ((zspages or 0) > 0)
    conditions = (
        (frames.unstable[rows], Reason.UNSTABLE),
        (zero & has("THP"), Reason.HUGE_ZERO_PAGE),
        (zero & more, Reason.ZERO_PAGE),
        (more & has("HUGE"), Reason.HUGETLB_PMD_SHARING),
        (more & (_pfnmap_entries(frames, tables)[rows] >= surplus), Reason.PFNMAP),
        (more & has("NOPAGE"), Reason.DAX),
        (large & averaged, Reason.LARGE_FOLIO_AVERAGE),
        (zsmalloc, Reason.ZSMALLOC),
        (~more & unseen.lasting, Reason.HIDDEN_MAPPERS),
        (~more & (unseen.nr_processes != 0 or unseen.nr_ended > 0), Reason.EXITING_MM),
    )
    differing = np.select(
        [condition for condition, _ in conditions],
        [np.uint8(reason) for _, reason in conditions],
        np.uint8(Reason.UNEXPLAINED),
    ).astype(np.uint8)
    # No more frames than the kernel says that zsmalloc has.
    pool = np.flatnonzero(differing == Reason.ZSMALLOC)
    differing[pool[zspages or 0 :]] = Reason.UNEXPLAINED
    codes[rows] = differing
    return codes


def _pfnmap_entries(frames: MemMap, tables: PageTables) -> NDArray[np.int32] | NDArray[np.int64]:
    """Return how many entries of VM_PFNMAP areas lead to each row."""
    pfnmap = tables.vmas.pfnmap
    chosen = np.empty(0, np.int64) if pfnmap is None else np.flatnonzero(pfnmap[tables.vma])
    pieces = row_runs(frames, tables.pfn[chosen], tables.nr_pages[chosen])
    return coverage(pieces.start, pieces.end, len(frames))
