"""What each frame is, in one byte for the eye: by its class, and where it stays by why it does.

Anonymous memory that is mlocked where compaction leaves that alone, or known to be pinned, is called by what
keeps it: a kind either moves or stays as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.holder import CGROUP_TAG, NR_TAGS, PINNED_TAG, PROCESS_TAG, TAG_VERDICTS
from kernelmodel.movability import Movability, Verdict
from kernelmodel.pageclass import PageClass, classify

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.memmap import MemMap

_VERDICTS: Final = {
    "free": "free",
    "anonymous": "moves",
    "shared memory": "moves",
    "page cache": "moves",
    "balloon": "moves",
    "slab": "stays",
    "page table": "stays",
    "hugetlb": "stays",
    "reserved": "stays",
    "driver": "stays",
    "kernel": "stays",
    "unevictable": "stays",
    "pinned": "stays",
    "poisoned": "stays",
    "unknown": "unknown",
    "hole": "absent",
}
PAGE_KINDS: Final = tuple(_VERDICTS)
"""What a frame is; the place of a name is its byte."""

PAGE_KIND_VERDICTS: Final = tuple(_VERDICTS.values())
"""Of each kind: free, moves (on a condition, it may be), stays, unknown or absent."""

FREE: Final = PAGE_KINDS.index("free")
HOLE: Final = PAGE_KINDS.index("hole")

_BY_TAG: Final = {
    Movability.FREE: "free",
    Movability.MOVABLE_OPS: "balloon",
    Movability.HOLE: "hole",
    Movability.HWPOISON: "poisoned",
    Movability.SLAB: "slab",
    Movability.PGTABLE: "page table",
    Movability.HUGETLB: "hugetlb",
    Movability.RESERVED: "reserved",
    Movability.DRIVER: "driver",
    Movability.UNEVICTABLE_KEPT: "unevictable",
    PINNED_TAG: "pinned",
}
_ON_LRU: Final = {
    PageClass.KSM: "anonymous",
    PageClass.ANON: "anonymous",
    PageClass.SWAPCACHE: "anonymous",
    PageClass.SHMEM: "shared memory",
    PageClass.FILE: "page cache",
}


def _kind(tag: int, page_class: PageClass) -> str:
    if tag in _BY_TAG:
        return _BY_TAG[tag]
    verdict = TAG_VERDICTS[tag]
    if verdict == Verdict.UNKNOWN:
        return "unknown"
    if verdict != Verdict.NO:
        return _ON_LRU.get(page_class, "unknown")
    if tag in {PROCESS_TAG, CGROUP_TAG}:
        if page_class in _ON_LRU:
            return "unevictable"
        return {PageClass.HUGETLB: "hugetlb", PageClass.DRIVER: "driver"}.get(page_class, "kernel")
    return "kernel"


KIND_OF: Final = np.array(
    [[PAGE_KINDS.index(_kind(tag, page_class)) for page_class in PageClass] for tag in range(NR_TAGS)],
    np.uint8,
)
"""uint8, shape (NR_TAGS, len(PageClass)): the kind by tag (`kernelmodel.holder`) and class."""


def row_kinds(memmap: MemMap, tags: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the place in `PAGE_KINDS` of each row's kind.

    Parameters
    ----------
    memmap
        The frames.
    tags
        uint8, the tag of each row.
    """
    # Looked up piece by piece: an index takes eight bytes a row.
    piece = 1 << 22
    kinds = memmap.by_word(classify)
    for start in range(0, len(tags), piece):
        part = slice(start, start + piece)
        kinds[part] = KIND_OF[tags[part], kinds[part]]
    return kinds
