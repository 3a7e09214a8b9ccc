"""Gigabytes with holes, and between their pieces what compaction finds in its way.

What `lab.workloads.holes` makes page by page, made fast enough for all of a machine: the kernel touches the
pages, and they hold zeros. Pipes and files come in between, so that they lie between the pages in memory too.
"""

from __future__ import annotations

import ctypes
import os
import random
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import layout, look
from lab.workloads.folders import own_folder
from lab.workloads.holes import kept_pages
from lab.workloads.made import LIMIT_BYTES, DisagreesError, bounded, need
from lab.workloads.memory import DONTNEED, LIBC, NOHUGEPAGE, PAGE, Area, failed
from lab.workloads.pagecache import PIECE_BYTES
from lab.workloads.pinned import (
    IO_URING_REGISTER,
    MAX_BUFFERS,
    REGISTER_BUFFERS,
    Buffer,
    may_lock,
    reason,
    ring,
)
from lab.workloads.pipes import PAGES_EACH, may_have

if TYPE_CHECKING:
    from lab.workloads.layout import Range
    from lab.workloads.made import Made

POPULATE_WRITE: Final = 23
"""madvise(2) since 5.14."""

PRESENT_BYTE: Final = 0x80
"""Bit 63 of a pagemap word in its last byte."""


@contextmanager
def mixed(
    *,
    pages: int,
    pieces: int = 64,
    pattern: str = "random",
    keep: float = 0.5,
    cluster: float = 16.0,
    pipes: int = 0,
    cache: int = 0,
    cache_pieces: int = 0,
    dirty: int = 0,
    pins: int = 0,
    folder: str = "/tmp",
    seed: int = 0,
    limit: int = LIMIT_BYTES,
) -> Made:
    """Touch pages piece by piece, with pipes and files in between, then give some of the pages back.

    Parameters
    ----------
    pages
        Anonymous pages touched at first.
    pieces
        In which they are touched.
    pattern, keep, cluster
        As for `lab.workloads.holes`.
    pipes
        Filled pipes of 16 pages each: kernel memory that cannot move.
    cache
        Bytes of page cache, in files of equal size.
    cache_pieces
        In how many pieces, the first ones, there is such a file; 0 for all.
    dirty
        1 leaves the files to be written back when the kernel wants to, which it does after some 30 s.
    pins
        How many of the kept pages, each as likely, are pinned as buffers of io_uring.
    folder
        Where to make the folder of the files, which is removed at the end.
    seed, limit
        As for every workload.

    Yields
    ------
    dict
        ``bytes``, ``nr_kept``, ``nr_pipes``, ``nr_cache_bytes``, ``nr_pinned``, and one area with the ranges
        ``pinned``; what was kept is not listed, for it would fill megabytes.
    """
    need(pages >= pieces >= 1, f"pages={pages} pieces={pieces}: at least a page in a piece")
    need(0 < keep < 1, f"keep={keep}: between 0 and 1")
    need(pipes >= 0 and cache >= 0 and pins >= 0, f"pipes={pipes} cache={cache} pins={pins}: at least 0")
    need(dirty in {0, 1}, f"dirty={dirty}: 0 or 1")
    need(0 <= cache_pieces <= pieces, f"cache_pieces={cache_pieces}: 0 to {pieces}")
    nr_files = cache_pieces or pieces
    nr_bytes = bounded((pages + pipes * PAGES_EACH) * PAGE + cache, limit)
    may_have(pipes)
    rng = random.Random(seed)
    kept = kept_pages(rng, pages, pattern, keep, cluster)
    with ExitStack() as stack:
        area = stack.enter_context(Area(pages))
        area.advise(NOHUGEPAGE)
        path = stack.enter_context(own_folder(folder, "mixed")) if cache else ""
        content = rng.randbytes(PIECE_BYTES)
        for piece in range(pieces):
            _touch(area, *_part(pages, piece, pieces))
            first, end = _part(pipes, piece, pieces)
            for _ in range(end - first):
                _pipe(stack, content[: PAGES_EACH * PAGE])
            first, end = _part(cache, piece, nr_files)
            if first < end <= cache:
                _file(stack, f"{path}/{piece}", content, end - first, dirty=bool(dirty))
        for first, end in layout.gaps(kept, pages):
            area.advise(DONTNEED, first, end)
        _expect(area, kept)
        pinned = _pin(stack, rng, area, kept, pins)
        yield {
            "bytes": nr_bytes,
            "nr_kept": layout.count(kept),
            "nr_pipes": pipes,
            "nr_cache_bytes": cache,
            "nr_pinned": pins,
            "areas": [{"name": "mixed", "start": area.start, "nr_pages": pages, "pinned": pinned}],
        }


def _part(whole: int, piece: int, pieces: int) -> Range:
    """Return the share of one piece.

    >>> [_part(5, piece, 3) for piece in range(3)]
    [(0, 1), (1, 3), (3, 5)]
    """
    return whole * piece // pieces, whole * (piece + 1) // pieces


def _touch(area: Area, first: int, end: int) -> None:
    """Let the kernel give the pages of a range, in order."""
    try:
        area.advise(POPULATE_WRITE, first, end)
    except OSError as error:
        raise UnavailableError(f"madvise MADV_POPULATE_WRITE: {error.strerror}") from error


def _pipe(stack: ExitStack, content: bytes) -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    stack.callback(os.close, reader)
    stack.callback(os.close, writer)
    if os.write(writer, content) != len(content):
        raise UnavailableError("a pipe holds less than 64 KiB: this user is past fs.pipe-user-pages-soft")


def _file(stack: ExitStack, path: str, content: bytes, nr_bytes: int, *, dirty: bool) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, fd)
    while nr_bytes:
        nr_bytes -= os.write(fd, content[:nr_bytes])
    if not dirty:
        os.fsync(fd)


def _expect(area: Area, kept: list[Range]) -> None:
    """Compare what is present with what was kept, a byte a page.

    Raises
    ------
    DisagreesError
        They differ.
    """
    wanted = bytearray(area.nr_pages)
    for first, end in kept:
        wanted[first:end] = b"\1" * (end - first)
    last_bytes = memoryview(look.entries(area.start, area.nr_pages)).cast("B").tobytes()[7::8]
    found = last_bytes.translate(bytes(int(byte >= PRESENT_BYTE) for byte in range(256)))
    if found != wanted:
        nr = sum(a != b for a, b in zip(found, wanted, strict=True))
        raise DisagreesError(f"kept pages: the kernel shows {nr} of {area.nr_pages} otherwise")


def _pin(stack: ExitStack, rng: random.Random, area: Area, kept: list[Range], pins: int) -> list[Range]:
    """Pin some of the kept pages, as many buffers to a ring as one takes."""
    if not pins:
        return []
    need(pins <= layout.count(kept), f"pins={pins}: {layout.count(kept)} pages are kept")
    may_lock(pins * PAGE)
    chosen = sorted(rng.sample([page for pair in kept for page in range(*pair)], pins))
    for at in range(0, pins, MAX_BUFFERS):
        part = chosen[at : at + MAX_BUFFERS]
        fd = stack.enter_context(ring())
        buffers = (Buffer * len(part))(*(Buffer(area.start + page * PAGE, PAGE) for page in part))
        if LIBC.syscall(IO_URING_REGISTER, fd, REGISTER_BUFFERS, ctypes.byref(buffers), len(part)):
            raise reason(failed("io_uring_register"), pins * PAGE)
    return layout.runs(chosen)
