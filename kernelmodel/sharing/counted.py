"""Mechanisms that stand in the frames' own words and counts: zero pages, KSM, huge pages, folios, repetition.

Mirrors: ``mm/ksm.c: try_to_merge_with_ksm_page``, ``mm/huge_memory.c: mm_get_huge_zero_folio``,
``mm/hugetlb.c: huge_pmd_share``, ``mm/rmap.c: __folio_remove_rmap``, ``mm/mremap.c: move_vma``.
Fidelity: of a frame that changed while it was read nothing is said.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.pageclass import PageClass
from kernelmodel.sharing.finding import Finding
from kernelmodel.sharing.mechanism import Certainty, Mechanism
from kernelmodel.sharing.reason import Reason
from kernelmodel.sharing.runs import before, sum_by_owner
from kernelmodel.sharing.view import expand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from kernelmodel.sharing.view import View

PROVED, LIKELY, POSSIBLE = Certainty.PROVED, Certainty.LIKELY, Certainty.POSSIBLE


def of_rows(
    view: View,
    mechanism: Mechanism,
    certainty: Certainty,
    rows: NDArray[np.int64],
    note: str,
    *,
    pids: tuple[int, ...] | None = None,
) -> Iterator[Finding]:
    """Yield the finding of these frames, if any; `pids` None means all processes that reach them."""
    if len(rows):
        yield Finding(
            mechanism=mechanism,
            certainty=certainty,
            rows=rows,
            nr_frames=len(rows),
            nr_bytes=len(rows) * view.facts.page_size,
            nr_entries=int(view.ledger.found[rows].sum(dtype=np.int64)),
            pids=view.pids_of(rows) if pids is None else pids,
            note=note,
        )


def zero_pages(view: View) -> Iterator[Finding]:
    """Find the zero pages that page tables lead to."""
    zero = (view.page_class == PageClass.ZERO) & (view.ledger.found > 0)
    huge = view.facts.frames.having("THP")
    for mechanism, chosen in ((Mechanism.ZERO_PAGE, zero & ~huge), (Mechanism.HUGE_ZERO_PAGE, zero & huge)):
        rows = np.flatnonzero(chosen)
        entries = int(view.ledger.found[rows].sum(dtype=np.int64))
        yield from of_rows(
            view, mechanism, PROVED, rows, f"KPF_ZERO_PAGE on {len(rows)} frames, {entries} entries"
        )


def ksm_zero(view: View) -> Iterator[Finding]:
    """Find the processes for which KSM put the zero page in place of pages of zeros."""
    merged = view.by_mm(lambda process: process.ksm_zero_pages)
    yield from _ksm_zero_untold(view)
    if not merged:
        return
    total = sum(merged.values())
    zero = (view.page_class == PageClass.ZERO) & ~view.facts.frames.having("THP")
    rows = np.flatnonzero(zero & view.reached_by(merged))
    yield Finding(
        mechanism=Mechanism.KSM_ZERO,
        certainty=PROVED,
        rows=rows if len(rows) else None,
        nr_frames=len(rows) or None,
        nr_bytes=total * view.facts.page_size,
        nr_entries=total,
        pids=tuple(sorted(process.pid for process in view.facts.processes if process.ksm_zero_pages)),
        note=f"ksm_stat: {total} pages of zeros merged",
    )


def _ksm_zero_untold(view: View) -> Iterator[Finding]:
    """Find zero pages in mergeable memory of processes of which no counter tells, as up to 6.5.

    A page that was read before it was written looks the same.
    """
    mms = [p.mm for p in view.facts.processes if p.ksm_zero_pages is None and p.mm is not None]
    mapped = view.mapped(view.flagged("mg") & view.vmas_of(mms))
    rows = mapped.rows[view.page_class[mapped.rows] == PageClass.ZERO]
    note = "the zero page in mergeable memory (VmFlags mg); this kernel does not count those of KSM"
    pids = tuple(sorted({*mapped.pids} & {*view.pids_of(rows)}))
    for finding in of_rows(view, Mechanism.KSM_ZERO, POSSIBLE, rows, note, pids=pids):
        yield replace(finding, nr_entries=None, nr_bytes=None)  # most entries of a zero page are not KSM's


def ksm(view: View) -> Iterator[Finding]:
    """Find merged pages, by their flag or, where that says nothing, by the kernel's counters."""
    facts = view.facts
    if facts.ksm_trusted:
        assert facts.frames.mapcount is not None
        mapped = (view.ledger.found > 0) | (facts.frames.mapcount > 0)
        rows = np.flatnonzero((view.page_class == PageClass.KSM) & mapped & ~facts.frames.unstable)
        yield from of_rows(view, Mechanism.KSM, PROVED, rows, f"KPF_KSM on {len(rows)} mapped frames")
        return
    merging = view.by_mm(lambda process: process.ksm_merging_pages)
    pids = tuple(sorted(process.pid for process in facts.processes if process.ksm_merging_pages))
    if not facts.ksm_pages_shared and not pids:
        return
    nr = facts.ksm_pages_shared or None
    mergeable = view.mapped(view.flagged("mg")).rows
    mergeable = mergeable[(view.page_class[mergeable] == PageClass.ANON) & (view.ledger.found[mergeable] > 1)]
    if len(mergeable) == nr:
        note = f"pages_shared {nr}; as many frames of mergeable memory (VmFlags mg) have several entries"
        yield from of_rows(view, Mechanism.KSM, LIKELY, mergeable, note, pids=pids or None)
        return
    yield Finding(
        mechanism=Mechanism.KSM,
        certainty=PROVED,
        rows=None,
        nr_frames=nr,
        nr_bytes=None if nr is None else nr * facts.page_size,
        nr_entries=sum(merging.values()) or None,
        pids=pids,
        note=f"pages_shared {nr}; this kernel sets KPF_KSM on every anonymous page, so which is not told",
    )


