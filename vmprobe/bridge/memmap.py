"""The frames table as the model sees it: runs of equal flag words, and how many frames hold each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.pageflags import PAGE_FLAGS, describe, mask
from vmprobe.errors import SnapshotError
from vmprobe.tables import Coded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vmprobe.tables import Snapshot


@dataclass(frozen=True)
class Runs:
    """Runs of frames whose flag words are equal, in physical order.

    Parameters
    ----------
    words
        uint64, the word of each run.
    start_pfn
        int64, first frame of each run.
    nr_frames
        int64, frames in each run.
    nr_unstable
        int64, frames of each run that changed while the snapshot was taken.
    nr_unread
        Frames whose word could not be read; they are in no run.
    nr_rows
        Rows of the frames table.
    """

    words: NDArray[np.uint64]
    start_pfn: NDArray[np.int64]
    nr_frames: NDArray[np.int64]
    nr_unstable: NDArray[np.int64]
    nr_unread: int
    nr_rows: int

    def having(self, *flags: str) -> NDArray[np.int64]:
        """Return the half-open frame ranges of the runs that have any of `flags`, ascending. Shape (n, 2)."""
        chosen = (self.words & np.uint64(mask(*flags))) != 0
        start = self.start_pfn[chosen]
        return np.stack((start, start + self.nr_frames[chosen]), axis=1)


@dataclass(frozen=True)
class Histogram:
    """Distinct flag words, ascending, and the frames that hold each."""

    words: NDArray[np.uint64]
    nr_frames: NDArray[np.int64]

    def count(self, *having: str, lacking: tuple[str, ...] = ()) -> int:
        """Return the frames that have every flag of `having` and none of `lacking`, flags by name."""
        wanted, unwanted = np.uint64(mask(*having)), np.uint64(mask(*lacking))
        chosen = ((self.words & wanted) == wanted) & ((self.words & unwanted) == 0)
        return int(self.nr_frames[chosen].sum())


def frame_runs(snapshot: Snapshot) -> Runs:
    """Return the runs of equal flag words.

    One pass over the words; all that follows works on the runs, which are some hundred times fewer.

    Raises
    ------
    KeyError
        The snapshot has no frames or no flag words.
    SnapshotError
        The manifest's frame ranges do not cover the table.
    """
    table = snapshot.table("frames", ("flags", "unstable"))
    words = table.column("flags").astype(np.uint64, copy=False)
    nr_frames = len(table)
    ranges = frame_ranges(snapshot, nr_frames)
    sizes = ranges[:, 1] - ranges[:, 0]
    range_start, range_row = ranges[:, 0], np.cumsum(sizes) - sizes
    new_run = np.empty(nr_frames, np.bool_)
    np.not_equal(words[1:], words[:-1], out=new_run[1:])
    new_run[range_row[range_row < nr_frames]] = True
    valid = table.is_valid("flags") if "flags" in table.valid else None
    if valid is not None:
        new_run[1:] |= valid[1:] != valid[:-1]
    first_row = np.flatnonzero(new_run)
    length = np.diff(np.append(first_row, nr_frames))
    owner = np.searchsorted(range_row, first_row, side="right") - 1
    start_pfn = range_start[owner] + (first_row - range_row[owner])
    nr_unstable = np.zeros(first_row.size, np.int64)
    if table.has("unstable"):
        changed = np.flatnonzero(table.column("unstable"))
        run_of = np.searchsorted(first_row, changed, side="right") - 1
        nr_unstable = np.bincount(run_of, minlength=first_row.size).astype(np.int64)
    kept = slice(None) if valid is None else valid[first_row]
    nr_unread = 0 if valid is None else int(nr_frames - np.count_nonzero(valid))
    return Runs(
        words[first_row[kept]], start_pfn[kept], length[kept], nr_unstable[kept], nr_unread, nr_frames
    )


def frame_ranges(snapshot: Snapshot, nr_frames: int) -> NDArray[np.int64]:
    """Return the half-open ranges of frames that the table covers, shape (n, 2).

    Raises
    ------
    SnapshotError
        They do not hold `nr_frames`.
    """
    ranges = np.array(snapshot.manifest["frame_ranges"], np.int64).reshape(-1, 2)
    sizes = ranges[:, 1] - ranges[:, 0]
    if int(sizes.sum()) != nr_frames or bool((sizes <= 0).any()):
        reason = f"manifest: frame_ranges cover {int(sizes.sum())} frames, table frames has {nr_frames}"
        raise SnapshotError(snapshot.path or "snapshot", reason, hint="take the snapshot again")
    return ranges


def histogram(runs: Runs) -> Histogram:
    """Return the distinct words of `runs` and how many frames hold each."""
    words, index = np.unique(runs.words, return_inverse=True)
    nr_frames = np.zeros(words.size, np.int64)
    np.add.at(nr_frames, index, runs.nr_frames)
    return Histogram(words, nr_frames)


def frame_histogram(snapshot: Snapshot) -> Histogram:
    """Return the distinct flag words of the snapshot and how many frames hold each.

    Raises
    ------
    KeyError
        The snapshot has no frames or no flag words.
    """
    return histogram(frame_runs(snapshot))


def flag_counts(snapshot: Snapshot) -> dict[str, int]:
    """Return, for each flag by name, the frames that have it; bits that no kernel named come as ``bitN``.

    Raises
    ------
    KeyError
        The snapshot has no frames or no flag words.
    """
    found = frame_histogram(snapshot)
    named = {flag.bit for flag in PAGE_FLAGS}
    counts: dict[str, int] = {}
    for bit in range(64):
        holders = (found.words >> np.uint64(bit)) & np.uint64(1) != 0
        nr_frames = int(found.nr_frames[holders].sum())
        if nr_frames or bit in named:
            counts[describe(1 << bit)] = nr_frames
    return counts


@dataclass(frozen=True)
class Charges:
    """Which cgroup is charged for each row of the frames table.

    Parameters
    ----------
    marks
        Of each row: equal where the same cgroup is charged.
    inodes
        uint64, the inode behind each mark; None where marks are inodes.
    valid
        bool, rows of which it was read; None for all.
    """

    marks: NDArray[np.integer]
    inodes: NDArray[np.uint64] | None
    valid: NDArray[np.bool_] | None

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the inode of the cgroup that is charged for each row; 0 for none or where not read."""
        marks = self.marks[rows]
        found = marks.astype(np.uint64) if self.inodes is None else self.inodes[marks]
        if self.valid is not None:
            found[~self.valid[rows]] = 0
        return found


def charges(snapshot: Snapshot) -> Charges | None:
    """Return which cgroup is charged for each row of the frames table; None where that was not read."""
    table = snapshot.table("frames", ("memcg",))
    if not table.has("memcg"):
        return None
    values = table.columns["memcg"]
    valid = table.is_valid("memcg") if "memcg" in table.valid else None
    if isinstance(values, Coded):
        return Charges(values.codes, np.array(values.values, np.uint64), valid)
    return Charges(table.column("memcg"), None, valid)


def charged(snapshot: Snapshot, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the inode of the cgroup that is charged for each row; 0 for none, or where that was not read."""
    found = charges(snapshot)
    return np.zeros(len(rows), np.uint64) if found is None else found.of(rows)
