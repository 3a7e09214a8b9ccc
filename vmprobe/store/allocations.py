"""A recording of page allocations in a folder: the events, how they were made, a snapshot at either end.

::

    NAME.vmrec/  before.vmsnap/  after.vmsnap/  events.npz  recording.json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vmprobe.errors import InputError, OutputError
from vmprobe.store.arrays_file import read_arrays, write_arrays
from vmprobe.store.staging import publish, staging_folder, sync_tree
from vmprobe.store.write import check_target, write

if TYPE_CHECKING:
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
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        made_as = manifest["format"]["name"], manifest["format"]["version"]
    except OSError as error:
        raise InputError(f"{path / MANIFEST}: {error.strerror}", hint=HINT) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path / MANIFEST}: not the manifest of a recording", hint=HINT) from error
    if made_as != (NAME, VERSION):
        raise InputError(
            f"{path / MANIFEST}: format {made_as[0]} {made_as[1]}, not {NAME} {VERSION}", hint=HINT
        )
    arrays = read_arrays(path / EVENTS, HINT)
    names = [name for name in Recording.__dataclass_fields__ if name not in ("manifest", "path")]
    sizes = {arrays[name].shape for name in names if name in arrays}
    if set(arrays) != set(names) or sizes != {(manifest.get("events"),)}:
        raise InputError(
            f"{path / EVENTS}: not the {manifest.get('events')} events of its manifest", hint=HINT
        )
    wrong = [name for name in names if arrays[name].dtype != DTYPES[name]]
    if wrong or int(arrays["kind"].max(initial=0)) > KINDS:
        told = f"{wrong[0]} is {arrays[wrong[0]].dtype}" if wrong else f"kind {arrays['kind'].max()}"
        raise InputError(f"{path / EVENTS}: {told}", hint=HINT)
    late = np.flatnonzero(np.diff(arrays["time_ns"]) < 0)
    if len(late):
        raise InputError(f"{path / EVENTS}: event {late[0] + 1} is before the one before it", hint=HINT)
    columns: dict[str, Any] = {name: arrays[name] for name in names}
    return Recording(**columns, manifest=manifest, path=path)
