"""What became of VMAs between two photographs, and of entries that were stored about their pages.

A reverse entry of 1998 is a VMA and an offset from its start. It goes wrong when the start moves. On a
simulated machine, where every motion is known, `kernelmodel.rmap.stale` tells the same.

Mirrors: what ``mm/vma.c: expand_downwards, __split_vma, vma_merge_existing_range, vma_merge_new_range,
vms_gather_munmap_vmas, copy_vma`` leave behind (``mm/mmap.c`` before 6.12).

Fidelity: what was and what is are known, not the calls between. Which ``vm_area_struct`` survives a split, a
merge or an munmap differs from kernel to kernel and is not told. So an entry is held against the VMA that has
its page now, if that maps the same thing there: it is stale if the offset from the start is another one. What
looks like mremap may be munmap and mmap of the same file.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernelmodel.errors import InvariantError
from kernelmodel.rmap.inferred import stab_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kernelmodel.rmap.csr import ReverseEntries
    from kernelmodel.rmap.inferred import Areas


class Motion(IntEnum):
    """What happened to a VMA, by what it does to offsets from its start."""

    KEPT = 0
    """The start is the same; the end may have moved (brk, mremap in place, munmap of the tail)."""
    STACK_GROWTH = 1
    """A stack reaches further down, where nothing was."""
    TRIMMED_HEAD = 2
    """The start rose: the head was unmapped or taken elsewhere."""
    SPLIT = 3
    """There are several now: mprotect, madvise or mlock of a part, or a hole."""
    MERGE = 4
    """The start fell: it is one with what was, or was mapped since, below it."""
    GONE = 5
    """Nothing is left in its place."""


class Area(NamedTuple):
    """A VMA of one address space.

    Parameters
    ----------
    start, end
        Virtual pages, half-open.
    displacement
        `start` less the linear page offset of `start`; 0 for anonymous memory.
    backing
        A number for what is mapped, -1 for anonymous memory.
    private
        MAP_PRIVATE.
    grows_down
        A stack.
    """

    start: int
    end: int
    displacement: int = 0
    backing: int = -1
    private: bool = True
    grows_down: bool = False


class Moved(NamedTuple):
    """What became of a VMA: its motion, and which VMAs map the same thing in its place now."""

    motion: Motion
    pieces: tuple[int, ...]


def motions(old: Sequence[Area], new: Sequence[Area]) -> list[Moved]:
    """Return what became of each VMA of `old`; both are in order of address. O(n + pieces).

    >>> motions([Area(10, 20), Area(30, 40)], [Area(10, 14), Area(14, 20), Area(28, 40)])[0]
    Moved(motion=<Motion.SPLIT: 3>, pieces=(0, 1))
    """
    ends = [area.end for area in new]
    found = []
    floor = 0
    for area in old:
        at = bisect_right(ends, area.start)
        pieces = []
        while at < len(new) and new[at].start < area.end:
            if _same(area, new[at]):
                pieces.append(at)
            at += 1
        found.append(Moved(_motion(area, [new[piece] for piece in pieces], floor), tuple(pieces)))
        floor = area.end
    return found


def _same(old: Area, new: Area) -> bool:
    """Whether both map the same pages of the same thing at an address."""
    return (old.backing, old.private, old.displacement) == (new.backing, new.private, new.displacement)


def _motion(old: Area, pieces: Sequence[Area], floor: int) -> Motion:
    """Return the motion of a VMA; below it, the next one had ended at `floor`."""
    if not pieces:
        return Motion.GONE
    if len(pieces) > 1:
        return Motion.SPLIT
    start = pieces[0].start
    if start == old.start:
        return Motion.KEPT
    if start > old.start:
        return Motion.TRIMMED_HEAD
    return Motion.STACK_GROWTH if old.grows_down and start >= floor else Motion.MERGE


class Fate(IntEnum):
    """What an entry that was stored resolves to now."""

    RIGHT = 0
    STACK_GROWTH = 1
    TRIMMED_HEAD = 2
    SPLIT = 3
    MERGE = 4
    MREMAP = 5
    REPLACED = 6
    """The VMA is there, with another frame or none: written after a fork, swapped, migrated, dropped."""
    UNMAPPED = 7
    PROCESS_UNREAD = 8
    PROCESS_GONE = 9


STALE = (Fate.STACK_GROWTH, Fate.TRIMMED_HEAD, Fate.SPLIT, Fate.MERGE, Fate.MREMAP)
"""The page is where it was, or went along with its VMA, and the entry resolves to another address."""
UNREAD, EXITED = -1, -2
"""In place of an address space: it could not be read; its process has ended."""


class Stored(NamedTuple):
    """Entries that were stored: int64, shape (n,), row of the VMA, virtual page and frame."""

    vma: NDArray[np.int64]
    vpn: NDArray[np.int64]
    pfn: NDArray[np.int64]


@dataclass(frozen=True)
class Followed:
    """Where the pages of stored entries are now; arrays have shape (n,), a row for each entry.

    Parameters
    ----------
    fate
        uint8, `Fate`.
    vma, vpn
        int64, row of the VMA and virtual page that hold the frame now; -1 where the process has it no more.
    linear
        bool, the page is there and its linear offset still resolves to it.
    by_rule
        bool, so it is because mremap keeps the offset of anonymous pages; /proc does not show that.
    """

    fate: NDArray[np.uint8]
    vma: NDArray[np.int64]
    vpn: NDArray[np.int64]
    linear: NDArray[np.bool_]
    by_rule: NDArray[np.bool_]

    def validate(self, stored: Stored, old: Areas, new: Areas) -> None:
        """Check that right entries resolve to their page, and stale ones do not.

        Raises
        ------
        InvariantError
            ``right-resolves`` or ``stale-resolves``.
        """
        here = self.vma >= 0
        resolved = new.vmas.start_vpn[self.vma] + stored.vpn - old.vmas.start_vpn[stored.vma]
        resolves = here & (self.vpn == stored.vpn) & (resolved == self.vpn)
        for invariant, wrong in (
            ("right-resolves", (self.fate == Fate.RIGHT) & ~resolves),
            ("stale-resolves", np.isin(self.fate, STALE) & (resolves | ~here)),
        ):
            rows = np.flatnonzero(wrong)
            if len(rows):
                row = rows[0]
                places = f"stored at vpn {stored.vpn[row]:#x}, is at {self.vpn[row]:#x}"
                detail = f"{Fate(self.fate[row]).name}: {places}"
                raise InvariantError(invariant, f"pfn {stored.pfn[row]}", detail)


def follow(
    stored: Stored, old: Areas, new: Areas, entries: ReverseEntries, mm_now: NDArray[np.int64]
) -> Followed:
    """Return what became of stored entries.

    Parameters
    ----------
    stored
        Entries of the earlier photograph.
    old, new
        What VMAs mapped then, and map now.
    entries
        Reverse entries of the later photograph.
    mm_now
        int64, by address space of the earlier photograph: that of the same process now, `UNREAD` or `EXITED`.
    """
    mm = mm_now[old.vmas.mm[stored.vma]]
    vma, vpn = _places(stored, entries, mm)
    motion, covered = _in_place(stored, old, new, mm_now)
    here = vma >= 0
    alike = (
        here & (old.backing[stored.vma] == new.backing[vma]) & (old.private[stored.vma] == new.private[vma])
    )
    before = (old.vmas.start_vpn - old.pgoff)[stored.vma]
    after = (new.vmas.start_vpn - new.pgoff)[vma]
    stayed = alike & (vpn == stored.vpn) & (before == after)
    carried, into = _carried(stored, old, new, np.where(alike, vma, -1), vpn)

    fate = np.full(len(mm), Fate.UNMAPPED, np.uint8)
    fate[covered | into] = Fate.REPLACED
    fate[carried] = Fate.MREMAP
    same_start = new.vmas.start_vpn[vma] == old.vmas.start_vpn[stored.vma]
    fate[stayed] = np.where(same_start, Fate.RIGHT, motion)[stayed]
    fate[mm == UNREAD], fate[mm == EXITED] = Fate.PROCESS_UNREAD, Fate.PROCESS_GONE
    by_rule = carried & (old.backing[stored.vma] < 0)
    linear = stayed | by_rule | (carried & (after - before == vpn - stored.vpn))
    return Followed(fate, vma, vpn, linear, by_rule)


def _places(
    stored: Stored, entries: ReverseEntries, mm: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return VMA and virtual page where each address space has the frame now, -1 where not.

    Of several places the one where it was stored, or else the lowest.
    """
    vma, vpn = np.full((2, len(mm)), -1, np.int64)
    if not len(entries):
        return vma, vpn
    at = np.minimum(np.searchsorted(entries.pfn, stored.pfn), len(entries.pfn) - 1)
    owner = np.flatnonzero(entries.pfn[at] == stored.pfn)
    begin, nr = entries.first[at[owner]], entries.counts()[at[owner]]
    row = np.repeat(begin - (np.cumsum(nr) - nr), nr) + np.arange(int(nr.sum()))
    owner = np.repeat(owner, nr)
    mine = entries.vmas.mm[entries.vma[row]] == mm[owner]
    owner, row = owner[mine], row[mine]
    now = entries.vmas.start_vpn[entries.vma[row]] + entries.offset_pages[row]
    order = np.lexsort((now, now != stored.vpn[owner], owner))
    chosen = order[np.append(True, owner[order][1:] != owner[order][:-1])[: len(order)]]
    vma[owner[chosen]], vpn[owner[chosen]] = entries.vma[row[chosen]], now[chosen]
    return vma, vpn


