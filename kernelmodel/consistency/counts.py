"""Map counts: what page tables add up to against what the kernel counted, each difference with a name.

Mirrors: ``fs/proc/page.c: kpagecount_read``, ``include/linux/rmap.h: folio_add_anon_rmap_pte`` and the others
that count, or do not (``mm/memory.c: vm_normal_page``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.consistency.violation import Violation, witnesses
from kernelmodel.pageclass import PageClass, classify
from kernelmodel.pageflags import describe, mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.host import HostModel
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
    NO_FRAME = 10
    UNEXPLAINED = 11


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
    Reason.NO_FRAME: ("no-frame", "an entry leads to an address that no frame of this host has"),
}
"""Name in output and one sentence, of the reasons that are explanations."""


@dataclass(frozen=True)
class CountCheck:
    """Frames by how found and counted compare.

    Parameters
    ----------
    nr_mapped
        Frames that the kernel counts as mapped or that a page table leads to.
    nr_match
        Those where both agree.
    nr_unstable
        Those that changed while they were read; nothing is said of them.
    explained
        Name of the reason to frames, for those that differ with a reason.
    nr_unexplained
        The rest.
    hidden_entries
        Entries of processes that could not be read, by the counts of ``hidden-mappers``.
    hidden_at_most
        Pages that are resident in those processes at most; None where that is not known.
    """

    nr_mapped: int
    nr_match: int
    nr_unstable: int
    explained: dict[str, int]
    nr_unexplained: int
    hidden_entries: int
    hidden_at_most: int | None


def found_counts(tables: PageTables, model: HostModel) -> tuple[NDArray[np.int64], int]:
    """Return how many page-table entries lead to each frame, and how many lead to no frame.

    Counted along runs, not from the reverse entries: each is the other's witness.
    """
    frames = model.frames
    nr = len(frames)
    first, last = frames.rows(tables.pfn), frames.rows(tables.pfn + tables.nr_pages - 1)
    # A run that leaves the ranges of frames is rare enough to be looked at entry by entry.
    whole = (first >= 0) & (last == first + tables.nr_pages - 1)
    change = np.bincount(first[whole], minlength=nr + 1) - np.bincount(last[whole] + 1, minlength=nr + 1)
    found = np.cumsum(change[:nr])
    nr_outside = 0
    for row in np.flatnonzero(~whole):
        rows = frames.rows(np.arange(tables.pfn[row], tables.pfn[row] + tables.nr_pages[row]))
        np.add.at(found, rows[rows >= 0], 1)
        nr_outside += int(np.count_nonzero(rows < 0))
    return found, nr_outside


def check_counts(model: HostModel) -> tuple[CountCheck | None, NDArray[np.uint8], list[Violation]]:
    """Compare counts frame by frame.

    Returns
    -------
    tuple
        The figures, None where there are no page tables or no counts; the `Reason` of each frame's row as
        uint8; and violations of kind ``count-unexplained``, ``hidden-mappers-bound`` (more hidden entries
        than the hidden processes can have) and ``count-rmap`` (the reverse entries of a frame are not as many
        as the page-table entries that lead to it).
    """
    frames, tables, entries = model.frames, model.tables, model.entries
    reasons = np.full(len(frames), Reason.NOT_MAPPED, np.uint8)
    if tables is None or entries is None or frames.mapcount is None:
        return None, reasons, []
    found, nr_outside = found_counts(tables, model)
    counted = frames.mapcount.astype(np.int64)
    mapped = (found > 0) | (counted > 0)
    reasons[mapped] = Reason.MATCH
    differ = np.flatnonzero(found != counted)
    reasons[differ] = _explain(model, differ, found[differ], counted[differ])
    hidden = reasons == Reason.HIDDEN_MAPPERS
    # The vdso and the like are counted as mapped, but not as resident.
    bounded = hidden & ~frames.having("RESERVED")
    hidden_entries = int((counted - found)[bounded].sum())
    nr = np.bincount(reasons, minlength=len(Reason))
    explained = {REASON_INFO[r][0]: int(nr[r]) for r in REASON_INFO if nr[r]}
    if nr_outside:
        explained[REASON_INFO[Reason.NO_FRAME][0]] = nr_outside
    at_most = model.unseen.resident_at_most
    checked = CountCheck(
        nr_mapped=int(np.count_nonzero(mapped)),
        nr_match=int(nr[Reason.MATCH]),
        nr_unstable=int(nr[Reason.UNSTABLE]),
        explained=explained,
        nr_unexplained=int(nr[Reason.UNEXPLAINED]),
        hidden_entries=hidden_entries,
        hidden_at_most=at_most if hidden_entries else None,
    )
    violations = witnesses(
        "count-unexplained", reasons == Reason.UNEXPLAINED, lambda row: _describe(model, row, found, counted)
    )
    if at_most is not None and hidden_entries > at_most:
        detail = f"{hidden_entries} entries are hidden, those processes have {at_most} resident pages at most"
        violations.append(Violation("hidden-mappers-bound", "unread processes", detail))
    return checked, reasons, violations + _against_rmap(model, found)


def _explain(
    model: HostModel, rows: NDArray[np.int64], found: NDArray[np.int64], counted: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Return the reason of each row where found and counted differ; the first rule that fits wins."""
    frames, tables = model.frames, model.tables
    assert tables is not None
    words = frames.words[rows]

    def has(*names: str) -> NDArray[np.bool_]:
        wanted = np.uint64(mask(*names))
        held: NDArray[np.bool_] = (words & wanted) == wanted
        return held

    zero, more = has("ZERO_PAGE"), found > counted
    large = has("COMPOUND_HEAD") | has("COMPOUND_TAIL")
    # Pages of the pool are no folios, and no process maps them.
    zsmalloc = (classify(words) == PageClass.DRIVER) & ~large & (found == 0) & ((model.zspages or 0) > 0)
    conditions = (
        (frames.unstable[rows], Reason.UNSTABLE),
        (zero & has("THP"), Reason.HUGE_ZERO_PAGE),
        (zero & more, Reason.ZERO_PAGE),
        (more & has("HUGE"), Reason.HUGETLB_PMD_SHARING),
        (more & _under_pfnmap(model, rows, found - counted), Reason.PFNMAP),
        (large & model.averaged, Reason.LARGE_FOLIO_AVERAGE),
        (zsmalloc, Reason.ZSMALLOC),
        (~more & (model.unseen.nr_processes != 0), Reason.HIDDEN_MAPPERS),
    )
    codes = np.select(
        [condition for condition, _ in conditions],
        [np.uint8(reason) for _, reason in conditions],
        np.uint8(Reason.UNEXPLAINED),
    ).astype(np.uint8)
    # No more frames than the kernel says that zsmalloc has.
    pool = np.flatnonzero(codes == Reason.ZSMALLOC)
    codes[pool[model.zspages or 0 :]] = Reason.UNEXPLAINED
    return codes


