"""A recording of page allocations in a folder: the events, how they were made, a snapshot at either end.

::

    NAME.vmrec/  before.vmsnap/  after.vmsnap/  events.npz  recording.json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vmprobe.errors import InputError, OutputError
from vmprobe.store.arrays_file import read_arrays, write_arrays
from vmprobe.store.staging import publish, staging_folder, sync_tree
from vmprobe.store.write import check_target, write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from vmprobe.tables import Snapshot

SUFFIX: Final = ".vmrec"
NAME, VERSION = "vmprobe-allocations", 1
EVENTS, MANIFEST, BEFORE, AFTER = "events.npz", "recording.json", "before.vmsnap", "after.vmsnap"
DTYPES: Final = {
    "time_ns": np.int64, "cpu": np.uint16, "kind": np.uint8, "pfn": np.int64, "order": np.uint8,
    "migratetype": np.uint8, "gfp_flags": np.uint32, "extra": np.uint32,
}  # fmt: skip
"""The columns of events."""
KINDS: Final = 2
"""The highest kind of event."""
MOST_ORDER: Final = 32
"""Folios of hugetlb are larger than what the buddy allocator hands out, and are freed whole."""
MOST_PFN: Final = 1 << 52
TOLD: Final[dict[str, Any]] = {
    "boot_id": (str, NoneType), "release": str, "events": int, "lost": int, "before_time": str,
    "counts_at_start": list, "counts_at_end": list,
}  # fmt: skip
"""What a manifest tells in any case."""
HINT: Final = "a recording is a folder that vmprobe record wrote"


@dataclass(frozen=True, eq=False)
class Recording:
    """The events of a recording, ascending in time, and what is told about them.

    Parameters
    ----------
    time_ns
        int64, since the start.
    cpu
        uint16.
    kind
        uint8: 0 a block taken, 1 given back, 2 taken from another migratetype's list.
    pfn
        int64, first frame; -1 for an allocation that failed.
    order
        uint8.
    migratetype
        uint8, what was asked for; 255 for a block given back.
    gfp_flags
        uint32, of blocks taken.
    extra
        uint32, of kind 2: order of the block that was split, from bit 8 its type, bit 16 whether the
        pageblock changed its type.
    manifest
        How it was made, and what was lost.
    path
        The folder.
    """

    time_ns: NDArray[np.int64]
    cpu: NDArray[np.uint16]
    kind: NDArray[np.uint8]
    pfn: NDArray[np.int64]
    order: NDArray[np.uint8]
    migratetype: NDArray[np.uint8]
    gfp_flags: NDArray[np.uint32]
    extra: NDArray[np.uint32]
    manifest: dict[str, Any]
    path: Path

    @property
    def before(self) -> Path:
        """The snapshot before the events."""
        return self.path / BEFORE

    @property
    def after(self) -> Path:
        """The snapshot after them."""
        return self.path / AFTER


def write_recording(
    path: Path,
    columns: dict[str, NDArray[Any]],
    manifest: dict[str, Any],
    ends: tuple[Snapshot, Snapshot],
) -> int:
    """Write a recording into a new folder, whole or not at all; return its bytes.

    Raises
    ------
    OutputError
        `path` cannot be written: taken, no permission, no space.
    """
    check_target(path)
    try:
        with staging_folder(path) as folder:
            for name, snapshot in zip((BEFORE, AFTER), ends, strict=True):
                write(snapshot, folder / name)
            write_arrays(folder / EVENTS, columns)
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
            sync_tree(folder)
            nr_bytes = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
            publish(folder, path, replace=False)
    except FileExistsError as error:
        raise OutputError(f"{path}: exists already", hint="choose another name") from error
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from error
    return nr_bytes


def read(path: Path) -> Recording:
    """Return a recording.

    Raises
    ------
    InputError
        It is none, or damaged.
    """
    manifest = _manifest(path / MANIFEST)
    arrays = read_arrays(path / EVENTS, HINT)
    names = [name for name in Recording.__dataclass_fields__ if name not in ("manifest", "path")]
    sizes = {arrays[name].shape for name in names if name in arrays}
    if set(arrays) != set(names) or sizes != {(manifest["events"],)}:
        raise InputError(f"{path / EVENTS}: not the {manifest['events']} events of its manifest", hint=HINT)
    wrong = next((name for name in names if arrays[name].dtype != DTYPES[name]), None)
    if wrong:
        raise InputError(f"{path / EVENTS}: {wrong} is {arrays[wrong].dtype}", hint=HINT)
    columns: dict[str, Any] = {name: arrays[name] for name in names}
    _check(columns, path / EVENTS)
    return Recording(**columns, manifest=manifest, path=path)


def _manifest(path: Path) -> dict[str, Any]:
    """Return what is told about a recording, with all in it that is asked for."""
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        made_as = manifest["format"]["name"], manifest["format"]["version"]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", hint=HINT) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the manifest of a recording", hint=HINT) from error
    if made_as != (NAME, VERSION):
        raise InputError(f"{path}: format {made_as[0]} {made_as[1]}, not {NAME} {VERSION}", hint=HINT)
    for key, kind in TOLD.items():
        if key not in manifest or not isinstance(manifest[key], kind):
            raise InputError(f"{path}: {key} is missing or damaged", hint=HINT)
    for key in ("counts_at_start", "counts_at_end"):
        damaged = next((row for row in manifest[key] if not _is_count(row)), None)
        if damaged is not None:
            raise InputError(f"{path}: {key}: {str(damaged)[:80]} counts no zone", hint=HINT)
    return manifest


def _is_count(row: Any) -> bool:
    """Whether a row counts the free blocks of a zone."""
    if not isinstance(row, dict) or not isinstance(row.get("nr_free"), list):
        return False
    numbers = [row.get("node"), *row["nr_free"], 0 if row.get("pcp_pages") is None else row["pcp_pages"]]
    return isinstance(row.get("zone"), str) and all(isinstance(nr, int) and nr >= 0 for nr in numbers)


def _check(columns: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Refuse events that no kernel tells; InputError names the first."""
    kind, pfn, order = columns["kind"], columns["pfn"], columns["order"].astype(np.int64)
    late = np.zeros(len(kind), np.bool_)
    late[1:] = np.diff(columns["time_ns"]) < 0
    failed = (kind == 0) & (pfn == -1)
    faults = {
        "is before the one before it": late,
        "is of a kind that there is not": kind > KINDS,
        f"has an order above {MOST_ORDER}": order > MOST_ORDER,
        "is about no page frame": ~failed & ((pfn < 0) | (pfn > MOST_PFN)),
        "is about a block that lies askew": ~failed
        & (kind < KINDS)
        & (pfn & ((np.int64(1) << np.minimum(order, MOST_ORDER)) - 1) != 0),
    }
    for told, found in faults.items():
        if found.any():
            raise InputError(f"{path}: event {int(found.argmax())} {told}", hint=HINT)
