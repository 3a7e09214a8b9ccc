"""The memory cgroups by inode, which is how /proc/kpagecgroup names them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from vmprobe.sources.recording import RecordedTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmprobe.sources.procfs import Tree

MAX_DEPTH: Final = 64
"""Deeper nesting than any host has; a bound for what is read from a place we do not control."""


def memory_root(sys: Tree) -> str | None:
    """Return the folder, below /sys, of the hierarchy that charges memory: v1's own or the unified one."""
    for folder in ("fs/cgroup/memory", "fs/cgroup", "fs/cgroup/unified"):
        names = sys.names(folder)
        if "memory.usage_in_bytes" in names or "memory.stat" in names:
            return folder
        if "cgroup.controllers" in names and b"memory" in sys.read(
            f"{folder}/cgroup.controllers", "cgroupfs"
        ):
            return folder
    return None


def memory_cgroups(sys: Tree) -> Iterator[tuple[int, str]]:
    """Yield (inode, path below the mount) of every memory cgroup, the root first.

    Raises
    ------
    FileNotFoundError
        No hierarchy with the memory controller is mounted there.
    """
    if isinstance(sys, RecordedTree):  # a copied folder has another inode
        yield from sys.cgroups()
        return
    folder = memory_root(sys)
    if folder is None:
        raise FileNotFoundError(2, os.strerror(2), sys.path("fs/cgroup"))
    top = sys.path(folder)
    yield os.stat(top).st_ino, "/"
    waiting = [(top, "", 0)]
    while waiting:
        place, path, depth = waiting.pop()
        try:
            entries = [entry for entry in os.scandir(place) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue  # removed while we looked
        for entry in sorted(entries, key=lambda e: e.name):
            yield entry.inode(), f"{path}/{entry.name}"
            if depth < MAX_DEPTH:
                waiting.append((entry.path, f"{path}/{entry.name}", depth + 1))
