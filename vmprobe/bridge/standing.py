"""What keeps each frame of a snapshot in its place: flag words, page tables, cgroups and pins together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernelmodel.folio import folios
from kernelmodel.holder import MAY_BE_CHARGED, MAY_BE_REACHED, tag_frames
from kernelmodel.movability import frame_movability
from kernelmodel.ranges import frames_inside, frames_of
from vmprobe.bridge import model
from vmprobe.bridge.memmap import charged
from vmprobe.bridge.model import counter, page_tables, unevictable_allowed
from vmprobe.bridge.pins import pinned_frames
from vmprobe.bridge.resources import ram_ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.host import ZoneSpan
    from kernelmodel.memmap import MemMap
    from kernelmodel.page_tables import PageTables
    from vmprobe.bridge.pins import Pins
    from vmprobe.tables import Snapshot


class Standing(NamedTuple):
    """Every frame of a snapshot with what is known of who keeps it in its place.

    Parameters
    ----------
    memmap
        The frames.
    tags
        uint8, as of `kernelmodel.holder.tag_frames`.
    zones
        Zones that have memory.
    tables
        Page tables; None without.
    pins
        Pins, as far as they are known.
    """

    memmap: MemMap
    tags: NDArray[np.uint8]
    zones: tuple[ZoneSpan, ...]
    tables: PageTables | None
    pins: Pins


def standing(snapshot: Snapshot) -> Standing:
    """Return what keeps each frame in its place.

    Raises
    ------
    SnapshotError
        The snapshot has no flag words, or the manifest's frame ranges do not cover the table.
    """
    memmap = model.frames(snapshot)
    codes = frame_movability(
        memmap,
        ram_ranges(snapshot),
        unevictable_allowed=unevictable_allowed(snapshot),
        nr_zspages=counter(snapshot, "vmstat", "nr_zspages"),
    )
    tables = page_tables(snapshot)
    pins = pinned_frames(snapshot, memmap=memmap, tables=tables)
    mapped = memmap.rows(reached(memmap, MAY_BE_REACHED[codes], tables)[0])
    paid = np.flatnonzero(MAY_BE_CHARGED[codes])
    paid = paid[charged(snapshot, paid) != 0]
    # A folio moves as one or not at all.
    kept = memmap.rows(folios(memmap).around(pins.pfn)) if len(pins.pfn) else pins.pfn
    tags = tag_frames(codes, mapped, paid, kept[kept >= 0])
    return Standing(memmap, tags, tuple(model.zones(snapshot)), tables, pins)


def reached(
    memmap: MemMap, chosen: NDArray[np.bool_], tables: PageTables | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the chosen frames that page tables lead to, and the address space of each entry."""
    none = np.empty(0, np.int64)
    if tables is None or not chosen.any():
        return none, none
    ranges = memmap.runs(chosen)
    runs = np.flatnonzero(frames_inside(ranges, tables.pfn, tables.pfn + tables.nr_pages))
    nr_pages = tables.nr_pages[runs]
    pfn = frames_of(tables.pfn[runs], nr_pages)
    mm = np.repeat(tables.vmas.mm[tables.vma[runs]], nr_pages)
    rows = memmap.rows(pfn)
    there = (rows >= 0) & chosen[rows]
    return pfn[there], mm[there]
