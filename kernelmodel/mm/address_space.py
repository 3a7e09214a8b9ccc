"""An address space: the system calls that change it, and what holds in it after each.

Mirrors: ``mm/mmap.c: dup_mmap, exit_mmap, find_vma``; ``mm/vma.c: insert_vm_struct``; the rest in the modules
that the picture names.
Fidelity: one thread; memory never runs short; no hugetlb, no mlock, no NUMA policy, no protection keys, no
sealing, no security module.

::

    mmap  brk  mremap     mm_mmap  mm_brk  mm_mremap   a new range: does it join its neighbours?   mm_merge
    mprotect  madvise     mm_protect                   a range changes: does one take it over?     mm_merge
    munmap                                             a range goes
    touch                 mm_fault                     the first write; a stack grows

    below all of them     mm_adjust                    bounds, splits and reverse maps change together
                          mm_tree                      which VMA, which gap
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernelmodel.anon_vma import anon_vma_fork
from kernelmodel.errors import SyscallError
from kernelmodel.mm.adjust import munmap_range, unlink
from kernelmodel.mm.brk import set_brk
from kernelmodel.mm.fault import write_fault
from kernelmodel.mm.mmap import Request, do_mmap
from kernelmodel.mm.mremap import Remap, mremap
from kernelmodel.mm.protect import madvise, mprotect
from kernelmodel.mm.types import PAGE_BYTES, Layout, MergeRules, Mm, page_align
from kernelmodel.mm.validate import unmerged_neighbours, validate
from kernelmodel.vmflags import VM_DONTCOPY, VM_WIPEONFORK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelmodel.ordered import MapFactory
    from kernelmodel.vma import File, Vma


class AddressSpace:
    """The VMAs of one process, on any kind of ordered map. All addresses and lengths are bytes.

    Parameters
    ----------
    factory
        Class of the map, as in `kernelmodel.ordered.TREES`.
    layout
        Where heap, stack and mappings go.
    rules
        What this kernel merges.

    Examples
    --------
    >>> from kernelmodel.ordered import RedBlackTree
    >>> from kernelmodel.vmflags import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_NONE, PROT_READ
    >>> mm = AddressSpace(RedBlackTree)
    >>> here = mm.mmap(0x10000, 0x3000, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    >>> mm.mprotect(0x11000, 0x1000, PROT_NONE)
    >>> [f"{vma.start:x}-{vma.end:x}" for vma in mm]
    ['10000-11000', '11000-12000', '12000-13000']
    >>> mm.mprotect(0x11000, 0x1000, PROT_READ)
    >>> list(mm)
    [<Vma 10000-13000 r--p pgoff 0x10>]
    """

    def __init__(
        self, factory: MapFactory, layout: Layout | None = None, rules: MergeRules | None = None
    ) -> None:
        self.mm = Mm(factory, layout or Layout(), rules or MergeRules())

    def __iter__(self) -> Iterator[Vma]:
        return iter(self.mm.vmas)

    def __len__(self) -> int:
        return self.mm.vmas.map_count

    @property
    def brk(self) -> int:
        """First byte above the heap, not aligned."""
        return self.mm.brk

    def find_vma(self, address: int) -> Vma | None:
        """Return the first VMA that ends above `address`, which may lie below it. O(log n)."""
        return self.mm.vmas.find(address)

    def vma_lookup(self, address: int) -> Vma | None:
        """Return the VMA that holds `address`. O(log n)."""
        return self.mm.vmas.lookup(address)

    def insert(self, vma: Vma) -> None:
        """Put a VMA as it is where nothing is mapped, without merging (``insert_vm_struct``).

        Raises
        ------
        SyscallError
            ENOMEM: something is mapped there.
        """
        there = self.mm.vmas.find_in(vma.start, vma.end)
        if there is not None:
            raise SyscallError("ENOMEM", f"{there!r} is in the way of {vma!r}")
        self.mm.link(vma)

    def mmap(
        self, address: int, length: int, prot: int, flags: int, *, file: File | None = None, pgoff: int = 0
    ) -> int:
        """Map memory and return where.

        Parameters
        ----------
        address
            A hint; with MAP_FIXED the place, whatever was there; with MAP_FIXED_NOREPLACE the place or
            an error.
        prot, flags
            PROT_* and MAP_*.
        file, pgoff
            What to map and from which page of it; None for anonymous memory.

        Raises
        ------
        SyscallError
            EINVAL, EACCES, EEXIST, ENOMEM as the kernel has them.
        NoMemoryError
            No gap, or too many VMAs.
        """
        return do_mmap(self.mm, Request(address, length, prot, flags, file, pgoff))

    def munmap(self, address: int, length: int) -> None:
        """Unmap a range, whether or not anything is there.

        Raises
        ------
        SyscallError
            EINVAL: not aligned, empty, or beyond the address space.
        NoMemoryError
            A hole in a VMA would make one VMA too many.
        """
        end = address + page_align(length)
        if address % PAGE_BYTES or end == address or end > self.mm.layout.task_size:
            raise SyscallError("EINVAL", f"cannot unmap {length:#x} bytes at {address:#x}")
        munmap_range(self.mm, address, end)

    def mprotect(self, address: int, length: int, prot: int) -> None:
        """Change the permissions of a range.

        Raises
        ------
        SyscallError
            EINVAL: not aligned. ENOMEM: a hole; what lies before it is changed. EACCES: the file was not
            opened for that; what lies before is changed.
        NoMemoryError
            A split would make one VMA too many.
        """
        mprotect(self.mm, address, address + page_align(length), prot)

    def madvise(self, address: int, length: int, advice: int) -> None:
        """Say what fork does with a range: MADV_DONTFORK, DOFORK, WIPEONFORK, KEEPONFORK.

        Raises
        ------
        SyscallError
            EINVAL: not aligned, other advice, or WIPEONFORK for a file or shared memory. ENOMEM: a hole; what
            lies behind it is changed too.
        """
        madvise(self.mm, address, address + page_align(length), advice)

    def mremap(self, address: int, old_length: int, new_length: int, flags: int, new_address: int = 0) -> int:
        """Grow, shrink, move or duplicate a mapping, and return where it is.

        Parameters
        ----------
        old_length
            0 duplicates a shared mapping.
        flags
            MREMAP_MAYMOVE, MREMAP_FIXED (to `new_address`), MREMAP_DONTUNMAP (`new_address` is a hint).

        Raises
        ------
        SyscallError
            EINVAL, EFAULT, ENOMEM as the kernel has them.
        NoMemoryError
            No gap, or too many VMAs.
        """
        return mremap(self.mm, Remap(address, old_length, new_length, flags, new_address))

    def set_brk(self, brk: int) -> int:
        """Move the end of the heap and return it, or the old one if the kernel would not (``brk(2)``)."""
        return set_brk(self.mm, brk)

    def touch(self, address: int) -> Vma:
        """Write to `address` and return its VMA: private memory gets an anon_vma, a stack grows down to it.

        Raises
        ------
        SyscallError
            EFAULT: nothing is there, it is not writable, the file ends before (a bus error; private
            memory has its anon_vma all the same), or the stack cannot grow so far.
        """
        return write_fault(self.mm, address)

    def fork(self) -> AddressSpace:
        """Return the child's address space (``dup_mmap``); the parent's VMAs only get more links."""
        child = AddressSpace(self.mm.factory, self.mm.layout, self.mm.rules)
        child.mm.brk = self.mm.brk
        for vma in self:
            if vma.flags & VM_DONTCOPY:
                continue
            copy = vma.copy()
            copy.anon_vma = None
            if not vma.flags & VM_WIPEONFORK:
                anon_vma_fork(copy, vma)
            child.mm.link(copy)
        return child

    def exit(self) -> None:
        """Unmap everything (``exit_mmap``)."""
        for vma in list(self):
            unlink(self.mm, vma)

    def unmerged(self) -> list[tuple[Vma, Vma]]:
        """Return neighbours that would merge if either were mapped now.

        Only a system call merges, and only at the bounds of what it changes. So pairs are left where two VMAs
        became alike in another way: a stack grew until it touched the one below, an anon_vma was given up
        (MREMAP_DONTUNMAP).
        """
        return list(unmerged_neighbours(self.mm))

    def validate(self) -> None:
        """Check the VMAs, the gaps between them and the reverse maps that lead to them.

        Raises
        ------
        InvariantError
            See `kernelmodel.mm.validate.validate`.
        """
        validate(self.mm)
