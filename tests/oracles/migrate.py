"""Migration page by page: dictionaries of what leads where, patched one reverse entry at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from kernelmodel.pageflags import MASKS, mask

Address = tuple[int, int]
COMPOUND = mask("COMPOUND_HEAD", "COMPOUND_TAIL", "THP")
OF_THE_HEAD = mask(
    "LOCKED", "REFERENCED", "UPTODATE", "DIRTY", "LRU", "ACTIVE", "WRITEBACK", "ANON", "SWAPCACHE",
    "SWAPBACKED", "UNEVICTABLE", "KSM", "MLOCKED",
)  # fmt: skip


@dataclass
class Memory:
    """Words and counts by frame, page tables by (mm, vpn), the reverse map by frame; and what was done."""

    words: dict[int, int]
    counts: dict[int, int]
    entries: dict[Address, int]
    reverse: dict[int, list[Address]]
    patched: set[Address] = field(default_factory=set)
    cleared: set[Address] = field(default_factory=set)
    flushed: set[tuple[int, int, int]] = field(default_factory=set)
    nr_unmapped: int = 0

    def folio_of(self, pfn: int) -> list[int]:
        """Return the frames of the folio that holds `pfn`."""
        head = pfn
        while self.words[head] & MASKS["COMPOUND_TAIL"]:
            head -= 1
        found = [head]
        while self.words[head] & MASKS["COMPOUND_HEAD"] and (
            self.words.get(found[-1] + 1, 0) & MASKS["COMPOUND_TAIL"]
        ):
            found.append(found[-1] + 1)
        return found

    def split(self, folio: list[int], *, averaged: bool) -> None:
        """Make single pages of a folio."""
        head = self.words[folio[0]]
        for pfn in folio:
            self.words[pfn] = (self.words[pfn] | head & OF_THE_HEAD) & ~COMPOUND
            if averaged:
                self.counts[pfn] = len(self.reverse.get(pfn, []))

    def follow(self, pfn: int, batch: tuple[int, int]) -> list[Address]:
        """Return the addresses that the reverse entries of a frame lead to and that lead back."""
        led = self.reverse.pop(pfn, [])
        self.nr_unmapped += not led
        right = [at for at in led if self.entries.get(at) == pfn]
        self.flushed |= {(*batch, mm) for mm, _ in right}
        return led

    def move(self, source: int, target: int, batch: tuple[int, int]) -> None:
        """Move one page."""
        for at in (led := self.follow(source, batch)):
            if self.entries.get(at) == source:
                self.entries[at] = target
                self.patched.add(at)
        if led:
            self.reverse[target] = self.reverse.get(target, []) + led
        self.words[target], self.words[source] = self.words[source], mask("BUDDY")
        self.counts[target], self.counts[source] = self.counts.get(source, 0), 0

    def evict(self, pfn: int, batch: tuple[int, int]) -> None:
        """Drop one page."""
        for at in self.follow(pfn, batch):
            if self.entries.get(at) == pfn:
                del self.entries[at]
                self.cleared.add(at)
        self.words[pfn], self.counts[pfn] = mask("BUDDY"), 0


def migrate(
    memory: Memory,
    moves: list[tuple[int, int, int]],
    evicted: list[int],
    held: set[int],
    *,
    number: int,
    batch_pages: int | None,
    averaged: bool,
) -> Memory:
    """Move, evict and hold back.

    Parameters
    ----------
    moves
        (source, destination, pages).
    held
        Frames that stay on per-CPU lists when they are empty.
    number
        Which outcome it is: flushes of two are never one.
    batch_pages
        Pages before one flush; None for one after each move.
    """
    whole = [list(range(source, source + nr)) for source, _, nr in moves]
    for frames in [*whole, *([pfn] for pfn in evicted)]:
        folio = memory.folio_of(frames[0])
        gone = len(folio) == 1 or set(folio) <= set(evicted)
        if not gone and folio != frames:
            memory.split(folio, averaged=averaged)
    nr_before = 0
    batch = -1
    for row, (source, target, nr) in enumerate(moves):
        batch = row if batch_pages is None else nr_before // batch_pages
        for page in range(nr):
            memory.move(source + page, target + page, (number, batch))
        nr_before += nr
    for row, pfn in enumerate(evicted):
        memory.evict(pfn, (number, batch + 1 + row // 32))
    for pfn in held:
        memory.words[pfn] = 0
    return memory
