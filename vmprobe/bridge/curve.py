"""What more huge pages cost in page copies, and free blocks by order before and after, fit to be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.compaction.curve import curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kernelmodel.compaction.curve import Curve
    from kernelmodel.compaction.result import Outcome
    from vmprobe.bridge.compact import Host

MOST_POINTS: Final = 300
"""Points of a line, before those that it must have; a screen shows no more."""


@dataclass(frozen=True)
class CostCurve:
    """Page copies against blocks gained, in one zone.

    Parameters
    ----------
    node, zone
        Which.
    order
        Of the blocks.
    free_blocks_now
        Blocks that are free already; what is gained comes on top.
    blocks
        K, ascending: none, the cliff, all candidates, and as many between as a drawing shows.
    pages
        Pages copied for K blocks when the cheapest are taken: exact for each K that is here.
    cliff_blocks
        Most blocks that moves alone gain.
    candidate_blocks
        Blocks in which nothing stays: what could be gained if there were room for everything.
    room_pages
        Free pages outside the blocks that are free already.
    reserve_pages
        Of these, what is left alone.
    """

    node: int
    zone: str
    order: int
    free_blocks_now: int
    blocks: tuple[int, ...]
    pages: tuple[int, ...]
    cliff_blocks: int
    candidate_blocks: int
    room_pages: int
    reserve_pages: int


@dataclass(frozen=True)
class FreeBlocksByOrder:
    """Free blocks by order, all zones together, before a compaction and afterwards as forecast."""

    before: tuple[int, ...]
    forecast: tuple[int, ...]


def cost_curves(made: Host, order: int) -> tuple[CostCurve, ...]:
    """Return the curve of every zone.

    Parameters
    ----------
    made
        The host.
    order
        Order of the blocks.
    """
    each = []
    for layout in made.layouts:
        whole = curve(layout, order)
        points = drawn_points(whole)
        each.append(
            CostCurve(
                node=layout.node,
                zone=layout.zone,
                order=order,
                free_blocks_now=whole.nr_free_now,
                blocks=tuple(points.tolist()),
                pages=tuple(whole.pages[points].tolist()),
                cliff_blocks=whole.nr_attainable,
                candidate_blocks=whole.nr_candidates,
                room_pages=whole.room_pages,
                reserve_pages=whole.reserve_pages,
            )
        )
    return tuple(each)


def drawn_points(whole: Curve, most: int = MOST_POINTS) -> NDArray[np.int64]:
    """Return the K at which a curve is drawn: int64, ascending.

    Half of them are evenly spread over K and half over the cost, for the end of the curve is steep. Its ends
    and the cliff are always among them.

    >>> from kernelmodel.compaction.curve import Curve
    >>> pages = np.arange(1001) ** 2
    >>> whole = Curve(9, 0, np.arange(1000), pages, pages, 700 << 9, 0)
    >>> drawn_points(whole, 8).tolist()
    [0, 333, 577, 666, 700, 816, 1000]
    """
    last = whole.nr_candidates
    by_blocks = np.linspace(0, last, most // 2).astype(np.int64)
    by_pages = np.searchsorted(whole.pages, np.linspace(0, whole.pages[-1], most // 2), side="right") - 1
    return np.unique(np.concatenate((by_blocks, by_pages, [0, whole.nr_attainable, last])))


def free_by_order(outcomes: Sequence[Outcome]) -> FreeBlocksByOrder:
    """Return the free blocks of all zones before and after outcomes, one for each zone; at least one."""
    before = np.sum([outcome.free_before for outcome in outcomes], axis=0)
    after = np.sum([outcome.free_after for outcome in outcomes], axis=0)
    return FreeBlocksByOrder(tuple(before.tolist()), tuple(after.tolist()))
