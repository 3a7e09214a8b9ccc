"""One virtual memory area, and the open file behind it.

Mirrors: ``include/linux/mm_types.h: struct vm_area_struct``, ``include/linux/fs.h: struct file``.
Fidelity: no NUMA policy, no userfaultfd, no ``vm_ops``, no locks; neighbours are linked as before 6.1,
when the maple tree made the list superfluous.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernelmodel.mapping import PAGE_SHIFT
from kernelmodel.vmflags import VM_SHARED, perms

if TYPE_CHECKING:
    from kernelmodel.anon_vma import AnonVma, AnonVmaChain
    from kernelmodel.mapping import Mapping


@dataclass(eq=False, slots=True)
class File:
    """An open file (struct file). Two opens of one file are two of these, and their VMAs never merge.

    Parameters
    ----------
    mapping
        The file's pages and who maps them (``f_mapping``).
    writable
        Opened for writing; if not, a shared mapping can never be made writable.
    nr_pages
        Size of the file; a fault behind it is a bus error. None is a file without end.
    backing
        The file that a stacking file system (overlayfs) puts into the VMA instead. A new mapping asks its
        neighbours for the file that was opened, they have the other, and so they never become one VMA.
    """

    mapping: Mapping
    writable: bool = True
    nr_pages: int | None = None
    backing: File | None = None

    def holds(self, pgoff: int) -> bool:
        """Tell whether the file has a page at `pgoff`."""
        return self.nr_pages is None or pgoff < self.nr_pages


@dataclass(eq=False, slots=True)
class Vma:
    """A range of addresses that are mapped alike.

    Parameters
    ----------
    start, end
        Bytes, page aligned; `end` open.
    flags
        VM_* of `kernelmodel.vmflags`.
    pgoff
        Page offset of `start` in the file; for anonymous memory the address it had before its first write
        fault, in pages, so that pages keep their names wherever mremap carries them.
    file
        What is mapped; None for private anonymous memory.
    name
        The label set with PR_SET_VMA_ANON_NAME; VMAs with different ones stay apart.

    Attributes
    ----------
    anon_vma, anon_vma_chain
        The object reverse map, see `kernelmodel.anon_vma`.
    prev, next
        Neighbours in the address space.
    gap_bytes
        Free bytes below, down to the neighbour and without the stack guard gap; kept by the tree of VMAs.
    """

    start: int
    end: int
    flags: int
    pgoff: int
    file: File | None = None
    name: str = ""
    anon_vma: AnonVma | None = None
    anon_vma_chain: list[AnonVmaChain] = field(default_factory=list)
    prev: Vma | None = None
    next: Vma | None = None
    gap_bytes: int = 0

    def __repr__(self) -> str:  # type: ignore[explicit-override]
        pages = f"pgoff {self.pgoff:#x}" + (f" of {self.mapping.name}" if self.mapping else "")
        return f"<Vma {self.start:x}-{self.end:x} {perms(self.flags)} {pages}>"

    @property
    def mapping(self) -> Mapping | None:
        """The pages of the file, None for private anonymous memory."""
        return self.file.mapping if self.file else None

    @property
    def nr_pages(self) -> int:
        """Pages from `start` to `end`."""
        return (self.end - self.start) >> PAGE_SHIFT

    @property
    def is_fork_child(self) -> bool:
        """Whether it may hold pages that a parent process faulted: its chain has more than its own."""
        return self.anon_vma is not None and len(self.anon_vma_chain) != 1

    @property
    def is_writable_shared(self) -> bool:
        """Whether writes go to the file and not to anonymous pages."""
        return bool(self.flags & VM_SHARED)

    def pgoff_at(self, address: int) -> int:
        """Return the page offset of `address`, inside the VMA or beyond it."""
        return self.pgoff + ((address - self.start) >> PAGE_SHIFT)

    def copy(self) -> Vma:
        """Return a VMA like this one, with no links yet (``vm_area_dup``)."""
        return Vma(self.start, self.end, self.flags, self.pgoff, self.file, self.name, self.anon_vma)
