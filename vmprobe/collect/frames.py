"""Flags, map count and memory cgroup of every page frame, read twice where it tells what moved.

Flags are read first and again last, counts and cgroups between, so that a frame that changed its nature
anywhere in the run is seen to have done so. Memory: 8 + 4 + 2 + 1 bytes a frame.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vmprobe.collect.unread import ROOT
from vmprobe.formats import kpagecount
from vmprobe.schema import TABLES
from vmprobe.sources.framefiles import FrameFile
from vmprobe.tables import Coded, Ranges, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from vmprobe.collect.unread import Unread
    from vmprobe.formats.zoneinfo import ZoneRow
    from vmprobe.sources.procfs import Tree

CHUNK_FRAMES: Final = 1 << 17
"""Frames of one read: about 6 ms and 1 MiB, so that our own memory hardly grows while the host is read."""

SECTION_FRAMES: Final = 1 << 15
"""Ranges are widened to multiples of this so that frames just outside a zone (pfn 0) are not lost."""

BOOKKEEPING: Final = sum(1 << bit for bit in (0, 1, 2, 3, 4, 6, 8, 9, 25))
"""LOCKED ERROR REFERENCED UPTODATE DIRTY ACTIVE WRITEBACK RECLAIM IDLE: they flip without the frame changing
hands, so a difference in them does not make it unstable."""

BUDDY, MMAP, COMPOUND = 1 << 10, 1 << 11, 3 << 15
U32_LAST: Final = np.uint64(0xFFFFFFFF)

LOST: Final = {"kpageflags": "frames.flags", "kpagecount": "frames.mapcount", "kpagecgroup": "frames.memcg"}
"""The column that each file fills."""

MAX_PFN: Final = 1 << 40
"""Where the search for the end of the files begins when zoneinfo does not tell."""


def zone_ranges(zones: Iterable[ZoneRow]) -> list[tuple[int, int]]:
    """Return half-open ranges of frames that cover every zone, ascending and disjoint.

    What lies between zones far apart (sparse machines) is skipped: nothing is there.
    """
    spans = []
    for zone in zones:
        if zone.fields.get("spanned", 0) and "start_pfn" in zone.fields:
            start = zone.fields["start_pfn"]
            end = start + zone.fields["spanned"]
            spans.append((start - start % SECTION_FRAMES, end + -end % SECTION_FRAMES))
    ranges: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if ranges and start <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(end, ranges[-1][1]))
        else:
            ranges.append((start, end))
    return ranges


class Frames:
    """The frame table while it is being read.

    Parameters
    ----------
    proc
        The /proc to read, and to look at again as far as it has a later.
    ranges
        Half-open frame ranges; the file's own end cuts the last. None when zoneinfo was unreadable.
    unread
        Where refusals are noted.
    wanted
        False opens nothing and leaves the table out.
    """

    def __init__(
        self, proc: Tree, ranges: list[tuple[int, int]] | None, unread: Unread, *, wanted: bool = True
    ) -> None:
        self._unread = unread
        self._second: FrameFile | None = None
        self.files: dict[str, FrameFile] = {}
        self.broken: set[str] = set()
        for name, lost in LOST.items() if wanted else ():
            try:
                self.files[name] = FrameFile(proc, name)
            except OSError as error:
                unread.failed(name, error, needs=ROOT, lost=lost)
        try:
            self.ranges = self._cut(ranges)
        except OSError as error:
            self.close()
            self.files = {}
            self.ranges = []
            unread.failed("frames", error, needs=ROOT, lost="frames")
        nr_frames = sum(end - start for start, end in self.ranges)
        # np.full touches every page now: memory that we took while reading would be the largest drift of all.
        self.flags = np.full(nr_frames if "kpageflags" in self.files else 0, 0, np.uint64)
        self.mapcount = np.full(nr_frames if "kpagecount" in self.files else 0, 0, np.uint32)
        self.memcg = np.full(nr_frames if "kpagecgroup" in self.files else 0, 0, np.uint16)
        self.memcg_codes: dict[int, int] = {}
        self.unstable = np.full(nr_frames, False, np.bool_)
        self.nr_frames = nr_frames
        self._nr_changed = 0
        self._nr_compared = 0
        self._second = self._second_look(proc)
        self._lock = threading.Lock()  # two threads number memcgs and count changes

    def close(self) -> None:
        """Close the files."""
        for file in self.files.values():
            file.close()
        if self._second is not None and self._second not in self.files.values():
            self._second.close()

    def _second_look(self, proc: Tree) -> FrameFile | None:
        """Return where flags are read again: the same file on a live host, another one of a recording."""
        later = proc.later()
        if later is None or "kpageflags" not in self.files:
            return None
        if later is proc:
            return self.files["kpageflags"]
        try:
            return FrameFile(later, "kpageflags")
        except OSError as error:
            self._unread.failed("kpageflags, second look", error, needs=ROOT)
            return None

    def _cut(self, ranges: list[tuple[int, int]] | None) -> list[tuple[int, int]]:
        if not self.files:
            return []
        file = next(iter(self.files.values()))
        end = file.end_pfn(ranges[-1][1] if ranges else MAX_PFN)
        return [(start, min(stop, end)) for start, stop in ranges or [(0, end)] if start < end]

    def _chunks(self) -> Iterator[tuple[int, int, int]]:
        """Yield (row, pfn, frames) pieces of the table."""
        row = 0
        for start, end in self.ranges:
            for pfn in range(start, end, CHUNK_FRAMES):
                nr = min(CHUNK_FRAMES, end - pfn)
                yield row, pfn, nr
                row += nr

    def _works(self, name: str, read: Callable[[int, int, int], None]) -> list[Callable[[], None]]:
        def work(chunk: tuple[int, int, int]) -> None:
            if name in self.broken:
                return
            try:
                read(*chunk)
            except OSError as error:
                # One bad read makes the whole column worthless: half a column would look like free memory.
                self.broken.add(name)
                self._unread.failed(name, error, needs=None, lost=LOST[name])

        return [partial(work, chunk) for chunk in self._chunks()] if name in self.files else []

    def first_pass(self) -> list[Callable[[], None]]:
        """Return the work that reads flags for the first time."""
        return self._works("kpageflags", self._read_flags)

    def middle_pass(self) -> list[Callable[[], None]]:
        """Return the work that reads counts and cgroups."""
        counts = self._works("kpagecount", self._read_counts)
        return counts + self._works("kpagecgroup", self._read_memcg)

    def last_pass(self) -> list[Callable[[], None]]:
        """Return the work that reads flags again and marks what changed."""
        return self._works("kpageflags", self._compare_flags)

    def _read_flags(self, row: int, pfn: int, nr: int) -> None:
        out = self.flags[row : row + nr]
        out[self.files["kpageflags"].read_into(out, pfn) :] = 0

    def _words(self, file: FrameFile, pfn: int, nr: int, source: str | None = None) -> NDArray[np.uint64]:
        words = np.empty(nr, np.uint64)
        words[file.read_into(words, pfn, source) :] = 0
        return words

    def _read_counts(self, row: int, pfn: int, nr: int) -> None:
        words = self._words(self.files["kpagecount"], pfn, nr)
        # Before 6.17 a page that changes its type while it is read can show a negative count as a huge one.
        torn = words > U32_LAST
        words[torn] = U32_LAST
        self.unstable[row : row + nr] |= torn
        self.mapcount[row : row + nr] = kpagecount.narrow(words)

    def _read_memcg(self, row: int, pfn: int, nr: int) -> None:
        words = self._words(self.files["kpagecgroup"], pfn, nr)
        heads = np.flatnonzero(np.concatenate(([True], words[1:] != words[:-1])))
        lengths = np.diff(heads, append=nr)
        with self._lock:
            codes = [
                self.memcg_codes.setdefault(inode, len(self.memcg_codes)) for inode in words[heads].tolist()
            ]
            if len(self.memcg_codes) > np.iinfo(self.memcg.dtype).max:
                # More than 65,535 memory cgroups: rare enough to pay two bytes a frame for it then.
                self.memcg = self.memcg.astype(np.uint32)
            self.memcg[row : row + nr] = np.repeat(np.array(codes, self.memcg.dtype), lengths)

    def _compare_flags(self, row: int, pfn: int, nr: int) -> None:
        first = self.flags[row : row + nr]
        changed = self._contradicted(first, row, nr)
        if self._second is not None:
            again = self._words(self._second, pfn, nr, "kpageflags-second")
            changed |= (again ^ first) & np.uint64(~BOOKKEEPING & (1 << 64) - 1) != 0
        self.unstable[row : row + nr] |= changed
        with self._lock:
            self._nr_changed += int(np.count_nonzero(changed))
            self._nr_compared += nr

    def volatility(self) -> dict[str, int | None]:
        """Return what the second look found, for the manifest; None where there was none."""
        looked = self._second is not None and "kpageflags" not in self.broken
        return {
            "frames_compared": self._nr_compared if looked else None,
            "frames_changed": self._nr_changed if looked else None,
        }

    def _contradicted(self, flags: NDArray[np.uint64], row: int, nr: int) -> NDArray[np.bool_]:
        """Return frames that changed and changed back: what was read between the two looks denies both.

        A frame without MMAP is mapped by nobody, one with it by somebody unless it is part of a large folio;
        a free one is charged to no cgroup.
        """
        denied = np.zeros(nr, np.bool_)
        readable = self.files.keys() - self.broken
        if "kpagecount" in readable:
            mapped = self.mapcount[row : row + nr] > 0
            denied |= (flags & np.uint64(MMAP) == 0) & mapped
            denied |= (flags & np.uint64(MMAP | COMPOUND) == MMAP) & ~mapped
        if "kpagecgroup" in readable:
            uncharged = self.memcg_codes.get(0, -1)
            denied |= (flags & np.uint64(BUDDY) != 0) & (self.memcg[row : row + nr] != uncharged)
        return denied

    def rows_of(self, pfns: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Return the rows of `pfns`, those outside the table left out."""
        if not self.ranges:
            return np.empty(0, np.intp)
        starts = np.array([start for start, _ in self.ranges], np.uint64)
        ends = np.array([end for _, end in self.ranges], np.uint64)
        firsts = np.concatenate(([0], np.cumsum(ends - starts)[:-1])).astype(np.uint64)
        index = np.searchsorted(starts, pfns, "right") - 1
        inside = (index >= 0) & (pfns < ends[index])
        index = index[inside]
        return (pfns[inside] - starts[index] + firsts[index]).astype(np.intp)

    def mark_unstable(self, pfns: NDArray[np.uint64]) -> None:
        """Mark frames whose mapping changed between the two looks at page tables."""
        self.unstable[self.rows_of(pfns)] = True

    def table(self) -> Table | None:
        """Return the table, or None when no file could be opened."""
        readable = self.files.keys() - self.broken
        if not readable:
            return None
        columns: dict[str, Any] = {"pfn": Ranges(tuple(self.ranges)), "unstable": self.unstable}
        if "kpageflags" in readable:
            columns["flags"] = self.flags
        if "kpagecount" in readable:
            columns["mapcount"] = self.mapcount
        if "kpagecgroup" in readable:
            columns["memcg"] = Coded(self.memcg, tuple(self.memcg_codes) or (0,))
        return Table(TABLES["frames"], columns, self.nr_frames)
