"""Map memory: where, with which flags, over what was there.

Mirrors: ``mm/mmap.c: do_mmap``; ``mm/vma.c: mmap_region, accountable_mapping``.
Fidelity: file systems take every mapping and add no flags of their own; nothing is mounted noexec; memory
never runs short.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernelmodel.errors import SyscallError
from kernelmodel.mapping import PAGE_SHIFT, Mapping
from kernelmodel.mm.adjust import munmap_range
from kernelmodel.mm.merge import Merge, merge_new_range
from kernelmodel.mm.types import PAGE_BYTES, page_align
from kernelmodel.vma import File, Vma
from kernelmodel.vmflags import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_GROWSDOWN,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_TYPE,
    PROT_WRITE,
    VM_ACCESS_FLAGS,
    VM_ACCOUNT,
    VM_GROWSDOWN,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_NORESERVE,
    VM_SHARED,
    VM_WRITE,
)

if TYPE_CHECKING:
    from kernelmodel.mm.types import Mm


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of mmap(2)."""

    address: int
    length: int
    prot: int
    flags: int
    file: File | None
    pgoff: int


def do_mmap(mm: Mm, request: Request) -> int:
    """Map memory and return where; `AddressSpace.mmap` says how it can fail."""
    start = _place(mm, request)
    end = start + page_align(request.length)
    file, pgoff, flags = request.file, request.pgoff, _vm_flags(request)
    if file is None:
        pgoff = 0 if flags & VM_SHARED else start >> PAGE_SHIFT
    munmap_range(mm, start, end)
    above = mm.vmas.find(start)
    below = above.prev if above is not None else mm.vmas.last
    merge = Merge(start, end, flags, pgoff, file, prev=below, next=above)
    if merge_new_range(mm, merge, next_decides=mm.rules.next_decides) is None:
        if file is None and flags & VM_SHARED:
            file = File(Mapping("/dev/zero"), nr_pages=(end - start) >> PAGE_SHIFT)
        if file is not None and file.backing is not None:
            file = file.backing
        mm.link(Vma(start, end, flags, pgoff, file))
    return start


def _place(mm: Mm, request: Request) -> int:
    if not request.length:
        raise SyscallError("EINVAL", "a mapping of 0 bytes")
    mm.demand_slots(0)
    address, flags, length_bytes = request.address, request.flags, page_align(request.length)
    if flags & MAP_FIXED_NOREPLACE:
        flags |= MAP_FIXED
    if not flags & MAP_FIXED and address:
        address = max(address - address % PAGE_BYTES, page_align(mm.layout.min_address))
    address = mm.get_unmapped_area(address, length_bytes, flags)
    if flags & MAP_FIXED_NOREPLACE:
        there = mm.vmas.find_in(address, address + length_bytes)
        if there is not None:
            raise SyscallError("EEXIST", f"{there!r} is there")
    return address


def _vm_flags(request: Request) -> int:
    kind, file, flags = request.flags & MAP_TYPE, request.file, request.flags
    if kind not in (MAP_PRIVATE, MAP_SHARED) or (file is None) != bool(flags & MAP_ANONYMOUS):
        raise SyscallError("EINVAL", f"flags {flags:#x} do not say what to map")
    vm_flags = request.prot & VM_ACCESS_FLAGS | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
    if flags & MAP_NORESERVE:
        vm_flags |= VM_NORESERVE
    if flags & MAP_GROWSDOWN:
        if kind == MAP_SHARED or file is not None:
            raise SyscallError("EINVAL", "only private anonymous memory grows")
        vm_flags |= VM_GROWSDOWN
    if kind == MAP_SHARED:
        vm_flags |= VM_SHARED | VM_MAYSHARE
        if file is not None and not file.writable:
            if request.prot & PROT_WRITE:
                raise SyscallError("EACCES", "the file was not opened for writing")
            vm_flags &= ~(VM_SHARED | VM_MAYWRITE)
    if vm_flags & (VM_NORESERVE | VM_SHARED | VM_WRITE) == VM_WRITE:
        vm_flags |= VM_ACCOUNT
    return vm_flags
