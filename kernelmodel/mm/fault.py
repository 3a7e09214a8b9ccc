"""What the first write to private memory does to a VMA, and how a stack grows.

Mirrors: ``mm/memory.c: vmf_anon_prepare``; ``mm/vma.c: find_mergeable_anon_vma, anon_vma_compatible,
expand_downwards``; ``mm/mmap_lock.c: lock_mm_and_find_vma``.
Fidelity: no pages and no page tables, only what a fault leaves in the VMA; memory never runs short; nothing
grows upwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernelmodel.anon_vma import anon_vma_prepare
from kernelmodel.errors import SyscallError
from kernelmodel.mapping import PAGE_SHIFT
from kernelmodel.mm.adjust import set_range
from kernelmodel.mm.types import PAGE_BYTES
from kernelmodel.vmflags import VM_ACCESS_FLAGS, VM_GROWSDOWN, VM_SOFTDIRTY, VM_WRITE

if TYPE_CHECKING:
    from kernelmodel.anon_vma import AnonVma
    from kernelmodel.mm.types import Mm
    from kernelmodel.vma import Vma


def write_fault(mm: Mm, address: int) -> Vma:
    """Take a write fault at `address` and return its VMA; `AddressSpace.touch` says how it can fail."""
    vma = mm.vmas.find(address)
    if vma is None:
        raise SyscallError("EFAULT", f"nothing is mapped at {address:#x} or above")
    if vma.start > address:
        expand_downwards(mm, vma, address)
    if not vma.flags & VM_WRITE:
        raise SyscallError("EFAULT", f"{vma!r} is not writable")
    if not vma.is_writable_shared:
        prepare(vma)
    if vma.file is not None and not vma.file.holds(vma.pgoff_at(address)):
        raise SyscallError("EFAULT", f"{address:#x} lies behind the end of the file in {vma!r}")
    return vma


def prepare(vma: Vma) -> None:
    """Give `vma` an anon_vma if it has none, a neighbour's if the two might merge again later."""
    if vma.anon_vma is None:
        anon_vma_prepare(vma, _find_mergeable_anon_vma(vma))


def expand_downwards(mm: Mm, vma: Vma, address: int) -> None:
    """Let the stack `vma` begin with the page of `address`, which lies below it.

    Raises
    ------
    SyscallError
        EFAULT: it does not grow, or not so far: the guard gap above the neighbour, the limit of the
        stack, the lowest address. It has its anon_vma all the same when only the limit is in the way.
    """
    address -= address % PAGE_BYTES
    if not vma.flags & VM_GROWSDOWN or address < mm.layout.min_address:
        raise SyscallError("EFAULT", f"{vma!r} does not grow down to {address:#x}")
    below = vma.prev
    if (
        below is not None
        and not below.flags & VM_GROWSDOWN
        and below.flags & VM_ACCESS_FLAGS
        and address - below.end < mm.layout.guard_gap_bytes
    ):
        raise SyscallError("EFAULT", f"{address:#x} is within the guard gap above {below!r}")
    prepare(vma)
    nr_pages = (vma.start - address) >> PAGE_SHIFT
    if nr_pages > vma.pgoff or vma.end - address > mm.layout.stack_limit_bytes:
        raise SyscallError("EFAULT", f"{vma!r} may not become {vma.end - address:#x} bytes")
    set_range(mm, vma, address, vma.end, vma.pgoff - nr_pages)


def _find_mergeable_anon_vma(vma: Vma) -> AnonVma | None:
    above, below = vma.next, vma.prev
    if above is not None and len(above.anon_vma_chain) == 1 and _compatible(vma, above):
        return above.anon_vma
    if below is not None and len(below.anon_vma_chain) == 1 and _compatible(below, vma):
        return below.anon_vma
    return None


def _compatible(below: Vma, above: Vma) -> bool:
    """Tell whether two VMAs differ at most in what mprotect can change (``anon_vma_compatible``)."""
    return (
        below.end == above.start
        and below.file is above.file
        and not (below.flags ^ above.flags) & ~(VM_ACCESS_FLAGS | VM_SOFTDIRTY)
        and below.pgoff_at(above.start) == above.pgoff
    )
