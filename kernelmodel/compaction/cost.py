"""What compaction costs: copies exactly, time as a range.

The figures of a move and of a scan were measured on one guest (Linux 6.18, 2 CPUs); those of entries,
flushes, drops and swap are assumptions that span what machines differ by. Each can be replaced.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """A time in microseconds: at best, likely, at worst."""

    low: float
    mid: float
    high: float


@dataclass(frozen=True)
class CostModel:
    """Microseconds of each piece of work, as (low, mid, high).

    Parameters
    ----------
    move_us
        One 4 KiB page from end to end: reverse map, copy, flush, LRU. 1.58 to 2.17 measured in quiet runs,
        4.3 where other CPUs wanted the same locks.
    scan_us
        One page looked at by a scanner.
    patch_us
        Each page-table entry beyond the first of a page.
    flush_us
        One TLB flush, sent once for each batch and each CPU that may hold the address space.
    drop_us
        One clean page of the page cache dropped; reading it again comes later and is not in it.
    swap_us
        One page written to swap or to its file.
    """

    move_us: tuple[float, float, float] = (1.58, 1.9, 4.3)
    scan_us: tuple[float, float, float] = (0.003, 0.005, 0.02)
    patch_us: tuple[float, float, float] = (0.2, 0.4, 1.0)
    flush_us: tuple[float, float, float] = (1.0, 1.4, 14.0)
    drop_us: tuple[float, float, float] = (0.2, 0.3, 1.0)
    swap_us: tuple[float, float, float] = (10.0, 80.0, 1000.0)


@dataclass(frozen=True)
class Work:
    """How much of each piece of work there is."""

    moved_pages: int = 0
    scanned_pages: int = 0
    entries_patched: int = 0
    tlb_flushes: int = 0
    dropped_pages: int = 0
    swapped_pages: int = 0


def cost_us(work: Work, model: CostModel | None = None) -> Range:
    """Return the time that `work` takes.

    >>> cost_us(Work(moved_pages=1000)).mid
    1900.0
    """
    model = model or CostModel()
    pieces = (
        (work.moved_pages, model.move_us),
        (work.scanned_pages, model.scan_us),
        (max(0, work.entries_patched - work.moved_pages), model.patch_us),
        (work.tlb_flushes, model.flush_us),
        (work.dropped_pages, model.drop_us),
        (work.swapped_pages, model.swap_us),
    )
    low, mid, high = (sum(nr * each[i] for nr, each in pieces) for i in range(3))
    return Range(low, mid, high)