def _under_pfnmap(model: HostModel, rows: NDArray[np.int64], surplus: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which frames have at least `surplus` entries in VM_PFNMAP areas."""
    tables, entries = model.tables, model.entries
    if tables is None or entries is None or tables.vmas.pfnmap is None or not tables.vmas.pfnmap.any():
        return np.zeros(len(rows), np.bool_)
    within = np.concatenate(([0], np.cumsum(tables.vmas.pfnmap[entries.vma])))
    at = np.searchsorted(entries.pfn, model.frames.pfns(rows))
    at = np.minimum(at, len(entries.pfn) - 1)
    uncounted = within[entries.first[at + 1]] - within[entries.first[at]]
    held: NDArray[np.bool_] = (entries.pfn[at] == model.frames.pfns(rows)) & (uncounted >= surplus)
    return held


def _against_rmap(model: HostModel, found: NDArray[np.int64]) -> list[Violation]:
    entries, frames = model.entries, model.frames
    assert entries is not None
    rows = frames.rows(entries.pfn)
    inside = rows >= 0
    reverse = np.zeros(len(frames), np.int64)
    reverse[rows[inside]] = entries.counts()[inside]
    return witnesses(
        "count-rmap",
        reverse != found,
        lambda row: (
            f"pfn {frames.pfn(row)}",
            f"{reverse[row]} reverse entries, {found[row]} page-table entries lead to it",
        ),
    )


def _describe(
    model: HostModel, row: int, found: NDArray[np.int64], counted: NDArray[np.int64]
) -> tuple[str, str]:
    flags = describe(int(model.frames.words[row]))
    compared = f"{found[row]} entries found, {counted[row]} counted by the kernel"
    return f"pfn {model.frames.pfn(row)}", f"{compared}, {flags}"
