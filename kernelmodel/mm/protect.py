"""Change the flags of a range: its permissions, and what fork does with it.

Mirrors: ``mm/mprotect.c: do_mprotect_pkey, mprotect_fixup``; ``mm/madvise.c: madvise_walk_vmas,
madvise_vma_behavior, madvise_update_vma``.
Fidelity: no protection keys, no PROT_GROWSDOWN, no security module; of madvise only what changes VMAs here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernelmodel.errors import SyscallError
from kernelmodel.mm.merge import modify
from kernelmodel.mm.types import PAGE_BYTES
from kernelmodel.vmflags import (
    MADV_DOFORK,
    MADV_DONTFORK,
    MADV_KEEPONFORK,
    MADV_WIPEONFORK,
    VM_ACCESS_FLAGS,
    VM_ACCOUNT,
    VM_DONTCOPY,
    VM_NORESERVE,
    VM_SHARED,
    VM_WIPEONFORK,
    VM_WRITE,
)

if TYPE_CHECKING:
    from kernelmodel.mm.types import Mm
    from kernelmodel.vma import Vma

_FORK_ADVICE: Final = {
    MADV_DONTFORK: (VM_DONTCOPY, 0),
    MADV_DOFORK: (0, VM_DONTCOPY),
    MADV_WIPEONFORK: (VM_WIPEONFORK, 0),
    MADV_KEEPONFORK: (0, VM_WIPEONFORK),
}
"""Flags to set and to clear."""


def mprotect(mm: Mm, start: int, end: int, prot: int) -> None:
    """Change the permissions of a range; `AddressSpace.mprotect` says how it can fail."""
    if start % PAGE_BYTES:
        raise SyscallError("EINVAL", f"{start:#x} is not page aligned")
    vma = mm.vmas.find(start)
    while start < end:
        if vma is None or vma.start > start:
            raise SyscallError("ENOMEM", f"nothing is mapped at {start:#x}")
        flags = vma.flags & ~VM_ACCESS_FLAGS | prot & VM_ACCESS_FLAGS
        if flags & ~(flags >> 4) & VM_ACCESS_FLAGS:
            raise SyscallError("EACCES", f"{vma!r} may not have these permissions")
        if flags != vma.flags:
            vma = modify(mm, vma, start, min(vma.end, end), _accounted(mm, vma, flags))
        start, vma = vma.end, vma.next


def madvise(mm: Mm, start: int, end: int, advice: int) -> None:
    """Say what fork does with a range; `AddressSpace.madvise` says how it can fail."""
    if start % PAGE_BYTES or advice not in _FORK_ADVICE:
        raise SyscallError("EINVAL", f"advice {advice} at {start:#x}")
    set_flag, clear_flag = _FORK_ADVICE[advice]
    hole = False
    vma = mm.vmas.find(start)
    while start < end:
        hole |= vma is None or vma.start > start
        if vma is None or vma.start >= end:
            break
        if advice == MADV_WIPEONFORK and vma.file is not None:
            raise SyscallError("EINVAL", f"{vma!r} cannot be wiped on fork")
        flags = vma.flags & ~clear_flag | set_flag
        if flags != vma.flags:
            vma = modify(mm, vma, max(start, vma.start), min(vma.end, end), flags)
        start, vma = vma.end, vma.next
    if hole:
        raise SyscallError("ENOMEM", "a part of the range is not mapped")


def _accounted(mm: Mm, vma: Vma, flags: int) -> int:
    """Return `flags` with VM_ACCOUNT as mprotect leaves it."""
    if flags & VM_WRITE:
        if not vma.flags & (VM_ACCOUNT | VM_WRITE | VM_SHARED | VM_NORESERVE):
            flags |= VM_ACCOUNT
    elif vma.file is None and vma.anon_vma is None and mm.rules.unfaulted_unaccounted:
        flags &= ~VM_ACCOUNT
    return flags
