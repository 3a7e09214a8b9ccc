"""One compaction of a host, forecast or real, as JSON has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmprobe.bridge.effect import Range
    from vmprobe.bridge.hazards import HazardRow


@dataclass(frozen=True)
class FreeBlocks:
    """Free blocks of each order, all zones together."""

    free_blocks: tuple[int, ...]


@dataclass(frozen=True)
class BlockedRow:
    """Pageblocks that were not cleared, by what stands in them."""

    reason: str
    pageblocks: int


@dataclass(frozen=True)
class Side:
    """One compaction, forecast or real; None for what is not known or was not looked up."""

    strategy: str
    order: int
    before: FreeBlocks
    after: FreeBlocks
    gained_blocks: int
    interval: tuple[int, int] | None
    moves_pages: int | None
    evicted_pages: int
    migrate_scanned: int | None
    free_scanned: int | None
    ptes_patched: int | None
    address_spaces: int | None
    tlb_flushes: int | None
    cost_us: Range
    minimum_moves_pages: int | None
    ratio_to_minimum: float | None
    status: str | None
    hazards: tuple[HazardRow, ...]
    blocked: tuple[BlockedRow, ...]
