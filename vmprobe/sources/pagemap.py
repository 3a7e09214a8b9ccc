"""Populated page-table entries of one address space: PAGEMAP_SCAN to find them, pread to get frames.

Follows `fs/proc/task_mmu.c`: `do_pagemap_scan` and `pagemap_read`. PAGEMAP_SCAN (Linux 6.7) skips empty
page-table levels but returns no frame numbers; pagemap returns frame numbers but walks every hole. A sparse
1 TiB reservation is 2 GiB of pagemap words and 0.4 ms of PAGEMAP_SCAN.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import heapq
import mmap
import os
import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from vmprobe.sources.meter import now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from vmprobe.sources.meter import Meter

PAGEMAP_SCAN: Final = 0xC0606610
"""_IOWR('f', 16, struct pm_scan_arg)"""
PAGE_IS_PRESENT: Final = 1 << 3
PAGE_IS_SWAPPED: Final = 1 << 4
POPULATED: Final = PAGE_IS_PRESENT | PAGE_IS_SWAPPED

VEC_LEN: Final = 512
"""Regions per call. More than the kernel's own batch (PAGEMAP_WALK_SIZE >> PAGE_SHIFT regions, 512 with 4 KiB
pages) makes it return a stale walk_end when it needs several batches and then finishes."""

SLAB_WORDS: Final = 1 << 16
"""Words handed out at a time: 512 KiB, so that reading a huge process does not make us one too."""

GAP_PAGES: Final = 256
"""Holes up to this many entries are read rather than skipped: 2 KiB of zeros cost less than a system call."""

_ARG: Final = struct.Struct("=12Q")
_REGION_WORDS: Final = 3


def _scan(fd: int, start: int, end: int, vec: NDArray[np.uint64]) -> tuple[int, int]:
    """Call the ioctl once; return the number of regions in `vec` and where the walk says it ended."""
    arg = bytearray(
        _ARG.pack(_ARG.size, 0, start, end, 0, vec.ctypes.data, len(vec), 0, 0, 0, POPULATED, POPULATED)
    )
    nr_regions = fcntl.ioctl(fd, PAGEMAP_SCAN, arg)
    return nr_regions, int(_ARG.unpack(arg)[4])


class PagemapScanner:
    """Finds populated runs with PAGEMAP_SCAN, or says that this kernel cannot.

    The ioctl is probed by using it: the first refusal (ENOTTY before 6.7, EINVAL for arguments it does not
    know) turns it off for the rest of the run, and `supported` says so. A saved pagemap is a file with holes,
    which its file system finds; that tells nothing of the ioctl.
    """

    def __init__(self) -> None:
        self.supported: bool | None = None

    def populated(self, fd: int, start: int, end: int, page_size: int) -> list[tuple[int, int]] | None:
        """Return runs of virtual page numbers, half-open and ascending, that hold entries.

        Parameters
        ----------
        fd
            An open pagemap.
        start, end
            Addresses, multiples of the page size.
        page_size
            Bytes.

        Returns
        -------
        list or None
            None when neither the ioctl nor a file system's holes tell; read plain pagemap then.

        Raises
        ------
        OSError
            ESRCH when the address space is gone.
        """
        if os.fstat(fd).st_size:  # of the kernel's own files it is 0
            return _data_runs(fd, start // page_size, end // page_size)
        if self.supported is False:
            return None
        vec = np.empty((VEC_LEN, _REGION_WORDS), np.uint64)
        found: list[tuple[int, int]] = []
        seen_to = start
        while start < end:
            try:
                nr_regions, walk_end = _scan(fd, start, end, vec)
            except OSError as error:
                if error.errno in {errno.ENOTTY, errno.EINVAL, errno.EFAULT, errno.ENOSYS}:
                    # EFAULT: beyond this process's own address space; plain pagemap has no such bound.
                    if error.errno != errno.EFAULT:
                        self.supported = False
                    return None
                raise
            self.supported = True
            for low, high in vec[:nr_regions, :2].tolist():
                # A region below what we have is a repetition after a stale walk_end.
                if high > seen_to:
                    found.append((max(low, seen_to) // page_size, high // page_size))
                    seen_to = high
            if walk_end <= start:
                break
            start = walk_end
        return found


def _data_runs(fd: int, first: int, end: int) -> list[tuple[int, int]] | None:
    """Return the runs from `first` to `end` in which a file of words has data, in steps of its blocks.

    Returns
    -------
    list or None
        None when the file system calls all of it data, as those do that keep no holes.
    """
    found: list[tuple[int, int]] = []
    whole = (first, min(end, -(-os.fstat(fd).st_size // 8)))
    while first < end:
        try:
            begin = os.lseek(fd, first * 8, os.SEEK_DATA)
            behind = os.lseek(fd, begin, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                break
            return None
        low, high = max(begin // 8, first), min(-(-behind // 8), end)
        if low >= end:
            break
        found.append((low, high))
        first = high
    return None if found == [whole] else found


def stale_walk_end() -> bool | None:
    """Try on memory of our own whether one call with room for many regions ends with a stale walk_end.

    Returns
    -------
    bool or None
        None where the ioctl cannot be used.
    """
    page_size = mmap.PAGESIZE
    nr_regions = VEC_LEN * 5 // 4
    with mmap.mmap(-1, 2 * nr_regions * page_size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        with contextlib.suppress(AttributeError, OSError):  # a kernel without huge pages refuses
            area.madvise(mmap.MADV_NOHUGEPAGE)
        for i in range(nr_regions):
            area[2 * i * page_size] = 1
        view = np.frombuffer(area, np.uint8)
        start = view.ctypes.data
        del view  # the map cannot be closed while an array looks into it
        vec = np.empty((2 * nr_regions, _REGION_WORDS), np.uint64)
        try:
            fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
            try:
                found, walk_end = _scan(fd, start, start + len(area), vec)
            finally:
                os.close(fd)
        except OSError:
            return None
    return found == nr_regions and walk_end < int(vec[found - 1, 1])


def coalesced(runs: Iterable[tuple[int, int]], gap_pages: int = GAP_PAGES) -> Iterator[tuple[int, int]]:
    """Join ascending runs whose gap is at most `gap_pages`.

    >>> list(coalesced([(0, 2), (3, 4), (900, 901)], gap_pages=1))
    [(0, 4), (900, 901)]
    """
    low = high = -1
    for first, end in runs:
        if low < 0:
            low, high = first, end
        elif first - high <= gap_pages:
            high = end
        else:
            yield low, high
            low, high = first, end
    if low >= 0:
        yield low, high


def united(*lists: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Merge ascending lists of runs into one that covers them all.

    >>> list(united([(0, 2), (8, 9)], [(1, 3), (5, 6)]))
    [(0, 3), (5, 6), (8, 9)]
    """
    low = high = -1
    for first, end in heapq.merge(*lists):
        if first > high:
            if low >= 0:
                yield low, high
            low, high = first, end
        else:
            high = max(high, end)
    if low >= 0:
        yield low, high


def read_runs(
    fd: int, runs: Iterable[tuple[int, int]], meter: Meter, source: str
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint64]]]:
    """Read pagemap words of `runs` of page numbers, in slabs of at most `SLAB_WORDS`.

    Yields
    ------
    vpns, words
        uint64 arrays of equal length, ascending, holes included as words of 0. The arrays are reused: copy
        what outlives the next step.

    Raises
    ------
    OSError
        What the kernel answered.
    """
    words = np.empty(SLAB_WORDS, np.uint64)
    vpns = np.empty(SLAB_WORDS, np.uint64)
    view = words.data.cast("B")
    filled = 0
    for low, high in runs:
        first = low
        while first < high:
            wanted = min(high - first, SLAB_WORDS - filled)
            begin = now()
            got = os.preadv(fd, [view[filled * 8 : (filled + wanted) * 8]], first * 8) // 8
            meter.add(source, now() - begin, got * 8)
            if got == 0:
                break  # beyond the end of user space, or the address space is gone
            vpns[filled : filled + got] = np.arange(first, first + got, dtype=np.uint64)
            filled += got
            first += got
            if filled == SLAB_WORDS:
                yield vpns, words
                filled = 0
    if filled:
        yield vpns[:filled], words[:filled]
