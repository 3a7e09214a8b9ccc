"""Frames and page tables, and how an entry comes and goes.

Mirrors: ``mm/memory.c: set_pte_range, zap_pte_range``; ``mm/mremap.c: move_ptes``;
``mm/rmap.c: folio_add_file_rmap_ptes, folio_add_new_anon_rmap, folio_remove_rmap_ptes``;
``mm/filemap.c: filemap_get_folio``.
Fidelity: one level of page table; no buddy allocator: the frame freed last is given out first.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

from kernelmodel.errors import ModelError, NoMemoryError
from kernelmodel.fault.types import ZERO_PFN, Frame, Pte
from kernelmodel.mapping import PAGE_SHIFT
from kernelmodel.mm.types import PAGE_BYTES

if TYPE_CHECKING:
    from kernelmodel.anon_vma import AnonVma
    from kernelmodel.fault.types import MapObserver, Move
    from kernelmodel.mapping import Mapping
    from kernelmodel.vma import Vma


class Memory:
    """The frames of a machine and the entries that hold them.

    Parameters
    ----------
    nr_frames
        Size of memory; frame 0 is the zero page.

    Attributes
    ----------
    frames
        Frames in use by pfn, the zero page not among them.
    free
        Frames that are not, in the order in which they were freed.
    tables
        Page tables by address space: virtual page number to entry.
    clock
        Counts frames allocated and VMAs changed.
    observers
        Who is told of changes of page tables.
    """

    def __init__(self, nr_frames: int) -> None:
        self.nr_frames = nr_frames
        self.frames: dict[int, Frame] = {}
        self.free: list[int] = list(range(nr_frames - 1, ZERO_PFN, -1))
        self.tables: dict[int, dict[int, Pte]] = {}
        self.clock = 0
        self.observers: list[MapObserver] = []

    def move(self, mm_id: int, move: Move) -> None:
        """Carry the entries of one range to another, which is empty and does not overlap; counts stay."""
        table = self.tables[mm_id]
        distance = (move.new - move.old) >> PAGE_SHIFT
        for vpn, pte in self.present(mm_id, move.old, move.old + move.length):
            table[vpn + distance] = table.pop(vpn)
            if pte.pfn != ZERO_PFN:
                for observer in self.observers:
                    observer.moved(pte.pfn, mm_id, vpn, vpn + distance)

    def zap(self, mm_id: int, start: int, end: int) -> None:
        """Drop all entries of a range."""
        for vpn, _ in self.present(mm_id, start, end):
            self.unmap(mm_id, vpn)

    def present(self, mm_id: int, start: int, end: int) -> list[tuple[int, Pte]]:
        """Return the entries of a range, ascending."""
        table = self.tables[mm_id]
        vpns = range(start >> PAGE_SHIFT, (end + PAGE_BYTES - 1) >> PAGE_SHIFT)
        if len(vpns) > len(table):
            return sorted((item for item in table.items() if item[0] in vpns), key=itemgetter(0))
        return [(vpn, table[vpn]) for vpn in vpns if vpn in table]

    def map_zero(self, mm_id: int, vpn: int) -> Pte:
        """Enter the zero page, which counts no entries, and return the entry."""
        pte = self.tables[mm_id][vpn] = Pte(ZERO_PFN, writable=False)
        return pte

    def map(self, mm_id: int, vma: Vma, vpn: int, frame: Frame, *, writable: bool) -> Pte:
        """Enter a frame and count the entry; return it."""
        pte = self.tables[mm_id][vpn] = Pte(frame.pfn, writable)
        frame.mapcount += 1
        for observer in self.observers:
            observer.mapped(frame.pfn, mm_id, vma, vpn)
        return pte

    def unmap(self, mm_id: int, vpn: int) -> None:
        """Drop an entry; an anonymous frame is freed with its last one."""
        pte = self.tables[mm_id].pop(vpn)
        frame = self.frames.get(pte.pfn)
        if frame is None:
            return
        frame.mapcount -= 1
        for observer in self.observers:
            observer.unmapped(pte.pfn, mm_id, vpn)
        if frame.is_anon and not frame.mapcount:
            self.release(frame)

    def page_cache(self, mapping: Mapping, index: int) -> Frame:
        """Return the frame of a page of a file, read in if need be; NoMemoryError if there is no room."""
        pfn = mapping.pages.get(index)
        if pfn is not None:
            return self.frames[pfn]
        frame = self.allocate(mapping, index)
        mapping.pages[index] = frame.pfn
        return frame

    def evict(self, mapping: Mapping) -> None:
        """Free the page cache of a file whose pages nobody maps, with what it held.

        Raises
        ------
        ModelError
            A page is mapped.
        """
        for pfn in mapping.pages.values():
            if self.frames[pfn].mapcount:
                raise ModelError(f"pfn {pfn} of {mapping!r} is mapped")
        for pfn in mapping.pages.values():
            self.release(self.frames[pfn])
        mapping.pages.clear()

    def allocate(self, mapping: AnonVma | Mapping, index: int) -> Frame:
        """Return a frame for a page of `mapping`; NoMemoryError if there is none."""
        if not self.free:
            raise NoMemoryError(f"all {self.nr_frames} frames are in use")
        self.clock += 1
        pfn = self.free.pop()
        frame = self.frames[pfn] = Frame(pfn, self.clock, mapping, index)
        return frame

    def release(self, frame: Frame) -> None:
        """Free a frame."""
        del self.frames[frame.pfn]
        self.free.append(frame.pfn)
