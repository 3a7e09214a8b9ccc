"""Flags of a VMA, and the arguments of the system calls that set them, as numbers.

Mirrors: ``include/linux/mm.h`` (VM_*), ``include/uapi/linux/mman.h`` and ``include/uapi/asm-generic/mman*.h``
(PROT_*, MAP_*, MREMAP_*, MADV_*), ``fs/proc/task_mmu.c: show_smap_vma_flags``.
Fidelity: the values of x86-64; the flags that this model sets or looks at, and no others.
"""

from __future__ import annotations

from typing import Final

VM_READ: Final = 0x1
VM_WRITE: Final = 0x2
VM_EXEC: Final = 0x4
VM_SHARED: Final = 0x8
"""Writes reach the file: shared, and the file was opened for writing."""
VM_MAYREAD: Final = 0x10
VM_MAYWRITE: Final = 0x20
VM_MAYEXEC: Final = 0x40
VM_MAYSHARE: Final = 0x80
"""MAP_SHARED was asked for; the ``s`` of /proc/PID/maps."""
VM_GROWSDOWN: Final = 0x100
VM_DONTCOPY: Final = 0x2_0000
VM_DONTEXPAND: Final = 0x4_0000
VM_ACCOUNT: Final = 0x10_0000
"""Counted in Committed_AS. No tool shows it but smaps, and yet it keeps VMAs apart."""
VM_NORESERVE: Final = 0x20_0000
VM_WIPEONFORK: Final = 0x200_0000
VM_SOFTDIRTY: Final = 0x800_0000

VM_ACCESS_FLAGS: Final = VM_READ | VM_WRITE | VM_EXEC
"""What mprotect may change."""
VM_DATA_DEFAULT_FLAGS: Final = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
"""The heap (with VM_ACCOUNT), unless the personality makes readable memory executable."""

PROT_NONE: Final = 0
PROT_READ: Final = 1
PROT_WRITE: Final = 2
PROT_EXEC: Final = 4

MAP_SHARED: Final = 0x1
MAP_PRIVATE: Final = 0x2
MAP_TYPE: Final = 0xF
MAP_FIXED: Final = 0x10
MAP_ANONYMOUS: Final = 0x20
MAP_GROWSDOWN: Final = 0x100
MAP_NORESERVE: Final = 0x4000
MAP_FIXED_NOREPLACE: Final = 0x10_0000

MREMAP_MAYMOVE: Final = 1
MREMAP_FIXED: Final = 2
MREMAP_DONTUNMAP: Final = 4

MADV_DONTFORK: Final = 10
MADV_DOFORK: Final = 11
MADV_WIPEONFORK: Final = 18
MADV_KEEPONFORK: Final = 19

_CODES: Final = (
    (VM_READ, "rd"),
    (VM_WRITE, "wr"),
    (VM_EXEC, "ex"),
    (VM_SHARED, "sh"),
    (VM_MAYREAD, "mr"),
    (VM_MAYWRITE, "mw"),
    (VM_MAYEXEC, "me"),
    (VM_MAYSHARE, "ms"),
    (VM_GROWSDOWN, "gd"),
    (VM_DONTCOPY, "dc"),
    (VM_DONTEXPAND, "de"),
    (VM_ACCOUNT, "ac"),
    (VM_NORESERVE, "nr"),
    (VM_WIPEONFORK, "wf"),
    (VM_SOFTDIRTY, "sd"),
)


def describe(flags: int) -> str:
    """Return `flags` as the VmFlags line of smaps has them.

    >>> describe(VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT)
    'rd wr mr mw me ac'
    """
    return " ".join(code for flag, code in _CODES if flags & flag)


def perms(flags: int) -> str:
    """Return the permissions as /proc/PID/maps has them.

    >>> perms(VM_READ | VM_EXEC), perms(VM_READ | VM_WRITE | VM_MAYSHARE)
    ('r-xp', 'rw-s')
    """
    access = "".join(letter if flags & bit else "-" for bit, letter in ((1, "r"), (2, "w"), (4, "x")))
    return access + ("s" if flags & VM_MAYSHARE else "p")
