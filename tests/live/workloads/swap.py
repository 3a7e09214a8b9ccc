"""Memory in swap: slots that two processes have, pages that came back into the cache alone, shared memory."""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import look
from lab.workloads.folders import filesystem, own_folder
from lab.workloads.memory import LIBC, PAGE, PAGEOUT, SHARED, Area, failed
from tests.live.workloads import witness
from tests.live.workloads.anonymous import NR_PAGES, small
from tests.live.workloads.bare import Keep, bare, spawn
from tests.live.workloads.files import scratch
from tests.live.workloads.made import Expected, Made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.live.workloads.made import Holding

NR_SWAP_PAGES: Final = 4096
WILLNEED: Final = 3
OUT_SECONDS: Final = 30.0


@contextmanager
def swap_space() -> Iterator[None]:
    """See to a swap area: what is on already, or a file of 16 MiB that is gone at the end.

    Raises
    ------
    UnavailableError
        Nothing is on, and no file can be.
    """
    if look.text("/proc/swaps").splitlines()[1:]:
        yield
        return
    if filesystem(scratch()) not in {"ext2", "ext3", "ext4", "xfs"}:
        raise UnavailableError(f"no swap area is on, and {scratch()} is no place for a swap file")
    with own_folder(scratch(), "swap") as folder:
        path = f"{folder}/area"
        # A version, the last page, no bad pages; the signature ends the first page.
        header = bytes(1024) + struct.pack("=3I", 1, NR_SWAP_PAGES - 1, 0)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(header.ljust(PAGE - 10, b"\0") + b"SWAPSPACE2")
            file.write(bytes((NR_SWAP_PAGES - 1) * PAGE))
            file.flush()
            os.fsync(file.fileno())
        if LIBC.swapon(path.encode(), 0):
            raise UnavailableError(str(failed("swapon")))
        try:
            yield
        finally:
            if LIBC.swapoff(path.encode()):
                raise failed("swapoff")


def _page_out(area: Area, gone: Callable[[], bool]) -> None:
    """Ask until every page is out: one that was just isolated by somebody else is passed over."""
    witness.wait(gone, f"{area.nr_pages} pages to swap", OUT_SECONDS, lambda: area.advise(PAGEOUT))


def _swapped_out(pid: int | str, start: int) -> bool:
    """Whether all entries of an area are swap entries."""
    words = look.entries(start, NR_PAGES, pid)
    return look.pages_with(words, look.PRESENT | look.SWAP, look.SWAP) == [(0, NR_PAGES)]


def _out() -> Area:
    """Return an area whose pages are all in swap."""
    area = small(NR_PAGES)
    area.stamp(1)
    _page_out(area, lambda: _swapped_out("self", area.start))
    return area


@contextmanager
def swap_slot(control: bool) -> Holding:
    """Fork with memory in swap; the control does not fork."""

    def work() -> Keep:
        area = _out()
        child = None if control else spawn(lambda: Keep([area])).pid
        return Keep([area], facts={"child": child, "start": area.start})

    with ExitStack() as stack:
        stack.enter_context(swap_space())
        (one,) = stack.enter_context(bare(work))
        pids = [one.pid] if control else [one.pid, one.facts["child"]]
        slots = [look.entries(one.facts["start"], NR_PAGES, pid) for pid in pids]
        look.expect_equal("slots of both", slots, slots[:1] * len(pids))
        look.expect_equal("in swap", _swapped_out(one.pid, one.facts["start"]), made=True)
        yield Made(pids, Expected(processes=2, entries=NR_PAGES))


@contextmanager
def swap_cache() -> Holding:
    """Have memory in swap read ahead: it is in the cache, and no page table says so."""

    def work() -> Keep:
        area = _out()
        witness.wait(
            lambda: _nr_in_core(area) >= NR_PAGES,
            f"{NR_PAGES} pages read ahead",
            OUT_SECONDS,
            lambda: area.advise(WILLNEED),
        )
        return Keep([area], facts={"start": area.start})

    with ExitStack() as stack:
        stack.enter_context(swap_space())
        (one,) = stack.enter_context(bare(work))
        look.expect_equal("in swap", _swapped_out(one.pid, one.facts["start"]), made=True)
        yield Made([one.pid], Expected(frames=NR_PAGES))


def _nr_in_core(area: Area) -> int:
    """Return how many pages of an area mincore finds in memory; for a swap entry that is the swap cache."""
    marks = ctypes.create_string_buffer(area.nr_pages)
    if LIBC.mincore(area.start, area.nr_bytes, marks):
        raise failed("mincore")
    return sum(mark & 1 for mark in marks.raw[: area.nr_pages])


@contextmanager
def shmem_swapped(control: bool) -> Holding:
    """Have shared memory paged out: nothing is left in the page table; the control does not."""

    def work() -> Keep:
        fd = os.memfd_create("paged out")
        os.truncate(fd, NR_PAGES * PAGE)
        area = Area(NR_PAGES, flags=SHARED, fd=fd)
        area.stamp(1)
        if not control:
            _page_out(area, lambda: look.smaps(area.start)["Swap"] * 1024 == area.nr_bytes)
            left = [word & (look.PRESENT | look.SWAP) for word in look.entries(area.start, NR_PAGES)]
            look.expect_equal("entries that lead anywhere", any(left), made=False)
        return Keep([area])

    with ExitStack() as stack:
        stack.enter_context(swap_space())
        (one,) = stack.enter_context(bare(work))
        yield Made([one.pid], Expected(processes=1, bytes=NR_PAGES * PAGE))
