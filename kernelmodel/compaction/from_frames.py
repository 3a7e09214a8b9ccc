"""From the array of page frames to the layouts of zones.

Mirrors: the tests that ``mm/compaction.c: isolate_migratepages_block`` makes of each page.
Fidelity: from flag words and map counts. ``compact_memory`` drains the per-CPU batches of the LRU lists
before it begins (``lru_add_drain_all``), so that a page in one of them counts as on its list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.compaction.zone_layout import (
    HEAD,
    KIND_MASK,
    SECTION_ORDER,
    TAIL,
    UNSPLITTABLE,
    Frame,
    ZoneLayout,
)
from kernelmodel.migratetype import Migratetype
from kernelmodel.movability import Movability, inside_ram, movability
from kernelmodel.page_alloc.evidence import block_evidence
from kernelmodel.page_alloc.pageblock_flags import infer_migratetypes
from kernelmodel.page_alloc.rebuild import free_blocks
from kernelmodel.page_alloc.type_fit import free_lists
from kernelmodel.pageclass import PageClass, classify
from kernelmodel.pageflags import mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.memmap import MemMap
    from kernelmodel.page_alloc.type_fit import TypeCounts

_OF_CLASS: Final = {
    PageClass.KSM: Frame.ANON,
    PageClass.ANON: Frame.ANON,
    PageClass.SWAPCACHE: Frame.ANON,
    PageClass.SHMEM: Frame.SHMEM,
    PageClass.FILE: Frame.CLEAN,
}
_OF_CODE: Final = {
    Movability.FREE: Frame.FREE,
    Movability.UNEVICTABLE: Frame.UNEVICTABLE,
    Movability.MOVABLE_OPS: Frame.MOVABLE_OPS,
    Movability.DIRTY: Frame.DIRTY,
    Movability.DIRTY_LARGE: Frame.DIRTY,
    Movability.UNEVICTABLE_UNTOLD: Frame.UNCERTAIN,
    Movability.HELD: Frame.UNCERTAIN,
    Movability.ZSMALLOC_OR_DRIVER: Frame.UNCERTAIN,
    Movability.CACHE_OR_KERNEL: Frame.UNCERTAIN,
    Movability.SECRET_OR_MLOCKED: Frame.UNCERTAIN,
    Movability.HOLE: Frame.HOLE,
    Movability.UNKNOWN: Frame.UNKNOWN,
    Movability.UNREAD: Frame.UNKNOWN,
}
_BY_CLASS: Final = (
    Movability.ANON,
    Movability.SHMEM,
    Movability.FILE,
    Movability.LARGE,
    Movability.WRITEBACK,
    Movability.LOCKED,
    Movability.OFF_LRU,
    Movability.HIDDEN_MAPPERS,
)
"""Codes of which the kind is that of the page's class; every other code stays where it is."""

_READ_BY_BUFFER: Final = ("LRU", "PRIVATE")
"""What a page of metadata has that was read buffer by buffer: it never becomes uptodate as a whole."""

MOST_HELD: Final = 64
"""Pages of metadata in Unmovable pageblocks that are taken to be held by mounts: 33 were, of one of 252 GB.

What is held as long as a file system is mounted is allocated unmovable (``fs/ext4/super.c:
ext4_sb_bread_unmovable``; ``fs/jbd2/journal.c``, `getblk_unmovable`). So are inode tables that were read
ahead, and nobody holds those: where there are more pages, nothing tells which are which, and all of them
move.
"""


class ZonePlace(NamedTuple):
    """Where a zone is and how large its parts are; as the fields of `ZoneLayout`."""

    node: int
    zone: str
    start_pfn: int
    end_pfn: int
    pageblock_order: int
    nr_orders: int
    pcp_pages: int | None
    wmark_min: int


