"""compact_memory on one zone with Python's own lists and dicts: slow, and as near to the C as it reads.

Free blocks are a dict of head to order, isolated blocks lists of (pfn, order), pages a list of bytes. Nothing
is derived from anything: what the model works out on the fly (orders, heads of blocks) is kept here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.compaction.zone_layout import HEAD, SECTION_ORDER, TAIL, UNSPLITTABLE, Frame, ZoneLayout

if TYPE_CHECKING:
    from kernelmodel.compaction.scanners import Rules

CLUSTER = 32
GONE = 15
"""A frame whose page has moved away: of no kind."""


@dataclass
class Machine:
    """One zone under compaction; frames counted from the base of its layout."""

    layout: ZoneLayout
    rules: Rules
    page: list[int] = field(init=False)
    buddy: dict[int, int] = field(default_factory=dict)
    """Head of each free block that is still in the lists, to its order."""
    freepages: list[list[int]] = field(init=False)
    moves: list[tuple[int, int, int]] = field(default_factory=list)
    migrate_scanned: int = 0
    free_scanned: int = 0
    nr_free: int = 0
    nr_migrate: int = 0
    failed: int = 0

    def __post_init__(self) -> None:
        zone = self.layout
        self.page = zone.state.tolist()
        self.block = 1 << zone.pageblock_order
        self.freepages = [[] for _ in range(zone.nr_orders)]
        self.zone_free = sum(byte & 15 == Frame.FREE for byte in self.page)
        self.end = zone.end_pfn - zone.base_pfn
        self.migrate_pfn = zone.start_pfn - zone.base_pfn
        self.free_pfn = (self.end - 1) // self.block * self.block
        at = 0
        while at < len(self.page):
            if self.page[at] & 15 != Frame.FREE:
                at += 1
                continue
            order = max(
                order
                for order in range(zone.nr_orders)
                if at % (1 << order) == 0
                and all(byte & 15 == Frame.FREE for byte in self.page[at : at + (1 << order)])
                and at + (1 << order) <= len(self.page)
            )
            self.buddy[at] = order
            at += 1 << order

    def compound(self, at: int) -> int:
        """Pages from `at` to the end of its compound page."""
        nr = 1
        while at + nr < len(self.page) and self.page[at + nr] & TAIL:
            nr += 1
        return nr

    def absent(self, block_start: int) -> bool:
        """Whether the pageblock begins and ends in a hole, in a section that is one hole."""
        if self.page[block_start] & 15 != Frame.HOLE or self.page[block_start + self.block - 1] & 15 != 11:
            return False
        size = 1 << SECTION_ORDER
        section = self.page[block_start // size * size :][:size]
        return all(byte & 15 == Frame.HOLE for byte in section)

    def met(self) -> bool:
        """``compact_scanners_met``."""
        return self.free_pfn // self.block <= self.migrate_pfn // self.block

    def isolate_freepages_block(self, at: int, end: int, stride: int) -> int:
        """Take free blocks out of the lists."""
        while at < end:
            self.free_scanned += 1
            if self.page[at] & (HEAD | TAIL):
                nr = self.compound(at) if self.page[at] & HEAD else 1
                if at + nr <= end:
                    self.free_scanned += nr - 1
                    at += nr - 1
                at += stride
                continue
            if at not in self.buddy:
                at += stride
                continue
            order = self.buddy[at]
            if self.zone_free <= self.layout.wmark_min + (1 << order):
                break
            del self.buddy[at]
            self.zone_free -= 1 << order
            self.free_scanned += (1 << order) - 1
            self.nr_free += 1 << order
            if self.rules.large_folios:
                self.freepages[order].append(at)
            else:
                for frame in range(at, at + (1 << order)):
                    self.freepages[0].insert(0, frame)
            at += 1 << order
            if self.nr_free >= self.nr_migrate:
                break
            at += stride - 1
        return min(at, end)

    def isolate_freepages(self) -> None:
        """Go down pageblock by pageblock."""
        start = self.free_pfn
        block_start = start // self.block * self.block
        block_end = min(block_start + self.block, self.end)
        stride = 1
        while block_start >= (self.migrate_pfn // self.block + 1) * self.block:
            suitable = not self.absent(block_start)
            if self.buddy.get(block_start, -1) >= self.layout.pageblock_order:
                suitable = False
            if self.rules.movable_targets_only and not self.layout.targets[block_start // self.block]:
                suitable = False
            if suitable:
                had = self.nr_free
                start = self.isolate_freepages_block(start, block_end, stride)
                if self.nr_free >= self.nr_migrate:
                    if start >= block_end:
                        start = block_start - self.block
                    break
                if start < block_end:
                    break
                stride = 1 if self.nr_free > had or not self.rules.stride else min(CLUSTER, stride * 2)
            block_end = block_start
            block_start -= self.block
            start = block_start
        self.free_pfn = start

    def alloc(self, order: int) -> int | None:
        """``compaction_alloc``."""
        for tried in (False, True):
            for found in range(order, len(self.freepages)):
                if self.freepages[found]:
                    at = self.freepages[found].pop(0)
                    for smaller in range(found - 1, order - 1, -1):
                        self.freepages[smaller].insert(0, at + (1 << smaller))
                    self.nr_free -= 1 << order
                    if self.rules.large_folios:
                        self.nr_migrate -= 1 << order
                    return at
            if not tried:
                self.isolate_freepages()
        return None

    def isolate_migratepages_block(self, at: int, end: int, *, finish: bool) -> list[int]:
        """Take what can be moved."""
        taken: list[int] = []
        while at < end:
            self.migrate_scanned += 1
            byte = self.page[at]
            if at in self.buddy:
                nr = 1 << self.buddy[at]
                self.migrate_scanned += nr - 1 if self.rules.counts_skipped else 0
                at += nr
                continue
            movable = byte & 15 in (*range(Frame.ANON, Frame.MOVABLE_OPS + 1), Frame.HELD)
            nr = self.compound(at) if byte & (HEAD | TAIL) else 1
            if byte & (HEAD | TAIL) and (not self.rules.large_folios or nr >= self.block):
                self.migrate_scanned += nr - 1 if self.rules.counts_skipped else 0
                at += nr
                continue
            if byte & TAIL or not movable:
                at += 1
                continue
            taken.append(at)
            self.nr_migrate += nr
            self.migrate_scanned += nr - 1 if self.rules.counts_skipped else 0
            at += nr
            if self.nr_migrate >= CLUSTER and not finish:
                break
        self.migrate_pfn = min(at, end)
        return taken

    def isolate_migratepages(self, *, finish: bool) -> list[int]:
        """Go up to the first pageblock that is looked into."""
        block_end = (self.migrate_pfn // self.block + 1) * self.block
        while block_end <= self.free_pfn:
            first = block_end - self.block
            huge = self.page[first] & (HEAD | TAIL) and self.compound(first) >= self.block
            if not huge and not self.absent(first):
                return self.isolate_migratepages_block(self.migrate_pfn, block_end, finish=finish)
            self.migrate_pfn = block_end
            block_end += self.block
        return []

    def move(self, at: int, to: int, nr: int) -> None:
        """Copy a folio."""
        for page in range(nr):
            self.page[to + page] = self.page[at + page]
            self.page[at + page] = GONE
        self.zone_free += nr
        self.moves.append((at, to, nr))

    def put_back(self, untaken: list[int]) -> None:
        """``compaction_free``, which empties the list."""
        while untaken:
            self.freepages[0].insert(0, untaken.pop(0))
            self.nr_free += 1
            self.nr_migrate += self.rules.large_folios

    def migrate(self, folios: list[int]) -> int | None:
        """Move a batch; return the folio at which the zone was given up."""
        split: list[int] = []
        untaken: list[int] = []
        for at in reversed(folios):
            nr = self.compound(at) if self.page[at] & HEAD else 1
            to = self.alloc((nr - 1).bit_length())
            if to is not None and self.page[at] & 15 == Frame.HELD:
                self.failed += 1
                untaken.append(to)
                if not self.rules.finishes_block_it_is_in:
                    self.put_back(untaken)
            elif to is not None:
                self.move(at, to, nr)
            elif nr > 1 and self.rules.splits and not self.page[at] & UNSPLITTABLE:
                for page in range(nr - 1, -1, -1):
                    self.page[at + page] &= 15
                    split.append(at + page)
            else:
                self.failed += nr
                if self.rules.aborts or nr == 1:
                    return at
        self.put_back(untaken)
        while split:
            to = self.alloc(0)
            if to is None:
                self.failed += len(split)
                break
            self.move(split.pop(0), to, 1)
        return None

    def compact(self) -> int | None:
        """``compact_zone``; return the folio at which it was given up."""
        last_migrated = None
        while not self.met():
            begun = self.migrate_pfn
            finish = last_migrated is not None and last_migrated // self.block == begun // self.block
            self.nr_migrate = 0
            folios = self.isolate_migratepages(finish=finish)
            if not folios:
                continue
            last_migrated = self.migrate_pfn - 1 if self.rules.finishes_block_it_is_in else begun
            stuck = self.migrate(folios)
            self.nr_migrate = 0
            if stuck is not None and not self.met():
                return stuck
        return None

    def state(self) -> np.ndarray:
        """The bytes afterwards, with all that was freed or isolated free again."""
        return np.array([Frame.FREE if byte == GONE else byte for byte in self.page], np.uint8)
