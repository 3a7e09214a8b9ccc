"""Huge pages with shared page tables, and pages that KSM merges."""

from __future__ import annotations

import ctypes
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import look
from lab.workloads.memory import FIXED, HUGE, MERGEABLE, NORESERVE, PAGE, READ, SHARED, WRITE, mmap
from tests.live.workloads import witness
from tests.live.workloads.anonymous import NR_PAGES, small
from tests.live.workloads.bare import Keep, bare
from tests.live.workloads.knobs import KSM, knob
from tests.live.workloads.made import Expected, Made

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.live.workloads.made import Holding

POOL: Final = "/sys/kernel/mm/hugepages/hugepages-2048kB"
MFD_HUGETLB: Final = 4
SLOT: Final = 1 << 30
"""What one page of middle page-table entries maps, and what a VMA must cover all of to share it."""

PLACE: Final = 1 << 44
NR_HUGE: Final = 2
MERGE_SECONDS: Final = 60.0


@contextmanager
def pmd_sharing(control: bool) -> Holding:
    """Map a whole slot of a file of huge pages in two processes; the control maps a page less of it."""
    with ExitStack() as stack:
        _pool_has(NR_HUGE, stack)

        def work(fd: int) -> Keep:
            nr_bytes = SLOT - (HUGE if control else 0)
            flags = SHARED | FIXED | NORESERVE
            start = mmap(PLACE, nr_bytes, prot=READ | WRITE, flags=flags, fd=fd)
            for page in range(NR_HUGE):
                ctypes.memset(start + page * HUGE, 1, 1)
            return Keep(ranges=[(start, nr_bytes)])

        try:
            fd = os.memfd_create("huge", MFD_HUGETLB)
        except OSError as error:
            raise UnavailableError(f"memfd of huge pages: {error.strerror}") from error
        stack.callback(os.close, fd)
        os.truncate(fd, SLOT)
        pair = stack.enter_context(bare(*[lambda: work(fd)] * 2))
        nr_frames = NR_HUGE * HUGE // PAGE
        for one in pair:
            pfns = witness.frames(one.pid, PLACE, nr_frames)
            heads = pfns[:: HUGE // PAGE]
            look.expect_equal("frames", len(set(pfns)), nr_frames)
            shared = set(witness.words("kpagecount", heads)) == {1}
            if not control and not shared:
                raise UnavailableError("this kernel shares no page tables of huge pages")
            look.expect_equal("map counts of one", shared, not control)
        yield Made([one.pid for one in pair], Expected(frames=nr_frames, processes=2))


def _pool_has(nr_wanted: int, stack: ExitStack) -> None:
    """See to so many free huge pages; what is added to the pool is taken away at the end."""
    free, promised, nr = (int(look.text(f"{POOL}/{name}_hugepages")) for name in ("free", "resv", "nr"))
    if free - promised >= nr_wanted:
        return
    lacking = nr_wanted - (free - promised)
    stack.enter_context(knob(f"{POOL}/nr_hugepages", nr + lacking))
    if int(look.text(f"{POOL}/nr_hugepages")) < nr + lacking:
        raise UnavailableError(f"the pool of huge pages cannot grow by {lacking}: memory is fragmented")


def _running(stack: ExitStack) -> None:
    """Have KSM run, fast enough."""
    stack.enter_context(knob(f"{KSM}/sleep_millisecs", 10))
    stack.enter_context(knob(f"{KSM}/pages_to_scan", 2000))
    stack.enter_context(knob(f"{KSM}/run", 1))


def _mergeable(content: Callable[[int], int]) -> Keep:
    """Write a number into each page and let KSM merge them."""
    area = small(NR_PAGES)
    for page in range(NR_PAGES):
        area.write(page, content(page).to_bytes(8, "little"))
    area.advise(MERGEABLE)
    return Keep([area], facts={"start": area.start})


@contextmanager
def ksm(control: bool) -> Holding:
    """Write the same pages in two processes, for KSM to merge; those of the control differ."""
    with ExitStack() as stack:
        _running(stack)
        works = [lambda i=i: _mergeable(lambda page: _stamp(i if control else 2, page)) for i in range(2)]
        pair = stack.enter_context(bare(*works))

        def pages(one: int) -> list[int]:
            return witness.frames(pair[one].pid, pair[one].facts["start"], NR_PAGES)

        if not control:
            witness.wait(lambda: pages(0) == pages(1), "merged by ksmd, in two passes", MERGE_SECONDS)
            witness.expect_counts("merged", pages(0), NR_PAGES, 2)
        yield Made([one.pid for one in pair], Expected(frames=NR_PAGES, processes=2))


def _stamp(who: int, page: int) -> int:
    return who << 48 | os.getppid() << 16 | page + 1


@contextmanager
def ksm_zero(control: bool) -> Holding:
    """Write zeros, for KSM to put the zero page in their place; the control writes something else."""
    with ExitStack() as stack:
        stack.enter_context(knob(f"{KSM}/use_zero_pages", 1))
        _running(stack)
        (one,) = stack.enter_context(bare(lambda: _mergeable(lambda page: _stamp(7, page) if control else 0)))
        if not control:

            def merged() -> bool:
                pfns = witness.frames(one.pid, one.facts["start"], NR_PAGES)
                return all(word & witness.ZERO for word in witness.words("kpageflags", pfns))

            witness.wait(merged, "zero pages from ksmd, in two passes", MERGE_SECONDS)
        yield Made([one.pid], Expected(frames=1, processes=1, least=("processes",)))
