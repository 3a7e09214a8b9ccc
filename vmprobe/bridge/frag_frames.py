"""What the page frames of a snapshot say of its fragmentation: tables in, what stands where out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.blockers import Potential, Windows, potential, windows
from kernelmodel.consistency.buddy import against_kernel
from kernelmodel.holder import Holder
from kernelmodel.page_alloc.rebuild import free_blocks
from kernelmodel.pageblock import CONTENT_NAMES, Content
from vmprobe.bridge.blockers import Blockers, blockers_among
from vmprobe.bridge.frag import SIZES_BYTES, ZoneMemory, order_of, usable_pages
from vmprobe.bridge.model import nr_orders
from vmprobe.bridge.standing import Standing, standing

if TYPE_CHECKING:
    from kernelmodel.host import ZoneSpan
    from vmprobe.tables import Snapshot

ABSENT: Final = "absent"
"""Pageblocks without memory, which the kernel's spans hold all the same."""
CONTENTS: Final = (*(CONTENT_NAMES[content].replace(" ", "_") for content in Content), ABSENT)
"""What a pageblock holds, as answers call it; the place of a name is its `Content`."""


class Layout(NamedTuple):
    """The frames of a snapshot, and its blocks of one order: pageblocks, or smaller ones."""

    standing: Standing
    windows: Windows


def layout(snapshot: Snapshot, block_order: int) -> Layout:
    """Return what stands where.

    Parameters
    ----------
    snapshot
        With flag words.
    block_order
        Order of a pageblock.

    Raises
    ------
    SnapshotError
        The snapshot has no flag words, or the manifest's frame ranges do not cover the table.
    """
    found = standing(snapshot)
    smallest = min(block_order, *(order_of(nr_bytes, snapshot.page_size) for nr_bytes in SIZES_BYTES))
    return Layout(found, windows(found.memmap, found.tags, smallest))


@dataclass(frozen=True)
class ZoneFrames:
    """What the frames of one zone say.

    Parameters
    ----------
    rebuilt
        Free blocks by order that the frames add up to.
    status
        ``exact``, ``within_drift`` or ``violated``, against buddyinfo; None where that was not read.
    contents
        Pageblocks by what they hold; one that two zones share counts in both.
    unknown_pages
        Frames that are not known to be free or used, most of them with flag word 0.
    """

    rebuilt: tuple[int, ...]
    status: str | None
    contents: dict[str, int]
    unknown_pages: int


def zone_frames(snapshot: Snapshot, found: Layout, block_order: int) -> dict[tuple[int, str], ZoneFrames]:
    """Return what frames say of each zone that has memory."""
    nr_lists = nr_orders(snapshot)
    blocks = found.windows.coarser(block_order)
    memmap = found.standing.memmap
    made = {}
    for zone in found.standing.zones:
        free = free_blocks(memmap.free_runs, zone.start_pfn, zone.end_pfn, nr_lists)
        compared = against_kernel(memmap, zone, free)
        mine = blocks.chosen(blocks.touching(zone.start_pfn, zone.end_pfn))
        made[zone.node, zone.zone] = ZoneFrames(
            compared.rebuilt, compared.status, _contents(mine), int(mine.held[:, Holder.UNKNOWN].sum())
        )
    return made


def _contents(blocks: Windows) -> dict[str, int]:
    """Count pageblocks by content; those without memory are apart, as no owner made them unmovable."""
    present = blocks.chosen(~blocks.empty)
    counted = np.bincount(present.pageblocks().contents(), minlength=len(Content)).tolist()
    return dict(zip(CONTENTS, (*counted, len(blocks) - len(present)), strict=True))


class Framed(NamedTuple):
    """What frames say of a host.

    Parameters
    ----------
    layout
        What stands where.
    zones
        Of each zone that has memory, by node and name.
    blocked
        Who holds which pageblocks.
    """

    layout: Layout
    zones: dict[tuple[int, str], ZoneFrames]
    blocked: Blockers

    def potential(self, memory: dict[tuple[int, str], ZoneMemory], order: int) -> Potential:
        """Return the blocks of one order that are free, or could be; all zones together.

        Parameters
        ----------
        memory
            Zones that have memory, by node and name.
        order
            log2 of the pages in a block.
        """
        among = self.layout.windows.coarser(order)
        each = [
            _of_zone(among.chosen(among.inside(zone.start_pfn, zone.end_pfn)), self.layout, zone, memory)
            for zone in self.layout.standing.zones
        ]
        return Potential(*(sum(column) for column in zip(*each, strict=True))) if each else Potential(0, 0, 0)


def _of_zone(
    mine: Windows, found: Layout, zone: ZoneSpan, memory: dict[tuple[int, str], ZoneMemory]
) -> Potential:
    sizes = memory.get((zone.node, zone.zone), ZoneMemory(None, None, None, None))
    whole = found.windows.chosen(found.windows.touching(zone.start_pfn, zone.end_pfn))
    free_pages = int(whole.free.sum()) if sizes.nr_free is None else usable_pages(sizes.nr_free, 0)
    return potential(mine, free_pages, sizes.pcp_pages or 0, sizes.wmark_min or 0)


def framed(snapshot: Snapshot, block_order: int) -> Framed:
    """Return what frames say; as `layout`."""
    found = layout(snapshot, block_order)
    blocked = blockers_among(snapshot, found.standing, found.windows.coarser(block_order))
    return Framed(found, zone_frames(snapshot, found, block_order), blocked)
