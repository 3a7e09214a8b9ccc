"""Free blocks on lists as arrays: what the compiled functions work on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Numbers of `Lists.info`.
NR_FRAMES: Final = 0
NR_ORDERS: Final = 1
WMARK_MIN: Final = 2
TO_TAIL: Final = 3
RESERVED_ORDER: Final = 4
NR_RESERVED: Final = 5
NR_FREE: Final = 6
SPLITS: Final = 7
MERGES: Final = 8
VISITS: Final = 9
REFUSALS: Final = 10
NR_INFO: Final = 11

# Columns of `Lists.page`.
NEXT: Final = 0
PREV: Final = 1
ORDER: Final = 2
"""Order of the free block that begins here; NO_BLOCK elsewhere."""

NO_BLOCK: Final = -1


class Lists(NamedTuple):
    """The lists.

    Parameters
    ----------
    page
        int32 (nr_frames + nr_orders, 3): next and previous entry of the circular list, and the order. Behind
        the frames stand the heads of the lists.
    nr_blocks
        int64 (nr_orders), blocks on each list.
    info
        int64, the numbers named above.
    """

    page: NDArray[np.int32]
    nr_blocks: NDArray[np.int64]
    info: NDArray[np.int64]
