"""A made-up host for the model: drawn at random, consistent by construction, small enough to be recounted."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from kernelmodel.host import HostModel, Unseen, ZoneSpan, build
from kernelmodel.memmap import MemMap
from kernelmodel.page_tables import PageTables, VmaTable
from kernelmodel.pageflags import mask

NR_ORDERS = 5
NR_FRAMES = 512
RANGES = [(16, 272), (1024, 1280)]
"""Frames of two zones with a hole between them."""

ANON = mask("UPTODATE", "LRU", "MMAP", "ANON", "SWAPBACKED")
HEAD, TAIL = mask("COMPOUND_HEAD"), mask("COMPOUND_TAIL")


@dataclass
class Host:
    """Plain Python: what the arrays of a `HostModel` are made from."""

    words: dict[int, int] = field(default_factory=dict)
    vmas: list[tuple[int, int, int]] = field(default_factory=list)
    """(mm, start vpn, end vpn), ascending."""
    entries: dict[tuple[int, int], int] = field(default_factory=dict)
    """(mm, vpn) to pfn."""
    free: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Zone number to (pfn, order) of its free blocks."""

    def counts(self) -> dict[int, int]:
        """How many entries lead to each frame."""
        found: dict[int, int] = {}
        for pfn in self.entries.values():
            found[pfn] = found.get(pfn, 0) + 1
        return found

    def model(
        self, *, unseen: Unseen | None = None, zspages: int | None = 0, averaged: bool = False
    ) -> HostModel:
        """Make arrays of it, and what the kernel would have said."""
        ranges = np.array(RANGES)
        pfns = [pfn for start, end in RANGES for pfn in range(start, end)]
        counts = self.counts()
        frames = MemMap(
            ranges,
            np.array([self.words.get(pfn, 0) for pfn in pfns], np.uint64),
            np.array([counts.get(pfn, 0) for pfn in pfns], np.uint32),
            np.zeros(NR_FRAMES, np.bool_),
        )
        zones = []
        for number, (start, end) in enumerate(RANGES):
            blocks = [order for _, order in self.free.get(number, [])]
            nr_free = tuple(blocks.count(order) for order in range(NR_ORDERS))
            zones.append(ZoneSpan(0, ("DMA32", "Normal")[number], start, end, nr_free, nr_free, 4, 0))
        return build(
            frames,
            zones,
            self.tables(),
            unseen=unseen or Unseen(0, 0),
            zspages=zspages,
            averaged=averaged,
            nr_orders=NR_ORDERS,
        )

    def tables(self) -> PageTables:
        """Make runs of the entries."""
        runs: list[list[int]] = []
        for (mm, vpn), pfn in sorted(self.entries.items()):
            row = next(
                i for i, (owner, start, end) in enumerate(self.vmas) if owner == mm and start <= vpn < end
            )
            if (
                runs
                and runs[-1][0] == row
                and (vpn, pfn)
                == (
                    runs[-1][1] + runs[-1][3],
                    runs[-1][2] + runs[-1][3],
                )
            ):
                runs[-1][3] += 1
            else:
                runs.append([row, vpn, pfn, 1])
        columns = np.array(runs, np.int64).reshape(-1, 4).T
        mm, start, end = np.array(self.vmas, np.int64).reshape(-1, 3).T
        vmas = VmaTable(mm, start, end, None, np.ones(len(mm), np.bool_))
        return PageTables(columns[0], columns[1], columns[2], columns[3], vmas)


def draw_host(seed: int) -> Host:
    """Draw a host: free blocks as a buddy allocator would hold them, folios, three processes that share."""
    random_ = random.Random(seed)
    host = Host()
    used: list[int] = []
    for number, (start, end) in enumerate(RANGES):
        free: list[int] = []
        pfn = start
        while pfn < end:
            order = random_.randint(0, 4)
            while pfn & ((1 << order) - 1) or pfn + (1 << order) > end:
                order -= 1
            kind = random_.choice(("free", "folio", "singles", "slab"))
            pages = range(pfn, pfn + (1 << order))
            host.words.update(draw_words(kind, pages))
            if kind == "free":
                free += pages
            elif kind != "slab":
                used += pages
            pfn += 1 << order
        host.free[number] = merged(free)
    for mm in range(3):
        at = random_.randint(1, 40)
        for _ in range(random_.randint(1, 5)):
            start, at = at, at + random_.randint(1, 30)
            host.vmas.append((mm, start, at))
            mapped = [vpn for vpn in range(start, at) if random_.random() < 0.7]
            host.entries.update({(mm, vpn): random_.choice(used) for vpn in mapped})
            at += random_.randint(0, 10)
    return host


def draw_words(kind: str, pages: range) -> dict[int, int]:
    """Return the flag words of pages that were allocated together."""
    word = {"free": mask("BUDDY"), "slab": mask("SLAB"), "folio": ANON, "singles": ANON}[kind]
    words = dict.fromkeys(pages, word)
    if kind in {"folio", "slab"} and len(pages) > 1:
        words = {pfn: word | (HEAD if pfn == pages[0] else TAIL) for pfn in pages}
    return words


def merged(free: list[int]) -> list[tuple[int, int]]:
    """Free single frames one by one into a set of blocks, merging buddies: the definition."""
    blocks: set[tuple[int, int]] = set()
    for pfn in free:
        block, order = pfn, 0
        while order < NR_ORDERS - 1 and (block ^ (1 << order), order) in blocks:
            blocks.remove((block ^ (1 << order), order))
            block &= ~(1 << order)
            order += 1
        blocks.add((block, order))
    return sorted(blocks)
