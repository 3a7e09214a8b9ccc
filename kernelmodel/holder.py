"""Which kind of owner keeps a frame in its place.

Mirrors: ``mm/page_isolation.c: has_unmovable_pages``, which tells that a page stays and not whose it is.
Fidelity: as `kernelmodel.movability`; mappings, charges and pins as far as they were found.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.movability import VERDICTS, Movability, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Holder(IntEnum):
    """The kind of owner that a frame is held by."""

    PROCESS = 0
    """Reached by a page table, and not movable all the same: hugetlb, a driver's buffer, secret memory."""
    CGROUP = 1
    """The kernel's, charged to a memory cgroup: kernel stacks, socket buffers, pipes."""
    SLAB = 2
    PAGE_TABLES = 3
    KERNEL = 4
    """The kernel's, charged to nobody."""
    PINNED = 5
    """Would move, but is known to be held in place."""
    UNKNOWN = 6
    """Mostly flag word 0: free on a per-CPU list, the kernel's, or never given to the allocator."""


HOLDER_NAMES: Final = {
    Holder.PROCESS: "process",
    Holder.CGROUP: "cgroup",
    Holder.SLAB: "slab",
    Holder.PAGE_TABLES: "page tables",
    Holder.KERNEL: "kernel",
    Holder.PINNED: "pinned",
    Holder.UNKNOWN: "unknown",
}
"""The words that output uses."""

PROCESS_TAG: Final = len(Movability)
CGROUP_TAG: Final = PROCESS_TAG + 1
PINNED_TAG: Final = PROCESS_TAG + 2
NR_TAGS: Final = PROCESS_TAG + 3
"""A tag is the `Movability` of a frame, or one of the three above where more is known of it."""

NOBODY: Final = len(Holder)

_NAMED: Final = {PROCESS_TAG: Holder.PROCESS, CGROUP_TAG: Holder.CGROUP, PINNED_TAG: Holder.PINNED}


def _holder_of(tag: int) -> int:
    if tag in _NAMED:
        return _NAMED[tag]
    verdict = VERDICTS[tag]
    if verdict == Verdict.UNKNOWN:
        return Holder.UNKNOWN
    if verdict != Verdict.NO or tag == Movability.HOLE:
        return NOBODY
    return {Movability.SLAB: Holder.SLAB, Movability.PGTABLE: Holder.PAGE_TABLES}.get(
        Movability(tag), Holder.KERNEL
    )


HOLDERS: Final = np.array([_holder_of(tag) for tag in range(NR_TAGS)], np.uint8)
"""uint8, the `Holder` of each tag; `NOBODY` for what is free, can be moved or has no memory."""

TAG_VERDICTS: Final = np.append(VERDICTS, np.full(len(_NAMED), Verdict.NO, np.uint8))
"""uint8, the `Verdict` of each tag."""

MAY_BE_REACHED: Final = np.isin(
    np.arange(NR_TAGS),
    (
        Movability.HUGETLB,
        Movability.UNEVICTABLE_KEPT,
        Movability.DRIVER,
        Movability.ZSMALLOC_OR_DRIVER,
        Movability.SECRET_OR_MLOCKED,
    ),
)
"""bool, tags of frames that stay because of the process which maps them."""

MAY_BE_CHARGED: Final = np.isin(
    np.arange(NR_TAGS),
    (Movability.KERNEL, Movability.UNKNOWN, Movability.DRIVER, Movability.UNEVICTABLE_KEPT),
)
"""bool, tags of frames that are the kernel's where a cgroup is charged: a free page is charged to none."""

MAY_BE_PINNED: Final = (TAG_VERDICTS == Verdict.YES) | (TAG_VERDICTS == Verdict.IF)
"""bool, tags of frames of which a pin is what keeps them."""


def tag_frames(
    codes: NDArray[np.uint8],
    reached: NDArray[np.int64],
    charged: NDArray[np.int64],
    pinned: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Return the tag of each frame.

    Parameters
    ----------
    codes
        uint8, `Movability` of each row.
    reached, charged, pinned
        int64, rows that a page table leads to, that a cgroup is charged for, and that are known to be pinned.
        Rows of which that does not matter may be among them.
    """
    tags = codes.copy()
    tags[charged[MAY_BE_CHARGED[codes[charged]]]] = CGROUP_TAG
    tags[reached[MAY_BE_REACHED[codes[reached]]]] = PROCESS_TAG
    tags[pinned[MAY_BE_PINNED[codes[pinned]]]] = PINNED_TAG
    return tags
