"""Slab: inodes and dentries of many empty files, some removed again so that slabs have holes."""

from __future__ import annotations

import os
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import layout, look
from lab.workloads.folders import device, filesystem, own_folder
from lab.workloads.made import LIMIT_BYTES, bounded, need

if TYPE_CHECKING:
    from lab.workloads.made import Made

OBJECT_BYTES: Final = 1024
"""An inode of tmpfs and a dentry, with what their slabs waste; an estimate from above."""

IN_MEMORY: Final = ("tmpfs", "devtmpfs", "ramfs")


@contextmanager
def slab(
    *, objects: int, folder: str = "/dev/shm", keep: float = 0.5, seed: int = 0, limit: int = LIMIT_BYTES
) -> Made:
    """Make empty files in order, then remove some of them.

    Parameters
    ----------
    objects
        Files made; each is an inode and a dentry.
    folder
        Where to make the folder of the files, which is removed at the end; in memory, so that no disk and no
        page cache is behind them.
    keep
        Share that is kept, exactly ``round(keep * objects)``.
    seed, limit
        As for every workload.

    Yields
    ------
    dict
        ``bytes``, an estimate; ``folder``, ``filesystem``, ``device``; ``nr_made``, ``nr_kept``; ``kept``,
        ranges of the numbers that are the names of the files.
    """
    need(objects >= 1, f"objects={objects}: at least 1")
    need(0 <= keep <= 1, f"keep={keep}: 0 to 1")
    nr_bytes = bounded(objects * OBJECT_BYTES, limit)
    kept = layout.sample(random.Random(seed), objects, round(keep * objects))
    with own_folder(folder, "slab") as path:
        kind = filesystem(path)
        if kind not in IN_MEMORY:
            raise UnavailableError(f"{folder} is {kind}; slab wants one of {', '.join(IN_MEMORY)}")
        room = os.statvfs(path)
        if room.f_files and room.f_favail < objects:
            raise UnavailableError(f"{objects} files asked for, and {folder} has room for {room.f_favail}")
        for i in range(objects):
            os.close(os.open(f"{path}/{i}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        for first, end in layout.gaps(kept, objects):
            for i in range(first, end):
                os.unlink(f"{path}/{i}")
        look.expect("kept files", layout.runs(sorted(int(name) for name in os.listdir(path))), kept)
        yield {
            "bytes": nr_bytes,
            "folder": path,
            "filesystem": kind,
            "device": device(os.stat(path).st_dev),
            "nr_made": objects,
            "nr_kept": layout.count(kept),
            "kept": kept,
        }
