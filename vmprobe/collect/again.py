"""Further looks at the frames of a snapshot that is there: quick, and without taking memory in between.

Between a photograph and what it is held against nothing should move, our own memory least of all. A whole
snapshot takes seconds and new memory; a further look reads the flag words into room that was made before.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from vmprobe.collect import counters
from vmprobe.collect.frames import CHUNK_FRAMES, U32_LAST
from vmprobe.collect.unread import ROOT, Unread
from vmprobe.errors import InputError, PrivilegeError
from vmprobe.schema import TABLES
from vmprobe.sources.framefiles import FrameFile
from vmprobe.tables import MemoryTables, Ranges, Snapshot, Table, Values

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vmprobe.sources.procfs import Tree


class Looks:
    """Room for two looks at the frames of one host, before and after something; use as a context manager.

    Parameters
    ----------
    snapshot
        Of this host, in memory: which frames there are, and all that a look does not read again.
    proc, sys
        Of the same live host.

    Raises
    ------
    PrivilegeError
        The frames may not be read.
    InputError
        There are no files of them.
    """

    def __init__(self, snapshot: Snapshot, proc: Tree, sys: Tree) -> None:
        self._snapshot = snapshot
        self._proc, self._sys = proc, sys
        self._ranges = [(int(start), int(end)) for start, end in snapshot.manifest["frame_ranges"]]
        nr_frames = sum(end - start for start, end in self._ranges)
        # Written to, so that the kernel gives the pages now.
        self._before, self._after = (np.full(nr_frames, 1, np.uint64) for _ in range(2))
        self._counts = np.full(nr_frames, 1, np.uint32)
        self._piece = np.full(CHUNK_FRAMES, 1, np.uint64)
        self._stack = contextlib.ExitStack()
        self._flags = self._open("kpageflags")
        self._mapcounts = self._open("kpagecount")

    def _open(self, name: str) -> FrameFile:
        try:
            return self._stack.enter_context(FrameFile(self._proc, name))
        except OSError as error:
            self._stack.close()
            if isinstance(error, PermissionError):
                raise PrivilegeError(self._proc.path(name), ROOT) from None
            raise InputError(f"{self._proc.path(name)}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def before(self) -> Snapshot:
        """Return the snapshot with frames, zones, free lists and counters as they are now; the rest is old.

        The flags come last, since it is they that must not be old.

        Raises
        ------
        InputError
            The frames cannot be read.
        """
        first, tables = self.rehearse()
        return self._with(first, tables, {"flags": self._before, "mapcount": self._counts})

    def rehearse(self) -> tuple[counters.Cheap, dict[str, Table]]:
        """Read all that `before` reads; done once for nothing, the memory that takes is no longer taken then.

        Raises
        ------
        InputError
            The frames cannot be read.
        """
        first = counters.read_cheap(self._proc, self._sys, Unread())
        tables: dict[str, Table] = {}
        counters.read_once(self._proc, Unread(), tables)
        self._read(self._mapcounts, self._narrow)
        self._read(self._flags, self._before.__setitem__)
        return first, tables

    def after(self) -> Snapshot:
        """Return the same as `before`, the flags first and no map counts.

        Raises
        ------
        InputError
            The frames cannot be read.
        """
        self._read(self._flags, self._after.__setitem__)
        first = counters.read_cheap(self._proc, self._sys, Unread())
        return self._with(first, {}, {"flags": self._after})

    def _narrow(self, rows: slice, words: NDArray[np.uint64]) -> None:
        # Before 6.17 a page that changes its type while it is read can show a negative count as a huge one.
        # In place: room for another piece would be taken from the memory that is looked at.
        self._counts[rows] = np.minimum(words, U32_LAST, out=words)

    def _read(self, file: FrameFile, keep: Callable[[slice, NDArray[np.uint64]], None]) -> None:
        """Read all frames of a file, piece by piece in the same room."""
        row = 0
        for start, end in self._ranges:
            for pfn in range(start, end, CHUNK_FRAMES):
                words = self._piece[: min(CHUNK_FRAMES, end - pfn)]
                try:
                    words[file.read_into(words, pfn) :] = 0
                except OSError as error:
                    raise InputError(f"{self._proc.path(file.name)}: {error.strerror}") from error
                keep(slice(row, row + len(words)), words)
                row += len(words)

    def _with(
        self, first: counters.Cheap, tables: dict[str, Table], frames: dict[str, NDArray[Any]]
    ) -> Snapshot:
        """Return the snapshot with these tables in place of its own."""
        second = counters.read_cheap(self._proc, self._sys, Unread())
        columns: dict[str, Values] = {"pfn": Ranges(tuple(self._ranges)), **frames}
        tables |= counters.tables(first, second)
        tables["frames"] = Table(TABLES["frames"], columns, len(self._before))
        kept = {name: self._snapshot.table(name) for name in self._snapshot.tables()}
        volatility = {
            **self._snapshot.manifest["volatility"],
            "free_pages_before": first.free_pages,
            "free_pages_after": second.free_pages,
        }
        return Snapshot({**self._snapshot.manifest, "volatility": volatility}, MemoryTables(kept | tables))
