"""Mechanisms of swap space and of pages on the move.

Mirrors: ``mm/swapfile.c: swap_duplicate`` (swap_map counts entries), ``mm/swap_state.c``, ``mm/migrate.c:
set_pmd_migration_entry``, ``mm/shmem.c: shmem_swap_usage``.
Fidelity: no file joins a page of the swap cache to its slot, so that a page which one process has back and
another has not is seen from the second one's side only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.sharing import accounting
from kernelmodel.sharing.counted import of_rows
from kernelmodel.sharing.finding import Finding
from kernelmodel.sharing.mechanism import Certainty, Mechanism
from kernelmodel.sharing.runs import before, coverage, row_runs
from kernelmodel.sharing.view import coded, covered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from kernelmodel.sharing.view import View

PROVED, LIKELY = Certainty.PROVED, Certainty.LIKELY

SYSV: Final = "/SYSV"
SHARED_MEMORY: Final = ("/memfd:", "/dev/zero (deleted)", SYSV)
"""How names of shared memory begin; a file of tmpfs is told by what smaps says of its shared VMAs."""


def swap_slots(view: View) -> Iterator[Finding]:
    """Find slots of swap space that several entries lead to."""
    swap = view.facts.swap
    slots = accounting.swap_slots(swap)
    several = (slots.found > 1) & (slots.nr_slots > 0)
    if not several.any():
        return

    def held(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many of the chosen slots each run leads to."""
        sums = before(slots.nr_slots * chosen)
        return sums[slots.end] - sums[slots.start]

    def of_stretches(chosen: NDArray[np.bool_], nr_entries: int) -> Finding:
        nr, most = int(slots.nr_slots[chosen].sum()), int(slots.found[chosen].max())
        nr_all = int((slots.nr_slots * slots.found)[chosen].sum())
        return Finding(
            mechanism=Mechanism.SWAP_SLOT,
            certainty=PROVED,
            rows=None,
            nr_frames=nr,
            nr_bytes=nr * view.facts.page_size,
            nr_entries=nr_entries,
            pids=view.tasks(np.unique(swap.mm[held(chosen) > 0]).tolist()),
            note=f"{nr} slots with {nr_all} entries, {most} on one at most",
        )

    nr_held = held(several)

    def own(pid: int) -> Finding | None:
        mine = np.isin(swap.mm, view.mms(pid)) & (nr_held > 0)
        if not mine.any():
            return None
        reached = coverage(slots.start[mine], slots.end[mine], len(several)) > 0
        return of_stretches(several & reached, int(nr_held[mine].sum()))

    yield replace(of_stretches(several, int(nr_held.sum())), own=own)


def swap_cache(view: View) -> Iterator[Finding]:
    """Find pages of the swap cache that nobody maps."""
    rows = np.flatnonzero(view.having("SWAPBACKED", "SWAPCACHE") & view.idle)
    note = "KPF_SWAPCACHE and no mapping; whose slot it is /proc does not tell"
    yield from of_rows(view, Mechanism.SWAP_CACHE, PROVED, rows, note)


def migration_entries(view: View) -> Iterator[Finding]:
    """Find frames that entries name while they are being moved; not memory errors and devices."""
    entries, frames = view.facts.frame_entries, view.facts.frames
    pieces = row_runs(frames, entries.pfn, entries.nr_pages)
    rows = covered(pieces.start, pieces.end)
    rows = rows[~view.having("HWPOISON")[rows]]
    if not len(rows):
        return
    # A folio is locked as long as such entries lead to it.
    sure = bool(frames.having("LOCKED")[rows].all()) and not frames.unstable[rows].any()
    sums = before(view.only(rows))
    nr_kept = sums[pieces.end] - sums[pieces.start]
    nr = int(nr_kept.sum())
    types = sorted(set(entries.pseudo_type[pieces.run[nr_kept > 0]].tolist()))
    yield Finding(
        mechanism=Mechanism.MIGRATION_ENTRY,
        certainty=PROVED if sure else LIKELY,
        rows=rows,
        nr_frames=len(rows),
        nr_bytes=len(rows) * view.facts.page_size,
        nr_entries=nr,
        pids=view.tasks(np.unique(entries.mm[pieces.run[nr_kept > 0]]).tolist()),
        note=f"{nr} entries of swap type {', '.join(map(str, types))} name frames of this host",
    )


def shmem_swapped(view: View) -> Iterator[Finding]:
    """Find shared memory in swap space: what smaps or the segment says, beyond the swap entries there."""
    vmas, page = view.facts.vmas, view.facts.page_size
    attached = view.named(lambda name: name.startswith(SYSV))
    segments_told = {
        segment.shmid: segment.swap_bytes
        for segment in view.facts.segments or ()
        if segment.swap_bytes is not None
    }
    told = np.array([segments_told.get(inode, 0) for inode in vmas.inode.tolist()], np.int64) * attached
    loose = sum(segments_told.values()) - _once(view, np.flatnonzero(told > 0), told)
    if vmas.swap_bytes is not None:
        shmem = vmas.shared | view.named(lambda name: name.startswith(SHARED_MEMORY))
        shmem &= view.of_file & ~(attached & np.isin(vmas.inode, list(segments_told)))
        entries = np.zeros(len(view.facts.tables.vmas), np.int64)
        np.add.at(entries, view.facts.swap.vma, view.facts.swap.nr_pages)
        excess = vmas.swap_bytes - entries[: len(vmas)] * page
        told = np.where(shmem, np.maximum(excess, 0), told)
    files = coded(zip(vmas.dev, vmas.inode.tolist(), strict=True))

    def of_vmas(chosen: NDArray[np.bool_], more: int) -> Finding:
        total = _once(view, np.flatnonzero(chosen), told) + more
        return Finding(
            mechanism=Mechanism.SHMEM_SWAPPED,
            certainty=PROVED,
            rows=None,
            nr_frames=total // page,
            nr_bytes=total,
            nr_entries=None,
            pids=view.holders((told > 0) & np.isin(files, files[chosen])),
            note=f"{total // page} pages that smaps or the segment calls swapped and no entry leads to",
        )

    def own(pid: int) -> Finding | None:
        mine = (told > 0) & view.vmas_of(view.mms(pid))
        return of_vmas(mine, 0) if mine.any() else None

    found = of_vmas(told > 0, loose)
    if found.nr_bytes:
        yield replace(found, own=own)


def _once(view: View, vmas: NDArray[np.int64], excess: NDArray[np.int64]) -> int:
    """Return what the VMAs have in swap space; of those with the same stretch of a file each says it all."""
    facts = view.facts.vmas
    extents: dict[tuple[str, int, int, int], int] = {}
    for vma, size in zip(vmas.tolist(), view.nr_pages(vmas).tolist(), strict=True):
        key = (facts.dev[vma], int(facts.inode[vma]), int(facts.pgoff[vma]), size)
        extents[key] = max(extents.get(key, 0), int(excess[vma]))
    return sum(extents.values())
