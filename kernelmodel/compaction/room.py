"""Free frames to move to: naturally aligned runs, taken where they do least harm.

Where, in this order: pageblocks that hold movable memory before others; regions that cannot be cleared
anyway before those that can; fuller ones before emptier ones. So what is cheap to clear later stays cheap.
No run lies in a window that was free or is to be cleared.

Mirrors: nothing; ``mm/compaction.c: isolate_freepages`` takes what lies highest.
Fidelity: every run is a run of the layout's free frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.compaction.zone_layout import KIND_MASK, Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.compaction.windows import Windows
    from kernelmodel.compaction.zone_layout import ZoneLayout

CHUNK_FRAMES: Final = 1 << 22
"""Most frames looked at together; the first look takes few, and each further one twice as many."""
FIRST_REGIONS: Final = 64


class Room:
    """Free frames of a zone outside some windows, handed out.

    Parameters
    ----------
    layout
        The zone.
    found
        Its windows of the order that is to be cleared.
    closed
        bool, windows whose frames are not handed out.
    """

    def __init__(self, layout: ZoneLayout, found: Windows, closed: NDArray[np.bool_]) -> None:
        self._state = layout.state.copy()
        self._closed = closed
        self._window_order = found.order
        # Regions hold the largest folio whole, and enough frames to be worth a look.
        self._order = layout.nr_orders - 1
        if layout.pageblock_order <= self._order:
            self._order = max(found.order, layout.pageblock_order)
        self._found = found
        self._layout = layout
        self._regions = self._ranked()

    @property
    def state(self) -> NDArray[np.uint8]:
        """The zone's bytes, uint8; whoever takes frames writes here what stands in them."""
        return self._state

    def _ranked(self) -> NDArray[np.int64]:
        """Return the regions with room, best place first."""
        regions = self._found.coarsened(self._order)
        free = np.where(self._closed, 0, self._found.free)
        self._free = free.reshape(len(regions), -1).sum(axis=1)
        targets = self._layout.targets
        nr_each = 1 << (self._order - self._layout.pageblock_order)
        other = ~targets.reshape(-1, nr_each).all(axis=1)
        step = regions.nr_frames + 1
        rank = self._free + step * (regions.immovable == 0) + 2 * step * other
        with_room = np.flatnonzero(self._free)
        ranked: NDArray[np.int64] = with_room[np.argsort(rank[with_room], kind="stable")]
        return ranked

    def take(self, order: int, nr_runs: int) -> NDArray[np.int64]:
        """Take up to `nr_runs` naturally aligned runs of ``1 << order`` free frames.

        Returns
        -------
        NDArray[np.int64]
            First frame of each, from the layout's base; fewer where there are no more. They are marked as
            used until the caller writes what stands there.
        """
        grain = max(order, self._order)
        if grain > self._layout.nr_orders - 1:
            return np.empty(0, np.int64)
        regions = self._regions if grain == self._order else self._merged(grain)
        size = 1 << order
        least = min(size, 1 << self._order)
        regions = regions[self._free[regions] >= least] if grain == self._order else regions
        taken: list[NDArray[np.int64]] = []
        at, width = 0, FIRST_REGIONS
        while nr_runs and at < len(regions):
            here = regions[at : at + width]
            row, column = np.nonzero(self._runs(here, grain, order))
            starts = ((here[row] << grain) + (column << order))[:nr_runs]
            taken.append(starts)
            nr_runs -= len(starts)
            at += width
            width = min(2 * width, max(1, CHUNK_FRAMES >> grain))
        runs = np.concatenate(taken) if taken else np.empty(0, np.int64)
        self._state[(runs[:, None] + np.arange(size)).ravel()] = Frame.FIXED
        np.subtract.at(self._free, runs >> self._order, least)
        return runs

    def _merged(self, order: int) -> NDArray[np.int64]:
        """Return larger regions, each where the best of its parts stands."""
        larger = self._regions >> (order - self._order)
        _, first = np.unique(larger, return_index=True)
        merged: NDArray[np.int64] = larger[np.sort(first)]
        return merged

    def _runs(self, regions: NDArray[np.int64], grain: int, order: int) -> NDArray[np.bool_]:
        """Return, for each aligned run of each of `regions`, whether all of it can be taken."""
        state = self._state.reshape(-1, 1 << grain)[regions]
        free: NDArray[np.bool_] = (state & KIND_MASK) == Frame.FREE
        nr_windows = 1 << (grain - self._window_order)
        closed = self._closed.reshape(-1, nr_windows)[regions]
        free &= ~np.repeat(closed, 1 << self._window_order, axis=1)
        for _ in range(order):
            free = free[:, ::2] & free[:, 1::2]
        return free
