"""Everything that is shared and not counted, in one answer: the ledger and what each detector found.

Mirrors: nothing of the kernel; each detector's file names the kernel code that it looks for.
Fidelity: of what no file of /proc shows, nothing is said (see `kernelmodel.sharing.mechanism`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.errors import ModelError
from kernelmodel.sharing import counted, hidden, open_files, special, swapped, unmapped
from kernelmodel.sharing.finding import Finding
from kernelmodel.sharing.runs import before
from kernelmodel.sharing.view import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.sharing.facts import Facts
    from kernelmodel.sharing.ledger import Ledger

__all__ = ["DETECTORS", "Finding", "Survey", "at_frame", "of_process", "survey"]

DETECTORS: Final = (
    counted.zero_pages,
    counted.ksm,
    counted.ksm_zero,
    counted.shared_mm,
    counted.shared_page_tables,
    counted.mapped_twice,
    counted.partial_folios,
    counted.averages,
    counted.zsmalloc,
    hidden.hidden_mappers,
    special.vdso,
    special.pfnmap,
    special.mixedmap,
    special.dax,
    special.bpf_maps,
    special.dma_bufs,
    special.perf_ring,
    special.secretmem,
    special.userfaultfd,
    swapped.swap_slots,
    swapped.swap_cache,
    swapped.migration_entries,
    swapped.shmem_swapped,
    unmapped.page_cache,
    unmapped.holders,
    open_files.same_file,
    open_files.unmapped_shmem,
    open_files.kvm_guests,
)
"""Each takes the `View` and yields findings; the order is that of the answer."""


@dataclass(frozen=True)
class Survey:
    """The answer.

    Parameters
    ----------
    ledger
        Each frame's numbers.
    findings
        What was found, of a mechanism first what is surest.
    view
        What it was found in, for questions about a part.
    """

    ledger: Ledger
    findings: tuple[Finding, ...]
    view: View

    def validate(self) -> None:
        """Check ledger and findings.

        Raises
        ------
        InvariantError
            As for `Ledger` and `Finding`.
        """
        self.ledger.validate()
        for finding in self.findings:
            finding.validate()


def survey(facts: Facts) -> Survey:
    """Return what is shared on a host and how that is known.

    Time is O(frames + runs log runs) for the ledger; a detector that finds nothing adds a pass at most.

    Raises
    ------
    ModelError
        The kernel's map counts were not read: there is nothing to hold the page tables against.
    """
    if facts.frames.mapcount is None:
        raise ModelError("the kernel's map counts were not read")
    view = View(facts)
    findings = [finding for detect in DETECTORS for finding in detect(view)]
    return Survey(view.ledger, tuple(findings), view)


def at_frame(survey: Survey, row: int) -> tuple[Finding, ...]:
    """Return the findings that concern one frame, with the certainty that they have of it."""
    found = (finding.at(row) for finding in survey.findings)
    return tuple(finding for finding in found if finding is not None)


def of_process(survey: Survey, pid: int) -> tuple[Finding, ...]:
    """Return the part of each finding that a process takes part in.

    Frames are those that it reaches by its page tables, processes those among the finding's that reach one of
    them too. Where it reaches none of the frames, or they are not known, it takes part by other means
    (a descriptor, a swap entry, a page of the same folio): how many frames are its own is not told then.
    """
    mms = survey.view.mms(pid)
    mine = survey.view.reached_by(mms)
    parts = []
    for finding in survey.findings:
        if pid not in finding.pids:
            continue
        if finding.own is not None:
            part = finding.own(pid)
            if part is not None:
                parts.append(part)
            continue
        rows = None if finding.rows is None else finding.rows[mine[finding.rows]]
        if rows is None or not len(rows):
            nothing = replace(finding, rows=None, nr_frames=None, nr_bytes=None, nr_entries=None, mask=None)
            parts.append(nothing)
            continue
        with_it = sorted(set(survey.view.pids_of(rows)) & set(finding.pids) | {pid})
        parts.append(
            replace(
                finding,
                rows=rows,
                nr_frames=len(rows),
                nr_bytes=len(rows) * survey.view.facts.page_size,
                nr_entries=_entries(survey.view, mms, rows),
                pids=tuple(with_it),
            )
        )
    return tuple(parts)


def _entries(view: View, mms: list[int], rows: NDArray[np.int64]) -> int:
    """Return how many entries of the address spaces lead to the rows."""
    sums = before(view.only(rows))
    runs = np.flatnonzero(np.isin(view.facts.tables.vmas.mm[view.of_vma.owner], mms))
    return int((sums[view.of_vma.end[runs]] - sums[view.of_vma.start[runs]]).sum())
