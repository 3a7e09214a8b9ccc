"""The answers of ``vmprobe compact``, as JSON has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmprobe.analyses.compact_side import BlockedRow, FreeBlocks, Side

if TYPE_CHECKING:
    from vmprobe.analyses.record import Record
    from vmprobe.analyses.show import MissingPart
    from vmprobe.bridge.compact import BlitDifference, Stop

__all__ = ["BlockedRow", "Compact", "Comparison", "FreeBlocks", "Side", "ZoneSide"]


@dataclass(frozen=True)
class ZoneSide(Side):
    """One zone of a forecast; hazards are those of the whole host and stand there alone."""

    node: int
    zone: str


@dataclass(frozen=True)
class Compact(Side):
    """The answer: all zones together, then each.

    Parameters
    ----------
    count
        Blocks that were to be gained; None for as many as can be had.
    zones
        The same zone by zone.
    page_size
        Bytes in a page.
    stops
        Folios at which Linux would give a zone up, and whether that is because they are dirty.
    record
        How far off the forecasts were that were verified on that host; without runs where none was.
    missing
        What the snapshot does not have, and why.
    """

    count: int | None
    zones: tuple[ZoneSide, ...]
    page_size: int
    stops: tuple[Stop, ...]
    record: Record
    missing: tuple[MissingPart, ...]


@dataclass(frozen=True)
class Comparison:
    """All strategies on one layout.

    Parameters
    ----------
    order, count
        What was asked of each.
    strategies
        All zones together, a strategy each; the last is ``blit-single-entry``: blit with the reverse map of
        1998, which has no entry for a shared page.
    difference
        What a full reverse map is worth to blit.
    page_size, record, missing
        As of `Compact`.
    """

    order: int
    count: int | None
    strategies: tuple[Side, ...]
    difference: BlitDifference
    page_size: int
    record: Record
    missing: tuple[MissingPart, ...]
