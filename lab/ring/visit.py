"""What one guest brought back, as the checks see it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.errors import DiffersError
from vmprobe.store import load
from vmprobe.tables import MemoryTables, Snapshot, Table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lab.shapes import Shape


@dataclass(frozen=True)
class Round:
    """One photograph of a quiet guest, and what witnesses said right before and after it.

    Parameters
    ----------
    folder
        What `lab.ring.inside` saved.
    snapshot
        The photograph.
    """

    folder: Path
    snapshot: Snapshot

    def text(self, name: str) -> str:
        """Return a /proc file as it read while vmprobe read the frames."""
        return (self.folder / f"{name}.text").read_text(encoding="utf-8", errors="surrogateescape")

    def task_text(self, pid: int, name: str) -> str | None:
        """Return a file of a stopped process, None where the kernel has none."""
        path = self.folder / "tasks" / str(pid) / f"{name}.text"
        return path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else None

    def words(self, name: str) -> NDArray[np.uint64]:
        """Return the words of a frame file, as the first look had them."""
        return np.fromfile(self.folder / name, np.uint64)

    def still(self, name: str) -> NDArray[np.bool_]:
        """Return which frames read the same in both looks and are in use.

        A word of 0 says nothing: such a page may be taken from a per-CPU list and put back between the looks.
        """
        words = self.words(name)
        moved = np.unpackbits(np.fromfile(self.folder / f"{name}.moved", np.uint8), count=len(words))
        kept: NDArray[np.bool_] = (moved == 0) & (words != 0)
        return kept

    def frame_rows(self, name: str) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
        """Return pfn, the snapshot's value and the witness's word of the frames that stood still.

        Not of a frame that vmprobe saw change between its own looks: it may be as it was again by the second
        look of the witness. They are a handful; more than one in a thousand would be marks without a reason.

        Raises
        ------
        DiffersError
            They are more.
        """
        column = {"kpageflags": "flags", "kpagecount": "mapcount"}[name]
        frames = self.snapshot.table("frames")
        pfn = frames.column("pfn")
        chosen = self.still(name)[pfn]
        marked = chosen & frames.column("unstable")
        if 1000 * np.count_nonzero(marked) > np.count_nonzero(chosen):
            raise DiffersError(
                f"{np.count_nonzero(marked)} frames are marked unstable that the witness saw stand"
            )
        chosen &= ~marked
        return pfn[chosen], frames.column(column)[chosen].astype(np.uint64), self.words(name)[pfn][chosen]

    def frame_row(self, pfn: int) -> int:
        """Return the row of a frame in the snapshot's table."""
        return int(np.flatnonzero(self.snapshot.table("frames").column("pfn") == pfn)[0])

    def mm_of(self, pid: int) -> int:
        """Return the address space of a process."""
        rows = self.snapshot.table("tasks").rows("pid", "mm")
        return next(int(mm) for found, mm in rows if found == pid)

    @cached_property
    def system_ram(self) -> list[tuple[int, int]]:
        """Half-open ranges of frames that /proc/iomem calls System RAM, whole pages only."""
        page = self.snapshot.page_size
        found = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) : System RAM$", self.text("iomem"), re.MULTILINE)
        return [(-(-int(first, 16) // page), (int(last, 16) + 1) // page) for first, last in found]

    def changed(self, table: str, column: str, row: int | slice, value: Any) -> Round:
        """Return a copy in which one value of the snapshot is another: a planted fault."""
        old = self.snapshot.table(table)
        values = old.column(column).copy()
        values[row] = value
        valid = {name: ok for name, ok in old.valid.items() if name != column}
        return self.with_table(Table(old.schema, {**old.columns, column: values}, old.nr_rows, valid))

    def without_row(self, table: str, row: int) -> Round:
        """Return a copy in which one row of a table of the snapshot is missing."""
        old = self.snapshot.table(table)
        kept = np.arange(old.nr_rows) != row
        columns = {name: old.column(name)[kept] for name in old.columns}
        valid = {name: ok[kept] for name, ok in old.valid.items()}
        return self.with_table(Table(old.schema, columns, old.nr_rows - 1, valid))

    def with_table(self, table: Table) -> Round:
        """Return a copy with one table of the snapshot replaced."""
        tables = {name: self.snapshot.table(name) for name in self.snapshot.tables()}
        tables[table.schema.name] = table
        return replace(self, snapshot=Snapshot(self.snapshot.manifest, MemoryTables(tables)))


@dataclass(frozen=True)
class Visit:
    """Everything about one guest.

    Parameters
    ----------
    shape
        What was asked for.
    folder
        Its outputs.
    facts
        What `lab.ring.inside` told: truths of workloads, pids, stamps, commands.
    rounds
        The quiet photographs.
    """

    shape: Shape
    folder: Path
    facts: dict[str, Any]
    rounds: tuple[Round, ...]

    def truths(self, workload: str) -> list[dict[str, Any]]:
        """Return what the workloads of one name said they made."""
        return [truth for truth in self.facts["truths"] if truth["workload"] == workload]


def open_visit(shape: Shape, folder: Path) -> Visit:
    """Open what a guest left in `folder`."""
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    rounds = tuple(
        Round(place, load(place / "host.vmsnap"))
        for place in sorted(folder.glob("round-*"))
        if place.is_dir()
    )
    return Visit(shape, folder, facts, rounds)
