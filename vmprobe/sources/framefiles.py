"""/proc/kpageflags, kpagecount and kpagecgroup: one 64-bit word per page frame, read in place.

Follows `fs/proc/page.c`. Offsets are pfn * 8; a read at or behind the last section's end returns nothing, one
that crosses it is short. The kernel takes no lock and spends about 50 ns a frame, so two threads that read
different parts take half the time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from vmprobe.errors import FormatError
from vmprobe.sources.meter import now

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vmprobe.sources.procfs import Tree


class FrameFile:
    """One of the three files, open; use as a context manager.

    Raises
    ------
    OSError
        EACCES without the privilege, ENOENT on a kernel built without it.
    """

    def __init__(self, proc: Tree, name: str) -> None:
        self.name = name
        self._path = proc.path(name)
        self._meter = proc.meter
        self._fd = proc.open(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def read_into(self, out: NDArray[np.uint64], pfn: int, source: str | None = None) -> int:
        """Fill `out` with the words of frames from `pfn` on; return how many there were.

        Fewer than `len(out)` means that the file ends there.

        Raises
        ------
        OSError
            What the kernel answered.
        FormatError
            The file ends in the middle of a word, which only a damaged copy does.
        """
        view = out.data.cast("B")
        filled = 0
        begin = now()
        nr_reads = 0
        while filled < len(view):
            got = os.preadv(self._fd, [view[filled:]], pfn * 8 + filled)
            nr_reads += 1
            if got == 0:
                break
            filled += got
        self._meter.add(source or self.name, now() - begin, filled, nr_reads)
        if filled % 8:
            raise FormatError(self._path, None, f"{filled} bytes", "ends in the middle of a word")
        return filled // 8

    def end_pfn(self, at_most: int) -> int:
        """Return the first frame number at which the file has ended, by bisection up to `at_most`."""
        low, high = 0, at_most
        while low < high:
            middle = (low + high) // 2
            if os.pread(self._fd, 8, middle * 8):
                low = middle + 1
            else:
                high = middle
        return low