def frame_states(
    frames: MemMap,
    ram: NDArray[np.int64] | None,
    *,
    unevictable_allowed: bool | None,
    nr_zspages: int | None,
) -> NDArray[np.uint8]:
    """Return the byte of `ZoneLayout.state` for each row of `frames`.

    Parameters
    ----------
    frames
        The frames.
    ram
        int64, shape (n, 2): frame ranges with memory behind them; None where that is not known.
    unevictable_allowed, nr_zspages
        As for `kernelmodel.movability.movability`.
    """
    states = frames.by_word(
        lambda words: _word_states(words, unevictable_allowed=unevictable_allowed, nr_zspages=nr_zspages)
    )
    if ram is not None:
        states[(states == Frame.UNKNOWN) & ~inside_ram(frames, ram)] = Frame.HOLE
    if frames.known is not None:
        states[~frames.known] = Frame.UNKNOWN
    if frames.mapcount is not None:
        unmapped = (states == Frame.ANON) & (frames.mapcount == 0)
        # The swap cache holds without a pin; what else nobody maps is held by a pin or a pipe. Counts are
        # read before flags: what was mapped between both says MMAP.
        states[unmapped & ~frames.having("SWAPCACHE") & ~frames.having("MMAP")] = Frame.UNCERTAIN
    return states


def _word_states(
    words: NDArray[np.uint64], *, unevictable_allowed: bool | None, nr_zspages: int | None
) -> NDArray[np.uint8]:
    """Return the byte for each flag word, tails with their head's bits.

    `Frame.HELD` is all metadata that was read buffer by buffer.
    """
    codes = movability(words, unevictable_allowed=unevictable_allowed, nr_zspages=nr_zspages)
    kinds = np.array([_OF_CODE.get(code, Frame.FIXED) for code in Movability], np.uint8)[codes]
    of_class = np.array([_OF_CLASS.get(each, Frame.FIXED) for each in PageClass], np.uint8)[classify(words)]
    kinds = np.where(np.isin(codes, _BY_CLASS), of_class, kinds)

    def has(name: str) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (words & np.uint64(mask(name))) != 0
        return found

    writeback = np.isin(codes, (Movability.WRITEBACK, Movability.DIRTY_LARGE))
    kinds = np.where(writeback & (kinds == Frame.CLEAN), np.uint8(Frame.DIRTY), kinds)
    head, tail = has("COMPOUND_HEAD"), has("COMPOUND_TAIL")
    by_buffer = (words & np.uint64(mask(*_READ_BY_BUFFER, "UPTODATE"))) == np.uint64(mask(*_READ_BY_BUFFER))
    by_buffer &= ~(head | tail) & np.isin(kinds, (Frame.CLEAN, Frame.DIRTY))
    kinds = np.where(by_buffer, np.uint8(Frame.HELD), kinds)
    stuck = (head | tail) & writeback & (kinds == Frame.DIRTY)
    states = kinds.astype(np.uint8)
    states[head] |= HEAD
    states[tail] |= TAIL
    states[stuck] |= UNSPLITTABLE
    return states


