"""Carry out moves on the whole model, and repair every reverse entry: ``migrate_pages`` on a photograph.

A page-table entry is changed only where a reverse entry leads to it. What the reverse map has lost is then
left behind, pointing at a frame that somebody else may get: `kernelmodel.consistency` must find it.

Mirrors: ``mm/migrate.c: migrate_pages_batch, migrate_folio_unmap, remove_migration_ptes``,
``mm/rmap.c: try_to_migrate_one``, ``mm/page_vma_mapped.c: check_pte``, ``mm/huge_memory.c: split_folio``.
Fidelity: all moves happen at one moment and all succeed. Who maps a frame unseen is carried along in its map
count alone. A folio that does not move whole is split into single pages, which is what Linux does for
compaction. Whether an entry is huge is not told, so that a large folio counts as many entries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.compaction.result import Moves
from kernelmodel.compaction.zone_layout import KIND_MASK, Frame
from kernelmodel.errors import ModelError
from kernelmodel.folio import folios
from kernelmodel.memmap import MemMap
from kernelmodel.page_alloc.rebuild import free_blocks
from kernelmodel.pageclass import inherit_from_head
from kernelmodel.pageflags import mask
from kernelmodel.ranges import frames_of
from kernelmodel.rmap.rehome import patched, rehomed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kernelmodel.compaction.result import Outcome
    from kernelmodel.folio import Folios
    from kernelmodel.host import HostModel
    from kernelmodel.page_tables import PageTables
    from kernelmodel.rmap.csr import ReverseEntries

FLUSH_BATCH_PAGES: Final = 32
"""Pages that are unmapped before TLBs are flushed once (``SWAP_CLUSTER_MAX``)."""
UNBATCHED: Final = ("blit",)
"""Strategies that flush after each folio: who makes room for one atomic request has no batch to fill."""

_BUDDY: Final = np.uint64(mask("BUDDY"))
_COMPOUND: Final = np.uint64(mask("COMPOUND_HEAD", "COMPOUND_TAIL", "THP"))


@dataclass(frozen=True)
class Migrated:
    """The model after all moves, and what they took.

    Parameters
    ----------
    model
        The new model. Of zones in which something moved nobody has counted the free blocks.
    pages_copied
        Pages moved.
    entries_patched
        Page-table entries that lead to the new frame now.
    entries_cleared
        Page-table entries of evicted frames, which are gone.
    address_spaces
        Those with an entry that was patched or cleared.
    tlb_flushes
        One for each batch of `FLUSH_BATCH_PAGES` pages and each address space touched in it; for the
        strategies in `UNBATCHED` one for each folio and address space. Linux joins the address spaces of a
        batch into one round of interrupts to the CPUs of all of them, so that its rounds are at most these.
    pages_unmapped
        Pages moved or evicted without any reverse entry: page cache that nobody maps, or hidden mappers.
    """

    model: HostModel
    pages_copied: int
    entries_patched: int
    entries_cleared: int
    address_spaces: int
    tlb_flushes: int
    pages_unmapped: int


class _Change(NamedTuple):
    """Frames that are left: int64 arrays of one length.

    Parameters
    ----------
    source
        The frame.
    target
        Where its page goes, -1 where it is evicted.
    batch
        Which flush covers it.
    word
        uint64, the flag word of the empty frame: free, or 0 on a per-CPU list.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    batch: NDArray[np.int64]
    word: NDArray[np.uint64]


class _Found(NamedTuple):
    """Page-table entries that reverse entries of left frames lead to, ascending by key, each once."""

    key: NDArray[np.int64]
    target: NDArray[np.int64]
    mm: NDArray[np.int64]
    batch: NDArray[np.int64]
    nr_unmapped: int


