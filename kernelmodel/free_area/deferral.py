"""How long requests go without compaction after it has failed for such ones.

Mirrors: mm/compaction.c: compaction_deferred, defer_compaction, compaction_defer_reset.
Fidelity: the kernel defers by zone; here by the highest zone that will do, since all zones below it are tried
one after another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COMPACT_MAX_DEFER_SHIFT: Final = 6


@dataclass
class Deferral:
    """What is known of the requests of one highest zone.

    Parameters
    ----------
    order_failed
        The lowest order for which compaction has failed: smaller ones do not wait.
    considered, shift
        Requests that went without since the last failure, of ``1 << shift``.
    """

    order_failed: int
    considered: int = 0
    shift: int = 0

    def defers(self, order: int) -> bool:
        """Tell whether a request goes without; counts it."""
        if order < self.order_failed:
            return False
        limit = 1 << self.shift
        self.considered = min(self.considered + 1, limit)
        return self.considered < limit

    def failed(self, order: int) -> None:
        """Note that compaction ran for a request, which was not met after it."""
        self.considered = 0
        self.shift = min(self.shift + 1, COMPACT_MAX_DEFER_SHIFT)
        self.order_failed = min(self.order_failed, order)

    def succeeded(self, order: int) -> None:
        """Note that a request was met after compaction."""
        self.considered = self.shift = 0
        self.order_failed = max(self.order_failed, order + 1)
