"""Page cache: files that were written, some then read and some mapped."""

from __future__ import annotations

import ctypes
import os
import random
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from lab.workloads import look
from lab.workloads.folders import device, filesystem, own_folder
from lab.workloads.made import LIMIT_BYTES, bounded, need
from lab.workloads.memory import LIBC, PAGE, READ, SHARED, Area, failed

if TYPE_CHECKING:
    from lab.workloads.made import Made

PIECE_BYTES: Final = 1 << 20
MAX_FILES: Final = 500


@contextmanager
def pagecache(
    *,
    bytes: int,  # noqa: A002 - named as it is written in a spec
    files: int = 2,
    folder: str = "/tmp",
    dirty: int = 0,
    seed: int = 0,
    limit: int = LIMIT_BYTES,
) -> Made:
    """Write files of seeded content; the 1st, 3rd, ... are then mapped in part, the others read.

    Parameters
    ----------
    bytes
        Of all files together, evenly; the last page of a file may be in part.
    files
        How many.
    folder
        Where to make the folder of the files, which is removed at the end.
    dirty
        1 leaves them to be written back when the kernel wants to, which it does after some 30 s.
    seed, limit
        As for every workload.

    Yields
    ------
    dict
        ``bytes``, ``folder``, ``filesystem``, ``device``, ``dirty``; ``files``: for each ``name``, ``inode``,
        ``bytes``, ``nr_pages``, all of them cached, ``fd``, ``use``; one area for each mapped file with
        ``file``, ``first_page`` in the file, and the range ``read``, which is all of it.
    """
    need(1 <= files <= MAX_FILES, f"files={files}: 1 to {MAX_FILES}")
    need(bytes >= files, f"bytes={bytes}: at least 1 for each of {files} files")
    need(dirty in {0, 1}, f"dirty={dirty}: 0 or 1")
    sizes = [bytes // files + (i < bytes % files) for i in range(files)]
    nr_bytes = bounded(sum(-(-size // PAGE) * PAGE for size in sizes), limit)
    rng = random.Random(seed)
    with ExitStack() as stack:
        path = stack.enter_context(own_folder(folder, "pagecache"))
        told: list[dict[str, Any]] = []
        areas: list[dict[str, Any]] = []
        for i, size in enumerate(sizes):
            fd = os.open(f"{path}/file-{i}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, fd)
            _write(fd, size, rng)
            if not dirty:
                os.fsync(fd)
            nr_pages = -(-size // PAGE)
            told.append(
                {
                    "name": f"file-{i}",
                    "inode": os.fstat(fd).st_ino,
                    "bytes": size,
                    "nr_pages": nr_pages,
                    "fd": fd,
                    "use": "read" if i % 2 else "mapped",
                }
            )
            if i % 2:
                for at in range(0, size, PIECE_BYTES):
                    os.pread(fd, PIECE_BYTES, at)
            else:
                areas.append(_map(fd, nr_pages, rng, stack) | {"file": f"file-{i}"})
        for file in told:
            look.expect_equal(f"cached pages of {file['name']}", _cached(file), file["nr_pages"])
        yield {
            "bytes": nr_bytes,
            "folder": path,
            "filesystem": filesystem(path),
            "device": device(os.stat(path).st_dev),
            "dirty": bool(dirty),
            "files": told,
            "areas": areas,
        }


def _write(fd: int, nr_bytes: int, rng: random.Random) -> None:
    """Write random bytes."""
    while nr_bytes:
        nr_bytes -= os.write(fd, rng.randbytes(min(nr_bytes, PIECE_BYTES)))


def _map(fd: int, nr_pages: int, rng: random.Random, stack: ExitStack) -> dict[str, Any]:
    """Map a part of a file and read every page; the VMA is no larger, so nothing more gets mapped."""
    first = rng.randrange(nr_pages // 2 + 1) if nr_pages > 1 else 0
    nr = rng.randint(1, nr_pages - first)
    area = stack.enter_context(Area(nr, prot=READ, flags=SHARED, fd=fd, offset=first * PAGE))
    area.read_each()
    wanted = look.PRESENT | look.FILE
    look.expect("mapped pages", look.pages_with(look.entries(area.start, nr), wanted), [(0, nr)])
    return {"name": "file", "start": area.start, "nr_pages": nr, "first_page": first, "read": [(0, nr)]}


def _cached(file: dict[str, Any]) -> int:
    """Return how many pages of a file are in the cache, by mincore of a mapping that nobody touches."""
    with Area(file["nr_pages"], prot=READ, flags=SHARED, fd=file["fd"]) as area:
        marks = ctypes.create_string_buffer(area.nr_pages)
        if LIBC.mincore(area.start, area.nr_bytes, marks):
            raise failed("mincore")
        return sum(mark & 1 for mark in marks.raw[: area.nr_pages])
