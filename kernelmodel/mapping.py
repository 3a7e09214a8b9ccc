"""A file's pages and the VMAs that map them (struct address_space).

Mirrors: ``include/linux/fs.h: struct address_space``; ``mm/interval_tree.c: vma_interval_tree_*``
(``vma_start_pgoff``, ``vma_last_pgoff``); the page cache as a plain table of index to pfn.
Fidelity: ``i_pages`` is a dict, not an xarray of large folios; no writeback, no truncation, no locks.
Shared anonymous memory is a Mapping too, as shmem makes it in the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from kernelmodel.errors import InvariantError
from kernelmodel.interval_tree import IntervalTree
from kernelmodel.ordered.rbtree import RedBlackTree

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE_SHIFT: Final = 12
"""log2 of the page size in bytes, as on x86-64."""


class PgoffRange(Protocol):
    """What an interval tree keyed by page offset needs of a VMA.

    ``start`` and ``end`` are bytes, ``end`` open; ``pgoff`` is the page offset of ``start``.
    """

    start: int
    end: int
    pgoff: int


def pgoff_range(vma: PgoffRange) -> tuple[int, int]:
    """Return the first and the last page offset `vma` maps (``vma_start_pgoff``, ``vma_last_pgoff``).

    >>> from types import SimpleNamespace
    >>> pgoff_range(SimpleNamespace(start=0x4000, end=0x7000, pgoff=10))
    (10, 12)
    """
    return vma.pgoff, vma.pgoff + ((vma.end - vma.start) >> PAGE_SHIFT) - 1


class Mapping:
    """One file: the page cache and the VMAs that map it.

    Parameters
    ----------
    name
        What a report calls the file.

    Attributes
    ----------
    i_mmap
        Every VMA that maps the file, shared or private, by the page offsets it maps. Closed intervals.
    pages
        Page offset to pfn (``i_pages``).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.i_mmap: IntervalTree[PgoffRange] = IntervalTree(RedBlackTree)
        self.pages: dict[int, int] = {}

    def __repr__(self) -> str:  # type: ignore[explicit-override]
        return f"Mapping({self.name!r})"

    def insert(self, vma: PgoffRange) -> None:
        """Link a VMA that begins to map this file (``vma_interval_tree_insert``). O(log n)."""
        self.i_mmap.insert(*pgoff_range(vma), vma)

    def remove(self, vma: PgoffRange) -> None:
        """Unlink a VMA that ceases to map this file; KeyError if it is not linked as it is now. O(log n)."""
        self.i_mmap.remove(*pgoff_range(vma), vma)

    def pre_update(self, vma: PgoffRange) -> None:
        """Take `vma` out before its start, end or pgoff changes (``vma_prepare``)."""
        self.remove(vma)

    def post_update(self, vma: PgoffRange) -> None:
        """Put `vma` back after its start, end or pgoff changed (``vma_complete``)."""
        self.insert(vma)

    def overlapping(self, first: int, last: int) -> Iterator[PgoffRange]:
        """Iterate the VMAs that map a page offset in the closed range (``vma_interval_tree_foreach``)."""
        return self.i_mmap.iter_overlaps(first, last)

    def validate(self) -> None:
        """Check the tree and that each VMA stands there under the page offsets it maps now.

        Raises
        ------
        InvariantError
            ``mapping-range``: a VMA changed without pre_update and post_update, or is linked twice;
            ``page-cache``: one frame is the page at two offsets.
        """
        self.i_mmap.validate()
        for first, last, vma in self.i_mmap.items():
            if (first, last) != pgoff_range(vma):
                detail = f"linked as {first}..{last}, the VMA has {pgoff_range(vma)}"
                raise InvariantError("mapping-range", f"{vma!r} of {self!r}", detail)
        offsets: dict[int, int] = {}
        for index, pfn in self.pages.items():
            if pfn in offsets:
                raise InvariantError("page-cache", repr(self), f"pfn {pfn} at {offsets[pfn]} and at {index}")
            offsets[pfn] = index
