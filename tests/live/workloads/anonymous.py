"""Anonymous memory: zero pages, one page mapped twice, half a huge page, guards, copies on write."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import look
from lab.workloads.memory import ANON, DONTNEED, HUGEPAGE, LIBC, NOHUGEPAGE, PAGE, SHARED, Area, failed
from tests.live.workloads import witness
from tests.live.workloads.bare import Keep, bare, spawn
from tests.live.workloads.knobs import KSM, knob
from tests.live.workloads.made import Expected, Made

if TYPE_CHECKING:
    from tests.live.workloads.made import Holding

NR_PAGES: Final = 24
NR_HUGE: Final = 512
"""Pages of a huge page."""

GUARD_INSTALL, MREMAP, MAYMOVE = 102, 25, 1
NR_TRIES: Final = 50
THP: Final = "/sys/kernel/mm/transparent_hugepage"


def small(nr_pages: int) -> Area:
    """Return an area that gets no huge pages."""
    area = Area(nr_pages)
    area.advise(NOHUGEPAGE)
    return area


@contextmanager
def zero_page(control: bool) -> Holding:
    """Read memory that was never written; the control writes it."""

    def work() -> Keep:
        area = small(NR_PAGES)
        if control:
            area.stamp(1)
        else:
            area.read_each()
        return Keep([area], facts={"start": area.start})

    with bare(work) as (one,):
        pfns = witness.frames(one.pid, one.facts["start"], NR_PAGES)
        zeros = [bool(word & witness.ZERO) for word in witness.words("kpageflags", pfns)]
        look.expect_equal("zero pages", zeros, [not control] * NR_PAGES)
        yield Made([one.pid], Expected(frames=len(set(pfns)), processes=1, least=("processes",)))


@contextmanager
def huge_zero_page(control: bool) -> Holding:
    """Read a huge page that was never written; the control writes it."""
    if look.text(f"{THP}/use_zero_page").strip() != "1":
        raise UnavailableError(f"{THP}/use_zero_page is 0")

    def work() -> Keep:
        area = _huge()
        if control:
            area.write(0, b"1")
        else:
            area.read_each()
        return Keep([area], facts={"start": area.start})

    with bare(work) as (one,):
        pfns = witness.frames(one.pid, one.facts["start"], NR_HUGE)
        flags = set(witness.words("kpageflags", pfns))
        if len(set(pfns)) != NR_HUGE or not all(word & witness.THP for word in flags):
            raise UnavailableError("the kernel gave small pages: none that is huge was free")
        look.expect_equal("huge zero page", all(word & witness.ZERO for word in flags), not control)
        yield Made([one.pid], Expected(frames=NR_HUGE, processes=1, least=("processes",)))


def _huge() -> Area:
    """Return an area of one huge page that asks for it."""
    if "[never]" in look.text(f"{THP}/enabled"):
        raise UnavailableError(f"{THP}/enabled is never")
    area = Area(NR_HUGE)
    area.advise(HUGEPAGE)
    return area


@contextmanager
def mapped_twice(control: bool) -> Holding:
    """Map shared memory a second time with mremap of length 0; the control maps as much once."""

    def work() -> Keep:
        area = Area(NR_PAGES, flags=SHARED | ANON)
        area.stamp(1)
        ranges = []
        if not control:
            second = LIBC.syscall(MREMAP, *map(ctypes.c_ulong, (area.start, 0, area.nr_bytes, MAYMOVE)))
            if second == -1:
                raise failed("mremap")
            for page in range(NR_PAGES):
                ctypes.string_at(second + page * PAGE, 1)
            ranges.append((second, area.nr_bytes))
        return Keep([area], ranges, facts={"start": area.start})

    with bare(work) as (one,):
        pfns = witness.frames(one.pid, one.facts["start"], NR_PAGES)
        witness.expect_counts("mapped twice", pfns, NR_PAGES, 1 if control else 2)
        yield Made([one.pid], Expected(frames=NR_PAGES, processes=1))


@contextmanager
def partial_folio(control: bool) -> Holding:
    """Write a huge page and give half of it back, which the folio keeps; the control gives none."""

    def work() -> Keep:
        area = _huge()
        area.write(
            0, b"1"
        )  # stamping reads first: a huge zero page that is written falls to pieces before 6.13
        area.stamp(1)
        whole = witness.frames(os.getpid(), area.start, NR_HUGE)
        if not all(word & witness.THP for word in witness.words("kpageflags", whole)):
            raise UnavailableError("the kernel gave small pages: none that is huge was free")
        area.advise(NOHUGEPAGE)  # khugepaged would make it whole again
        if not control:
            area.advise(DONTNEED, NR_HUGE // 2)
        return Keep([area], facts={"lost": whole[NR_HUGE // 2 :]})

    with bare(work) as (one,):
        lost = one.facts["lost"]
        look.expect_equal("map counts", set(witness.words("kpagecount", lost)), {int(control)})
        flags = witness.words("kpageflags", lost)
        look.expect_equal("half folio", all(word & witness.THP for word in flags), made=True)
        yield Made([one.pid], Expected(frames=NR_HUGE // 2, processes=1))


@contextmanager
def guard_pages(control: bool) -> Holding:
    """Put guards over half of some memory, which is no sharing; the control unmaps nothing."""

    def work() -> Keep:
        area = small(NR_PAGES)
        area.stamp(1)
        if not control:
            try:
                area.advise(GUARD_INSTALL, NR_PAGES // 2)
            except OSError as error:
                raise UnavailableError(f"madvise 102 (Linux 6.13): {error.strerror}") from error
        return Keep([area])

    with bare(work) as (one,):
        nr = NR_PAGES + 1 if control else NR_PAGES // 2 + 1
        look.expect_equal("present pages", witness.present_pages(one.pid), nr)
        yield Made([one.pid], Expected(accounts={one.pid: (nr, nr, nr)}))


@contextmanager
def fork_cow(control: bool) -> Holding:
    """Fork, and write half of what was inherited; the control does not fork."""

    def work() -> Keep:
        area = small(NR_PAGES)
        area.stamp(1)
        if control:
            return Keep([area])

        def child() -> Keep:
            area.stamp(2, NR_PAGES // 2)
            return Keep([area])

        return Keep([area], facts={"child": spawn(child).pid})

    with bare(work) as (one,):
        pids, alone, shared = [one.pid], NR_PAGES + 1, 0
        if not control:
            pids, alone, shared = [one.pid, one.facts["child"]], NR_PAGES // 2 + 1, NR_PAGES // 2
        pages = (alone + shared, alone + shared // 2, alone)
        for pid in pids:
            look.expect_equal("present pages", witness.present_pages(pid), pages[0])
        yield Made(pids, Expected(accounts=dict.fromkeys(pids, pages)))


@contextmanager
def lru_batch() -> Holding:
    """Unmap pages on another CPU than the one whose batch still holds them, and leave that one alone."""

    def work() -> Keep:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            raise UnavailableError("one CPU alone: munmap empties the batch of its own")
        for _ in range(NR_TRIES):
            area = small(NR_PAGES // 3)
            os.sched_setaffinity(0, cpus[-1:])
            area.stamp(1)
            pfns = witness.frames(os.getpid(), area.start, area.nr_pages)
            os.sched_setaffinity(0, cpus[:1])
            area.close()
            # Every page that a fork writes for the first time fills the batch too, and a full one is emptied.
            if all(witness.alive_unmapped(pfns)):
                return Keep(facts={"pfns": pfns})
        raise UnavailableError(f"the batch was emptied before it could be seen, {NR_TRIES} times")

    # ksmd has every CPU empty its batches whenever it begins anew.
    with knob(f"{KSM}/run", 0), bare(work) as (one,):
        pfns = one.facts["pfns"]
        yield Made([one.pid], Expected(frames=len(pfns)), frames=pfns, fleeting=pfns)
