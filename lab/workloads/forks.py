"""A parent and its forks: pages shared until written, a shared area, a file that all map."""

from __future__ import annotations

import os
import random
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from lab.workloads import layout, look
from lab.workloads.family import family
from lab.workloads.folders import own_folder
from lab.workloads.made import LIMIT_BYTES, bounded, need
from lab.workloads.memory import (
    ANON,
    NOHUGEPAGE,
    PAGE,
    PRIVATE,
    READ,
    SHARED,
    Area,
)

if TYPE_CHECKING:
    from lab.workloads.layout import Range
    from lab.workloads.made import Made

MAX_CHILDREN: Final = 500
CHILD_BYTES: Final = 2 << 20
"""A fork's own page tables, and what it rewrites of the interpreter; an estimate from above."""


@contextmanager
def forks(
    *,
    children: int = 3,
    pages: int = 1024,
    share: float = 0.5,
    folder: str = "/tmp",
    seed: int = 0,
    limit: int = LIMIT_BYTES,
) -> Made:
    """Write pages, fork, and have each child write some of them again.

    Parameters
    ----------
    children
        Forks of this process, none of another.
    pages
        Of the private area; the shared area and the file have an eighth of it each.
    share
        What a child leaves as it was; it rewrites exactly ``round((1 - share) * pages)`` pages.
    folder
        Where to make the folder of the file, which is removed at the end.
    seed, limit
        As for every workload.

    Yields
    ------
    dict
        ``bytes``, an estimate; ``folder`` of the file; three areas at the same addresses in every process:
        ``private`` with the range ``own`` of pages that only the parent still maps, ``shared`` and ``file``;
        ``children``: for each ``pid`` and the ranges ``own`` of ``private`` that it rewrote.
    """
    need(1 <= children <= MAX_CHILDREN, f"children={children}: 1 to {MAX_CHILDREN}")
    need(pages >= 1, f"pages={pages}: at least 1")
    need(0 <= share <= 1, f"share={share}: 0 to 1")
    rng = random.Random(seed)
    nr_own, nr_common = round((1 - share) * pages), max(1, pages // 8)
    nr_bytes = (pages + children * nr_own + 2 * nr_common) * PAGE + children * CHILD_BYTES
    bounded(nr_bytes, limit)
    own = [layout.sample(rng, pages, nr_own) for _ in range(children)]
    with ExitStack() as stack:
        path = stack.enter_context(own_folder(folder, "forks"))
        fd = os.open(f"{path}/file", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, fd)
        os.write(fd, rng.randbytes(nr_common * PAGE))
        os.fsync(fd)
        private = stack.enter_context(Area(pages))
        shared = stack.enter_context(Area(nr_common, flags=SHARED | ANON))
        file = stack.enter_context(Area(nr_common, prot=READ, flags=PRIVATE, fd=fd))
        for area in (private, shared):
            area.advise(NOHUGEPAGE)
            area.stamp(seed)
        file.read_each()

        def rewrite(ranges: list[Range]) -> None:
            for first, end in ranges:
                private.stamp(seed + 1, first, end)
            shared.read_each()
            file.read_each()

        pids = stack.enter_context(family([partial(rewrite, ranges) for ranges in own]))
        left = _only_in_parent(own, pages)
        for pid, ranges in [(os.getpid(), left), *zip(pids, own, strict=True)]:
            _check(pid, private, ranges)
            for area in (shared, file):
                words = look.entries(area.start, area.nr_pages, pid)
                mapped = look.pages_with(
                    words, look.PRESENT | look.FILE | look.MAPPED_ONCE, look.PRESENT | look.FILE
                )
                look.expect(f"common pages of {pid}", mapped, [(0, nr_common)])
        everything = [(0, nr_common)]
        yield {
            "bytes": nr_bytes,
            "folder": path,
            "areas": [
                {"name": "private", "start": private.start, "nr_pages": pages, "own": left},
                {"name": "shared", "start": shared.start, "nr_pages": nr_common, "written": everything},
                {
                    "name": "file",
                    "start": file.start,
                    "nr_pages": nr_common,
                    "read": everything,
                    "inode": os.fstat(fd).st_ino,
                },
            ],
            "children": [{"pid": pid, "own": ranges} for pid, ranges in zip(pids, own, strict=True)],
        }


def _only_in_parent(own: list[list[Range]], nr_pages: int) -> list[Range]:
    """Return the pages that every child rewrote.

    >>> _only_in_parent([[(0, 3)], [(2, 5)]], 8)
    [(2, 3)]
    """
    times = [0] * nr_pages
    for ranges in own:
        for first, end in ranges:
            for page in range(first, end):
                times[page] += 1
    return layout.runs(page for page, nr in enumerate(times) if nr == len(own))


def _check(pid: int, area: Area, own: list[Range]) -> None:
    """Compare whose pages are whose with map counts: bit 56 is exact for anonymous pages of 4 KiB."""
    words = look.entries(area.start, area.nr_pages, pid)
    look.expect(f"pages of {pid}", look.pages_with(words, look.PRESENT), [(0, area.nr_pages)])
    look.expect(f"own pages of {pid}", look.pages_with(words, look.MAPPED_ONCE), own)
