"""What every detector looks at, made once: runs of rows, who reaches them, what each frame is used for.

Mirrors: nothing of the kernel.
Fidelity: reach is by the page tables that were read.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernelmodel.pageclass import PageClass, classify
from kernelmodel.pageflags import mask
from kernelmodel.sharing.accounting import without_pfnmap
from kernelmodel.sharing.ledger import ledger
from kernelmodel.sharing.reason import Reason
from kernelmodel.sharing.runs import before, coverage, reach, row_runs, unions

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from numpy.typing import NDArray

    from kernelmodel.sharing.facts import Facts, Process
    from kernelmodel.sharing.ledger import Ledger
    from kernelmodel.sharing.runs import Ints, Reach


class Mapped(NamedTuple):
    """What some VMAs lead to: rows ascending and distinct, entries in them, the processes that have them."""

    rows: NDArray[np.int64]
    nr_entries: int
    pids: tuple[int, ...]


def expand(start: Ints, end: Ints) -> NDArray[np.int64]:
    """Return every number in the half-open ranges, one range after the other.

    >>> expand(np.array([4, 9]), np.array([6, 10])).tolist()
    [4, 5, 9]
    """
    nr = (end - start).astype(np.int64)
    first = np.cumsum(nr) - nr
    numbers: NDArray[np.int64] = np.repeat(start - first, nr) + np.arange(int(nr.sum()))
    return numbers


def covered(start: Ints, end: Ints) -> NDArray[np.int64]:
    """Return the rows that the half-open runs cover together, ascending, each once.

    >>> covered(np.array([4, 2]), np.array([6, 5])).tolist()
    [2, 3, 4, 5]
    """
    together = unions(np.zeros(len(start), np.int64), start, end - start)
    return expand(together.start, together.end)


def coded(keys: Iterable[Hashable]) -> NDArray[np.int64]:
    """Return a number for each key, the same for equal ones, counted up from 0 as they are first seen.

    >>> coded(["b", "a", "b"]).tolist()
    [0, 1, 0]
    """
    codes: dict[Hashable, int] = {}
    return np.array([codes.setdefault(key, len(codes)) for key in keys], np.int64)


class View:
    """Facts, and what follows from them alone.

    Parameters
    ----------
    facts
        What the photograph tells; map counts must have been read.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        frames, tables = facts.frames, facts.tables
        self.pids_of_mm: dict[int, tuple[int, ...]] = {}
        for process in sorted(facts.processes, key=lambda process: process.pid):
            if process.mm is not None:
                self.pids_of_mm[process.mm] = (*self.pids_of_mm.get(process.mm, ()), process.pid)
        nr_rows = len(frames)
        self.of_vma, self.nr_outside = reach(frames, tables.vma, tables.pfn, tables.nr_pages)
        """Runs of each VMA, in the order of the page tables."""
        found = coverage(self.of_vma.start, self.of_vma.end, nr_rows).astype(np.int32, copy=False)
        nr_pages = self.of_vma.nr_pages
        owner = tables.vmas.mm.astype(np.int32)[self.of_vma.owner]
        self.of_mm = unions(owner, self.of_vma.start, nr_pages)
        """Runs of each address space, disjoint."""
        self.nr_mms = found
        """int32, address spaces that reach each row."""
        if int(nr_pages.sum()) != int(self.of_mm.nr_pages.sum()):
            reached = coverage(self.of_mm.start, self.of_mm.end, nr_rows)
            self.nr_mms = reached.astype(np.int32, copy=False)
        del owner, nr_pages
        self.ledger: Ledger = ledger(
            frames,
            tables,
            found,
            self._add_further_tasks(),
            self.nr_outside,
            unseen=facts.unseen,
            zspages=facts.zspages,
            averaged=facts.averaged,
        )

    def _add_further_tasks(self) -> NDArray[np.int32]:
        """Return the processes that reach each row: those of an address space beyond the first are added."""
        reached = self.nr_mms
        for mm, pids in self.pids_of_mm.items():
            if len(pids) > 1:
                reached = reached + self.reached_by([mm]) * np.int32(len(pids) - 1)
        return reached

    @cached_property
    def entries(self) -> Reach:
        """Runs of each address space that its accounts are made from."""
        return without_pfnmap(self.of_vma, self.facts.tables.vmas)

    @cached_property
    def outside(self) -> NDArray[np.int64]:
        """int64, entries of each run of the page tables that lead to no row."""
        tables = self.facts.tables
        pieces = row_runs(self.facts.frames, tables.pfn, tables.nr_pages)
        outside = tables.nr_pages.copy()
        np.subtract.at(outside, pieces.run, pieces.end - pieces.start)
        return outside

    @cached_property
    def page_class(self) -> NDArray[np.uint8]:
        """uint8, `PageClass` of each row."""
        return self.facts.frames.spread(
            classify(self.facts.frames.run_words, trust_ksm=self.facts.ksm_trusted)
        )

    def having(self, *flags: str) -> NDArray[np.bool_]:
        """Return which rows have every one of `flags`, tails with their head's."""
        wanted = np.uint64(mask(*flags))
        chosen = (self.facts.frames.run_words & wanted) == wanted
        return self.facts.frames.spread(chosen.view(np.uint8)).view(np.bool_)

    @cached_property
    def idle(self) -> NDArray[np.bool_]:
        """bool, rows that nobody maps, by the kernel's count and by the page tables, and that stood still."""
        assert self.facts.frames.mapcount is not None
        idle: NDArray[np.bool_] = (self.facts.frames.mapcount == 0) & (self.ledger.found == 0)
        return idle & ~self.facts.frames.unstable

    @cached_property
    def kept_by_folio(self) -> NDArray[np.int64]:
        """int64, rows in anonymous large folios that nobody maps while other pages there are mapped."""
        frames, folios = self.facts.frames, self.facts.folios
        first = frames.rows(folios.head_pfn)
        end = first + folios.nr_pages
        wanted = np.isin(self.page_class[first], (PageClass.ANON, PageClass.KSM))
        first, end = first[wanted], end[wanted]
        mapped = self.ledger.reason != Reason.NOT_MAPPED
        nr_idle, nr_mapped = (sums[end] - sums[first] for sums in (before(self.idle), before(mapped)))
        partial = (nr_idle > 0) & (nr_mapped > 0)
        rows = expand(first[partial], end[partial])
        return rows[self.idle[rows]]

    def only(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return the choice of these rows alone."""
        chosen = np.zeros(len(self.facts.frames), np.bool_)
        chosen[rows] = True
        return chosen

    def mms(self, pid: int) -> list[int]:
        """Return the address space of a process, if it has one."""
        return [p.mm for p in self.facts.processes if p.pid == pid and p.mm is not None]

    def tasks(self, mms: Iterable[int]) -> tuple[int, ...]:
        """Return the processes of address spaces, ascending."""
        return tuple(sorted(pid for mm in set(mms) for pid in self.pids_of_mm.get(mm, ())))

    def by_mm(self, count: Callable[[Process], int | None]) -> dict[int, int]:
        """Return what the kernel counts of address spaces, of those where that is not nothing.

        Processes that share one have its number each. A negative pid stands for one that is not known.
        """
        counted = ((p.mm if p.mm is not None else -p.pid, count(p)) for p in self.facts.processes)
        return {mm: nr for mm, nr in counted if nr}

    def mms_of(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the address spaces that reach one of the `chosen` rows, ascending."""
        sums = before(chosen)
        hit = sums[self.of_mm.end] > sums[self.of_mm.start]
        return np.unique(self.of_mm.owner[hit]).astype(np.int64)

    def pids_of(self, rows: NDArray[np.int64]) -> tuple[int, ...]:
        """Return the processes that reach one of the rows by their page tables."""
        if not len(rows):
            return ()
        return self.tasks(self.mms_of(self.only(rows)).tolist())

    def reached_by(self, mms: Iterable[int]) -> NDArray[np.bool_]:
        """Return which rows one of the address spaces reaches."""
        mine = np.isin(self.of_mm.owner, list(mms))
        return coverage(self.of_mm.start[mine], self.of_mm.end[mine], len(self.facts.frames)) > 0

    def vmas_of(self, mms: Iterable[int]) -> NDArray[np.bool_]:
        """Return which VMAs belong to one of the address spaces."""
        return np.isin(self.facts.tables.vmas.mm[: len(self.facts.vmas)], list(mms))

    def holders(self, vmas: NDArray[np.bool_]) -> tuple[int, ...]:
        """Return the processes that have one of the VMAs."""
        return self.tasks(np.unique(self.facts.tables.vmas.mm[: len(vmas)][vmas]).tolist())

    @cached_property
    def _name_codes(self) -> tuple[list[str], NDArray[np.int64]]:
        names = self.facts.vmas.name
        return list(dict.fromkeys(names)), coded(names)

    def named(self, wanted: Callable[[str], bool]) -> NDArray[np.bool_]:
        """Return which VMAs have a name that is wanted; each name is asked about once."""
        names, codes = self._name_codes
        return np.array([wanted(name) for name in names], np.bool_)[codes] if names else np.zeros(0, np.bool_)

    def flagged(self, *codes: str) -> NDArray[np.bool_]:
        """Return which VMAs have one of the codes in VmFlags, as far as they were read."""
        flags = self.facts.vmas.vm_flags
        if flags is None:
            return np.zeros(len(self.facts.vmas), np.bool_)
        wanted = frozenset(codes)
        return np.array([of is not None and not wanted.isdisjoint(of) for of in flags], np.bool_)

    @cached_property
    def flags_read(self) -> NDArray[np.bool_]:
        """bool, VMAs whose VmFlags were read."""
        flags = self.facts.vmas.vm_flags
        if flags is None:
            return np.zeros(len(self.facts.vmas), np.bool_)
        return np.array([of is not None for of in flags], np.bool_)

    @cached_property
    def of_file(self) -> NDArray[np.bool_]:
        """bool, VMAs that map an inode."""
        return np.asarray(self.facts.vmas.inode != 0)

    def padded(self, vmas: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the choice of VMAs for the whole table: no stand-in is chosen."""
        chosen = np.zeros(len(self.facts.tables.vmas), np.bool_)
        chosen[: len(vmas)] = vmas
        return chosen

    def nr_pages(self, vmas: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the size of each VMA in pages."""
        table = self.facts.tables.vmas
        size: NDArray[np.int64] = table.end_vpn[vmas] - table.start_vpn[vmas]
        return size

    def mapped(self, vmas: NDArray[np.bool_]) -> Mapped:
        """Return what the chosen VMAs lead to."""
        runs = np.flatnonzero(self.padded(vmas)[self.of_vma.owner])
        start, end = self.of_vma.start[runs], self.of_vma.end[runs]
        return Mapped(covered(start, end), int((end - start).sum()), self.holders(vmas))

    def extent_bytes(self, vmas: NDArray[np.int64]) -> int:
        """Return the bytes of the files that the VMAs map, each once; of VMAs without an inode all."""
        facts = self.facts.vmas
        keys = [
            ("vma", vma) if facts.inode[vma] == 0 else (facts.dev[vma], int(facts.inode[vma]))
            for vma in vmas.tolist()
        ]
        together = unions(coded(keys), facts.pgoff[vmas], self.nr_pages(vmas))
        return int((together.end - together.start).sum()) * self.facts.page_size
