"""Faults to plant in a model of a host: what a check of it must find, and by which name.

Used by the tests of made-up hosts, of this host's own processes and of guests alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.page_alloc.rebuild import FreeBlocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.host import HostModel
    from kernelmodel.rmap.csr import ReverseEntries


def drop_entry(model: HostModel, row: int) -> HostModel:
    """Take one reverse entry out."""
    entries, frame, row = _entry(model, row)
    first = entries.first.copy()
    first[frame + 1 :] -= 1
    pfn = entries.pfn
    if first[frame] == first[frame + 1]:
        first, pfn = np.delete(first, frame), np.delete(pfn, frame)
    vma, offset = np.delete(entries.vma, row), np.delete(entries.offset_pages, row)
    return replace(model, entries=replace(entries, pfn=pfn, first=first, vma=vma, offset_pages=offset))


def double_entry(model: HostModel, row: int) -> HostModel:
    """Put one reverse entry in twice."""
    entries, frame, row = _entry(model, row)
    first = entries.first.copy()
    first[frame + 1 :] += 1
    vma = np.insert(entries.vma, row, entries.vma[row])
    offset = np.insert(entries.offset_pages, row, entries.offset_pages[row])
    return replace(model, entries=replace(entries, first=first, vma=vma, offset_pages=offset))


def shift_offset(model: HostModel, row: int) -> HostModel:
    """Let one reverse entry point a page too far, as when the VMA's start had moved by one."""
    entries, _, row = _entry(model, row)
    offset = entries.offset_pages.copy()
    offset[row] += 1
    return replace(model, entries=replace(entries, offset_pages=offset))


def double_folio(model: HostModel, row: int) -> HostModel:
    """Make one folio an order larger than it is."""
    nr_pages = model.folios.nr_pages.copy()
    nr_pages[row % len(nr_pages)] *= 2
    return replace(model, folios=replace(model.folios, nr_pages=nr_pages))


def add_free_block(model: HostModel, row: int) -> HostModel:
    """Call one frame free that is in use."""
    frames, free, zone = model.frames, model.free[-1], model.zones[-1]
    used = frames.pfns(np.flatnonzero(~frames.having("BUDDY")))
    used = used[(used >= zone.start_pfn) & (used < zone.end_pfn)]
    pfn = used[row % len(used)]
    at = int(np.searchsorted(free.start_pfn, pfn))
    start = np.insert(free.start_pfn, at, pfn)
    more = FreeBlocks(start, np.insert(free.order, at, np.uint8(0)), free.nr_orders)
    return replace(model, free=(*model.free[:-1], more))


def _entry(model: HostModel, row: int) -> tuple[ReverseEntries, int, int]:
    """Return the reverse entries, and which frame and row is meant."""
    entries = model.entries
    assert entries is not None
    row %= len(entries)
    return entries, int(np.searchsorted(entries.first, row, side="right")) - 1, row


@dataclass(frozen=True)
class Plant:
    """One way to break a model.

    Parameters
    ----------
    name
        What is done.
    do
        Takes the model and a number that chooses the place; returns a broken copy.
    named
        Kinds of violation that must be found; all others are false alarms, but for `beside`.
    beside
        Kinds that may be found as well, depending on the place.
    """

    name: str
    do: Callable[[HostModel, int], HostModel]
    named: frozenset[str]
    beside: frozenset[str] = frozenset()


PLANTS: Final = (
    Plant("a dropped entry", drop_entry, frozenset({"entry-dropped", "count-rmap"})),
    Plant("a doubled entry", double_entry, frozenset({"entry-doubled", "count-rmap"})),
    # One page further the same frame may lie, mapped twice: then that address has two entries, this one none.
    Plant(
        "a shifted offset",
        shift_offset,
        frozenset({"entry-dropped"}),
        frozenset({"entry-shifted", "entry-doubled"}),
    ),
    Plant("a wrong folio order", double_folio, frozenset({"folio-order"})),
    # One block more than buddyinfo counts may be within the drift, where frames changed meanwhile.
    Plant(
        "a free block too many",
        add_free_block,
        frozenset({"free-block-in-use"}),
        frozenset({"free-blocks", "free-block-unmerged"}),
    ),
)
"""The five faults that a check of a whole host must find."""
