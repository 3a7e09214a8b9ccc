"""The answer of ``vmprobe frag``, as JSON has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmprobe.analyses.show import MissingPart
    from vmprobe.bridge.blockers import BlockerRow, OwnerRow
    from vmprobe.bridge.frag import Contiguity


@dataclass(frozen=True)
class ZoneRow:
    """Free memory of one zone.

    Parameters
    ----------
    node, zone
        Which zone.
    free_pages
        In the free lists, by buddyinfo.
    pcp_pages
        Free on per-CPU lists besides.
    free_blocks
        Blocks by order, by buddyinfo before the frames were read.
    unusable_permille
        Share of free memory in blocks that are too small, by order (debugfs ``unusable_index``).
    fragmentation_permille
        Why a request fails, by order: near 0 lack of memory, near 1000 fragmentation; -1000 where it does not
        (debugfs ``extfrag_index``).
    extfrag_percent
        As `unusable_permille`, in percent; 0 where nothing is free.
    pageblocks
        Pageblocks by what they hold: ``free``, ``movable_only``, ``one_unmovable_page_only``, ``mixed``,
        ``unmovable``, ``unknown``, and ``absent`` for those without memory; None without frames.
    rebuilt_free_blocks
        Blocks by order that the free frames add up to; None without frames.
    frames_agree
        ``exact``, ``within_drift`` or ``violated``: those against buddyinfo; None where one is missing.
    unknown_pages
        Frames that are not known to be free or used.
    unmanaged_pages
        Memory that the allocator was not given: reserved, or not brought up yet.
    """

    node: int
    zone: str
    free_pages: int | None
    pcp_pages: int | None
    free_blocks: tuple[int, ...] | None
    unusable_permille: tuple[int, ...] | None
    fragmentation_permille: tuple[int, ...] | None
    extfrag_percent: tuple[int, ...] | None
    pageblocks: dict[str, int] | None
    rebuilt_free_blocks: tuple[int, ...] | None
    frames_agree: str | None
    unknown_pages: int | None
    unmanaged_pages: int | None


@dataclass(frozen=True)
class NodeScore:
    """By how much of its free memory a node is fragmented, as kcompactd reckons."""

    node: int
    score_percent: int


@dataclass(frozen=True)
class Kcompactd:
    """When kcompactd compacts a node unasked.

    Parameters
    ----------
    proactiveness
        vm.compaction_proactiveness; with 0 it never does.
    low_percent, high_percent
        It starts above the second score and stops at the first; None where kernels differ (above a
        proactiveness of 80).
    """

    proactiveness: int
    low_percent: int | None
    high_percent: int | None


@dataclass(frozen=True)
class Held:
    """Pageblocks of which somebody holds a page, each counted once.

    Parameters
    ----------
    pageblocks
        Those with memory behind every page.
    held_pageblocks
        Those of them with a page that stays.
    trapped_free_pages
        Free pages in those.
    pins, pins_located, pins_unlocated
        Pins that are outstanding, frames known to be pinned, and pins that none of those accounts for: any
        page that could move may be one. None where vmstat does not count them.
    """

    pageblocks: int
    held_pageblocks: int
    trapped_free_pages: int
    pins: int | None
    pins_located: int
    pins_unlocated: int | None


@dataclass(frozen=True)
class Frag:
    """The answer.

    Parameters
    ----------
    page_size
        Bytes in a page.
    pageblock_order
        log2 of the pages in a pageblock.
    zones
        Zones that have memory.
    blockers
        Kinds of owners and what they hold; None without frames. A pageblock that several kinds hold counts
        under each of them.
    owners, owners_left_out
        Owners, and how many more there are.
    held
        What all of them hold together; None without frames.
    contiguity
        Memory that is free in blocks of each size, now and after perfect compaction.
    score_order
        Order of the blocks that kcompactd cares for.
    nodes, score_percent
        The score of each node, and the highest; None where it cannot be known.
    kcompactd
        None where vm.compaction_proactiveness was not read.
    missing
        What the snapshot does not have, and why.
    """

    page_size: int
    pageblock_order: int
    zones: tuple[ZoneRow, ...]
    blockers: tuple[BlockerRow, ...] | None
    owners: tuple[OwnerRow, ...] | None
    owners_left_out: int
    held: Held | None
    contiguity: tuple[Contiguity, ...]
    score_order: int
    nodes: tuple[NodeScore, ...] | None
    score_percent: int | None
    kcompactd: Kcompactd | None
    missing: tuple[MissingPart, ...]
