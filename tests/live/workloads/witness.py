"""What the kernel shows of the frames that a workload made: the witness that the report is not."""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING

from lab.workloads import look
from lab.workloads.made import DisagreesError
from lab.workloads.memory import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ANON, THP, ZERO = 1 << 12, 1 << 22, 1 << 24


def frames(pid: int, start: int, nr_pages: int) -> list[int]:
    """Return the frames that the present entries of a range hold, in the order of addresses."""
    words = look.entries(start, nr_pages, pid)
    return [word & look.FRAME for word in words if word & look.PRESENT]


def words(name: str, pfns: Iterable[int]) -> list[int]:
    """Return the words of ``/proc/kpageflags`` or ``/proc/kpagecount`` for some frames."""
    fd = os.open(f"/proc/{name}", os.O_RDONLY)
    try:
        return [struct.unpack("=Q", os.pread(fd, 8, pfn * 8))[0] for pfn in pfns]
    finally:
        os.close(fd)


def expect_counts(what: str, pfns: list[int], nr_frames: int, count: int) -> None:
    """Check how many distinct frames there are, and that each is mapped so many times.

    Raises
    ------
    DisagreesError
        The kernel shows something else.
    """
    look.expect_equal(f"{what}: frames", len(set(pfns)), nr_frames)
    look.expect_equal(f"{what}: map counts", set(words("kpagecount", set(pfns))), {count})


def alive_unmapped(pfns: list[int]) -> list[bool]:
    """Return for each frame whether it is still an anonymous page, which nothing maps."""
    flags, counts = words("kpageflags", pfns), words("kpagecount", pfns)
    return [bool(word & ANON) and not nr for word, nr in zip(flags, counts, strict=True)]


def wait(
    done: Callable[[], bool], what: str, seconds: float, again: Callable[[], None] = lambda: None
) -> None:
    """Wait until the kernel has done something, and ask `again` for it as long as it has not.

    Raises
    ------
    DisagreesError
        It did not in time.
    """
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise DisagreesError(f"{what}: not in {seconds:g} s")
        again()
        time.sleep(0.05)


def spans(pid: int) -> list[tuple[int, int]]:
    """Return the address and the bytes of each VMA of a process; [vsyscall] is in every list and is none."""
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
        ends = [line.split()[0].split("-") for line in file if "[vsyscall]" not in line]
    return [(int(low, 16), int(high, 16) - int(low, 16)) for low, high in ends]


def present_pages(pid: int) -> int:
    """Return how many pages of a bare process are present, as pagemap shows them."""
    return sum(len(frames(pid, start, nr_bytes // PAGE)) for start, nr_bytes in spans(pid))
