"""A photographed host as one model: frames, zones and free blocks, folios, page tables, reverse entries.

The parts are built from the photograph alone. ``kernelmodel.consistency`` holds them against each other and
against what the kernel itself counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernelmodel.folio import Folios, folios
from kernelmodel.page_alloc.rebuild import FreeBlocks, free_blocks
from kernelmodel.rmap.csr import ReverseEntries, reverse_entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernelmodel.memmap import MemMap
    from kernelmodel.page_tables import PageTables


@dataclass(frozen=True)
class ZoneSpan:
    """A zone's place, and its free blocks as /proc/buddyinfo counted them.

    Parameters
    ----------
    node, zone
        NUMA node and name.
    start_pfn, end_pfn
        Half-open span, holes included.
    nr_free_before, nr_free_after
        Blocks by order, before and after the frames were read; None where that was not read.
    pageblock_order
        Order of a pageblock.
    nr_pageblocks_apart
        Pageblocks whose type merges with no other (HighAtomic, CMA, Isolate).
    """

    node: int
    zone: str
    start_pfn: int
    end_pfn: int
    nr_free_before: tuple[int, ...] | None
    nr_free_after: tuple[int, ...] | None
    pageblock_order: int
    nr_pageblocks_apart: int


@dataclass(frozen=True)
class Unseen:
    """What may map frames without being in the page tables that were read.

    Parameters
    ----------
    nr_processes
        Processes with memory whose page tables could not be read; None where it is not known how many.
    resident_at_most
        Pages that are resident in them at most; None where the kernel did not say for one of them.
    nr_short_lived
        How many of `nr_processes` began or ended while page tables were read; None where that is not known.
    nr_hidden_threads
        Threads that the machine has and that no listed process has (other PID namespaces, hidepid); None
        where that is not known, and then nothing is laid on them.
    nr_ended
        Processes that have ended and are still listed: somebody may still hold the address space of one.
    """

    nr_processes: int | None
    resident_at_most: int | None
    nr_short_lived: int | None = 0
    nr_hidden_threads: int | None = 0
    nr_ended: int = 0

    @property
    def lasting(self) -> bool:
        """Whether there is someone unseen who was there all the time, as far as is known.

        >>> Unseen(2, None, 2).lasting, Unseen(2, None, 1).lasting, Unseen(0, 0, 0, 5).lasting
        (False, True, True)
        """
        if self.nr_hidden_threads or self.nr_processes is None:
            return True
        return self.nr_processes > (self.nr_short_lived or 0)


@dataclass(frozen=True)
class HostModel:
    """Everything that is known of a host's memory at one moment.

    Parameters
    ----------
    frames
        The array of page frames.
    zones
        Zones that have memory.
    free
        Free blocks of each zone, in the order of `zones`.
    folios
        Compound pages.
    tables
        Page tables; None where those of no process were read.
    entries
        Reverse entries; None without page tables.
    unseen
        Who else may map frames.
    zspages
        Pages of zsmalloc, which store other things where map counts are; None where that is not told.
    averaged
        Whether the kernel spreads the map count of a large folio over its pages (CONFIG_NO_PAGE_MAPCOUNT).
    """

    frames: MemMap
    zones: tuple[ZoneSpan, ...]
    free: tuple[FreeBlocks, ...]
    folios: Folios
    tables: PageTables | None
    entries: ReverseEntries | None
    unseen: Unseen
    zspages: int | None
    averaged: bool


def build(
    frames: MemMap,
    zones: Sequence[ZoneSpan],
    tables: PageTables | None,
    *,
    unseen: Unseen,
    zspages: int | None,
    averaged: bool,
    nr_orders: int,
) -> HostModel:
    """Build buddy allocator, folios and reverse map from frames, zones and page tables."""
    return HostModel(
        frames,
        tuple(zones),
        tuple(free_blocks(frames.free_runs, zone.start_pfn, zone.end_pfn, nr_orders) for zone in zones),
        folios(frames),
        tables,
        None if tables is None else reverse_entries(tables),
        unseen,
        zspages,
        averaged,
    )