def shared_page_tables(view: View) -> Iterator[Finding]:
    """Find huge pages that more entries lead to than the kernel counts: tables are shared."""
    rows = np.flatnonzero(view.ledger.reason == Reason.HUGETLB_PMD_SHARING)
    assert view.facts.frames.mapcount is not None
    counted = int(view.facts.frames.mapcount[rows].sum(dtype=np.int64))
    found = int(view.ledger.found[rows].sum(dtype=np.int64))
    note = f"KPF_HUGE; {found} entries found, {counted} counted"
    yield from of_rows(view, Mechanism.HUGETLB_PMD_SHARING, PROVED, rows, note)


def averages(view: View) -> Iterator[Finding]:
    """Find large folios on which the kernel's count is an average that differs from what was found."""
    rows = np.flatnonzero(view.ledger.reason == Reason.LARGE_FOLIO_AVERAGE)
    note = f"NO_PAGE_MAPCOUNT: the count of {len(rows)} frames is that of the folio"
    yield from of_rows(view, Mechanism.LARGE_FOLIO_AVERAGE, PROVED, rows, note)


def mapped_twice(view: View) -> Iterator[Finding]:
    """Find frames to which one address space has several entries."""
    twice = (view.ledger.found > view.nr_mms) & (view.page_class != PageClass.ZERO)
    twice &= ~view.facts.frames.unstable
    rows = np.flatnonzero(twice)
    if not len(rows):
        return
    # An address space takes part whose entries are more than the frames that it reaches.
    sums = before(twice)
    vma_mm = view.facts.tables.vmas.mm
    entries, frames = (
        sum_by_owner(owner, sums[runs.end] - sums[runs.start], int(vma_mm.max()) + 1)
        for owner, runs in ((vma_mm[view.of_vma.owner], view.of_vma), (view.of_mm.owner, view.of_mm))
    )
    pids = view.tasks(np.flatnonzero(entries > frames).tolist())
    note = f"{int((entries - frames).sum())} entries beyond one for each address space"
    yield from of_rows(view, Mechanism.MAPPED_TWICE, PROVED, rows, note, pids=pids)


def shared_mm(view: View) -> Iterator[Finding]:
    """Find address spaces in which several processes run."""
    evidence: dict[int, set[str]] = {}
    for process in view.facts.processes:
        if process.mm is not None and process.mm_evidence is not None:
            evidence.setdefault(process.mm, set()).add(process.mm_evidence)
    for certainty, text in (
        (PROVED, "kcmp says so"),
        (LIKELY, "they map the same frames, each counted once"),
    ):
        mms = [
            mm
            for mm, pids in view.pids_of_mm.items()
            if len(pids) > 1 and (evidence.get(mm) == {"kcmp"}) == (certainty == PROVED)
        ]
        if not mms:
            continue
        rows = np.flatnonzero(view.reached_by(mms))
        vmas = view.facts.tables.vmas.mm[view.facts.tables.vma]
        pids = view.tasks(mms)
        yield Finding(
            mechanism=Mechanism.SHARED_MM,
            certainty=certainty,
            rows=rows,
            nr_frames=len(rows),
            nr_bytes=len(rows) * view.facts.page_size,
            nr_entries=int(view.facts.tables.nr_pages[np.isin(vmas, mms)].sum()),
            pids=pids,
            note=f"{len(pids)} processes in {len(mms)} address spaces: {text}",
        )


def partial_folios(view: View) -> Iterator[Finding]:
    """Find pages that only their folio keeps; the processes are those that map other pages of it."""
    rows = view.kept_by_folio
    if not len(rows):
        return
    folios = view.facts.folios
    of = np.searchsorted(folios.head_pfn, view.facts.frames.pfns(rows), side="right") - 1

    def of_folios(chosen: NDArray[np.bool_]) -> Finding:
        these = np.unique(of[chosen])
        first = view.facts.frames.rows(folios.head_pfn[these])
        pids = view.pids_of(expand(first, first + folios.nr_pages[these]))
        nr = int(np.count_nonzero(chosen))
        note = f"{nr} pages that nobody maps in {len(these)} folios with mapped ones"
        (found,) = of_rows(view, Mechanism.PARTIAL_FOLIO, PROVED, rows[chosen], note, pids=pids)
        return found

    def own(pid: int) -> Finding | None:
        first = view.facts.frames.rows(folios.head_pfn[of])
        sums = before(view.reached_by(view.mms(pid)))
        mine = sums[first + folios.nr_pages[of]] > sums[first]
        return of_folios(mine) if mine.any() else None

    yield replace(of_folios(np.ones(len(rows), np.bool_)), own=own)


def zsmalloc(view: View) -> Iterator[Finding]:
    """Find frames on which a number stands that is no count."""
    rows = np.flatnonzero(view.ledger.reason == Reason.ZSMALLOC)
    note = f"{len(rows)} frames with a count, no entry and no use; zsmalloc has {view.facts.zspages}"
    yield from of_rows(view, Mechanism.ZSMALLOC, LIKELY, rows, note)
