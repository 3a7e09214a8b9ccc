"""kcmp(2): whether two processes share one address space.

Follows `kernel/kcmp.c`. The answer also orders unequal address spaces (by an obfuscated pointer), so sharers
among n processes are found in n log n calls.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
from typing import Final

KCMP_VM: Final = 1

SYSCALL_NUMBERS: Final = {
    "x86_64": 312,
    "aarch64": 272,
    "riscv64": 272,
    "ppc64le": 354,
    "s390x": 343,
    "i686": 349,
    "armv7l": 378,
}
"""The number of kcmp per machine; a machine that is not here answers as a kernel without it."""


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def compare_mm(pid1: int, pid2: int) -> int:
    """Order the address spaces of two processes: 0 equal, negative or positive otherwise.

    Raises
    ------
    OSError
        ESRCH when one is gone, EPERM without ptrace access to both, ENOSYS without CONFIG_KCMP.
    """
    number = SYSCALL_NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    result = _libc().syscall(ctypes.c_long(number), pid1, pid2, KCMP_VM, 0, 0)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return (0, -1, 1, 1)[result]
