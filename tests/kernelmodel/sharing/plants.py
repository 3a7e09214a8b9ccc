"""A made-up host into which mechanisms are planted: plain Python first, arrays at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelmodel.folio import folios
from kernelmodel.host import Unseen
from kernelmodel.memmap import MemMap
from kernelmodel.page_tables import PageTables, VmaTable
from kernelmodel.pageflags import mask
from kernelmodel.sharing.facts import Facts, FrameEntries, OpenFile, Process, SwapRuns, SysvSegment, VmaFacts
from kernelmodel.sharing.mechanism import Certainty, Mechanism

if TYPE_CHECKING:
    from collections.abc import Callable

PROVED, LIKELY, POSSIBLE = Certainty.PROVED, Certainty.LIKELY, Certainty.POSSIBLE
M = Mechanism
Expected = tuple[Mechanism, Certainty, int | None, int | None, tuple[int, ...], list[int] | None]
"""Mechanism, certainty, frames, entries, processes, frame numbers."""

RANGES = [(16, 272), (1024, 1280)]
PAGE = 4096
FIRST_VPN = 0x100

ANON = mask("UPTODATE", "LRU", "MMAP", "ANON", "SWAPBACKED")
FILE = mask("UPTODATE", "LRU", "MMAP")
SHMEM = mask("UPTODATE", "LRU", "MMAP", "SWAPBACKED")
DRIVER = mask("MMAP")
ZERO = mask("ZERO_PAGE", "RESERVED")
VDSO = mask("RESERVED", "MMAP")
HEAD, TAIL = mask("COMPOUND_HEAD", "THP"), mask("COMPOUND_TAIL", "THP")
NO_FLAGS: frozenset[str] = frozenset({"rd", "wr"})


@dataclass
class Area:
    """A VMA; addresses are given out in order."""

    mm: int
    start: int
    nr_pages: int
    name: str = ""
    dev: str = "00:00"
    inode: int = 0
    pgoff: int = 0
    shared: bool = False
    flags: frozenset[str] | None = NO_FLAGS
    swap_bytes: int = 0


@dataclass
class Plants:
    """Frames, entries, processes; what the kernel counts follows unless `counts` says otherwise."""

    words: dict[int, int] = field(default_factory=dict)
    areas: list[Area] = field(default_factory=list)
    entries: dict[tuple[int, int], int] = field(default_factory=dict)
    uncounted: set[int] = field(default_factory=set)
    counts: dict[int, int] = field(default_factory=dict)
    unstable: set[int] = field(default_factory=set)
    swapped: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    moving: list[tuple[int, int, int, int]] = field(default_factory=list)
    """(mm, pfn, pages, swap type)"""
    processes: list[Process] = field(default_factory=list)
    files: list[OpenFile] = field(default_factory=list)
    segments: list[SysvSegment] = field(default_factory=list)
    charged: dict[int, int] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    """Further fields of `Facts`."""
    next_pfn: int = 16

    def area(self, mm: int, nr_pages: int, **of: Any) -> Area:
        """Add a VMA behind the others of its address space."""
        start = max((a.start + a.nr_pages + 1 for a in self.areas if a.mm == mm), default=FIRST_VPN)
        self.areas.append(Area(mm, start, nr_pages, **of))
        return self.areas[-1]

    def frames(self, nr: int, word: int) -> list[int]:
        """Take frames that nothing uses yet."""
        pfns = list(range(self.next_pfn, self.next_pfn + nr))
        assert pfns[-1] < RANGES[0][1]
        self.next_pfn += nr
        self.words |= dict.fromkeys(pfns, word)
        return pfns

    def map(self, area: Area, pfns: list[int], at: int = 0) -> None:
        """Let pages of a VMA lead to frames."""
        self.entries |= {(area.mm, area.start + at + i): pfn for i, pfn in enumerate(pfns)}

    def row(self, pfn: int) -> int:
        """Return the row of a frame."""
        return pfn - 16 if pfn < RANGES[0][1] else pfn - 1024 + 256

    def facts(self) -> Facts:
        """Make arrays of it all."""
        pfns = [pfn for start, end in RANGES for pfn in range(start, end)]
        found = dict.fromkeys(pfns, 0)
        for pfn in self.entries.values():
            if pfn in found and pfn not in self.uncounted:
                found[pfn] += 1
        found |= self.counts
        frames = MemMap(
            np.array(RANGES),
            np.array([self.words.get(pfn, 0) for pfn in pfns], np.uint64),
            np.array([found[pfn] for pfn in pfns], np.uint32),
            np.array([pfn in self.unstable for pfn in pfns]),
        )
        areas = sorted(self.areas, key=lambda area: (area.mm, area.start))
        vma_of = {(a.mm, a.start + i): n for n, a in enumerate(areas) for i in range(a.nr_pages)}
        mm, start, nr = np.array([(a.mm, a.start, a.nr_pages) for a in areas], np.int64).reshape(-1, 3).T
        pfnmap = np.array([a.flags is not None and "pf" in a.flags for a in areas])
        table = VmaTable(mm, start, start + nr, pfnmap, np.ones(len(areas), np.bool_))
        runs = joined([(vma_of[page], page[1], pfn) for page, pfn in sorted(self.entries.items())])
        slots = [(vma_of[page], page[1], *slot) for page, slot in sorted(self.swapped.items())]
        slot_runs = np.array([(table.mm[vma], area, at, 1, vma) for vma, _, area, at in slots], np.int64)
        facts = Facts(
            frames=frames,
            tables=PageTables(*runs, table),
            folios=folios(frames),
            unseen=Unseen(0, 0),
            zspages=0,
            averaged=False,
            vmas=VmaFacts(
                name=[a.name for a in areas],
                dev=[a.dev for a in areas],
                inode=np.array([a.inode for a in areas], np.uint64),
                pgoff=np.array([a.pgoff for a in areas], np.int64),
                shared=np.array([a.shared for a in areas], np.bool_),
                vm_flags=[a.flags for a in areas],
                swap_bytes=np.array([a.swap_bytes for a in areas], np.int64),
            ),
            swap=SwapRuns(*slot_runs.reshape(-1, 5).T),
            frame_entries=FrameEntries(*np.array(self.moving, np.int64).reshape(-1, 4).T),
            memcg=np.array([self.charged.get(pfn, 0) for pfn in pfns], np.uint64).__getitem__,
            processes=self.processes,
            open_files=self.files,
            segments=self.segments,
            ksm_pages_shared=0,
            ksm_trusted=True,
            page_size=PAGE,
            cgroup_inode={"/a": 501, "/b": 502},
        )
        return Facts(**{**vars(facts), **self.told})


def joined(entries: list[tuple[int, int, int]]) -> np.ndarray:
    """Return columns (vma, vpn, pfn, pages) of entries (vma, vpn, pfn) that continue one another."""
    runs: list[list[int]] = []
    for vma, vpn, pfn in entries:
        if runs:
            last_vma, last_vpn, last_pfn, nr = runs[-1]
            if (vma, vpn, pfn) == (last_vma, last_vpn + nr, last_pfn + nr):
                runs[-1][3] += 1
                continue
        runs.append([vma, vpn, pfn, 1])
    return np.array(runs, np.int64).reshape(-1, 4).T


def control() -> Plants:
    """Three processes that do nothing special: own memory, a library, the zero page, the vdso, page cache."""
    host = Plants()
    library, vdso, zero = host.frames(4, FILE), host.frames(2, VDSO), host.frames(1, ZERO)
    host.uncounted |= set(zero)
    host.frames(3, FILE & ~mask("MMAP"))
    for mm, pid in enumerate((10, 20, 30)):
        host.processes.append(Process(pid, 1, mm, cgroup="/a"))
        own = host.area(mm, 16)
        host.map(own, host.frames(5, ANON))
        host.map(own, zero, at=8)
        host.map(host.area(mm, 4, name="/lib/libc.so", dev="fe:00", inode=7), library)
        host.map(host.area(mm, 2, name="[vdso]"), vdso)
        host.area(mm, 4, name="[vvar]", flags=frozenset({"rd", "pf", "io"}))
    return host


PLANTS: list[Callable[[Plants], list[Expected]]] = []


def plant(function: Callable[[Plants], list[Expected]]) -> Callable[[Plants], list[Expected]]:
    """Register a host that has a mechanism; the function returns what is to be found beyond the control."""
    PLANTS.append(function)
    return function


def put(host: Plants, mm: int, nr: int, word: int, **area: object) -> list[int]:
    """Map new frames in a new VMA and return them."""
    pfns = host.frames(nr, word)
    host.map(host.area(mm, nr, **area), pfns)
    return pfns
