"""Words that forecasts of compaction share when they are laid out for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.analyses.parts import Kind, Note, grid
from vmprobe.analyses.record import layout_record
from vmprobe.units import bytes_text, count_text, seconds_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmprobe.analyses.parts import Facts, Grid
    from vmprobe.analyses.record import Record
    from vmprobe.bridge.effect import Range
    from vmprobe.bridge.hazards import HazardRow

REASONS: Final = {
    "fixed": "kernel memory, slab, page tables or hugetlb in them",
    "pinned": "pages that are pinned",
    "unknown": "words of 0: free on a CPU's list, or the kernel's",
    "held": "file system metadata that is most likely held for a mount",
    "uncertain": "pages that may be held by something unseen",
    "hole": "no memory in part of them",
    "dirty": "dirty pages: nobody waits until they are written",
    "unevictable": "unevictable pages",
    "movable_ops": "pages that only their driver moves",
    "large folio": "large folios for which there is no room",
    "no room": "too little free memory above the watermark to move to",
    "no swap": "too little swap",
}
"""Reasons of `kernelmodel.compaction` for pageblocks that stay."""


VERIFY: Final = "vmprobe compact --verify --yes"


def blocks_text(nr_blocks: int, order: int, page_size: int) -> str:
    """Return so many blocks with their size.

    >>> blocks_text(1, 9, 4096), blocks_text(2000, 18, 4096)
    ('1 block of 2.0 MiB', '2,000 blocks of 1.0 GiB')
    """
    return f"{count_text(nr_blocks)} block{'' if nr_blocks == 1 else 's'} of {bytes_text(page_size << order)}"


def between_text(interval: tuple[int, int]) -> str:
    """Return an interval in words.

    >>> between_text((3, 3)), between_text((-2, 1000))
    ('3', '-2 to 1,000')
    """
    low, high = interval
    return count_text(low) if low == high else f"{count_text(low)} to {count_text(high)}"


def time_text(cost: Range) -> str:
    """Return a time as a range, what is likely first."""
    low, mid, high = (seconds_text(us / 1e6) for us in (cost.low, cost.mid, cost.high))
    return mid if low == high else f"about {mid} ({low} to {high})"


def hazards_grid(rows: Sequence[HazardRow], title: str = "What can make this wrong") -> Grid:
    """Return hazards with what to do."""
    return grid(
        title,
        rows,
        ("hazard", "hazard", Kind.TEXT),
        ("pages", "pages", Kind.COUNT),
        ("advice", "what to do", Kind.TEXT),
    )


def record_part(record: Record) -> Facts | Note:
    """Return how far off verified forecasts were, or how to verify one."""
    if record.runs:
        return layout_record(record)
    said = (
        "No forecast was verified here yet under this kernel. As root there, this compacts the host and keeps"
    )
    return Note("Record of this host", (f"{said} how far off the forecast was: {VERIFY}",))
