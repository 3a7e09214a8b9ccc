"""A machine of frames, page tables and address spaces: what a touch, a fork and an unmap do to them.

Mirrors: ``mm/memory.c: handle_pte_fault`` (``do_anonymous_page``, ``do_read_fault``, ``do_cow_fault``,
``do_shared_fault``, ``do_wp_page``, ``wp_can_reuse_anon_folio``, ``wp_page_copy``, ``copy_present_ptes``,
``vma_needs_copy``, ``zap_pte_range``); ``mm/rmap.c: folio_add_new_anon_rmap, folio_move_anon_rmap``;
``mm/mremap.c: move_ptes``; ``mm/mprotect.c: change_pte_range``;
``arch/x86/mm/fault.c: access_error``.
Fidelity: one level of page table; no swap, so that a new anonymous page is always exclusive and its anon_vma
that of the VMA, never the root in its stead; no fault-around; no pins, so that fork never copies a page at
once; a file reads as zeros until it is written through a mapping; its pages, also those of shared anonymous
memory, stay until `evict`; a move of many VMAs that stops half way for want of VMAs loses the pages on the
way.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernelmodel.errors import SyscallError
from kernelmodel.fault.check import validate
from kernelmodel.fault.memory import Memory
from kernelmodel.fault.types import ZERO_PFN, Area, Move, VmaChange
from kernelmodel.mapping import PAGE_SHIFT
from kernelmodel.mm.fault import expand_downwards
from kernelmodel.mm.types import PAGE_BYTES
from kernelmodel.vmflags import MREMAP_FIXED, VM_ACCESS_FLAGS, VM_WRITE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelmodel.fault.types import Pte, VmaObserver
    from kernelmodel.mm.address_space import AddressSpace
    from kernelmodel.vma import File, Vma


class Machine(Memory):
    """Frames and the processes that map them. Addresses and lengths are bytes.

    System calls raise what `AddressSpace` raises, and change then what it changed.

    Parameters
    ----------
    nr_frames
        Size of memory; frame 0 is the zero page. The frame freed last is given out first.

    Attributes
    ----------
    mms
        Address spaces by their id.
    owner
        The id of the address space of each VMA (``vma->vm_mm``).
    vma_observers
        Who is told of changes of VMAs. What else there is, see `Memory`.

    Examples
    --------
    >>> from kernelmodel.mm import AddressSpace
    >>> from kernelmodel.ordered import RedBlackTree
    >>> from kernelmodel.vmflags import MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE
    >>> machine = Machine(nr_frames=8)
    >>> parent = machine.add(AddressSpace(RedBlackTree))
    >>> here = machine.mmap(parent, 0, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS)
    >>> machine.write(parent, here, 1998)
    >>> child = machine.fork(parent)
    >>> machine.write(child, here, 2026)
    >>> machine.read(parent, here), machine.read(child, here), len(machine.frames)
    (1998, 2026, 2)
    """

    def __init__(self, nr_frames: int) -> None:
        super().__init__(nr_frames)
        self.mms: dict[int, AddressSpace] = {}
        self.owner: dict[Vma, int] = {}
        self.vma_observers: list[VmaObserver] = []
        self._areas: dict[int, dict[Vma, Area]] = {}
        self._nr_mms = 0

    def add(self, mm: AddressSpace) -> int:
        """Run a process in `mm`, of which no page is present yet, and return its id."""
        mm_id = self._nr_mms
        self._nr_mms += 1
        self.mms[mm_id], self.tables[mm_id], self._areas[mm_id] = mm, {}, {}
        self._note_vmas(mm_id, "add")
        return mm_id

    def read(self, mm_id: int, address: int) -> int:
        """Return the number at an address, 0 where none was written.

        Raises
        ------
        SyscallError
            EFAULT: nothing is there, nothing may be done with it, or it is behind the end of a file.
        NoMemoryError
            No frame is free.
        """
        vma = self._vma_at(mm_id, address)
        # A mapping that may only be written can be read too: access_error asks whether it is accessible.
        if not vma.flags & VM_ACCESS_FLAGS:
            raise SyscallError("EFAULT", f"{vma!r} is not accessible")
        if vma.file is not None and not vma.file.holds(vma.pgoff_at(address)):
            raise SyscallError("EFAULT", f"{address:#x} lies behind the end of the file in {vma!r}")
        vpn = address >> PAGE_SHIFT
        pte = self.tables[mm_id].get(vpn)
        if pte is None:
            pte = self._no_page_read(mm_id, vma, vpn)
        return 0 if pte.pfn == ZERO_PFN else self.frames[pte.pfn].words.get(address % PAGE_BYTES, 0)

    def write(self, mm_id: int, address: int, word: int) -> None:
        """Write a number to an address.

        Raises
        ------
        SyscallError
            EFAULT: nothing is there, it is not writable, or it is behind the end of a file.
        NoMemoryError
            No frame is free.
        """
        vma = self._vma_at(mm_id, address)
        self.mms[mm_id].touch(address)
        vpn = address >> PAGE_SHIFT
        pte = self.tables[mm_id].get(vpn)
        if pte is None or not pte.writable:
            if vma.is_writable_shared:
                pte = self._share(mm_id, vma, vpn, pte)
            else:
                pte = self._break_cow(mm_id, vma, vpn, pte)
        self.frames[pte.pfn].words[address % PAGE_BYTES] = word

    def mmap(
        self,
        mm_id: int,
        address: int,
        length: int,
        prot: int,
        flags: int,
        *,
        file: File | None = None,
        pgoff: int = 0,
    ) -> int:
        """Map memory and return where; see `AddressSpace.mmap`."""
        with self._changing(mm_id, "mmap"):
            start = self.mms[mm_id].mmap(address, length, prot, flags, file=file, pgoff=pgoff)
        self.zap(mm_id, start, start + length)
        return start

    def munmap(self, mm_id: int, address: int, length: int) -> None:
        """Unmap a range."""
        with self._changing(mm_id, "munmap"):
            self.mms[mm_id].munmap(address, length)
        self.zap(mm_id, address, address + length)

    def mprotect(self, mm_id: int, address: int, length: int, prot: int) -> None:
        """Change the permissions of a range; entries lose the write permission with their VMA."""
        try:
            with self._changing(mm_id, "mprotect"):
                self.mms[mm_id].mprotect(address, length, prot)
        finally:
            for vpn, pte in self.present(mm_id, address, address + length):
                vma = self.mms[mm_id].vma_lookup(vpn << PAGE_SHIFT)
                if vma is None or not vma.flags & VM_WRITE:
                    pte.writable = False

    def madvise(self, mm_id: int, address: int, length: int, advice: int) -> None:
        """Say what fork does with a range; see `AddressSpace.madvise`."""
        with self._changing(mm_id, "madvise"):
            self.mms[mm_id].madvise(address, length, advice)

    def mremap(
        self, mm_id: int, address: int, old_length: int, new_length: int, flags: int, *, new_address: int = 0
    ) -> int:
        """Grow, shrink, move or duplicate a mapping, and return where it is; entries go along."""
        old_end, new_bytes = address + _page_align(old_length), _page_align(new_length)
        move = None
        try:
            start = self.mms[mm_id].mremap(address, old_length, new_length, flags, new_address=new_address)
            if start != address:
                move = Move(address, start, min(old_end - address, new_bytes))
                self.zap(mm_id, start, start + new_bytes)
                self.move(mm_id, move)
            return start
        finally:
            self._note_vmas(mm_id, "mremap", move)
            self._zap_unmapped(mm_id, address, old_end)
            if flags & MREMAP_FIXED:
                self._zap_unmapped(mm_id, new_address, new_address + new_bytes)

    def set_brk(self, mm_id: int, brk: int) -> int:
        """Move the end of the heap and return it."""
        old = self.mms[mm_id].brk
        with self._changing(mm_id, "brk"):
            new = self.mms[mm_id].set_brk(brk)
        self.zap(mm_id, _page_align(new), _page_align(old))
        return new

    def fork(self, mm_id: int) -> int:
        """Fork a process and return the child's id; pages of VMAs with an anon_vma are shared, read-only."""
        child = self.mms[mm_id].fork()
        child_id = self.add(child)
        for vma in self.mms[mm_id]:
            copy = child.vma_lookup(vma.start)
            # A fault finds the page of a file again, and zeros where nothing was written: no need to copy.
            if copy is not None and copy.anon_vma is not None:
                self._copy_entries(mm_id, vma, child_id, copy)
        return child_id

    def exit(self, mm_id: int) -> None:
        """End a process: its entries, VMAs and address space go."""
        self.zap(mm_id, 0, 1 << 64)
        with self._changing(mm_id, "exit"):
            self.mms[mm_id].exit()
        del self.mms[mm_id], self.tables[mm_id], self._areas[mm_id]

    def validate(self) -> None:
        """Check frames, page tables, VMAs and the object reverse map against one another.

        Raises
        ------
        InvariantError
            See `kernelmodel.fault.check.validate`.
        """
        validate(self, self.mms, self.owner)

    def _vma_at(self, mm_id: int, address: int) -> Vma:
        """Return the VMA for a fault at `address`; a stack grows down to it (``lock_mm_and_find_vma``)."""
        mm = self.mms[mm_id]
        vma = mm.find_vma(address)
        if vma is None:
            raise SyscallError("EFAULT", f"nothing is mapped at {address:#x} or above")
        if address < vma.start:
            with self._changing(mm_id, "expand_stack"):
                expand_downwards(mm.mm, vma, address)
        return vma

    def _no_page_read(self, mm_id: int, vma: Vma, vpn: int) -> Pte:
        """Map what is read at a page without entry (``do_anonymous_page``, ``do_read_fault``)."""
        if vma.mapping is None:
            return self.map_zero(mm_id, vpn)
        frame = self.page_cache(vma.mapping, vma.pgoff_at(vpn << PAGE_SHIFT))
        return self.map(mm_id, vma, vpn, frame, writable=False)

    def _share(self, mm_id: int, vma: Vma, vpn: int, pte: Pte | None) -> Pte:
        """Let a shared page be written (``do_shared_fault``, ``wp_page_shared``)."""
        if pte is not None:
            pte.writable = True
            return pte
        assert vma.mapping is not None
        frame = self.page_cache(vma.mapping, vma.pgoff_at(vpn << PAGE_SHIFT))
        return self.map(mm_id, vma, vpn, frame, writable=True)

    def _break_cow(self, mm_id: int, vma: Vma, vpn: int, pte: Pte | None) -> Pte:
        """Let a private page be written, in its frame or a copy (``do_wp_page``, ``do_cow_fault``)."""
        assert vma.anon_vma is not None
        old = None if pte is None else self.frames.get(pte.pfn)
        if pte is not None and old is not None and old.is_anon and (old.exclusive or old.mapcount == 1):
            if not old.exclusive:
                # folio_move_anon_rmap: walks need not search parents and siblings any more.
                old.mapping, old.exclusive = vma.anon_vma, True
            pte.writable = True
            return pte
        index = vma.pgoff_at(vpn << PAGE_SHIFT)
        source = self.page_cache(vma.mapping, index) if pte is None and vma.mapping is not None else old
        frame = self.allocate(vma.anon_vma, index)
        frame.exclusive = True
        if source is not None:
            frame.words = dict(source.words)
        if pte is not None:
            self.unmap(mm_id, vpn)
        return self.map(mm_id, vma, vpn, frame, writable=True)

    def _copy_entries(self, mm_id: int, vma: Vma, child_id: int, copy: Vma) -> None:
        """Share the pages of a private VMA with a child (``copy_present_ptes``)."""
        for vpn, pte in self.present(mm_id, vma.start, vma.end):
            pte.writable = False
            frame = self.frames.get(pte.pfn)
            if frame is None:
                self.map_zero(child_id, vpn)
                continue
            frame.exclusive = False
            self.map(child_id, copy, vpn, frame, writable=False)

    def _zap_unmapped(self, mm_id: int, start: int, end: int) -> None:
        """Drop the entries in a range that no VMA covers any more."""
        for vpn, _ in self.present(mm_id, start, end):
            if self.mms[mm_id].vma_lookup(vpn << PAGE_SHIFT) is None:
                self.unmap(mm_id, vpn)

    @contextmanager
    def _changing(self, mm_id: int, cause: str) -> Iterator[None]:
        try:
            yield
        finally:
            self._note_vmas(mm_id, cause)

    def _note_vmas(self, mm_id: int, cause: str, move: Move | None = None) -> None:
        """Compare the VMAs with those last seen, and tell who wants to know."""
        before = self._areas[mm_id]
        after = {vma: Area(vma.start, vma.end, vma.pgoff) for vma in self.mms[mm_id]}
        old = {vma: area for vma, area in before.items() if after.get(vma) != area}
        new = {vma: area for vma, area in after.items() if before.get(vma) != area}
        if not old and not new:
            return
        self._areas[mm_id] = after
        for vma in old.keys() - after.keys():
            del self.owner[vma]
        for vma in new.keys() - before.keys():
            self.owner[vma] = mm_id
        self.clock += 1
        change = VmaChange(self.clock, mm_id, cause, old, new, move)
        for observer in self.vma_observers:
            observer.vmas_changed(change)


def _page_align(nr_bytes: int) -> int:
    return (nr_bytes + PAGE_BYTES - 1) & -PAGE_BYTES
