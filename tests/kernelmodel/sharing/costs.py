"""Made-up hosts for the accounts: runs that cross holes, share and swap; and the arrays made of them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.memmap import MemMap
from kernelmodel.page_tables import PageTables, VmaTable
from kernelmodel.pageflags import mask
from kernelmodel.sharing.accounting import counted_entries
from kernelmodel.sharing.facts import FrameEntries, SwapRuns
from tests.oracles.sharing_costs import HUGE, RESERVED, ZERO, Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kernelmodel.sharing.runs import Reach

NR_MMS = 6
RANGES = ((4, 24), (30, 40), (40, 48))
"""Two of them touch, and are two all the same."""

WORDS = (mask("ANON"), mask("ANON", "KSM"), mask("LRU"), RESERVED, ZERO, ZERO | mask("THP"), HUGE)


def draw(seed: int) -> Host:
    """Draw a host: few frames and many runs, so that all of them are shared in many ways."""
    random_ = random.Random(seed)
    host = Host({pfn: random_.choice(WORDS) for start, end in RANGES for pfn in range(start, end)})
    vpn = 0
    for _ in range(random_.randrange(25)):
        mm, nr = random_.randrange(NR_MMS), random_.randint(1, 12)
        vpn += random_.randrange(3)
        pages = [(mm, vpn + i) for i in range(nr)]
        kind = random_.choice(("present", "present", "present", "swap", "moving"))
        first = random_.randrange(50)
        if kind == "present":
            host.entries |= {page: first + i for i, page in enumerate(pages)}
            host.pfnmap |= set(pages) if random_.random() < 0.1 else set()
        elif kind == "swap":
            area = random_.randrange(2)
            host.slots |= {page: (area, first + i) for i, page in enumerate(pages)}
        else:
            host.moving |= {page: first + i for i, page in enumerate(pages)}
        vpn += nr
    if random_.random() < 0.8:
        found = host.found()
        extra = (0, 0, 0, 1, 5, -1)
        host.counts = {pfn: max(found[pfn] + random_.choice(extra), 0) for pfn in host.words}
    return host


def frames(host: Host) -> MemMap:
    """Return the frames as arrays."""
    mapcount = None
    if host.counts is not None:
        mapcount = np.array([host.counts[pfn] for pfn in sorted(host.words)], np.uint32)
    words = np.array([host.words[pfn] for pfn in sorted(host.words)], np.uint64)
    return MemMap(np.array(RANGES), words, mapcount, np.zeros(len(words), np.bool_))


def tables(host: Host) -> PageTables:
    """Return the page tables: one VMA for each stretch of pages."""
    runs = joined(
        host.entries,
        lambda page, before: (page in host.pfnmap) == (before in host.pfnmap),
        lambda pfn: (pfn,),
    )
    mm, vpn, nr_pages, pfn = columns(runs, 4)
    pfnmap = np.array([page in host.pfnmap for page in zip(mm.tolist(), vpn.tolist(), strict=True)], np.bool_)
    vmas = VmaTable(mm, vpn, vpn + nr_pages, pfnmap if host.pfnmap else None, np.ones(len(mm), np.bool_))
    return PageTables(np.arange(len(mm)), vpn, pfn, nr_pages, vmas)


def entries(host: Host) -> Reach:
    """Return the entries that are charged."""
    return counted_entries(frames(host), tables(host))


def swap(host: Host) -> tuple[SwapRuns, np.ndarray]:
    """Return the swapped entries, and the first virtual page of each run."""
    mm, vpn, nr_pages, area, offset = columns(joined(host.slots, lambda *_: True, lambda slot: slot), 5)
    return SwapRuns(mm, area, offset, nr_pages, np.full(len(mm), -1)), vpn


def moving(host: Host) -> FrameEntries:
    """Return the entries that name a frame without being present."""
    mm, _, nr_pages, pfn = columns(joined(host.moving, lambda *_: True, lambda pfn: (pfn,)), 4)
    return FrameEntries(mm, pfn, nr_pages, np.full(len(mm), 31))


def joined(
    pages: dict[tuple[int, int], object],
    alike: Callable[[tuple[int, int], tuple[int, int]], bool],
    place: Callable[..., tuple[int, ...]],
) -> list[list[int]]:
    """Return runs (mm, vpn, pages, *place) in which address and place go on together."""
    runs: list[list[int]] = []
    for (mm, vpn), value in sorted(pages.items()):
        *area, at = place(value)
        if runs:
            nr = runs[-1][2]
            follows = runs[-1] == [mm, vpn - nr, nr, *area, at - nr]
            if follows and alike((mm, vpn), (mm, vpn - 1)):
                runs[-1][2] += 1
                continue
        runs.append([mm, vpn, 1, *area, at])
    return runs


def columns(rows: Iterable[Iterable[int]], width: int) -> np.ndarray:
    """Return the columns of rows as int64."""
    return np.array(rows, np.int64).reshape(-1, width).T
