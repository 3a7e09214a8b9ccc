"""The ledger: for each frame what the kernel counts, what was found, who reaches it, and why they differ.

Mirrors: ``fs/proc/page.c: kpagecount_read`` on one side, ``fs/proc/task_mmu.c: pagemap_read`` on the other.
Fidelity: of a frame that changed while it was read nothing is said. Reach is by page tables alone: who holds
a descriptor or a pin is in the findings, not here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.errors import InvariantError
from kernelmodel.pageflags import mask
from kernelmodel.sharing.reason import REASON_INFO, Reason, explain
from kernelmodel.sharing.runs import coverage, row_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.host import Unseen
    from kernelmodel.memmap import MemMap
    from kernelmodel.page_tables import PageTables

_ANON = np.uint64(mask("ANON"))
_SHMEM = np.uint64(mask("SWAPBACKED"))
_FILE = np.uint64(mask("LRU"))


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
        Name of the reason to frames, for those that differ with a reason; under ``no-frame`` entries.
    nr_unexplained
        The rest.
    hidden_entries
        Entries of processes that could not be read, by the counts of ``hidden-mappers`` and ``exiting-mm``.
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


@dataclass(frozen=True)
class Ledger(CountCheck):
    """The figures of `CountCheck`, what they are made from, and the frames that match by who shares them.

    Parameters
    ----------
    found
        int32, entries that lead to each row.
    reached
        int32, processes that reach each row by page tables.
    reason
        uint8 `Reason` of each row.
    nr_private
        Frames that match and that one process reaches.
    nr_shared_anon, nr_shared_shmem, nr_shared_file, nr_shared_other
        Those that several processes reach: anonymous memory; shared memory; page cache; and the rest, huge
        pages and those of drivers.
    """

    found: NDArray[np.int32]
    reached: NDArray[np.int32]
    reason: NDArray[np.uint8]
    nr_private: int
    nr_shared_anon: int
    nr_shared_shmem: int
    nr_shared_file: int
    nr_shared_other: int

    def validate(self) -> None:
        """Check that every mapped frame is in exactly one line.

        Raises
        ------
        InvariantError
            ``ledger-lines`` or ``ledger-shared``.
        """
        named = sum(n for name, n in self.explained.items() if name != REASON_INFO[Reason.NO_FRAME][0])
        lines = (self.nr_match, self.nr_unstable, named, self.nr_unexplained)
        if sum(lines) != self.nr_mapped:
            detail = "{} match, {} unstable, {} explained, {} unexplained".format(*lines)
            raise InvariantError("ledger-lines", f"{self.nr_mapped} frames mapped", detail)
        shared = self.nr_shared_anon, self.nr_shared_shmem, self.nr_shared_file, self.nr_shared_other
        if self.nr_private + sum(shared) != self.nr_match:
            detail = f"{self.nr_private} private, {shared} shared"
            raise InvariantError("ledger-shared", f"{self.nr_match} frames match", detail)


def found_counts(frames: MemMap, tables: PageTables) -> tuple[NDArray[np.int32], int]:
    """Return how many page-table entries lead to each frame, and how many lead to no frame.

    Counted along runs, not from the reverse entries: each is the other's witness. O(runs + frames).
    """
    pieces = row_runs(frames, tables.pfn, tables.nr_pages)
    return coverage(pieces.start, pieces.end, len(frames)).astype(np.int32, copy=False), pieces.nr_outside


def compare(
    frames: MemMap,
    found: NDArray[np.int32],
    reason: NDArray[np.uint8],
    nr_outside: int,
    unseen: Unseen,
) -> CountCheck:
    """Return the figures of what `explain` said; the counts must have been read."""
    assert frames.mapcount is not None
    hidden = np.flatnonzero((reason == Reason.HIDDEN_MAPPERS) | (reason == Reason.EXITING_MM))
    # The vdso and the like are counted as mapped, but not as resident.
    hidden = hidden[(frames.words[hidden] & np.uint64(mask("RESERVED"))) == 0]
    hidden_entries = int(frames.mapcount[hidden].sum(dtype=np.int64) - found[hidden].sum(dtype=np.int64))
    nr = np.bincount(reason, minlength=len(Reason))
    explained = {REASON_INFO[r][0]: int(nr[r]) for r in REASON_INFO if nr[r]}
    if nr_outside:
        explained[REASON_INFO[Reason.NO_FRAME][0]] = nr_outside
    # Threads that are not even listed have what memory they have, and so does what outlived its process.
    unbounded = unseen.nr_hidden_threads or (unseen.nr_ended and not unseen.lasting)
    at_most = None if unbounded else unseen.resident_at_most
    return CountCheck(
        nr_mapped=len(frames) - int(nr[Reason.NOT_MAPPED]),
        nr_match=int(nr[Reason.MATCH]),
        nr_unstable=int(nr[Reason.UNSTABLE]),
        explained=explained,
        nr_unexplained=int(nr[Reason.UNEXPLAINED]),
        hidden_entries=hidden_entries,
        hidden_at_most=at_most if hidden_entries else None,
    )


def ledger(
    frames: MemMap,
    tables: PageTables,
    found: NDArray[np.int32],
    reached: NDArray[np.int32],
    nr_outside: int,
    *,
    unseen: Unseen,
    zspages: int | None,
    averaged: bool,
) -> Ledger:
    """Return the ledger of frames whose map counts were read.

    Parameters
    ----------
    frames, tables
        Frames, and the page tables that lead to them.
    found, reached
        Entries that lead to each row, and processes that reach it.
    nr_outside
        Entries that lead to no row.
    unseen, zspages, averaged
        As for `kernelmodel.host.HostModel`.
    """
    assert frames.mapcount is not None
    reason = explain(
        frames, tables, found, frames.mapcount, unseen=unseen, zspages=zspages, averaged=averaged
    )
    check = compare(frames, found, reason, nr_outside, unseen)
    words = frames.words[(reason == Reason.MATCH) & (reached > 1)]
    anon = (words & _ANON) != 0
    shmem = ~anon & ((words & _SHMEM) != 0)
    file = ~anon & ~shmem & ((words & _FILE) != 0)
    shared = [int(np.count_nonzero(kind)) for kind in (anon, shmem, file)]
    return Ledger(
        **{field.name: getattr(check, field.name) for field in fields(check)},
        found=found,
        reached=reached,
        reason=reason,
        nr_private=check.nr_match - len(words),
        nr_shared_anon=shared[0],
        nr_shared_shmem=shared[1],
        nr_shared_file=shared[2],
        nr_shared_other=len(words) - sum(shared),
    )
