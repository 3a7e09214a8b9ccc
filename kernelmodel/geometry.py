"""The sizes that a kernel was built with, as a value.

Mirrors: include/linux/mmzone.h (MAX_PAGE_ORDER, NR_PAGE_ORDERS), include/linux/pageblock-flags.h.
Fidelity: the pageblock order is fixed after boot, as it is on every architecture but PowerPC.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernelmodel.errors import ModelError


@dataclass(frozen=True)
class Geometry:
    """Page size, pageblock order and number of orders of one kernel.

    Parameters
    ----------
    page_size
        Bytes in a page, a power of two.
    pageblock_order
        log2 of the pages in a pageblock, the unit that has a migratetype (/proc/pagetypeinfo prints it).
    nr_orders
        Number of free-list orders, the columns of /proc/buddyinfo; the largest order is one less.

    Raises
    ------
    ModelError
        The page size is no power of two of at least 1024, or a pageblock is larger than the largest block.

    Examples
    --------
    >>> Geometry().pageblock_pages
    512
    >>> Geometry(page_size=65536, pageblock_order=13, nr_orders=14).page_shift
    16
    """

    page_size: int = 4096
    pageblock_order: int = 9
    nr_orders: int = 11

    def __post_init__(self) -> None:
        if self.page_size < 1024 or self.page_size & (self.page_size - 1):
            raise ModelError(f"page size {self.page_size}: not a power of two of at least 1024")
        if not 0 < self.pageblock_order < self.nr_orders:
            raise ModelError(f"pageblock order {self.pageblock_order} with {self.nr_orders} orders")

    @property
    def page_shift(self) -> int:
        """log2 of the bytes in a page."""
        return self.page_size.bit_length() - 1

    @property
    def pageblock_pages(self) -> int:
        """Pages in a pageblock."""
        return 1 << self.pageblock_order

    @property
    def max_order(self) -> int:
        """Largest order of a free block."""
        return self.nr_orders - 1