def _in_place(
    stored: Stored, old: Areas, new: Areas, mm_now: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the motion of each entry's VMA, and whether one of its pieces still covers the entry's page."""
    motion = np.full(len(old), Motion.GONE, np.uint8)
    of_vma: list[int] = []
    piece: list[int] = []
    then, now = _by_mm(old), _by_mm(new)
    for mm in np.unique(old.vmas.mm[stored.vma]).tolist():
        rows, places = then[mm], now.get(int(mm_now[mm]), [])
        for row, moved in zip(rows, motions(_listed(old, rows), _listed(new, places)), strict=True):
            motion[row] = moved.motion
            of_vma += [row] * len(moved.pieces)
            piece += [places[index] for index in moved.pieces]
    groups, pieces = np.array(of_vma, np.int64), np.array(piece, np.int64)
    start, end = new.vmas.start_vpn[pieces], new.vmas.end_vpn[pieces]
    return motion[stored.vma], stab_counts(groups, start, end, stored.vma, stored.vpn) > 0


def _by_mm(areas: Areas) -> dict[int, list[int]]:
    """Return the rows of the listed VMAs of each address space."""
    found: dict[int, list[int]] = {}
    for row in np.flatnonzero(areas.vmas.listed).tolist():
        found.setdefault(int(areas.vmas.mm[row]), []).append(row)
    return found


def _listed(areas: Areas, rows: list[int]) -> list[Area]:
    vmas = areas.vmas
    columns = (
        vmas.start_vpn,
        vmas.end_vpn,
        vmas.start_vpn - areas.pgoff,
        areas.backing,
        areas.private,
        areas.grows_down,
    )
    return [Area(*row) for row in zip(*(column[rows].tolist() for column in columns), strict=True)]


def _carried(
    stored: Stored, old: Areas, new: Areas, vma: NDArray[np.int64], vpn: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which entries' pages mremap took along, and which would be there if their frame still were.

    A VMA was moved if more than half of its pages that are elsewhere went the same way, into a VMA in which
    no page is where it was. Frames that were freed and given out again seldom come in that order.
    """
    elsewhere = np.flatnonzero((vma >= 0) & (vpn != stored.vpn))
    way = np.stack((stored.vma[elsewhere], vma[elsewhere], (vpn - stored.vpn)[elsewhere]), axis=1)
    ways, nr = np.unique(way, axis=0, return_counts=True)
    nr_elsewhere = np.bincount(way[:, 0], minlength=len(old))
    stayed = np.zeros(len(new), np.bool_)
    stayed[vma[(vma >= 0) & (vpn == stored.vpn)]] = True
    most = ways[(2 * nr > nr_elsewhere[ways[:, 0]]) & ~stayed[ways[:, 1]]]
    target, by = np.full(len(old), -1, np.int64), np.zeros(len(old), np.int64)
    target[most[:, 0]], by[most[:, 0]] = most[:, 1], most[:, 2]
    goal, there = target[stored.vma], stored.vpn + by[stored.vma]
    inside = (goal >= 0) & (new.vmas.start_vpn[goal] <= there) & (there < new.vmas.end_vpn[goal])
    return inside & (vma == goal) & (vpn == there), inside
