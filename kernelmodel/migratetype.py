"""Migratetypes: what kind of page a pageblock is meant for.

Mirrors: include/linux/mmzone.h: enum migratetype; mm/page_alloc.c: migratetype_names, fallbacks.
Fidelity: the numbers are those of a kernel with CMA; one without it numbers Isolate 4, so go by the names.
Since 6.17 isolation is a bit beside the type; here it hides the type, as /proc/pagetypeinfo shows it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Migratetype(IntEnum):
    """Type of a pageblock, and of a request."""

    UNMOVABLE = 0
    MOVABLE = 1
    RECLAIMABLE = 2
    HIGHATOMIC = 3
    CMA = 4
    ISOLATE = 5

    @property
    def printed(self) -> str:
        """The name as /proc/pagetypeinfo prints it.

        >>> Migratetype.HIGHATOMIC.printed
        'HighAtomic'
        """
        return _PRINTED[self]


_PRINTED: Final = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA", "Isolate")

BY_NAME: Final = {migratetype.printed: migratetype for migratetype in Migratetype}
"""Name as /proc/pagetypeinfo prints it to the type."""

NR_PCPTYPES: Final = 3
"""Types below this number have per-CPU lists, fall back to one another and merge with one another."""

FALLBACKS: Final = (
    (Migratetype.RECLAIMABLE, Migratetype.MOVABLE),
    (Migratetype.RECLAIMABLE, Migratetype.UNMOVABLE),
    (Migratetype.UNMOVABLE, Migratetype.MOVABLE),
)
"""Where a request of each of the first three types looks when its own lists are empty, first choice first."""
