"""What a full reverse map is worth to who needs room at once, against the map of 1998.

That map has one entry for a frame (`kernelmodel.rmap.single_entry`). A shared page has none: not all of its
page-table entries can be found, so that it cannot be moved, and every window that holds one is lost.

Mirrors: the proposal of 1998.
Fidelity: by the mappings that there are now. That map also loses the entry of a page that was shared once, so
that it could do no more than is said here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.compaction.blit import candidates
from kernelmodel.pageflags import mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.compaction.zone_layout import ZoneLayout
    from kernelmodel.host import HostModel

_BUSY: Final = np.uint64(mask("LOCKED", "WRITEBACK"))


def shared_frames(model: HostModel, layout: ZoneLayout) -> NDArray[np.bool_]:
    """Return which frames of a zone have more than one mapping, so that a single-entry map has none of them.

    By reverse entries, and by the kernel's count where that was read: a second mapper may be unseen.
    """
    shared = np.zeros(len(layout.state), np.bool_)
    if model.entries is not None:
        several = model.entries.pfn[model.entries.counts() > 1]
        several = several[(several >= layout.start_pfn) & (several < layout.end_pfn)]
        shared[several - layout.base_pfn] = True
    if model.frames.mapcount is not None:
        shared |= marked_frames(model, layout, model.frames.mapcount > 1)
    return shared


def busy_frames(model: HostModel, layout: ZoneLayout) -> NDArray[np.bool_]:
    """Return which frames of a zone are locked or under writeback: who wants them must wait."""
    of_run = (model.frames.run_words & _BUSY) != 0
    return marked_frames(model, layout, model.frames.spread(of_run.view(np.uint8)).view(np.bool_))


def marked_frames(model: HostModel, layout: ZoneLayout, of_row: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which frames of a zone, from its base on, are those that `of_row` chooses of all frames."""
    marked = np.zeros(len(layout.state), np.bool_)
    model.frames.lay_out(of_row, marked, layout.base_pfn, (layout.start_pfn, layout.end_pfn))
    return marked


@dataclass(frozen=True)
class BlitDifference:
    """What a full reverse map can do for requests of one order, and one with a single entry for a frame.

    Parameters
    ----------
    order
        Order of the blocks.
    windows_full, windows_single
        Windows that can be cleared and are not free.
    blocks_full, blocks_single
        How many of them there is room for.
    pages_full, pages_single
        Copies for those.
    pages_full_alike
        Copies with a full map for as many blocks as a single-entry map can make.
    """

    order: int
    windows_full: int
    windows_single: int
    blocks_full: int
    blocks_single: int
    pages_full: int
    pages_single: int
    pages_full_alike: int


def blit_difference(
    layout: ZoneLayout,
    order: int,
    shared: NDArray[np.bool_],
    immovable: NDArray[np.bool_] | None = None,
    *,
    reserve_pages: int | None = None,
) -> BlitDifference:
    """Compare both reverse maps on one zone; `shared` is that of `shared_frames`, the rest as for `blit`.

    Examples
    --------
    >>> from kernelmodel.compaction.zone_layout import ZoneLayout
    >>> state = np.array([1, 0, 0, 0, 1, 1, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0], np.uint8)
    >>> zone = ZoneLayout(0, "Normal", 0, 16, 0, state, np.ones(2, bool), 3, 5)
    >>> shared = np.arange(16) == 0
    >>> found = blit_difference(zone, 2, shared, reserve_pages=0)
    >>> found.windows_full, found.windows_single, found.pages_full_alike, found.pages_single
    (2, 1, 1, 2)
    """
    reserve = layout.wmark_min + (1 << order) if reserve_pages is None else reserve_pages
    full = candidates(layout, order, immovable)
    single = candidates(layout, order, shared if immovable is None else shared | immovable)
    nr_full, nr_single = full.limit(order, reserve), single.limit(order, reserve)
    return BlitDifference(
        order=order,
        windows_full=len(full.pfn),
        windows_single=len(single.pfn),
        blocks_full=nr_full,
        blocks_single=nr_single,
        pages_full=int(full.pages[:nr_full].sum()),
        pages_single=int(single.pages[:nr_single].sum()),
        pages_full_alike=int(full.pages[:nr_single].sum()),
    )
