"""How much a request for memory may do to be met.

Mirrors: include/linux/gfp_types.h: GFP_KERNEL, GFP_NOWAIT, GFP_ATOMIC.
"""

from __future__ import annotations

from enum import IntEnum


class Priority(IntEnum):
    """How much a request may do to be met."""

    WAITS = 0
    """May sleep: reclaim and compaction can be called for help (GFP_KERNEL, GFP_HIGHUSER_MOVABLE)."""
    NOWAIT = 1
    """May not sleep and has no reserves: it just fails (GFP_NOWAIT)."""
    ATOMIC = 2
    """May not sleep, and may take what the watermark keeps from others (GFP_ATOMIC)."""
