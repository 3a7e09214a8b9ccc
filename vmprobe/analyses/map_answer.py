"""The answer of ``vmprobe map``: the pageblocks of each zone side by side, now and after a forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vmprobe.bridge.strip import CONTENTS, PAGE_KIND_VERDICTS, PAGE_KINDS, MapOwner, ZonePages, ZoneStrip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vmprobe.analyses.show import MissingPart

__all__ = [
    "CHANGES",
    "CONTENTS",
    "PAGE_KINDS",
    "PAGE_KIND_VERDICTS",
    "Map",
    "MapForecast",
    "MapOwner",
    "ZonePages",
    "ZoneStrip",
]

CHANGES: Final = ("same", "becomes_free", "is_filled", "more_free", "less_free")
"""What becomes of a pageblock: free in whole, no longer so, or with more or less free pages."""


@dataclass(frozen=True, eq=False)
class MapForecast:
    """What a strategy of compaction would make of the strips.

    Parameters
    ----------
    strategy
        Who compacts.
    order
        Order of the blocks that are wanted.
    gained_blocks
        Blocks of that order that are free afterwards and were not.
    interval
        Fewest and most.
    zones
        The strips afterwards, in the order of the map's. Nobody is named in them: `owner` and `user` are -1.
    changes
        uint8, for each zone what becomes of each pageblock: an index in `CHANGES`.
    """

    strategy: str
    order: int
    gained_blocks: int
    interval: tuple[int, int]
    zones: tuple[ZoneStrip, ...]
    changes: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, eq=False)
class Map:
    """The pageblocks of a host.

    Parameters
    ----------
    page_size
        Bytes in a page.
    pageblock_order
        log2 of the pages in a pageblock.
    time, release
        When the snapshot was taken, and of which kernel.
    contents
        What a pageblock may hold; strips give indices in it.
    owners
        Who holds or uses most of some pageblock; strips give indices in it.
    zones
        A strip of each zone that has memory.
    chosen
        The owner that was asked for, by name; None where none was.
    forecast
        None where none was asked for.
    missing
        What the snapshot does not have, and why.
    """

    page_size: int
    pageblock_order: int
    time: str
    release: str
    contents: tuple[str, ...]
    owners: tuple[MapOwner, ...]
    zones: tuple[ZoneStrip, ...]
    chosen: str | None
    forecast: MapForecast | None
    missing: tuple[MissingPart, ...]
