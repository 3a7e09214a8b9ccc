"""What a stream must know of the host that it is for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROCESS_PAGES: Final = (180, 420, 800, 1500, 2600, 5200, 12000, 40000)
VMA_PAGES: Final = (1, 1, 2, 4, 8, 33, 130, 512, 2048, 16384)
"""Where the host was not asked: eighths of processes and tenths of VMAs of a small server, rounded."""


def _none() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Scale:
    """The host, as streams see it.

    Parameters
    ----------
    free_pages
        Pages that are free when the stream begins: shares of memory are shares of these.
    highest_zone
        Type of the node's highest zone.
    nr_orders
        Number of orders of the free lists.
    huge_order
        Order of a huge page.
    process_pages
        int64, resident pages of each of the host's processes; empty for `PROCESS_PAGES`.
    vma_pages
        int64, pages of each VMA; empty for `VMA_PAGES`.
    """

    free_pages: int
    highest_zone: int = 2
    nr_orders: int = 11
    huge_order: int = 9
    process_pages: NDArray[np.int64] = field(default_factory=_none)
    vma_pages: NDArray[np.int64] = field(default_factory=_none)

    def processes(self) -> NDArray[np.int64]:
        """Return sizes of processes to draw from: none above a sixteenth of what is free."""
        sizes = self.process_pages if len(self.process_pages) else np.array(PROCESS_PAGES)
        clipped: NDArray[np.int64] = np.clip(np.sort(sizes), 1, max(1, self.free_pages // 16))
        return clipped

    def vmas(self) -> NDArray[np.int64]:
        """Return sizes of VMAs to draw from."""
        return np.sort(self.vma_pages if len(self.vma_pages) else np.array(VMA_PAGES))
