"""What belongs to an address space beside its VMAs: where things go, and by which rules VMAs merge.

Mirrors: ``include/linux/mm_types.h: struct mm_struct``, ``arch/x86/mm/mmap.c: arch_pick_mmap_layout``,
``arch/x86/kernel/sys_x86_64.c: arch_get_unmapped_area, arch_get_unmapped_area_topdown``.
Fidelity: one place for the limits that the kernel takes from sysctls and rlimits; no RLIMIT_AS,
RLIMIT_DATA or RLIMIT_MEMLOCK, no overcommit, no five-level page tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kernelmodel.errors import NoMemoryError, SyscallError
from kernelmodel.mapping import PAGE_SHIFT
from kernelmodel.mm.tree import VmaTree
from kernelmodel.vmflags import MAP_FIXED

if TYPE_CHECKING:
    from kernelmodel.ordered import MapFactory
    from kernelmodel.vma import Vma

PAGE_BYTES: Final = 1 << PAGE_SHIFT


def page_align(nr_bytes: int) -> int:
    """Return `nr_bytes` rounded up to whole pages.

    >>> page_align(1), page_align(8192)
    (4096, 8192)
    """
    return (nr_bytes + PAGE_BYTES - 1) & -PAGE_BYTES


@dataclass(frozen=True)
class MergeRules:
    """Where kernels differ in what becomes one VMA. A kernel is asked by what it does, not by its version.

    The defaults are those of 6.18.y.

    Parameters
    ----------
    faulted_joins_unfaulted
        A VMA that has an anon_vma may join a neighbour that has none (879bca0a2c4f, 6.16). Before, only the
        other way round.
    moved_fork_child_apart
        A VMA inherited by fork stays apart also when mremap carries it beside a neighbour without anon_vma
        (a fix of January 2026 in 6.18.y). From 6.16 until then it joined; before, nothing with one did.
    unfaulted_unaccounted
        Anonymous memory that was never written loses VM_ACCOUNT when it is made read-only (6.7), and then
        equals memory that was mapped read-only.
    next_decides
        A mapping between two VMAs asks the next first, and the previous must then suit that one (up to 6.11).
        Since, the previous one has precedence.
    dontunmap_unaccounted
        What MREMAP_DONTUNMAP leaves behind loses VM_ACCOUNT, and no longer equals its neighbours: in 2025,
        from the rewrite of mremap (6.15) to a fix that 6.18.y has.
    dontunmap_joins_source
        What MREMAP_DONTUNMAP maps right beside its source becomes one VMA with it if never written. Not so
        in 6.1.192 and 6.12.117 (tried in guests; no source at hand says why).
    dontunmap_joins_others
        The same beside its source may join the neighbour on the other side. Not so in 6.1.192.
    mremap_many
        MREMAP_FIXED without change of size moves all VMAs in the range, and a request is checked before the
        destination is unmapped (6.17). Before, one VMA, and a failed move left a hole at its destination.
    """

    faulted_joins_unfaulted: bool = True
    moved_fork_child_apart: bool = True
    unfaulted_unaccounted: bool = True
    next_decides: bool = False
    dontunmap_unaccounted: bool = False
    dontunmap_joins_source: bool = True
    dontunmap_joins_others: bool = True
    mremap_many: bool = True


@dataclass(frozen=True)
class Layout:
    """Bounds of an address space in bytes, set at exec; the defaults are x86-64 without randomisation.

    Parameters
    ----------
    task_size
        First address that is not the process's.
    mmap_base
        Top-down mappings lie below it.
    mmap_legacy_base
        Bottom-up mappings lie above it; also tried where top-down finds nothing.
    top_down
        Whether free addresses are sought below `mmap_base` first.
    min_address
        Nothing is mapped below without MAP_FIXED, and no stack grows there (``vm.mmap_min_addr``).
    start_brk
        First byte of the heap, page aligned.
    guard_gap_bytes
        Kept free below a stack (``stack_guard_gap=``, 256 pages).
    stack_limit_bytes
        Largest size of a VMA that grows down (RLIMIT_STACK).
    max_map_count
        Largest number of VMAs (``vm.max_map_count``).
    """

    task_size: int = 0x7FFF_FFFF_F000
    mmap_base: int = 0x7FFF_F7FF_F000
    mmap_legacy_base: int = 0x2AAA_AAAA_A000
    top_down: bool = True
    min_address: int = 0x1_0000
    start_brk: int = 0x5555_5555_9000
    guard_gap_bytes: int = 256 << PAGE_SHIFT
    stack_limit_bytes: int = 8 << 20
    max_map_count: int = 65530


class Mm:
    """The state that system calls work on (struct mm_struct).

    Attributes
    ----------
    vmas
        The VMAs, in order.
    brk
        First byte above the heap, not aligned.
    """

    def __init__(self, factory: MapFactory, layout: Layout, rules: MergeRules) -> None:
        self.factory = factory
        self.layout = layout
        self.rules = rules
        self.vmas = VmaTree(factory, top_down=layout.top_down, guard_gap_bytes=layout.guard_gap_bytes)
        self.brk = layout.start_brk

    def get_unmapped_area(self, address: int, length_bytes: int, map_flags: int) -> int:
        """Return where a mapping goes: at `address` if it is fixed or free, else into a gap.

        Raises
        ------
        SyscallError
            ENOMEM: longer than the address space, or fixed beyond its end; EINVAL: fixed and not aligned.
        NoMemoryError
            No gap is long enough.
        """
        layout = self.layout
        if length_bytes > layout.task_size:
            raise SyscallError("ENOMEM", f"{length_bytes:#x} bytes are more than an address space")
        if map_flags & MAP_FIXED:
            if address > layout.task_size - length_bytes:
                raise SyscallError("ENOMEM", f"{address:#x} and {length_bytes:#x} bytes reach beyond the end")
            if address % PAGE_BYTES:
                raise SyscallError("EINVAL", f"{address:#x} is not page aligned")
            return address
        if address and self._is_free(address, length_bytes):
            return address
        found = None
        if layout.top_down:
            found = self.vmas.unmapped_area(length_bytes, layout.min_address, layout.mmap_base, top_down=True)
        if found is None:
            low = max(layout.mmap_legacy_base, layout.min_address)
            found = self.vmas.unmapped_area(length_bytes, low, layout.task_size, top_down=False)
        if found is None:
            raise NoMemoryError(f"no gap of {length_bytes:#x} bytes")
        return found

    def demand_slots(self, nr: int) -> None:
        """Raise NoMemoryError unless `nr` more VMAs stay within max_map_count."""
        if self.vmas.map_count + nr > self.layout.max_map_count:
            raise NoMemoryError(f"{self.vmas.map_count} VMAs, at most {self.layout.max_map_count}")

    def link(self, vma: Vma) -> None:
        """Put `vma` into the address space and among those that map its file (``vma_link``)."""
        self.vmas.insert(vma)
        if vma.file is not None:
            vma.file.mapping.insert(vma)

    def _is_free(self, address: int, length_bytes: int) -> bool:
        if address > self.layout.task_size - length_bytes:
            return False
        above = self.vmas.find(address)
        return above is None or address + length_bytes <= self.vmas.start_gap(above)
