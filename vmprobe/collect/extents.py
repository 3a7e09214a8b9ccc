"""Page-table entries as runs: what one address space maps, compact, and whether it moved since.

A run is its first virtual page number, its first pagemap word and a length; each following entry continues
both (the next frame, the next swap slot). Runs never cross a VMA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from vmprobe.formats import pagemap
from vmprobe.sources.pagemap import read_runs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from vmprobe.formats.maps import MapsRow
    from vmprobe.sources.meter import Meter

Words = np.ndarray[tuple[int], np.dtype[np.uint64]]

IGNORED: Final = pagemap.EXCLUSIVE | pagemap.SOFT_DIRTY
"""Bits of an entry that change without it: a second mapper elsewhere, a write."""

NO_VMA: Final = 0xFFFFFFFF
"""Stands for null in `Extents.vma`."""


@dataclass
class Extents:
    """Runs of one address space, ascending.

    Attributes
    ----------
    vpn, word
        uint64: first virtual page number and first pagemap word.
    nr_pages, vma
        uint32: length, and index into the VMAs of the address space or `NO_VMA`.
    unstable
        bool: an entry of the run differed in the second pass.
    """

    vpn: NDArray[np.uint64]
    word: NDArray[np.uint64]
    nr_pages: NDArray[np.uint32]
    vma: NDArray[np.uint32]
    unstable: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.vpn)

    @property
    def nr_entries(self) -> int:
        """Entries in all runs."""
        return int(self.nr_pages.sum(dtype=np.uint64))

    def frames(self) -> NDArray[np.uint64]:
        """Return the frame behind every present entry, a frame that is mapped twice also twice."""
        present = (self.word & pagemap.PRESENT) != 0
        nr_pages = self.nr_pages[present].astype(np.int64)
        pfns: NDArray[np.uint64] = pagemap.frames(pagemap.expand(self.word[present], nr_pages))
        return pfns

    def stretches(self) -> list[tuple[int, int]]:
        """Return the half-open ranges of page numbers that the runs cover together, ascending."""
        end = self.vpn + self.nr_pages
        first = np.flatnonzero(np.concatenate(([True], self.vpn[1:] != end[:-1])))[: len(self)]
        last = np.append(first[1:], len(self))[: len(first)] - 1
        return list(zip(self.vpn[first].tolist(), end[last].tolist(), strict=True))

    def part(self, runs: slice | NDArray[np.bool_]) -> Extents:
        """Return some of the runs, as views where they are a slice."""
        return Extents(
            self.vpn[runs], self.word[runs], self.nr_pages[runs], self.vma[runs], self.unstable[runs]
        )


def join(parts: list[Extents]) -> Extents:
    """Return one set of runs out of several."""
    empty = np.empty(0, np.uint64)
    return Extents(
        np.concatenate([p.vpn for p in parts] or [empty]),
        np.concatenate([p.word for p in parts] or [empty]),
        np.concatenate([p.nr_pages for p in parts] or [empty.astype(np.uint32)]),
        np.concatenate([p.vma for p in parts] or [empty.astype(np.uint32)]),
        np.concatenate([p.unstable for p in parts] or [empty.astype(np.bool_)]),
    )


class VmaIndex:
    """Finds the VMA of virtual page numbers.

    Parameters
    ----------
    rows
        VMAs in ascending order, disjoint.
    page_size
        Bytes.
    """

    def __init__(self, rows: list[MapsRow], page_size: int) -> None:
        self.first = np.array([row.start // page_size for row in rows], np.uint64)
        self.end = np.array([row.end // page_size for row in rows], np.uint64)

    def of(self, vpns: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """Return the index of the VMA that covers each page number, `NO_VMA` for none; they ascend."""
        if not len(self.first):
            return np.full(len(vpns), NO_VMA, np.uint32)
        # There are fewer VMAs than pages: look for where they begin.
        begins = np.concatenate(([0], np.searchsorted(vpns, self.first), [len(vpns)]))
        index = np.repeat(np.arange(-1, len(self.first)), np.diff(begins))
        covered = (index >= 0) & (vpns < self.end[index])
        return np.where(covered, index, NO_VMA).astype(np.uint32)


def read_extents(
    fd: int, runs: Iterable[tuple[int, int]], vmas: VmaIndex, meter: Meter, source: str
) -> Extents:
    """Read the entries of `runs` of page numbers and group them.

    Raises
    ------
    OSError
        What the kernel answered.
    """
    parts = []
    for all_vpns, all_words in read_runs(fd, runs, meter, source):
        populated = pagemap.populated(all_words)
        vpns, words = all_vpns[populated], all_words[populated]
        if not len(vpns):
            continue
        vma = vmas.of(vpns)
        grouped = pagemap.runs(vpns, words)
        is_head = np.zeros(len(vpns), np.bool_)
        is_head[grouped.index] = True
        is_head[1:] |= vma[1:] != vma[:-1]
        heads = np.flatnonzero(is_head)
        lengths = np.diff(heads, append=len(vpns)).astype(np.uint32)
        still = np.zeros(len(heads), np.bool_)
        parts.append(Extents(vpns[heads], words[heads], lengths, vma[heads], still))
    return join(parts)


def recheck(
    fd: int, runs: Iterable[tuple[int, int]], extents: Extents, meter: Meter
) -> tuple[int, NDArray[np.uint64]]:
    """Read page tables again and mark the runs in which an entry differs.

    Entries that are there now and were not count as changed too: whoever maps a frame only now explains a map
    count that is one too high. The bits `IGNORED` may differ, since a neighbour's doing changes them.

    Parameters
    ----------
    fd
        An open pagemap.
    runs
        Page numbers to read, ascending and disjoint: all that is populated now, and all that was.
    extents
        What the first look found; its `unstable` is set.
    meter
        Where costs go.

    Returns
    -------
    nr_changed, pfns
        Entries that differ, and the frames that they held before or hold now.

    Raises
    ------
    OSError
        What the kernel answered.
    """
    nr_changed, nr_seen = 0, np.zeros(len(extents), np.uint32)
    moved = []
    ends = extents.vpn + extents.nr_pages
    for vpns, words in read_runs(fd, runs, meter, "pagemap-second"):
        low, high = vpns[0], vpns[-1] + np.uint64(1)
        chosen = slice(int(np.searchsorted(ends, low, "right")), int(np.searchsorted(extents.vpn, high)))
        first = np.maximum(extents.vpn[chosen], low)
        nr_pages = (np.minimum(ends[chosen], high) - first).astype(np.int64)
        offsets = (np.cumsum(nr_pages) - nr_pages).astype(np.uint64)
        each_vpn = np.repeat(first - offsets, nr_pages) + np.arange(int(nr_pages.sum()), dtype=np.uint64)
        # Where all that is there now was there before, as nearly everywhere, each word has its place.
        same = len(each_vpn) == len(vpns) and bool((each_vpn == vpns).all())
        at = np.arange(len(vpns)) if same else np.searchsorted(vpns, each_vpn)
        expected = np.zeros(len(words), np.uint64)
        expected[at] = pagemap.expand(
            pagemap.advance(extents.word[chosen], first - extents.vpn[chosen]), nr_pages
        )
        now = np.where(pagemap.populated(words), words, np.uint64(0))
        differs = ((now ^ expected) & ~IGNORED) != 0
        nr_seen[chosen] += nr_pages.astype(np.uint32)
        if differs.any():
            nr_changed += int(np.count_nonzero(differs))
            changed_runs = np.repeat(np.arange(chosen.start, chosen.stop), nr_pages)[differs[at]]
            extents.unstable[changed_runs] = True
            moved += [pagemap.frames(expected[differs]), pagemap.frames(now[differs])]
    gone = nr_seen < extents.nr_pages  # the address space ended: there was nothing to read
    extents.unstable[gone] = True
    nr_changed += int((extents.nr_pages - nr_seen)[gone].sum())
    moved.append(extents.part(gone).frames())
    pfns = np.concatenate(moved)
    return nr_changed, pfns[pfns != 0]
