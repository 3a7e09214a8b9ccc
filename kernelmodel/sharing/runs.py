"""Runs of frames: where they lie in the array of frames, what they cover, what they add up to.

Mirrors: nothing of the kernel, which visits entry after entry (``fs/proc/task_mmu.c: smaps_pte_range``).
Fidelity: exact; a run stands for as many entries as it is long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.memmap import MemMap

    Ints = NDArray[np.int32] | NDArray[np.int64]


PIECE_RUNS: Final = 1 << 17
"""Runs that are sorted at a time, where that can be chosen: the copies that sorting takes stay small."""


class RowRuns(NamedTuple):
    """Runs of entries as runs of rows of a `MemMap`, in the order of the runs that they come from.

    Parameters
    ----------
    run
        int64, the run that each piece comes from; a run that crosses a hole has several.
    start, end
        int64, half-open rows.
    nr_outside
        Entries that lead to no row.
    """

    run: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    nr_outside: int


class Reach(NamedTuple):
    """What owners reach: runs of rows [start, end), the owner an address space or a VMA.

    int32 where they stand for page tables: there are many of them.
    """

    owner: Ints
    start: Ints
    end: Ints

    @property
    def nr_pages(self) -> Ints:
        """Rows of each run."""
        return self.end - self.start


class Segments(NamedTuple):
    """Stretches of rows over which the runs of one owner lie equally deep, ascending by owner, then row.

    Parameters
    ----------
    owner, start, end
        int64, half-open rows; those that no run covers are left out.
    depth
        int64, runs that cover each.
    chosen
        int64, how many of them were chosen.
    """

    owner: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    depth: NDArray[np.int64]
    chosen: NDArray[np.int64]


def row_runs(frames: MemMap, pfn: NDArray[np.int64], nr_pages: NDArray[np.int64]) -> RowRuns:
    """Return the rows behind runs of frames that begin at `pfn`.

    >>> from kernelmodel.memmap import MemMap
    >>> frames = MemMap(np.array([[2, 4], [8, 9]]), np.zeros(3, np.uint64), None, np.zeros(3, np.bool_))
    >>> found = row_runs(frames, np.array([3, 2]), np.array([6, 1]))
    >>> found.run.tolist(), found.start.tolist(), found.end.tolist(), found.nr_outside
    ([0, 0, 1], [1, 2, 0], [2, 3, 1], 4)
    """
    start, last = frames.rows(pfn), frames.rows(pfn + nr_pages - 1)
    whole = (start >= 0) & (last == start + nr_pages - 1)
    run, end = np.arange(len(pfn)), last + 1
    if whole.all():
        return RowRuns(run, start, end, 0)
    # A run that leaves the ranges of frames is rare: it is cut at each of them.
    pieces: list[tuple[int, int, int]] = []
    first_row = frames.rows(frames.ranges[:, 0])
    for row in np.flatnonzero(~whole):
        low = np.maximum(frames.ranges[:, 0], pfn[row])
        high = np.minimum(frames.ranges[:, 1], pfn[row] + nr_pages[row])
        for at in np.flatnonzero(low < high):
            into = int(first_row[at] - frames.ranges[at, 0])
            pieces.append((int(row), int(low[at]) + into, int(high[at]) + into))
    cut = np.array(pieces, np.int64).reshape(-1, 3)
    nr_outside = int(nr_pages[~whole].sum() - (cut[:, 2] - cut[:, 1]).sum())
    run = np.concatenate((run[whole], cut[:, 0]))
    order = np.argsort(run, kind="stable")
    start, end = np.append(start[whole], cut[:, 1]), np.append(end[whole], cut[:, 2])
    return RowRuns(run[order], start[order], end[order], nr_outside)


def reach(
    frames: MemMap, owner: NDArray[np.int64], pfn: NDArray[np.int64], nr_pages: NDArray[np.int64]
) -> tuple[Reach, int]:
    """Return runs of frames as runs of rows, int32, in their order, and how many entries lead to no row."""
    pieces, nr_outside = [np.empty((3, 0), np.int32)], 0
    for low in range(0, len(pfn), PIECE_RUNS):
        part = slice(low, low + PIECE_RUNS)
        rows = row_runs(frames, pfn[part], nr_pages[part])
        pieces.append(np.array((owner[part][rows.run], rows.start, rows.end), np.int32))
        nr_outside += rows.nr_outside
    return Reach(*np.concatenate(pieces, axis=1)), nr_outside


def unions(owner: Ints, first_row: Ints, nr: Ints) -> Reach:
    """Return what the runs of each owner cover together. O(runs log runs).

    Disjoint, not even touching, ascending by owner, then row; of the type of `first_row`.

    >>> found = unions(np.array([7, 3, 7, 7]), np.array([4, 4, 0, 3]), np.array([2, 1, 2, 2]))
    >>> [part.tolist() for part in found]
    [[3, 7, 7], [4, 0, 3], [5, 2, 6]]
    """
    if len(owner) > PIECE_RUNS and (owner[1:] >= owner[:-1]).all():
        # Of one owner after the other, as page tables are: a piece ends where an owner does.
        changes = np.flatnonzero(owner[1:] != owner[:-1]) + 1
        wanted = np.searchsorted(changes, np.arange(PIECE_RUNS, len(owner), PIECE_RUNS), side="right")
        bounds = np.unique(np.concatenate(([0], changes[wanted[wanted > 0] - 1], [len(owner)])))
        if len(bounds) > 2:
            pieces = [
                unions(owner[low:high], first_row[low:high], nr[low:high])
                for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
            ]
            return Reach(*(np.concatenate(parts) for parts in zip(*pieces, strict=True)))
    kind: Any = first_row.dtype
    owner, first_row, nr = (part[nr > 0].astype(np.int64, copy=False) for part in (owner, first_row, nr))
    if not len(owner):
        none = np.empty(0, kind)
        return Reach(none, none, none)
    # Owner and row as one number. Starts and ends are sorted apart: which belong together does not matter.
    stride = int((first_row + nr).max()) + 1
    opens, closes = np.sort(owner * stride + first_row), np.sort(owner * stride + first_row + nr)
    # A gap lies before the run that opens when all runs that opened before are closed.
    begins = np.ones(len(opens) + 1, np.bool_)
    np.less(closes[:-1], opens[1:], out=begins[1:-1])
    start, end = opens[begins[:-1]], closes[begins[1:]]
    owner = start // stride
    start -= owner * stride
    end -= owner * stride
    return Reach(owner.astype(kind), start.astype(kind, copy=False), end.astype(kind, copy=False))


def coverage(
    start: Ints,
    end: Ints,
    nr_rows: int,
    weight: NDArray[np.int64] | None = None,
) -> NDArray[np.int32] | NDArray[np.int64]:
    """Return how many of the runs [start, end) cover each row: int32; or the sum of their weights: int64.

    O(runs + rows), by differences.

    >>> coverage(np.array([0, 1]), np.array([3, 2]), 4).tolist()
    [1, 2, 1, 0]
    >>> coverage(np.array([0, 1]), np.array([3, 2]), 4, np.array([10, 5])).tolist()
    [10, 15, 10, 0]
    """
    change: NDArray[Any] = np.zeros(nr_rows + 1, np.int32 if weight is None else np.int64)
    step = 1 if weight is None else weight
    np.add.at(change, start, step)
    np.subtract.at(change, end, step)
    np.cumsum(change, out=change, dtype=change.dtype)
    return change[:-1]


def segments(owner: NDArray[np.int64], start: Ints, end: Ints, chosen: NDArray[np.bool_]) -> Segments:
    """Return the stretches between the ends of the runs [start, end) of each owner. O(runs log runs).

    Every run holds a row at least.

    >>> found = segments(*np.array([[0, 0, 1], [0, 2, 2], [4, 6, 3]]), np.array([True, False, False]))
    >>> [part.tolist() for part in found]
    [[0, 0, 0, 1], [0, 2, 4, 2], [2, 4, 6, 3], [1, 2, 1, 1], [1, 1, 0, 0]]
    """
    if not len(owner):
        return Segments(owner, owner, owner, owner, owner)
    # Owner, row and what happens there as one number, so that one sort of values does and none is gathered.
    stride = int(end.max()) + 1
    event = np.concatenate((owner * stride + start, owner * stride + end)) << 2
    event[: len(owner)] += 2
    event += np.tile(chosen, 2)
    event.sort()
    step = (event & 2).astype(np.int32) - 1
    depth, nr_chosen = np.cumsum(step, dtype=np.int32), np.cumsum(step * (event & 1), dtype=np.int32)
    event >>= 2
    kept = np.flatnonzero((depth[:-1] > 0) & (event[1:] > event[:-1]))
    low, high = event[kept], event[kept + 1]
    owner = low // stride
    low -= owner * stride
    high -= owner * stride
    return Segments(owner, low, high, depth[kept].astype(np.int64), nr_chosen[kept].astype(np.int64))


def before(values: NDArray[Any]) -> NDArray[np.int64] | NDArray[np.int32]:
    """Return the sum of the values before each row, and of all; whole numbers. Shape (n + 1,).

    int64; int32 of truth values, of which there are never as many.

    >>> before(np.array([3, 0, 4])).tolist()
    [0, 3, 3, 7]
    """
    small = values.dtype == np.bool_ and len(values) < 1 << 31
    sums: NDArray[Any] = np.zeros(len(values) + 1, np.int32 if small else np.int64)
    # Summed in place: from values of another type numpy would first make an array of this one.
    sums[1:] = values
    np.cumsum(sums, out=sums, dtype=sums.dtype)
    return sums


def sum_by_owner(owner: Ints, values: Ints, nr_owners: int) -> NDArray[np.int64]:
    """Return the sum of the values of each owner, in any order. Exact beyond 53 bits.

    >>> sum_by_owner(np.array([2, 0, 0]), np.array([1 << 60, 1, 2]), 3).tolist()
    [3, 0, 1152921504606846976]
    """
    total = np.zeros(nr_owners, np.int64)
    if not len(owner):
        return total
    if (owner[1:] >= owner[:-1]).all():  # page tables are: one owner after the other
        first = np.flatnonzero(np.concatenate(([True], owner[1:] != owner[:-1])))
        total[owner[first]] = np.add.reduceat(values, first, dtype=np.int64)
    else:
        np.add.at(total, owner, values)
    return total