def zone_layout(
    frames: MemMap,
    states: NDArray[np.uint8],
    place: ZonePlace,
    counts: TypeCounts | None,
    pinned: NDArray[np.int64],
) -> ZoneLayout:
    """Return the layout of one zone.

    Parameters
    ----------
    frames
        All frames.
    states
        uint8, the byte of each row of `frames`.
    place
        The zone.
    counts
        What pagetypeinfo counted in the zone; None where it was not read.
    pinned
        int64, frames known to be held in place.
    """
    grain = 1 << (place.nr_orders - 1)
    base = place.start_pfn & -grain
    nr = -(-(place.end_pfn - base) // grain) * grain
    state = np.full(nr, Frame.HOLE, np.uint8)
    frames.lay_out(states, state, base, (place.start_pfn, place.end_pfn))
    absent = _absent_sections(state)
    state[absent] = Frame.HOLE
    held = pinned[(pinned >= place.start_pfn) & (pinned < place.end_pfn)] - base
    state[held] = (state[held] & ~np.uint8(KIND_MASK)) | np.uint8(Frame.PINNED)
    blocks = _blocks(frames, place, base, absent[:: 1 << place.pageblock_order], counts)
    moving = np.flatnonzero((state & KIND_MASK) == Frame.HELD)
    stays = blocks.unmovable[moving >> place.pageblock_order]
    if np.count_nonzero(stays) <= MOST_HELD:
        moving = moving[~stays]
    state[moving] = _file_kinds(frames, moving + base)
    return ZoneLayout(
        node=place.node,
        zone=place.zone,
        start_pfn=place.start_pfn,
        end_pfn=place.end_pfn,
        base_pfn=base,
        state=state,
        targets=blocks.targets,
        pageblock_order=place.pageblock_order,
        nr_orders=place.nr_orders,
        pcp_pages=place.pcp_pages,
        wmark_min=place.wmark_min,
        other_targets=None if (blocks.targets == blocks.other_targets).all() else blocks.other_targets,
        block_types=blocks.types,
    )


def _absent_sections(state: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the frames of memory sections in which no page was ever brought online.

    Such a section has words of 0 alone (a section of nothing but pages that carry no flag is not to be had),
    may lie inside the span that /proc/zoneinfo prints, and is neither scanned nor counted in pagetypeinfo.
    """
    kinds = state & np.uint8(KIND_MASK)
    empty = (kinds == Frame.HOLE) | (kinds == Frame.UNKNOWN)
    size = 1 << SECTION_ORDER
    starts = np.arange(0, len(state), size)
    whole = np.logical_and.reduceat(empty, starts)
    return np.repeat(whole, np.diff(np.append(starts, len(state))))


class _Blocks(NamedTuple):
    """What types the pageblocks of a layout most likely have.

    Parameters
    ----------
    types
        uint8, as `ZoneLayout.block_types`.
    targets, other_targets
        bool, as in `ZoneLayout`.
    unmovable
        bool: Unmovable, as far as free lists tell.
    """

    types: NDArray[np.uint8]
    targets: NDArray[np.bool_]
    other_targets: NDArray[np.bool_]
    unmovable: NDArray[np.bool_]


def _blocks(
    frames: MemMap, place: ZonePlace, base: int, absent: NDArray[np.bool_], counts: TypeCounts | None
) -> _Blocks:
    """Return the likeliest types of pageblocks, by what lies in them and by the free lists."""
    shift = place.pageblock_order
    first = (place.start_pfn - base) >> shift
    evidence = block_evidence(frames, place.start_pfn, place.end_pfn, shift)
    present = ~absent[first : first + len(evidence.free)]
    kept = evidence.of(present)
    if place.pcp_pages:
        # A word of 0 is a free page of a CPU's list as likely as those lists have pages: that tells nothing,
        # except among pages of the kernel.
        nr_unknown = int(kept.unknown.sum())
        nr_kernel = max(0, nr_unknown - place.pcp_pages)
        stays = kept.unmovable + kept.slab
        likely = kept.unknown * nr_kernel // max(1, nr_unknown)
        kept = kept._replace(unknown=np.where((stays > 0) & (stays >= kept.movable), kept.unknown, likely))
    totals, lists = None, None
    if counts is not None and sum(counts.nr_pageblocks) == len(kept.free):
        totals = counts.nr_pageblocks
        blocks = free_blocks(frames.free_runs, place.start_pfn, place.end_pfn, place.nr_orders)
        lists = free_lists(counts.nr_free, blocks, place.start_pfn >> shift, len(present), shift).of(present)
    # Sections are whole numbers of pageblock pairs, so that buddies stay buddies where some are left out.
    inferred = infer_migratetypes(kept, place.start_pfn >> shift, totals, lists)
    at = first + np.flatnonzero(present)

    def those(chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        marks = np.zeros(len(absent), np.bool_)
        marks[at] = chosen
        return marks

    types = np.full(len(absent), Migratetype.MOVABLE, np.uint8)
    types[at] = inferred.block_type
    fillable = (Migratetype.MOVABLE, Migratetype.CMA)
    return _Blocks(
        types=types,
        targets=those(np.isin(inferred.block_type, fillable)),
        other_targets=those(np.isin(inferred.other_type, fillable)),
        unmovable=those((inferred.block_type == Migratetype.UNMOVABLE) & (lists is not None)),
    )


def _file_kinds(frames: MemMap, pfn: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return which pages of the page cache are clean and which dirty."""
    words = frames.words[frames.rows(pfn)]
    dirty = (words & np.uint64(mask("DIRTY") | mask("WRITEBACK"))) != 0
    return np.where(dirty, np.uint8(Frame.DIRTY), np.uint8(Frame.CLEAN))
