"""Sizes that differ from host to host and come in as values."""

from __future__ import annotations

from dataclasses import dataclass

from kernelmodel.errors import ModelError


@dataclass(frozen=True)
class Geometry:
    """Page size and block sizes of one host.

    Parameters
    ----------
    page_size
        Bytes in a page; a power of two, at least 4096 (``PAGE_SIZE``).
    pageblock_order
        log2 of the pages in a pageblock (``pageblock_order``); None where the host did not say.
    max_order
        Largest order that the buddy allocator keeps, included (``MAX_PAGE_ORDER``); None where the host did
        not say.

    Raises
    ------
    ModelError
        The sizes contradict one another.

    Examples
    --------
    >>> Geometry(page_size=4096, pageblock_order=9, max_order=10).page_shift
    12
    """

    page_size: int
    pageblock_order: int | None
    max_order: int | None

    def __post_init__(self) -> None:
        if self.page_size < 4096 or self.page_size & (self.page_size - 1):
            msg = f"page_size {self.page_size} is not a power of two of at least 4096"
            raise ModelError(msg)
        for name in ("pageblock_order", "max_order"):
            order = getattr(self, name)
            if order is not None and not 0 <= order < 32:
                msg = f"{name} {order} is outside 0..31"
                raise ModelError(msg)

    @property
    def page_shift(self) -> int:
        """log2 of `page_size` (``PAGE_SHIFT``)."""
        return self.page_size.bit_length() - 1
