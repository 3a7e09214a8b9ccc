"""What a snapshot holds, looked up once and shared by the questions that need it."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from vmprobe.bridge.memmap import Histogram, Runs, frame_runs, histogram
from vmprobe.bridge.pageclass import zero_holes
from vmprobe.bridge.resources import frames_inside, ram_ranges
from vmprobe.errors import PrivilegeError, SnapshotError
from vmprobe.tables import Coded

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot, Table


FILES: Final = {"vmas": "maps", "mappings": "pagemap"}
"""The file that each table of address spaces is read from, as the manifest names it."""
FRAME_NUMBERS: Final = "CAP_SYS_ADMIN in the initial user namespace"
"""What it takes to be shown frame numbers."""


class Evidence:
    """The parts of a snapshot that several questions look at; each is computed when first asked for.

    What the snapshot does not have is None, never 0.

    Parameters
    ----------
    snapshot
        The photograph.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    @cached_property
    def has_flags(self) -> bool:
        """Whether there are flag words."""
        return self.snapshot.has("frames") and self.snapshot.table("frames", ("flags",)).has("flags")

    @cached_property
    def runs(self) -> Runs | None:
        """Runs of equal flag words; None without frames or without their flags."""
        return frame_runs(self.snapshot) if self.has_flags else None

    @cached_property
    def words(self) -> Histogram | None:
        """Distinct flag words; None without them."""
        return None if self.runs is None else histogram(self.runs)

    @cached_property
    def nr_zero_holes(self) -> int | None:
        """Frames with a word of 0 outside every System RAM range; None where iomem or flags are missing."""
        ram = ram_ranges(self.snapshot)
        if self.runs is None or ram is None:
            return None
        return int(zero_holes(self.runs, ram).sum())

    def reserved_ram(self) -> int:
        """Return the reserved frames that have memory behind them; 0 where that is not known."""
        ram = ram_ranges(self.snapshot)
        if self.runs is None or ram is None:
            return 0
        ranges = self.runs.having("RESERVED")
        return int(frames_inside(ram, ranges[:, 0], ranges[:, 1]).sum())

    @cached_property
    def entries(self) -> Counter[tuple[str, int | None]] | None:
        """Page-table entries by kind and swap type; None without mappings."""
        if not self.snapshot.has("mappings"):
            return None
        table = self.snapshot.table("mappings", ("kind", "swap_type", "nr_pages"))
        kinds = coded(table, "kind")
        types = np.full(len(table), -1, np.int64)
        if table.has("swap_type"):
            valid = table.is_valid("swap_type")
            types[valid] = table.column("swap_type")[valid]
        key = kinds.codes.astype(np.int64) * 257 + types + 1
        pages = np.bincount(key, weights=table.column("nr_pages"), minlength=1)
        found: Counter[tuple[str, int | None]] = Counter()
        for index in np.flatnonzero(pages).tolist():
            code, swap_type = index // 257, index % 257 - 1
            found[kinds.values[code], None if swap_type < 0 else swap_type] += int(pages[index])
        return found

    def entries_of(self, *kinds: str) -> int | None:
        """Return the entries of these kinds; None without mappings."""
        if self.entries is None:
            return None
        return sum(count for (kind, _), count in self.entries.items() if kind in kinds)

    @cached_property
    def counters(self) -> dict[tuple[str, str, str], int]:
        """(source, scope, name) to the value before the frames were read."""
        if not self.snapshot.has("counters"):
            return {}
        rows = self.snapshot.table("counters").rows("source", "scope", "name", "value")
        return {(source, scope, name): value for source, scope, name, value in rows if value is not None}

    def zone_sum(self, column: str) -> int | None:
        """Return the sum of a column over zones that have memory; None where it is missing in any of them."""
        if not self.snapshot.has("zones"):
            return None
        rows = self.snapshot.table("zones").rows("present_pages", column)
        values = [value for present_pages, value in rows if present_pages]
        return None if None in values else sum(values)

    def config(self, option: str) -> bool | None:
        """Return a kernel configuration option; None where the kernel does not tell."""
        config: dict[str, Any] | None = self.snapshot.manifest["host"].get("config")
        return None if config is None else config.get(option)


def coded(table: Table, column: str) -> Coded:
    """Return a column of few distinct strings as codes."""
    values = table.columns[column]
    if isinstance(values, Coded):
        return values
    codes: dict[str, int] = {}
    listed = [codes.setdefault(value, len(codes)) for value in table.column(column).tolist()]
    return Coded(np.array(listed, np.int64), tuple(codes))


def demand_tables(snapshot: Snapshot, *tables: str) -> None:
    """Refuse a question about tables that the snapshot does not have.

    Raises
    ------
    SnapshotError
        Naming the first that is missing, and why.
    """
    for table in tables:
        if not snapshot.has(table):
            reason = f"table {table} is {why_missing(snapshot, table, FILES[table])}"
            raise SnapshotError(snapshot.path or "snapshot", reason)


def demand_frames(evidence: Evidence) -> None:
    """Refuse a question about page frames where there are none.

    Raises
    ------
    PrivilegeError
        The snapshot was taken now: with the privilege it could be answered.
    SnapshotError
        It is a saved one, or was taken without frames.
    """
    if evidence.has_flags:
        return
    snapshot = evidence.snapshot
    unread = snapshot.manifest.get("unread", ())
    entry = next((entry for entry in unread if entry["what"] == "kpageflags"), None)
    if snapshot.path is None and entry is not None and entry.get("needs"):
        hint = "run it as root, or ask a snapshot that root took"
        raise PrivilegeError("page frames (/proc/kpageflags)", entry["needs"], hint=hint)
    where = snapshot.path or "snapshot"
    raise SnapshotError(
        where, f"page frames are {why_missing(snapshot, 'frames', 'kpageflags')}", hint="take one as root"
    )


def refuse_hidden_frames(snapshot: Snapshot) -> NoReturn:
    """Refuse a question about frame numbers where the kernel hid them from who took the snapshot.

    Raises
    ------
    PrivilegeError
        It was taken now: with the privilege it could be answered.
    SnapshotError
        It is a saved one.
    """
    if snapshot.path is None:
        hint = "run it as root, or ask a snapshot that root took"
        raise PrivilegeError("frame numbers in /proc/PID/pagemap", FRAME_NUMBERS, hint=hint)
    reason = f"frame numbers are hidden in it: it was taken without {FRAME_NUMBERS}"
    raise SnapshotError(snapshot.path, reason, hint="take one as root")


def why_missing(snapshot: Snapshot, table: str, file: str) -> str:
    """Return why `table` is not in the snapshot, as a reader should be told.

    Parameters
    ----------
    snapshot
        The photograph.
    table
        The table that is missing.
    file
        The name under which the manifest may list its source as unread.
    """
    if table == "frames" and not snapshot.manifest.get("options", {}).get("frames", True):
        return "not in this snapshot: it was taken without frames"
    unread = snapshot.manifest.get("unread", ())
    for entry in sorted(unread, key=lambda entry: entry["what"] != file):
        # What is lost is a table or a column of one, or several of them: "vmas, mappings".
        lost = {name.partition(".")[0] for name in (entry.get("lost") or "").split(", ")}
        if entry["what"] == file or table in lost:
            needs = f"; needs {entry['needs']}" if entry.get("needs") else ""
            return f"not in this snapshot: {entry['what']}: {entry['reason']}{needs}"
    return "not in this snapshot"
