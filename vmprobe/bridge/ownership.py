"""Whose each frame of a snapshot is: one owner a frame, known again in a later snapshot of the same boot.

Kinds are those of `kernelmodel.holder`, and three more for what can move and no process maps: page cache,
shared memory, anonymous. A page that several processes map is told of the one that started first, so that it
does not change hands whenever somebody maps it as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kernelmodel.holder import (
    CGROUP_TAG,
    HOLDER_NAMES,
    HOLDERS,
    NR_TAGS,
    PINNED_TAG,
    PROCESS_TAG,
    TAG_VERDICTS,
    Holder,
)
from kernelmodel.movability import Movability, Verdict
from kernelmodel.pageclass import PageClass, classify
from kernelmodel.ranges import frames_of
from vmprobe.bridge.address_spaces import Member, Space, spaces
from vmprobe.bridge.blockers import cgroup_names, tag_name
from vmprobe.bridge.memmap import charged
from vmprobe.bridge.standing import Standing, standing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from kernelmodel.host import ZoneSpan
    from kernelmodel.page_tables import PageTables
    from vmprobe.tables import Snapshot

CHUNK: Final = 1 << 20
"""Page-table entries that are spread out at once."""
MANY_ROWS: Final = 1 << 22
"""Frames that are looked up in cgroups at once: each time the whole column is read."""

_MOVES: Final = (TAG_VERDICTS == Verdict.YES) | (TAG_VERDICTS == Verdict.IF)
_MAPPED: Final = _MOVES.copy()
_MAPPED[[PROCESS_TAG, PINNED_TAG]] = True
"""bool, tags of frames that are told of who maps them."""


class Rank(IntEnum):
    """What a frame does to the block that it lies in."""

    FREE = 0
    MOVES = 1
    STAYS = 2
    UNKNOWN = 3
    """Mostly flag word 0."""
    ABSENT = 4
    """No memory."""


class Owner(NamedTuple):
    """Who has a frame.

    Parameters
    ----------
    kind
        ``free``, ``hole``, a kind of `kernelmodel.holder`, ``page cache``, ``shared memory``, ``anonymous``.
    name
        Name of the process, path of the cgroup, or what the pages are; None where nobody could be named.
    pid
        The process; the lowest of those that share its address space.
    key
        The inode of the cgroup, or `name`: what tells owners of one kind apart.
    members
        The processes of the address space; empty for other owners.
    """

    kind: str
    name: str | None = None
    pid: int | None = None
    key: Any = None
    members: frozenset[Member] = frozenset()


@dataclass(frozen=True)
class Ownership:
    """Every frame of a snapshot with its owner.

    Parameters
    ----------
    ranges
        int64, shape (n, 2): half-open frame ranges that the rows go through, ascending.
    codes
        int32, one a frame: an index in `owner_of` and `rank_of`.
    unstable
        bool, the frame changed while it was read.
    owner_of
        int32, index in `owners` by code.
    rank_of
        uint8, `Rank` by code.
    owners
        Owners; some may have no frame.
    zones
        Zones that have memory.
    """

    ranges: NDArray[np.int64]
    codes: NDArray[np.int32]
    unstable: NDArray[np.bool_]
    owner_of: NDArray[np.int32]
    rank_of: NDArray[np.uint8]
    owners: tuple[Owner, ...]
    zones: tuple[ZoneSpan, ...]


class _Book:
    """Owners and codes, numbered as they come."""

    def __init__(self) -> None:
        self.owners: dict[Owner, int] = {}
        self.pairs: dict[tuple[int, Rank], int] = {}

    def code(self, owner: Owner, rank: Rank) -> int:
        index = self.owners.setdefault(owner, len(self.owners))
        return self.pairs.setdefault((index, rank), len(self.pairs))


def ownership(snapshot: Snapshot) -> Ownership:
    """Return whose each frame is.

    Raises
    ------
    SnapshotError
        The snapshot has no flag words, or the manifest's frame ranges do not cover the table.
    """
    found = standing(snapshot)
    book = _Book()
    codes = _by_tag(book)[found.tags]
    if found.tables is not None:
        _told_of_mappers(found, found.tables, spaces(snapshot), codes, book)
    _told_of_cgroups(snapshot, found, codes, book)
    pairs = list(book.pairs)
    return Ownership(
        found.memmap.ranges,
        codes,
        found.memmap.unstable,
        np.array([owner for owner, _ in pairs], np.int32),
        np.array([rank for _, rank in pairs], np.uint8),
        tuple(book.owners),
        found.zones,
    )


def _by_tag(book: _Book) -> NDArray[np.int32]:
    """Return the code of each tag, -1 where the tag alone does not tell the owner."""
    codes = np.full(NR_TAGS, -1, np.int32)
    codes[Movability.FREE] = book.code(Owner("free"), Rank.FREE)
    codes[Movability.HOLE] = book.code(Owner("hole"), Rank.ABSENT)
    codes[Movability.SLAB] = book.code(Owner(HOLDER_NAMES[Holder.SLAB]), Rank.STAYS)
    ranks = {Holder.KERNEL: Rank.STAYS, Holder.UNKNOWN: Rank.UNKNOWN}
    for tag in Movability:
        rank = ranks.get(HOLDERS[tag])
        if rank is not None:
            name = tag_name(tag)
            codes[tag] = book.code(Owner(HOLDER_NAMES[HOLDERS[tag]], name, key=name), rank)
    return codes


def _told_of_mappers(
    found: Standing, tables: PageTables, listed: tuple[Space, ...], codes: NDArray[np.int32], book: _Book
) -> None:
    """Give the frames that page tables lead to their process, if it is who moves or keeps them."""
    mm = tables.vmas.mm[tables.vma]
    nr_mms = int(mm.max(initial=-1)) + 1
    by_mm = {space.mm: space for space in listed if space.mm is not None}
    strangers = [Space(each, 0, None, None, frozenset()) for each in range(nr_mms) if each not in by_mm]
    code = np.zeros((3, nr_mms), np.int32)
    place = np.zeros(nr_mms, np.int64)
    # The oldest comes last: of several values for one frame an assignment leaves the last.
    oldest_last = sorted((*by_mm.values(), *strangers), key=lambda space: space.age, reverse=True)
    for at, space in enumerate(oldest_last):
        if space.mm is None or space.mm >= nr_mms:
            continue
        place[space.mm] = at
        code[:, space.mm] = _codes_of(space, book)
    of_tag = np.zeros(NR_TAGS, np.int64)
    of_tag[PROCESS_TAG], of_tag[PINNED_TAG] = 1, 2
    order = np.argsort(place[mm], kind="stable")
    for runs in _portions(order, tables.nr_pages):
        nr_pages = tables.nr_pages[runs]
        rows = found.memmap.rows(frames_of(tables.pfn[runs], nr_pages))
        who = np.repeat(mm[runs], nr_pages)
        tag = found.tags[rows]
        there = (rows >= 0) & _MAPPED[tag]
        codes[rows[there]] = code[of_tag[tag[there]], who[there]]


def _codes_of(space: Space, book: _Book) -> tuple[int, int, int]:
    """Return the codes of what a process can move, of what stays because of it, and of what is pinned."""
    pid = space.pid if space.members else None
    process, pinned = (
        Owner(HOLDER_NAMES[holder], space.comm, pid, None if space.members else space.mm, space.members)
        for holder in (Holder.PROCESS, Holder.PINNED)
    )
    return book.code(process, Rank.MOVES), book.code(process, Rank.STAYS), book.code(pinned, Rank.STAYS)


def _portions(order: NDArray[np.int64], nr_pages: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut runs, taken in this order, into portions of about `CHUNK` pages."""
    ends = np.cumsum(nr_pages[order])
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(CHUNK, total, CHUNK))
    return (part for part in np.split(order, np.unique(cuts)) if len(part))


