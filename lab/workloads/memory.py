"""Memory from the kernel itself: areas with their own VMA, and the few system calls that workloads need.

For x86-64 alone: pages of 4 KiB, huge pages of 2 MiB, its numbers of system calls.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import Self

PAGE: Final = 4096
HUGE: Final = 2 << 20

READ, WRITE = 1, 2
SHARED, PRIVATE, FIXED, ANON, NORESERVE, HUGETLB = 0x1, 0x2, 0x10, 0x20, 0x4000, 0x40000
HUGE_2MB: Final = 21 << 26
DONTNEED, MERGEABLE, HUGEPAGE, NOHUGEPAGE, PAGEOUT = 4, 12, 14, 15, 21
SET_PDEATHSIG, SET_CHILD_SUBREAPER, SET_THP_DISABLE = 1, 36, 41

LIBC: Final = ctypes.CDLL(None, use_errno=True)
_P, _N, _I, _L = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_long
LIBC.mmap.restype = _P
LIBC.mmap.argtypes = [_P, _N, _I, _I, _I, _L]
LIBC.munmap.argtypes = [_P, _N]
LIBC.madvise.argtypes = [_P, _N, _I]
LIBC.mincore.argtypes = [_P, _N, _P]
LIBC.prctl.argtypes = [_I, *[ctypes.c_ulong] * 4]
LIBC.syscall.restype = _L


def failed(call: str) -> OSError:
    """Return the error of the last call."""
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")


def prctl(option: int, value: int) -> None:
    """Set a property of this process.

    Raises
    ------
    OSError
        The kernel refuses.
    """
    if LIBC.prctl(option, value, 0, 0, 0):
        raise failed("prctl")


def fold_rss() -> None:
    """Make the kernel fold the page faults that it counts for this thread alone into statm and status.

    Up to 6.1 a thread keeps up to 64 of them aside (`mm/memory.c: check_sync_rss_stat`), so that statm falls
    short of what is mapped for as long as the thread sleeps. To give
    a page back folds them (`add_mm_rss_vec`).
    """
    for _ in range(2):  # the second time touches nothing new itself
        with Area(1) as area:
            area.write(0, b"1")


def mmap(
    address: int | None, nr_bytes: int, *, prot: int = 0, flags: int, fd: int = -1, offset: int = 0
) -> int:
    """Map memory and return its address.

    Raises
    ------
    OSError
        The kernel refuses.
    """
    found: int | None = LIBC.mmap(address, nr_bytes, prot, flags, fd, offset)
    if found is None or found == ctypes.c_void_p(-1).value:
        raise failed("mmap")
    return found


class Area:
    """Pages with a VMA of their own, freed at the end of a ``with``.

    The first page is the first of a page-table page, and a reserved gap on both sides keeps the kernel from
    merging the VMA with a neighbour, so that smaps has a line for it alone.

    Parameters
    ----------
    nr_pages
        Length.
    prot, flags, fd, offset
        As for mmap(2); private anonymous memory by default.
    """

    def __init__(
        self,
        nr_pages: int,
        *,
        prot: int = READ | WRITE,
        flags: int = PRIVATE | ANON,
        fd: int = -1,
        offset: int = 0,
    ) -> None:
        self.nr_pages = nr_pages
        self.nr_bytes = nr_pages * PAGE
        self._nr_reserved = -(-self.nr_bytes // HUGE) * HUGE + 2 * HUGE
        self._reserved = mmap(None, self._nr_reserved, flags=PRIVATE | ANON | NORESERVE)
        self.start = (self._reserved // HUGE + 1) * HUGE
        try:
            mmap(self.start, self.nr_bytes, prot=prot, flags=flags | FIXED, fd=fd, offset=offset)
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back."""
        if LIBC.munmap(self._reserved, self._nr_reserved):
            raise failed("munmap")

    def advise(self, advice: int, first: int = 0, end: int | None = None) -> None:
        """Advise on a range of pages, all by default.

        Raises
        ------
        OSError
            The kernel refuses.
        """
        nr = (self.nr_pages if end is None else end) - first
        if LIBC.madvise(self.start + first * PAGE, nr * PAGE, advice):
            raise failed(f"madvise {advice}")

    def write(self, page: int, data: bytes) -> None:
        """Write at the start of a page."""
        ctypes.memmove(self.start + page * PAGE, data, len(data))

    def stamp(self, seed: int, first: int = 0, end: int | None = None) -> None:
        """Write a number of its own into each page of a range, in order: no two are alike, none is zero."""
        vpn = self.start // PAGE
        for page in range(first, self.nr_pages if end is None else end):
            ctypes.c_uint64.from_address(self.start + page * PAGE).value = vpn + page ^ seed << 40

    def read_each(self) -> None:
        """Read a byte of each page, in order."""
        for page in range(self.nr_pages):
            ctypes.string_at(self.start + page * PAGE, 1)
