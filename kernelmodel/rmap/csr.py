"""Every reverse entry of every frame of a photograph, in three arrays sorted by frame.

The 2.5 reverse map (pte chains) without its pointers: ``entry = (vma, offset)`` as in the mail of 1998, for
all who map the frame and not for one alone. On a photograph this is the reference for the other maps.

Mirrors: ``mm/rmap.c: page_add_rmap`` of 2.5.27, one entry for each page-table entry.
Fidelity: complete for the page tables that were read; who could not be read is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernelmodel.errors import InvariantError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.page_tables import PageTables, VmaTable


class Mapper(NamedTuple):
    """Who maps a frame: row of the VMA, and the page's distance from the VMA's start in pages."""

    vma: int
    offset_pages: int


@dataclass(frozen=True)
class ReverseEntries:
    """Compressed sparse rows: frame i has the entries ``first[i]`` to ``first[i + 1]`` - 1.

    Parameters
    ----------
    pfn
        int64, shape (m,), distinct frames that are mapped, ascending.
    first
        int64, shape (m + 1,), first entry of each frame.
    vma
        int32, shape (n,), row of the VMA in `vmas`.
    offset_pages
        int64, shape (n,), distance from the start of the VMA.
    vmas
        The VMAs.
    """

    pfn: NDArray[np.int64]
    first: NDArray[np.int64]
    vma: NDArray[np.int32]
    offset_pages: NDArray[np.int64]
    vmas: VmaTable

    def __len__(self) -> int:
        return len(self.vma)

    @property
    def nr_bytes(self) -> int:
        """Bytes that the arrays take, VMAs not counted."""
        return self.pfn.nbytes + self.first.nbytes + self.vma.nbytes + self.offset_pages.nbytes

    def counts(self) -> NDArray[np.int64]:
        """Return the number of entries of each frame of `pfn`."""
        counted: NDArray[np.int64] = np.diff(self.first)
        return counted

    def mappings_of(self, pfn: int) -> list[Mapper]:
        """Return who maps a frame, none where nobody does. O(log frames)."""
        index = int(np.searchsorted(self.pfn, pfn))
        if index == len(self.pfn) or self.pfn[index] != pfn:
            return []
        rows = range(int(self.first[index]), int(self.first[index + 1]))
        return [Mapper(int(self.vma[row]), int(self.offset_pages[row])) for row in rows]

    def frame_of_entry(self) -> NDArray[np.int64]:
        """Return the frame of each entry. Shape (n,)."""
        found: NDArray[np.int64] = np.repeat(self.pfn, self.counts())
        return found

    def address_of_entry(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return address space and virtual page that each entry resolves to. Shapes (n,)."""
        return self.vmas.mm[self.vma], self.vmas.start_vpn[self.vma] + self.offset_pages

    def validate(self) -> None:
        """Check the shape of the rows.

        Raises
        ------
        InvariantError
            ``frames-ordered``, ``rows-cover`` or ``entry-inside-vma``.
        """
        back = np.flatnonzero(self.pfn[1:] <= self.pfn[:-1])
        if len(back):
            at = int(back[0])
            raise InvariantError("frames-ordered", f"pfn {self.pfn[at]}", f"followed by {self.pfn[at + 1]}")
        ends = (int(self.first[0]), int(self.first[-1]))
        if ends != (0, len(self.vma)) or (self.counts() <= 0).any():
            raise InvariantError(
                "rows-cover", f"entries {ends}", f"{len(self.vma)} entries, none may be empty"
            )
        length = (self.vmas.end_vpn - self.vmas.start_vpn)[self.vma]
        outside = np.flatnonzero((self.offset_pages < 0) | (self.offset_pages >= length))
        if len(outside):
            at = int(outside[0])
            where = f"pfn {self.frame_of_entry()[at]}"
            detail = f"offset {self.offset_pages[at]} in VMA {self.vma[at]} of {length[at]} pages"
            raise InvariantError("entry-inside-vma", where, detail)


def reverse_entries(tables: PageTables) -> ReverseEntries:
    """Turn page tables round: from (address -> frame) to (frame -> addresses).

    Runs are sorted before they are spread out: single entries are then nearly in order, which the stable sort
    makes use of. The naive equivalent stands in ``tests/oracles/csr.py``.
    """
    order = np.argsort(tables.pfn, kind="stable")
    nr_pages = tables.nr_pages[order]
    nr_entries = int(nr_pages.sum())
    begin = np.cumsum(nr_pages) - nr_pages
    # Along a run frame and offset both count up by one: one repeat each gives what is left to add.
    along = np.arange(nr_entries, dtype=np.int64)
    pfn = np.repeat(tables.pfn[order] - begin, nr_pages)
    pfn += along
    vma = np.repeat(tables.vma[order].astype(np.int32), nr_pages)
    offset = np.repeat((tables.vpn - tables.vmas.start_vpn[tables.vma])[order] - begin, nr_pages)
    offset += along
    if (pfn[1:] < pfn[:-1]).any():
        by_frame = np.argsort(pfn, kind="stable")
        pfn, vma, offset = pfn[by_frame], vma[by_frame], offset[by_frame]
    begins = np.empty(nr_entries, np.bool_)
    begins[:1] = True
    np.not_equal(pfn[1:], pfn[:-1], out=begins[1:])
    first = np.flatnonzero(begins)
    return ReverseEntries(pfn[first], np.append(first, nr_entries), vma, offset, tables.vmas)
