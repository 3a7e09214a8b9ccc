"""Page tables of many address spaces as runs of entries that continue one another.

Mirrors: what ``fs/proc/task_mmu.c: pagemap_read`` shows of the entries that are present.
Fidelity: a photograph. Level and size of an entry are not told: one huge entry is as many small ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.errors import InvariantError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class VmaTable:
    """VMAs of all address spaces, ascending by address space, then address.

    Parameters
    ----------
    mm
        int64, address space.
    start_vpn, end_vpn
        int64, half-open range in virtual page numbers.
    pfnmap
        bool, VM_PFNMAP: entries lead to frames that the kernel does not count; None where that was not told.
    listed
        bool, False for a stand-in that covers entries which no listed VMA covers.
    """

    mm: NDArray[np.int64]
    start_vpn: NDArray[np.int64]
    end_vpn: NDArray[np.int64]
    pfnmap: NDArray[np.bool_] | None
    listed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.mm)


@dataclass(frozen=True)
class PageTables:
    """Runs of present entries, ascending by address space, then virtual page.

    Parameters
    ----------
    vma
        int64, index in the `VmaTable` of the VMA that a run lies in.
    vpn
        int64, first virtual page of each run.
    pfn
        int64, frame behind it; the next page has the next frame.
    nr_pages
        int64, entries of each run.
    vmas
        The VMAs.
    """

    vma: NDArray[np.int64]
    vpn: NDArray[np.int64]
    pfn: NDArray[np.int64]
    nr_pages: NDArray[np.int64]
    vmas: VmaTable

    @cached_property
    def nr_entries(self) -> int:
        """Entries in all."""
        return int(self.nr_pages.sum())

    @cached_property
    def address_bits(self) -> int:
        """Bits that hold the page number of every entry."""
        return int((self.vpn + self.nr_pages).max()).bit_length() if len(self.vpn) else 1

    @cached_property
    def key(self) -> NDArray[np.int64]:
        """int64, address space and first virtual page of each run as one number, ascending.

        Raises
        ------
        ModelError
            There are so many address spaces, and pages so far up in them, that no 63 bits hold both.
        """
        highest = int(self.vmas.mm[self.vma].max()) if len(self.vma) else 0
        if highest.bit_length() + self.address_bits > 63:
            raise ModelError(
                f"address space {highest} with pages of {self.address_bits} bits: too many for int64"
            )
        return self.key_of(self.vmas.mm[self.vma], self.vpn)

    def key_of(self, mm: NDArray[np.int64], vpn: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return address space and virtual page as one number that sorts like the pair.

        Only of pages that are less than ``1 << address_bits``: there are no entries further up.
        """
        key: NDArray[np.int64] = (mm << self.address_bits) + vpn
        return key

    def lookup(self, mm: NDArray[np.int64], vpn: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the frame behind each (address space, virtual page), -1 where no entry is present."""
        if not len(self.vma):
            return np.full(len(mm), -1, np.int64)
        possible = (vpn >= 0) & (vpn < 1 << self.address_bits) & (mm <= self.vmas.mm[self.vma[-1]])
        wanted = np.where(possible, self.key_of(np.where(possible, mm, 0), vpn), -1)
        run = np.maximum(np.searchsorted(self.key, wanted, side="right") - 1, 0)
        into = wanted - self.key[run]
        inside = (into >= 0) & (into < self.nr_pages[run])
        found: NDArray[np.int64] = np.where(inside, self.pfn[run] + into, -1)
        return found

    def validate(self) -> None:
        """Check that runs are in order, disjoint and inside their VMAs.

        Raises
        ------
        InvariantError
            ``runs-ordered`` or ``run-inside-vma``.
        """
        overlap = np.flatnonzero(self.key[1:] < self.key[:-1] + self.nr_pages[:-1])
        if len(overlap):
            row = int(overlap[0])
            where = f"mm {self.vmas.mm[self.vma[row]]} vpn {self.vpn[row]:#x}"
            raise InvariantError(
                "runs-ordered", where, f"{self.nr_pages[row]} entries reach into the next run"
            )
        start, end = self.vmas.start_vpn[self.vma], self.vmas.end_vpn[self.vma]
        outside = np.flatnonzero((self.vpn < start) | (self.vpn + self.nr_pages > end))
        if len(outside):
            row = int(outside[0])
            where = f"mm {self.vmas.mm[self.vma[row]]} vpn {self.vpn[row]:#x}"
            raise InvariantError("run-inside-vma", where, f"VMA is [{start[row]:#x}, {end[row]:#x})")