_REST_OF_TAG: Final = {
    CGROUP_TAG: (HOLDER_NAMES[Holder.CGROUP], Rank.STAYS),
    int(Movability.PGTABLE): (HOLDER_NAMES[Holder.PAGE_TABLES], Rank.STAYS),
    PINNED_TAG: (HOLDER_NAMES[Holder.PINNED], Rank.STAYS),
}
_REST_OF_CLASS: Final = {
    PageClass.FILE: "page cache",
    PageClass.SHMEM: "shared memory",
    PageClass.ANON: "anonymous",
    PageClass.KSM: "anonymous",
    PageClass.SWAPCACHE: "anonymous",
}
_KINDS: Final = (
    *_REST_OF_TAG.values(),
    *((kind, Rank.MOVES) for kind in dict.fromkeys(_REST_OF_CLASS.values())),
    (HOLDER_NAMES[Holder.KERNEL], Rank.MOVES),
)
"""Kinds of what no process maps, and what they do; the last is what drivers can move."""


def _told_of_cgroups(snapshot: Snapshot, found: Standing, codes: NDArray[np.int32], book: _Book) -> None:
    """Give the frames that no process has the cgroup that is charged for them."""
    kind_of_tag = np.full(NR_TAGS, len(_KINDS), np.uint8)
    for at, tag in enumerate(_REST_OF_TAG):
        kind_of_tag[tag] = at
    kind_of_class = np.full(len(PageClass), len(_KINDS) - 1, np.uint8)
    for page_class, kind in _REST_OF_CLASS.items():
        kind_of_class[page_class] = _KINDS.index((kind, Rank.MOVES))
    classes = found.memmap.by_word(classify)
    for first in range(0, len(codes), MANY_ROWS):
        rows = first + np.flatnonzero(codes[first : first + MANY_ROWS] < 0)
        if not len(rows):
            continue
        what = kind_of_tag[found.tags[rows]]
        what = np.where(what < len(_KINDS), what, kind_of_class[classes[rows]]).astype(np.int64)
        inodes, index = np.unique(charged(snapshot, rows), return_inverse=True)
        keys, of_key = np.unique(what * len(inodes) + index, return_inverse=True)
        names = cgroup_names(snapshot, inodes.tolist())
        numbered = []
        for key in keys.tolist():
            word, rank = _KINDS[key // len(inodes)]
            inode = int(inodes[key % len(inodes)])
            numbered.append(book.code(Owner(word, names[inode], key=inode), rank))
        codes[rows] = np.array(numbered, np.int32)[of_key]


def common_numbers(old: Ownership, new: Ownership) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a number for each owner of two snapshots of one boot, the same for who is the same in both.

    Two address spaces are the same owner if any process is in both.
    """
    known: dict[Any, int] = {}
    numbers: list[list[int]] = []
    nr = 0
    for side in (old, new):
        numbers.append([])
        for owner in side.owners:
            names: list[Any] = [(owner.kind, member) for member in owner.members]
            names = names or [(owner.kind, owner.key)]
            number = next((known[name] for name in names if name in known), nr)
            nr = max(nr, number + 1)
            for name in names:
                known.setdefault(name, number)
            numbers[-1].append(number)
    then, now = (np.array(each, np.int64) for each in numbers)
    return then, now