def migrate(model: HostModel, outcomes: Sequence[Outcome]) -> Migrated:
    """Return the model in which the moves and evictions of `outcomes` have been carried out.

    O(frames + entries) for copies of the arrays, O(moves log entries) for the work itself.

    Parameters
    ----------
    model
        The model that the layouts of the outcomes were made from. It is not changed.
    outcomes
        At most one for each zone.

    Raises
    ------
    InvariantError
        Those of `Moves.validate`, for the moves of all outcomes together.
    ModelError
        A frame that is left or filled is none of the model's, or is moved and evicted.
    """
    moves, change = _joined(outcomes)
    moves.validate()
    left = np.sort(change.source)
    if (left[1:] == left[:-1]).any():
        raise ModelError("a frame is evicted twice, or moved as well")
    frames = _frames(model, moves, change)
    tables, entries = model.tables, model.entries
    found = None
    if tables is not None and entries is not None:
        found = _found(tables, entries, change)
        tables = patched(tables, found.key, found.target)
        entries = rehomed(entries, change.source, change.target)
    touched = {(o.before.node, o.before.zone) for o in outcomes if len(o.moves) or len(o.evicted_pfn)}
    zones = tuple(
        replace(zone, nr_free_before=None, nr_free_after=None) if (zone.node, zone.zone) in touched else zone
        for zone in model.zones
    )
    free = tuple(
        free_blocks(frames.free_runs, zone.start_pfn, zone.end_pfn, blocks.nr_orders)
        for zone, blocks in zip(zones, model.free, strict=True)
    )
    later = replace(
        model, frames=frames, zones=zones, free=free, folios=folios(frames), tables=tables, entries=entries
    )
    if found is None:
        return Migrated(later, moves.total_pages, 0, 0, 0, 0, len(change.source))
    nr_patched = int(np.count_nonzero(found.target >= 0))
    return Migrated(
        later,
        moves.total_pages,
        nr_patched,
        len(found.key) - nr_patched,
        # Ascending by key is ascending by address space.
        _nr_distinct(found.mm),
        _nr_distinct(np.sort(found.batch * (1 + int(found.mm.max(initial=0))) + found.mm)),
        found.nr_unmapped,
    )


def _joined(outcomes: Sequence[Outcome]) -> tuple[Moves, _Change]:
    """Return the moves of all outcomes, and every frame that is left."""
    empty = np.empty(0, np.int64)
    moves = Moves(
        np.concatenate([empty, *(o.moves.source_pfn for o in outcomes)]),
        np.concatenate([empty, *(o.moves.destination_pfn for o in outcomes)]),
        np.concatenate([empty, *(o.moves.nr_pages for o in outcomes)]),
    )
    pieces = []
    nr_batches = 0
    for outcome in outcomes:
        source, target = outcome.moves.frames()
        evicted = outcome.evicted_pfn
        left = np.concatenate((source, evicted))
        nr_pages = outcome.moves.nr_pages
        if outcome.strategy in UNBATCHED:
            of_move = np.arange(len(nr_pages))
            first = len(nr_pages)
        else:
            # A large folio is in the batch that was open when its turn came.
            of_move = (np.cumsum(nr_pages) - nr_pages) // FLUSH_BATCH_PAGES
            first = int(of_move[-1]) + 1 if len(of_move) else 0
        of_evicted = first + np.arange(len(evicted)) // FLUSH_BATCH_PAGES
        batch = nr_batches + np.concatenate((np.repeat(of_move, nr_pages), of_evicted))
        nr_batches = int(batch.max()) + 1 if len(batch) else nr_batches
        held = outcome.after[left - outcome.before.base_pfn] & KIND_MASK == Frame.UNKNOWN
        word = np.where(held, np.uint64(0), _BUDDY)
        target = np.concatenate((target, np.full(len(evicted), -1, np.int64)))
        pieces.append(_Change(left, target, batch, word))
    pieces.append(_Change(empty, empty, empty, np.empty(0, np.uint64)))
    return moves, _Change(*(np.concatenate(columns) for columns in zip(*pieces, strict=True)))


