"""What became of each frame and pageblock between two snapshots of one boot: tables in, sums out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.pageblock import Content
from vmprobe.bridge.ownership import Owner, Ownership, Rank, common_numbers, ownership
from vmprobe.bridge.turns import Cells, OwnerTurn, Side, Turn, broken, held, side

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

__all__ = [
    "Content",
    "FrameDiff",
    "Owner",
    "OwnerChange",
    "OwnerTurn",
    "Ownership",
    "Turn",
    "compare_frames",
    "ownership",
]

CHUNK: Final = 1 << 20
"""Frames that are compared at once."""
SPARE_KEYS: Final = 1 << 20
"""Sums that may be made for nothing, to spare the sorting."""


class OwnerChange(NamedTuple):
    """Frames that went from one owner to another."""

    old: Owner
    new: Owner
    frames: int


@dataclass(frozen=True)
class FrameDiff:
    """What became of frames and pageblocks.

    Parameters
    ----------
    order
        log2 of the frames in a pageblock.
    frames
        Frames that are in both snapshots.
    changed
        Those with another owner.
    unstable
        Those as well, but that changed in either snapshot while it was read: not in `changed`.
    changes
        From whom to whom, most frames first; without the unstable ones.
    contents
        int64, shape (len(Content), len(Content)): pageblocks with memory, by content then and now.
    free_before, free_after
        Pageblocks that are free.
    broken, held
        Were free and are not; held nothing but movable pages, and do not any more. By who is in them.
    freed, released
        The same in the other direction, by who was in them.
    """

    order: int
    frames: int
    changed: int
    unstable: int
    changes: tuple[OwnerChange, ...]
    contents: Ints
    free_before: int
    free_after: int
    broken: Turn
    held: Turn
    freed: Turn
    released: Turn


class _Piece(NamedTuple):
    """Frames [start, end) that both snapshots have, with the first row in each."""

    start: int
    end: int
    old_row: int
    new_row: int


class _Pairs(NamedTuple):
    """Frames by both codes, and by steadiness."""

    old: Ints
    new: Ints
    unsteady: NDArray[np.bool_]
    frames: Ints


def compare_frames(old: Ownership, new: Ownership, order: int) -> FrameDiff:
    """Return what became of frames and pageblocks.

    Parameters
    ----------
    old, new
        Of two snapshots of one boot, the earlier one first; frames in one of them alone are left out.
    order
        log2 of the frames in a pageblock.
    """
    pieces = _pieces(old.ranges, new.ranges)
    cells_then, cells_now, pairs = _counted(old, new, pieces, order)
    then, now = side(old, cells_then, order), side(new, cells_now, order)
    present = (then.counts[:, Rank.ABSENT] >> order == 0) | (now.counts[:, Rank.ABSENT] >> order == 0)
    both = then.contents.astype(np.int64) * len(Content) + now.contents
    # One that is not whole, because memory was added or removed, was not taken by anybody.
    whole = (then.counts[:, Rank.ABSENT] == 0) & (now.counts[:, Rank.ABSENT] == 0)
    inside = _inside(new, now.blocks, order) & whole
    there, here = _Finder(pieces, old, order, old=True), _Finder(pieces, new, order, old=False)
    changes, changed, unstable = _changes(old, new, pairs)
    return FrameDiff(
        order=order,
        frames=sum(piece.end - piece.start for piece in pieces),
        changed=changed,
        unstable=unstable,
        changes=changes,
        contents=np.bincount(both[present], minlength=len(Content) ** 2).reshape(len(Content), -1),
        free_before=_nr_free(then, inside),
        free_after=_nr_free(now, inside),
        broken=broken(then, now, inside, here),
        held=held(then, now, inside, here),
        freed=broken(now, then, inside, there),
        released=held(now, then, inside, there),
    )


def _nr_free(which: Side, inside: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(inside & (which.contents == Content.FREE)))


def _pieces(old: Ints, new: Ints) -> list[_Piece]:
    """Return the frames that both have."""
    found = []
    old_row = 0
    for old_start, old_end in old.tolist():
        new_row = 0
        for new_start, new_end in new.tolist():
            start, end = max(old_start, new_start), min(old_end, new_end)
            if start < end:
                found.append(_Piece(start, end, old_row + start - old_start, new_row + start - new_start))
            new_row += new_end - new_start
        old_row += old_end - old_start
    return found


def _portions(pieces: list[_Piece]) -> Iterator[_Piece]:
    for piece in pieces:
        for start in range(piece.start, piece.end, CHUNK):
            ahead = start - piece.start
            end = min(piece.end, start + CHUNK)
            yield _Piece(start, end, piece.old_row + ahead, piece.new_row + ahead)


def _counted(old: Ownership, new: Ownership, pieces: list[_Piece], order: int) -> tuple[Cells, Cells, _Pairs]:
    """Count frames by pageblock and code on each side, and by both codes, along runs."""
    nr_old, nr_new = 2 * max(1, len(old.rank_of)), 2 * max(1, len(new.rank_of))
    sums: tuple[list[tuple[Ints, Ints]], ...] = ([], [], [])
    for part in _portions(pieces):
        nr = part.end - part.start
        rows_then, rows_now = (slice(row, row + nr) for row in (part.old_row, part.new_row))
        then, now = old.codes[rows_then], new.codes[rows_now]
        unsteady = old.unstable[rows_then] | new.unstable[rows_now]
        begins = np.zeros(nr, np.bool_)
        begins[0] = True
        begins[-part.start % (1 << order) :: 1 << order] = True
        for values in (then, now, unsteady):
            begins[1:] |= values[1:] != values[:-1]
        first = np.flatnonzero(begins)
        frames = np.diff(np.append(first, nr))
        block, apart = part.start + first >> order, unsteady[first]
        code_then, code_now = 2 * then[first].astype(np.int64), 2 * now[first].astype(np.int64) + apart
        keys = (block * nr_old + code_then + apart, block * nr_new + code_now, code_then * nr_new + code_now)
        for into, key in zip(sums, keys, strict=True):
            into.append(_summed([(key, frames)]))
    (key_then, nr_then), (key_now, nr_now), (key_both, nr_both) = map(_summed, sums)
    codes = key_both % nr_new
    return (
        Cells(key_then // nr_old, key_then % nr_old >> 1, key_then % 2 == 1, nr_then),
        Cells(key_now // nr_new, key_now % nr_new >> 1, key_now % 2 == 1, nr_now),
        _Pairs(key_both // nr_new >> 1, codes >> 1, codes % 2 == 1, nr_both),
    )


def _summed(parts: list[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    """Return distinct keys, ascending, and the frames of each."""
    none = np.empty(0, np.int64)
    key, frames = (np.concatenate((none, *(part[at] for part in parts))) for at in (0, 1))
    low = int(key.min()) if len(key) else 0
    if len(key) and int(key.max()) - low < len(key) + SPARE_KEYS:
        # So near to one another, keys need not be sorted.
        sums = np.bincount(key - low, weights=frames).astype(np.int64)
        found = np.flatnonzero(sums)
        return found + low, sums[found]
    distinct, index = np.unique(key, return_inverse=True)
    return distinct, np.bincount(index, weights=frames, minlength=len(distinct)).astype(np.int64)


def _inside(whose: Ownership, blocks: Ints, order: int) -> NDArray[np.bool_]:
    """Return which pageblocks lie whole in a zone; all of them where zones are not known."""
    start = blocks << order
    inside = np.full(len(blocks), not whose.zones)
    for zone in whose.zones:
        inside |= (start >= zone.start_pfn) & (start + (1 << order) <= zone.end_pfn)
    return inside


@dataclass(frozen=True)
class _Finder:
    """Looks for frames of one snapshot by owner and rank."""

    pieces: list[_Piece]
    whose: Ownership
    order: int
    old: bool

    def __call__(self, block: int, owner: int, rank: int) -> int | None:
        start, end = block << self.order, block + 1 << self.order
        for piece in self.pieces:
            low, high = max(start, piece.start), min(end, piece.end)
            row = (piece.old_row if self.old else piece.new_row) + low - piece.start
            codes = self.whose.codes[row : row + max(0, high - low)]
            at = np.flatnonzero((self.whose.owner_of[codes] == owner) & (self.whose.rank_of[codes] == rank))
            if len(at):
                return low + int(at[0])
        return None


def _changes(old: Ownership, new: Ownership, pairs: _Pairs) -> tuple[tuple[OwnerChange, ...], int, int]:
    """Return from whom to whom frames went, how many, and how many besides are unstable."""
    number_then, number_now = common_numbers(old, new)
    then, now = old.owner_of[pairs.old], new.owner_of[pairs.new]
    went = number_then[then] != number_now[now]
    steady = went & ~pairs.unsteady
    nr_owners = max(1, len(new.owners))
    key, frames = _summed([(then[steady].astype(np.int64) * nr_owners + now[steady], pairs.frames[steady])])
    rows = [
        OwnerChange(old.owners[each // nr_owners], new.owners[each % nr_owners], nr)
        for each, nr in zip(key.tolist(), frames.tolist(), strict=True)
    ]
    # Stable: of equal ones the owners that were numbered first.
    rows.sort(key=lambda row: -row.frames)
    return tuple(rows), int(frames.sum()), int(pairs.frames[went & pairs.unsteady].sum())
