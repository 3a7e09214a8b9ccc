"""Huge pages: transparent ones as the kernel gives them, or pages of the hugetlb pool as it stands."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import look
from lab.workloads.made import LIMIT_BYTES, bounded, need
from lab.workloads.memory import ANON, HUGE, HUGE_2MB, HUGEPAGE, HUGETLB, PAGE, PRIVATE, Area

if TYPE_CHECKING:
    from lab.workloads.made import Made

POOL: Final = "/sys/kernel/mm/hugepages/hugepages-2048kB"


@contextmanager
def huge(*, bytes: int, kind: str = "thp", seed: int = 0, limit: int = LIMIT_BYTES) -> Made:  # noqa: A002 - named as it is written in a spec
    """Write every page of an aligned area of huge pages.

    Parameters
    ----------
    bytes
        Rounded up to whole huge pages of 2 MiB.
    kind
        ``thp``: asked for by madvise, and given if the kernel has them. ``hugetlb``: taken from the pool,
        which is never changed.
    seed, limit
        As for every workload.

    Yields
    ------
    dict
        ``bytes``; ``nr_huge``, what smaps shows, for ``thp`` perhaps fewer than asked for; one area.
    """
    need(bytes >= 1, f"bytes={bytes}: at least 1")
    need(kind in {"thp", "hugetlb"}, f"kind={kind}: thp or hugetlb")
    nr_wanted = -(-bytes // HUGE)
    if kind == "hugetlb":
        need(nr_wanted * HUGE <= limit, f"{nr_wanted} huge pages are more than the limit of {limit} bytes")
        _pool_has(nr_wanted)
        flags = PRIVATE | ANON | HUGETLB | HUGE_2MB
    else:
        bounded(nr_wanted * HUGE, limit)
        flags = PRIVATE | ANON
    nr_pages = nr_wanted * HUGE // PAGE
    with Area(nr_pages, flags=flags) as area:
        if kind == "thp":
            area.advise(HUGEPAGE)
        area.stamp(seed)
        present = look.pages_with(look.entries(area.start, nr_pages), look.PRESENT)
        look.expect("written pages", present, [(0, nr_pages)])
        shown = look.smaps(area.start)
        if kind == "thp":
            nr_huge = shown["AnonHugePages"] * 1024 // HUGE
        else:
            nr_huge = (shown["Private_Hugetlb"] + shown["Shared_Hugetlb"]) * 1024 // HUGE
            look.expect_equal("huge pages", nr_huge, nr_wanted)
        place = {"name": kind, "start": area.start, "nr_pages": nr_pages, "written": [(0, nr_pages)]}
        yield {"bytes": nr_wanted * HUGE, "nr_huge": nr_huge, "areas": [place]}


def _pool_has(nr_wanted: int) -> None:
    """Refuse when the pool is too small: a page of it that is free may be promised to somebody."""
    free, promised = (int(look.text(f"{POOL}/{name}_hugepages")) for name in ("free", "resv"))
    if free - promised < nr_wanted:
        raise UnavailableError(
            f"{nr_wanted} huge pages asked for, and HugePages_Free is {free}, HugePages_Rsvd {promised}"
        )
