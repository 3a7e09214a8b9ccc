"""The pagemap of a recorded process, laid out as the kernel's: each word at its page number times eight.

A recording holds the words of populated entries alone, one behind the other, and in ``pagemap.runs`` the
pages that they belong to. They are put at their offsets in an anonymous file that is nearly all holes, so
that whoever reads page tables reads these as well.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import numpy as np

from vmprobe.errors import FormatError, InputError
from vmprobe.formats import pagemap, pagemap_runs
from vmprobe.formats.recording import DAMAGED
from vmprobe.sources.plainfile import open_plain
from vmprobe.sources.procfs import read_fd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CHUNK_WORDS: Final = 1 << 16
"""Words copied at a time: 512 KiB."""

BLOCK_WORDS: Final = 512
"""Words in a page of the anonymous file, which is the least that a lone word takes."""

SCATTERED_BYTES: Final = 256 << 20
"""Memory that lone words may take beyond eight times their own.

As much as the kernel's own page tables for 65,536 lone pages, each 2 MiB from the next. No program is known
to do that, and an index of a megabyte must not take a gigabyte of ours.
"""


def spread(fd: int, runs_name: str, folder_fd: int, shown: str) -> int:
    """Return a descriptor of the words of `fd` at their offsets, which the caller closes.

    Parameters
    ----------
    fd
        The dense words.
    runs_name
        The index, in the folder that `folder_fd` stands for. Where there is none, the words are at their
        offsets already.
    shown
        The path of the words, for errors.

    Raises
    ------
    InputError
        Index and words do not belong together; it names file and line.
    """
    try:
        runs_fd = open_plain(runs_name, folder_fd, f"{shown}.runs")
    except FileNotFoundError:
        return os.dup(fd)
    try:
        runs = _index(runs_fd, os.fstat(fd).st_size, f"{shown}.runs")
        return _laid_out(fd, runs, shown)
    except FormatError as error:
        # Not the process's doing, as a FormatError of a live file is, but a recording that is not whole.
        raise InputError(error.message, hint=DAMAGED) from error
    finally:
        os.close(runs_fd)


def _index(fd: int, nr_bytes: int, file: str) -> NDArray[np.uint64]:
    """Read the runs; `nr_bytes` of words bound what is read and what they may take when laid out."""
    size = os.fstat(fd).st_size
    if size > nr_bytes // 8 * pagemap_runs.LINE_BYTES:
        raise FormatError(
            file, None, f"{size} bytes", f"expected a word of 8 bytes for each run, not {nr_bytes} bytes"
        )
    data, _ = read_fd(fd)
    runs = pagemap_runs.parse(data, file=file)
    nr_words = sum(runs[:, 1].tolist())  # of Python's integers, which do not wrap
    if nr_words * 8 != nr_bytes:
        raise FormatError(
            file,
            max(len(runs), 1),
            f"{nr_words} pages",
            f"expected as many pages as the {nr_bytes} bytes beside it",
        )
    first_blocks = runs[:, 0] // np.uint64(BLOCK_WORDS)
    last_blocks = (runs.sum(axis=1, dtype=np.uint64) - np.uint64(1)) // np.uint64(BLOCK_WORDS)
    # Runs ascend, so a block that two of them share is the last of one and the first of the next.
    shared = int(np.count_nonzero(first_blocks[1:] == last_blocks[:-1]))
    taken = (int((last_blocks - first_blocks).sum()) + len(runs) - shared) * BLOCK_WORDS * 8
    if taken > SCATTERED_BYTES + 8 * nr_bytes:
        raise FormatError(file, len(runs), f"{taken} bytes", "expected words that lie closer together")
    return runs


def _laid_out(fd: int, runs: NDArray[np.uint64], shown: str) -> int:
    """Copy the words to their offsets; the index says how many there are."""
    target = os.memfd_create("vmprobe-pagemap")  # closed on exec unless asked otherwise
    try:
        waiting = iter(runs.tolist())
        vpn = left = 0
        for words in _chunks(fd, int(runs[:, 1].sum()), shown):
            view = words.data
            while len(view):
                if not left:
                    vpn, left = next(waiting)
                nr_words = min(left, len(view))
                os.pwrite(target, view[:nr_words].cast("B"), vpn * 8)
                view = view[nr_words:]
                vpn, left = vpn + nr_words, left - nr_words
        # Never empty: that is how a file is told from a pagemap of the kernel.
        os.ftruncate(target, max(8, os.fstat(target).st_size))
    except BaseException:
        os.close(target)
        raise
    return target


def _chunks(fd: int, nr_words: int, shown: str) -> Iterator[NDArray[np.uint64]]:
    """Yield the words; a zeroed block is what a copy that was broken off leaves, and no entry."""
    for first in range(0, nr_words, CHUNK_WORDS):
        data = os.pread(fd, min(nr_words - first, CHUNK_WORDS) * 8, first * 8)
        if len(data) != min(nr_words - first, CHUNK_WORDS) * 8:
            raise FormatError(shown, None, f"{first * 8 + len(data)} bytes", "ended while it was read")
        words = pagemap.decode(data, file=shown)
        if not pagemap.populated(words).all():
            raise FormatError(
                shown, None, f"from word {first} on", "expected words of populated entries alone"
            )
        yield words
