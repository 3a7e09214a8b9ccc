"""Who holds and who uses each pageblock: counted along runs of frames that are alike, never frame by frame.

A frame is used by the processes whose page tables lead to it; if there is none, by the cgroup that is charged
for it; else by what it is. Who keeps it in its place is told as `vmprobe.bridge.blockers` tells it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.holder import CGROUP_TAG, HOLDER_NAMES, HOLDERS, NOBODY, PINNED_TAG, PROCESS_TAG, Holder
from kernelmodel.movability import Movability
from vmprobe.bridge.blockers import cgroup_names, process_names, tag_name
from vmprobe.bridge.memmap import charges
from vmprobe.bridge.page_kinds import FREE, HOLE, PAGE_KINDS
from vmprobe.bridge.reach import overlaps, reach, united

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from numpy.typing import NDArray

    from kernelmodel.blockers import Windows
    from vmprobe.bridge.memmap import Charges
    from vmprobe.bridge.reach import Reach
    from vmprobe.bridge.standing import Standing
    from vmprobe.tables import Snapshot

PIECE_ROWS: Final = 1 << 24
"""Frames whose runs are held at once: 64 GiB."""

_SPAN: Final = 1 << 40
"""Who is one number: what sort of owner, times this, and which of them."""
_KIND, _TAG, _CGROUP, _PAGE_TABLES, _PROCESS, _PINNED = range(6)

_HOLDS: Final = (HOLDERS != NOBODY) & (HOLDERS != Holder.UNKNOWN)
"""bool, tags of frames that stay; of what is not known nobody is the owner."""
_BY_CHARGE: Final = {CGROUP_TAG: _CGROUP, int(Movability.PGTABLE): _PAGE_TABLES}
_BY_ENTRY: Final = {PROCESS_TAG: _PROCESS, PINNED_TAG: _PINNED}


@dataclass(frozen=True)
class MapOwner:
    """Who holds or uses pages.

    Parameters
    ----------
    kind
        A kind of holder as `vmprobe.bridge.blockers` has them, or what the pages are that no process maps and
        no cgroup is charged for: one of `vmprobe.bridge.page_kinds.PAGE_KINDS`.
    owner
        Name of the process, path of the cgroup, or what the pages are; None where nobody could be named.
    pid
        The process; the first of those that share its address space.
    """

    kind: str
    owner: str | None
    pid: int | None


class Cells(NamedTuple):
    """How many pages of a pageblock are whose: one row for each owner in each pageblock.

    Parameters
    ----------
    who
        int64, the owner.
    block
        int64, row of the pageblock.
    pages
        int64.
    """

    who: NDArray[np.int64]
    block: NDArray[np.int64]
    pages: NDArray[np.int64]

    def summed(self) -> Cells:
        """Return them with one row for each owner and pageblock, by owner."""
        order = np.lexsort((self.block, self.who))
        who, block = self.who[order], self.block[order]
        begins = np.ones(len(who), np.bool_)
        begins[1:] = (who[1:] != who[:-1]) | (block[1:] != block[:-1])
        first = np.flatnonzero(begins)
        pages = np.add.reduceat(self.pages[order], first) if len(first) else self.pages
        return Cells(who[first], block[first], pages)

    def most(self, nr_blocks: int) -> NDArray[np.int64]:
        """Return who has the most pages of each pageblock, -1 where nobody has any; the lowest of equals."""
        order = np.lexsort((-self.who, self.pages, self.block))
        block = self.block[order]
        last = np.ones(len(block), np.bool_)
        np.not_equal(block[1:], block[:-1], out=last[:-1])
        found = np.full(nr_blocks, -1, np.int64)
        found[block[last]] = self.who[order][last]
        return found

    def pages_of(self, chosen: NDArray[np.bool_], nr_blocks: int) -> NDArray[np.int64]:
        """Return the pages of some rows in each pageblock."""
        pages = np.bincount(self.block[chosen], weights=self.pages[chosen], minlength=nr_blocks)
        return pages.astype(np.int64)


def _joined(parts: list[Cells]) -> Cells:
    if not parts:
        return Cells(*(np.empty(0, np.int64) for _ in Cells._fields))
    return Cells(*(np.concatenate(column) for column in zip(*parts, strict=True))).summed()


class _Runs(NamedTuple):
    """Runs of frames that are alike and lie in one pageblock, in physical order."""

    ranges: NDArray[np.int64]
    """Half-open frame ranges, shape (n, 2)."""
    block: NDArray[np.int64]
    tag: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    cgroup: NDArray[np.int64]
    """Place of the inode of the cgroup that is charged; 0 for none."""
    mapped: NDArray[np.bool_]

    @property
    def nr_pages(self) -> NDArray[np.int64]:
        nr: NDArray[np.int64] = self.ranges[:, 1] - self.ranges[:, 0]
        return nr

    def chosen(self, which: NDArray[np.bool_]) -> _Runs:
        return _Runs(
            self.ranges[which],
            self.block[which],
            self.tag[which],
            self.kind[which],
            self.cgroup[which],
            self.mapped[which],
        )


@dataclass(frozen=True)
class Ownership:
    """Who holds and uses the pageblocks of a host.

    Parameters
    ----------
    holds
        Pages that stay, by who keeps them in their place.
    uses
        Pages in use, by who uses them.
    lead
        Where page tables lead.
    inodes
        The cgroups that are charged, by their place; the first is nobody.
    charged
        int64, pages in use of each pageblock for which one of the cgroups is charged that were asked for.
    """

    holds: Cells
    uses: Cells
    lead: Reach
    inodes: tuple[int, ...]
    charged: NDArray[np.int64]

    def used_by_spaces(self, mms: Collection[int]) -> NDArray[np.bool_]:
        """Return which rows of `uses` are of these address spaces."""
        sort, which = np.divmod(self.uses.who, _SPAN)
        wanted = np.flatnonzero(np.isin(self.lead.mms, list(mms))) + 1
        chosen: NDArray[np.bool_] = (sort == _PROCESS) & np.isin(which, wanted)
        return chosen

    def namer(self, snapshot: Snapshot) -> Callable[[int], MapOwner]:
        """Return the function that names who is behind a number."""
        processes, cgroups = process_names(snapshot), cgroup_names(snapshot, self.inodes)

        def name(who: int) -> MapOwner:
            sort, which = divmod(who, _SPAN)
            if sort == _KIND:
                return MapOwner(PAGE_KINDS[which], None, None)
            if sort == _TAG:
                return MapOwner(HOLDER_NAMES[Holder(HOLDERS[which])], tag_name(Movability(which)), None)
            if sort in (_CGROUP, _PAGE_TABLES):
                holder = Holder.CGROUP if sort == _CGROUP else Holder.PAGE_TABLES
                return MapOwner(HOLDER_NAMES[holder], cgroups[self.inodes[which]], None)
            holder = Holder.PROCESS if sort == _PROCESS else Holder.PINNED
            comm, pid = (None, None)
            if which:
                comm, pid = processes.get(int(self.lead.mms[which - 1]), (None, None))
            return MapOwner(HOLDER_NAMES[holder], comm, pid)

        return name


def ownership(
    snapshot: Snapshot,
    found: Standing,
    kinds: NDArray[np.uint8],
    blocks: Windows,
    *,
    inodes: Collection[int] = (),
) -> Ownership:
    """Return who holds and who uses each pageblock.

    Parameters
    ----------
    snapshot
        For charges.
    found
        Its frames.
    kinds
        uint8, the kind of each row (`vmprobe.bridge.page_kinds.row_kinds`).
    blocks
        The pageblocks.
    inodes
        The cgroups that are asked for.
    """
    lead = reach(found.tables)
    places = {0: 0} | {inode: place for place, inode in enumerate(inodes, 1)}
    charged = np.zeros(len(blocks), np.int64)
    holds, uses = [], []
    for runs in _pieces(found, kinds, blocks, lead, _Charged(charges(snapshot), places)):
        holds += [each.summed() for each in _holding(runs.chosen(_HOLDS[runs.tag]), lead)]
        used = runs.chosen((runs.kind != FREE) & (runs.kind != HOLE))
        uses += [each.summed() for each in _using(used, lead)]
        mine = used.chosen((used.cgroup > 0) & (used.cgroup <= len(inodes)))
        charged += np.bincount(mine.block, weights=mine.nr_pages, minlength=len(blocks)).astype(np.int64)
    return Ownership(_joined(holds), _joined(uses), lead, tuple(places), charged)


def _holding(runs: _Runs, lead: Reach) -> Iterator[Cells]:
    """Yield who keeps these frames in their place."""
    who = _TAG * _SPAN + runs.tag.astype(np.int64)
    for tag, sort in _BY_CHARGE.items():
        who = np.where(runs.tag == tag, sort * _SPAN + runs.cgroup, who)
    by_entry = np.zeros(len(who), np.bool_)
    for tag, sort in _BY_ENTRY.items():
        mine = runs.tag == tag
        yield _by_entries(runs.chosen(mine & runs.mapped), lead, sort)
        by_entry |= mine & runs.mapped
        # What nobody maps has no name.
        who = np.where(mine, sort * _SPAN, who)
    yield Cells(who[~by_entry], runs.block[~by_entry], runs.nr_pages[~by_entry])


def _using(runs: _Runs, lead: Reach) -> Iterator[Cells]:
    """Yield who uses these frames."""
    yield _by_entries(runs.chosen(runs.mapped), lead, _PROCESS)
    rest = runs.chosen(~runs.mapped)
    by_kind = _KIND * _SPAN + rest.kind.astype(np.int64)
    who = np.where(rest.cgroup > 0, _CGROUP * _SPAN + rest.cgroup, by_kind)
    yield Cells(who, rest.block, rest.nr_pages)


def _by_entries(runs: _Runs, lead: Reach, sort: int) -> Cells:
    """Return the pages of each address space in these runs: one that several map counts for each of them."""
    met = overlaps(lead.start_pfn, lead.end_pfn, runs.ranges)
    who = sort * _SPAN + lead.space[met.interval] + 1
    return Cells(who, runs.block[met.inside], met.end_pfn - met.start_pfn)


class _Charged(NamedTuple):
    """Which cgroups are charged, and the place of each of those that were met."""

    charges: Charges | None
    places: dict[int, int]

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the place of the cgroup that is charged for each row."""
        if self.charges is None:
            return np.zeros(len(rows), np.int64)
        distinct, index = np.unique(self.charges.of(rows), return_inverse=True)
        places = [self.places.setdefault(inode, len(self.places)) for inode in distinct.tolist()]
        found: NDArray[np.int64] = np.array(places, np.int64)[index]
        return found