def _frames(model: HostModel, moves: Moves, change: _Change) -> MemMap:
    """Return the frames with word, map count and doubt of each moved page at its new place.

    What was in doubt at the old place or the new one is in doubt at both.
    """
    old = model.frames
    moved = change.target >= 0
    left, filled = old.rows(change.source), old.rows(change.target[moved])
    if (left < 0).any() or (filled < 0).any():
        raise ModelError("a frame that is left or filled is none of the model's")
    words, unstable = old.words.copy(), old.unstable.copy()
    mapcount = None if old.mapcount is None else old.mapcount.copy()
    split = _split(model.folios, moves, change.source[~moved])
    parts = old.rows(_members(model.folios, split))
    words[parts] = inherit_from_head(old.words[parts]) & ~_COMPOUND
    if mapcount is not None and model.averaged and model.entries is not None:
        # The average of a folio says nothing of one page; alone again, it has the entries that lead to it.
        mapcount[parts] = _nr_entries(model.entries, old.pfns(parts))
    source = left[moved]
    words[filled] = words[source]
    unstable[filled] |= unstable[source]
    unstable[source] |= unstable[filled]
    words[left] = change.word
    if mapcount is not None:
        mapcount[filled] = mapcount[source]
        mapcount[left] = 0
    known = None
    if old.known is not None:
        known = old.known.copy()
        known[filled] = known[source]
    return MemMap(old.ranges, words, mapcount, unstable, known)


def _split(compound: Folios, moves: Moves, evicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of folios that do not move, go or stay whole, ascending."""
    if not len(compound):
        return np.empty(0, np.int64)

    def owner(pfn: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        row = np.maximum(np.searchsorted(compound.head_pfn, pfn, side="right") - 1, 0)
        head = compound.head_pfn[row]
        return row, (pfn >= head) & (pfn < head + compound.nr_pages[row])

    row, inside = owner(moves.source_pfn)
    whole = moves.nr_pages == compound.nr_pages[row]
    gone, of_folio = owner(evicted)
    nr_gone = np.bincount(gone[of_folio], minlength=len(compound))
    partly = np.flatnonzero((nr_gone > 0) & (nr_gone < compound.nr_pages))
    return np.union1d(row[inside & ~whole], partly)


def _members(compound: Folios, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return every frame of some folios, ascending."""
    return frames_of(compound.head_pfn[rows], compound.nr_pages[rows])


def _nr_entries(entries: ReverseEntries, pfn: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many reverse entries each frame has."""
    if not len(entries.pfn):
        return np.zeros(len(pfn), np.int64)
    row = np.minimum(np.searchsorted(entries.pfn, pfn), len(entries.pfn) - 1)
    counted: NDArray[np.int64] = np.where(entries.pfn[row] == pfn, np.diff(entries.first)[row], 0)
    return counted


def _found(tables: PageTables, entries: ReverseEntries, change: _Change) -> _Found:
    """Follow the reverse entries of all frames that are left.

    As in the kernel, an entry at that address which leads to another frame is none of this frame's.
    """
    row = np.minimum(np.searchsorted(entries.pfn, change.source), max(0, len(entries.pfn) - 1))
    mapped = np.flatnonzero(entries.pfn[row] == change.source) if len(entries.pfn) else row[:0]
    row = row[mapped]
    nr_each = entries.first[row + 1] - entries.first[row]
    at = frames_of(entries.first[row], nr_each)
    of = np.repeat(mapped, nr_each)
    vma = entries.vma[at]
    mm, vpn = entries.vmas.mm[vma], entries.vmas.start_vpn[vma] + entries.offset_pages[at]
    # In order of address the page tables are searched from one end to the other.
    by_address = np.argsort(tables.key_of(mm, vpn), kind="stable")
    mm, vpn, of = mm[by_address], vpn[by_address], of[by_address]
    leads = np.flatnonzero(tables.lookup(mm, vpn) == change.source[of])
    mm, of = mm[leads], of[leads]
    key = tables.key_of(mm, vpn[leads])
    first = np.append(True, key[1:] != key[:-1])[: len(key)]
    key, mm, of = key[first], mm[first], of[first]
    return _Found(key, change.target[of], mm, change.batch[of], len(change.source) - len(mapped))


def _nr_distinct(ascending: NDArray[np.int64]) -> int:
    """Return how many different values there are (``numpy.unique`` hashes, which is ten times slower)."""
    return int(np.count_nonzero(ascending[1:] != ascending[:-1])) + min(1, len(ascending))
