"""Recordings of captured guests, made by lab/record.py itself, and what tests do with them."""

from __future__ import annotations

import json
import os
import struct
from typing import TYPE_CHECKING, Any

from lab import record
from tests.recorded import tree
from vmprobe.collect import Options, take

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vmprobe.tables import Snapshot


def lay_out(shape: str, into: Path) -> Path:
    """Make a host of a captured guest, with settings and cgroups, and return its /proc."""
    root = tree(shape, into)
    for name, text in {
        "proc/sys/vm/swappiness": "60\n",
        "proc/uptime": "93784.50 1.0\n",
        "proc/sys/kernel/random/boot_id": "00000000-1111-2222-3333-444444444444\n",
        "sys/kernel/mm/ksm/run": "0\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        "sys/kernel/mm/transparent_hugepage/hugepages-64kB/stats/swpin": "3\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    }.items():
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (into / "sys" / "fs" / "cgroup" / "lab" / "task").mkdir(parents=True)
    return root


def recorded(root: Path, *arguments: str, status: int = 0) -> Path:
    """Record a laid out host and return the recording."""
    folder = root.parent / "host.recording"
    sysfs = str(root.parent / "sys")
    assert record.main([str(folder), "--procfs", str(root), "--sysfs", sysfs, *arguments]) == status
    return folder


def small(into: Path) -> Path:
    """Return a recording of one guest, of its first 64 MiB."""
    root = lay_out("6.12-1node", into)
    for name in record.FRAMES:
        os.truncate(root / name, 1 << 17)
    return recorded(root)


def replay(folder: Path, **choices: Any) -> Snapshot:
    """Take a snapshot of a recording."""
    return take(Options(procfs=str(folder), **choices))


def rows(snapshot: Snapshot) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables."""
    return {name: list(snapshot.table(name).rows()) for name in snapshot.tables()}


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change recording.json."""
    document = json.loads((folder / "recording.json").read_text())
    change(document)
    (folder / "recording.json").write_text(json.dumps(document))


def write_word(path: Path, index: int, word: int) -> int:
    """Replace one word of a file and return the one that was there."""
    with path.open("r+b") as file:
        file.seek(index * 8)
        (before,) = struct.unpack("<Q", file.read(8))
        file.seek(index * 8)
        file.write(struct.pack("<Q", word))
    return int(before)


def process(folder: Path) -> Path:
    """Return the folder of the only process."""
    return next(entry for entry in folder.iterdir() if entry.name.isdecimal())