def _pieces(
    found: Standing, kinds: NDArray[np.uint8], blocks: Windows, lead: Reach, charged: _Charged
) -> Iterator[_Runs]:
    """Yield the runs of `PIECE_ROWS` rows after the other."""
    memmap = found.memmap
    start, end = united(lead.start_pfn, lead.end_pfn - lead.start_pfn)
    met = overlaps(start, end, memmap.ranges)
    mapped = np.stack((memmap.rows(met.start_pfn), memmap.rows(met.end_pfn - 1) + 1), axis=1)
    cuts = memmap.rows(np.concatenate((memmap.ranges[:, 0], blocks.start_pfn)))
    cuts = np.sort(np.concatenate((cuts[cuts >= 0], mapped.ravel())))
    columns = [found.tags, kinds] + ([] if charged.charges is None else [charged.charges.marks])
    for first_row in range(0, len(memmap), PIECE_ROWS):
        last_row = min(first_row + PIECE_ROWS, len(memmap))
        part = slice(first_row, last_row)
        changed = np.zeros(last_row - first_row, np.bool_)
        for column in columns:
            changed[1:] |= column[part][1:] != column[part][:-1]
        changed[cuts[slice(*np.searchsorted(cuts, (first_row, last_row)))] - first_row] = True
        changed[0] = True
        row = np.flatnonzero(changed) + first_row
        pfn = memmap.pfns(row)
        nr = np.diff(np.append(row, last_row))
        inside = np.searchsorted(mapped[:, 1], row, side="right")
        is_mapped = np.append(mapped[:, 0], len(memmap))[inside] <= row
        yield _Runs(
            np.stack((pfn, pfn + nr), axis=1),
            blocks.find(pfn),
            found.tags[row],
            kinds[row],
            charged.of(row),
            is_mapped,
        )
