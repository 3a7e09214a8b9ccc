"""What all policies have in common: single operations, and the rule by which memory is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kernelmodel._jit import compiled, jit
from kernelmodel.page_alloc.rebuild import FreeBlocks
from kernelmodel.priority import Priority

if TYPE_CHECKING:
    from kernelmodel.free_area.ground import Ground
    from kernelmodel.free_area.interface import Ask, Functions

ATOMIC = int(Priority.ATOMIC)


@jit
def watermark_allows(nr_free: int, wmark_min: int, order: int, priority: int) -> bool:
    """Tell whether a request leaves what others are to find: the rule of policies without zones.

    Mirrors: mm/page_alloc.c: __zone_watermark_ok with ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK for the atomic.
    """
    kept = wmark_min * 3 // 8 if priority == ATOMIC else wmark_min
    return nr_free - (1 << order) >= kept


class Policy:
    """What is alike in all of `kernelmodel.free_area.interface.FreeArea`.

    Parameters
    ----------
    name
        As it was asked for, options and all.
    ground
        Where it works; it is only read.
    state
        The named tuple that `functions` work on.
    functions
        What the policy puts in place of `interface.take`, `release` and `claim`.
    pure
        Run single operations in plain Python even where there is numba.
    """

    def __init__(
        self, name: str, ground: Ground, state: Any, functions: Functions, *, pure: bool = False
    ) -> None:
        self.name = name
        self.ground = ground
        self.state = state
        self.functions = functions
        self._pure = pure

    def drain(self) -> None:
        """Do nothing: CPUs keep no pages."""

    def drain_cpu(self, cpu: int) -> None:
        """Do nothing: CPUs keep no pages."""

    def kept_blocks(self) -> FreeBlocks:
        """Return no blocks: CPUs keep no pages."""
        return FreeBlocks(np.empty(0, np.int64), np.empty(0, np.uint8), self.ground.nr_orders)

    def alloc(self, ask: Ask) -> int:
        """Take a block for a request; return its first frame or NO_PAGE."""
        return int(compiled(self.functions.take, pure=self._pure)(self.state, ask))

    def free(self, index: int, order: int, cpu: int = 0) -> None:
        """Give a used block back, or any naturally aligned part of one."""
        compiled(self.functions.release, pure=self._pure)(self.state, index, order, cpu)

    def claim(self, index: int, order: int, movable: int = 1) -> bool:
        """Take one certain block; False, and nothing changed, where not all of its frames are free."""
        return bool(compiled(self.functions.claim, pure=self._pure)(self.state, index, order, movable))
