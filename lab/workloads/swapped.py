"""Pages in swap, each of which says whose it is: a swap area can be read and compared with pagemap."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import look
from lab.workloads.layout import count
from lab.workloads.made import LIMIT_BYTES, TooSlowError, bounded, need
from lab.workloads.memory import NOHUGEPAGE, PAGE, PAGEOUT, Area

if TYPE_CHECKING:
    import array

    from lab.workloads.layout import Range
    from lab.workloads.made import Made

LINE_BYTES: Final = 64
AGAIN_SECONDS: Final = 0.05


def page_text(pid: int, vpn: int, seed: int) -> bytes:
    r"""Return the content of one page: the same line of 64 bytes over and over.

    >>> page_text(4711, 34359738368, 7)[:33], len(page_text(1, 2, 3))
    (b'vmprobe-lab 4711 34359738368 7   ', 4096)
    """
    line = f"vmprobe-lab {pid} {vpn} {seed}".encode().ljust(LINE_BYTES - 1) + b"\n"
    need(len(line) == LINE_BYTES, f"seed={seed}: too long for a stamp")
    return line * (PAGE // LINE_BYTES)


@contextmanager
def swapped(*, pages: int, seed: int = 0, limit: int = LIMIT_BYTES) -> Made:
    """Stamp every page, and have all of them paged out.

    Parameters
    ----------
    pages
        In one area.
    seed, limit
        As for every workload.

    Yields
    ------
    dict
        ``bytes``; one area with the range ``swapped``; for root also ``slots``, a list of runs
        ``[first page, nr_pages, type, first offset]`` through which pages and offsets count up.
    """
    need(pages >= 1, f"pages={pages}: at least 1")
    nr_bytes = bounded(pages * PAGE, limit)
    page_text(1 << 22, 1 << 36, seed)
    spare = _spare_pages()
    if spare < pages:
        raise UnavailableError(
            f"{pages} pages asked for, and the swap areas of /proc/swaps have {spare} free"
        )
    with Area(pages) as area:
        area.advise(NOHUGEPAGE)
        for page in range(pages):
            area.write(page, page_text(os.getpid(), area.start // PAGE + page, seed))
        words = _page_out(area)
        # Offset 0 is the header of an area: it means that we are not shown where pages are.
        slots = _slots(words) if all(word & look.FRAME for word in words) else None
        place = {"name": "swapped", "start": area.start, "nr_pages": pages, "swapped": [(0, pages)]}
        yield {"bytes": nr_bytes, "areas": [place], "slots": slots}


def _spare_pages() -> int:
    """Return the free pages of all swap areas.

    Raises
    ------
    UnavailableError
        There is none.
    """
    rows = [line.split() for line in look.text("/proc/swaps").splitlines()[1:]]
    if not rows:
        raise UnavailableError("no swap area is on: /proc/swaps lists none")
    return sum(int(row[-3]) - int(row[-2]) for row in rows) * 1024 // PAGE


def _page_out(area: Area) -> array.array[int]:
    """Ask until every page is out: one that was just isolated by somebody else is passed over."""
    gone: list[Range] = []
    try:
        while True:
            area.advise(PAGEOUT)
            words = look.entries(area.start, area.nr_pages)
            gone = look.pages_with(words, look.PRESENT | look.SWAP, look.SWAP)
            if gone == [(0, area.nr_pages)]:
                return words
            time.sleep(AGAIN_SECONDS)
    except TooSlowError as error:
        raise TooSlowError(f"{error}: {count(gone)} of {area.nr_pages} pages are in swap") from None


def _slots(words: array.array[int]) -> list[tuple[int, int, int, int]]:
    """Return runs of pages in neighbouring slots of one area.

    >>> _slots([2 | 9 << 5, 2 | 10 << 5, 1 | 11 << 5])
    [(0, 2, 2, 9), (2, 1, 1, 11)]
    """
    found: list[tuple[int, int, int, int]] = []
    for page, word in enumerate(words):
        kind, offset = word & 31, (word & look.FRAME) >> 5
        look.expect_equal(f"page {page} in a real swap area", kind < look.FIRST_PSEUDO_SWAP_TYPE, made=True)
        if found:
            first, nr, last_kind, start = found[-1]
            if (kind, offset) == (last_kind, start + nr):
                found[-1] = (first, nr + 1, kind, start)
                continue
        found.append((page, 1, kind, offset))
    return found
