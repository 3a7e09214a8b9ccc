"""How fragmented the free memory of a snapshot is: tables in, the kernel's indices and the layout out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.blockers import Potential, Windows, potential, windows
from kernelmodel.consistency.buddy import against_kernel
from kernelmodel.holder import Holder
from kernelmodel.page_alloc.rebuild import free_blocks
from kernelmodel.pageblock import CONTENT_NAMES, Content
from kernelmodel.vmstat import (
    ScoreMarks,
    compaction_hpage_order,
    contig_page_info,
    debugfs_text,
    extfrag_for_order_percent,
    fragmentation_index_permille,
    fragmentation_score_node,
    fragmentation_score_wmark,
    unusable_free_index_permille,
)
from vmprobe.bridge.blockers import Blockers, blockers_among
from vmprobe.bridge.model import nr_orders
from vmprobe.bridge.standing import Standing, standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernelmodel.host import ZoneSpan
    from vmprobe.tables import Snapshot

__all__ = [
    "Blockers",
    "Contiguity",
    "Indices",
    "Layout",
    "ScoreMarks",
    "ZoneFrames",
    "ZoneMemory",
    "compaction_hpage_order",
    "contiguity",
    "debugfs_text",
    "fragmentation_score_node",
    "indices",
    "layout",
    "who_blocks",
    "wmarks",
    "zone_frames",
]

SIZES_BYTES: Final = (2 << 20, 4 << 20, 32 << 20, 1 << 30)
"""Sizes of which contiguity is told: huge pages of both levels, and two between."""

ABSENT: Final = "absent"
"""Pageblocks without memory, which the kernel's spans hold all the same."""


class Indices(NamedTuple):
    """Indices of one zone, each by order."""

    unusable_permille: tuple[int, ...]
    fragmentation_permille: tuple[int, ...]
    extfrag_percent: tuple[int, ...]


def indices(nr_free: Sequence[int]) -> Indices:
    """Return the indices of one zone from its free blocks by order."""
    found = (
        unusable_free_index_permille(nr_free),
        fragmentation_index_permille(nr_free),
        extfrag_for_order_percent(nr_free),
    )
    return Indices(*(tuple(int(each) for each in index) for index in found))


def wmarks(proactiveness: int) -> ScoreMarks | None:
    """Return between which scores kcompactd works; None where kernels differ about that."""
    old, new = (fragmentation_score_wmark(proactiveness, capped=capped) for capped in (True, False))
    return old if old == new else None


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
    smallest = min(block_order, *(_order(nr_bytes, snapshot) for nr_bytes in SIZES_BYTES))
    return Layout(found, windows(found.memmap, found.tags, smallest))


def who_blocks(snapshot: Snapshot, found: Layout, order: int) -> Blockers:
    """Return who holds which blocks of one order, as `vmprobe.bridge.blockers.blockers`."""
    return blockers_among(snapshot, found.standing, found.windows.coarser(order))


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
    names = {content: CONTENT_NAMES[content].replace(" ", "_") for content in Content}
    return {names[content]: counted[content] for content in Content} | {ABSENT: len(blocks) - len(present)}


class ZoneMemory(NamedTuple):
    """Sizes of one zone in pages, and its free blocks by order; None for what was not read."""

    present_pages: int | None
    pcp_pages: int | None
    wmark_min: int | None
    nr_free: tuple[int, ...] | None


@dataclass(frozen=True)
class Contiguity:
    """Free memory in naturally aligned blocks of one size.

    Parameters
    ----------
    bytes, order
        The size; the order exceeds those of the free lists where several blocks must lie side by side.
    free_pages
        In such blocks now.
    permille_of_free
        The same as a share of free memory.
    after_pages
        In such blocks after perfect compaction: those without an immovable page, as far as free memory beyond
        the lowest watermark goes. Pages of flag word 0 stay where they are.
    permille_of_total
        The same as a share of all memory.
    at_most_pages, at_most_permille_of_total
        If every page of flag word 0 were free on a per-CPU list, as far as there are any.
    """

    bytes: int
    order: int
    free_pages: int | None
    permille_of_free: int | None
    after_pages: int | None
    permille_of_total: int | None
    at_most_pages: int | None
    at_most_permille_of_total: int | None


def contiguity(
    snapshot: Snapshot, found: Layout | None, memory: dict[tuple[int, str], ZoneMemory]
) -> tuple[Contiguity, ...]:
    """Return how much memory is and could be free in blocks of each size.

    Parameters
    ----------
    snapshot
        For the size of a page.
    found
        The layout; None without frames, and then only what the free lists say is known.
    memory
        Zones that have memory, by node and name.
    """
    listed = [zone.nr_free for zone in memory.values()]
    nr_free = None if None in listed or not listed else [each for each in listed if each is not None]
    free_pages = None if nr_free is None else sum(_usable(each, 0) for each in nr_free)
    present = [zone.present_pages for zone in memory.values()]
    total = None if None in present or not present else sum(each for each in present if each is not None)
    rows = []
    for nr_bytes in SIZES_BYTES:
        order = _order(nr_bytes, snapshot)
        could = None if found is None else _potential(found, order, memory)
        now = None if could is None else could.now << order
        if nr_free is not None and order < len(nr_free[0]):
            now = sum(_usable(each, order) for each in nr_free)
        after = None if could is None else max(could.after << order, now or 0)
        at_most = None if could is None else max(could.at_most << order, now or 0)
        rows.append(
            Contiguity(
                nr_bytes,
                order,
                now,
                _permille(now, free_pages),
                after,
                _permille(after, total),
                at_most,
                _permille(at_most, total),
            )
        )
    return tuple(rows)


def _order(nr_bytes: int, snapshot: Snapshot) -> int:
    return (nr_bytes // snapshot.page_size).bit_length() - 1


def _usable(nr_free: tuple[int, ...], order: int) -> int:
    return int(contig_page_info(nr_free).usable_pages[order])


def _permille(part: int | None, whole: int | None) -> int | None:
    return None if part is None or not whole else part * 1000 // whole


def _potential(found: Layout, order: int, memory: dict[tuple[int, str], ZoneMemory]) -> Potential:
    """Return the blocks of all zones together."""
    among = found.windows.coarser(order)
    each = [
        _of_zone(among.chosen(among.inside(zone.start_pfn, zone.end_pfn)), found, zone, memory)
        for zone in found.standing.zones
    ]
    return Potential(*(sum(column) for column in zip(*each, strict=True))) if each else Potential(0, 0, 0)


def _of_zone(
    mine: Windows, found: Layout, zone: ZoneSpan, memory: dict[tuple[int, str], ZoneMemory]
) -> Potential:
    sizes = memory.get((zone.node, zone.zone), ZoneMemory(None, None, None, None))
    whole = found.windows.chosen(found.windows.touching(zone.start_pfn, zone.end_pfn))
    free_pages = int(whole.free.sum()) if sizes.nr_free is None else _usable(sizes.nr_free, 0)
    return potential(mine, free_pages, sizes.pcp_pages or 0, sizes.wmark_min or 0)
