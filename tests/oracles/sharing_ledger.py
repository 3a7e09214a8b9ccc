"""The ledger entry by entry, in dictionaries and sets: the definition that the arrays are held against."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from kernelmodel.pageflags import MASKS

ANON, HUGE, ZERO, THP, MMAP = (MASKS[name] for name in ("ANON", "HUGE", "ZERO_PAGE", "THP", "MMAP"))
COMPOUND = MASKS["COMPOUND_HEAD"] | MASKS["COMPOUND_TAIL"]
TYPED = MASKS["SLAB"] | MASKS["BUDDY"] | MASKS["HWPOISON"] | MASKS["RESERVED"]


@dataclass
class Entry:
    """One page-table entry: address space, frame, whether its VMA is VM_PFNMAP, what its VMA maps."""

    mm: int
    pfn: int
    pfnmap: bool
    file: tuple[str, int, str] | None


@dataclass
class Host:
    """What is known of a host."""

    words: dict[int, int]
    counted: dict[int, int]
    unstable: set[int]
    entries: list[Entry]
    pids: dict[int, tuple[int, ...]]
    """By address space."""
    hidden: str
    """Who is unseen: nobody, short-lived or lasting."""
    zspages: int
    averaged: bool
    slots: list[tuple[int, tuple[int, int]]] = field(default_factory=list)
    """(address space, slot) of swapped entries."""

    def found(self) -> Counter[int]:
        """Entries that lead to each frame."""
        return Counter(entry.pfn for entry in self.entries if entry.pfn in self.words)

    def reached(self) -> dict[int, set[int]]:
        """Processes that reach each frame."""
        reached: dict[int, set[int]] = {pfn: set() for pfn in self.words}
        for entry in self.entries:
            if entry.pfn in reached:
                reached[entry.pfn] |= set(self.pids[entry.mm])
        return reached

    def reasons(self) -> dict[int, str]:
        """Name of the reason of each frame."""
        found, used = self.found(), 0
        reasons = {}
        for pfn in sorted(self.words):
            reasons[pfn] = self.reason(pfn, found[pfn], self.counted[pfn])
            if reasons[pfn] == "ZSMALLOC":
                used += 1
                if used > self.zspages:
                    reasons[pfn] = "UNEXPLAINED"
        return reasons

    def reason(self, pfn: int, found: int, counted: int) -> str:
        """Name of the reason of one frame, zsmalloc without its limit."""
        word, more = self.words[pfn], found > counted
        by_number = sum(entry.pfnmap for entry in self.entries if entry.pfn == pfn)
        rules = (
            (found == counted, "MATCH" if found else "NOT_MAPPED"),
            (pfn in self.unstable, "UNSTABLE"),
            (word & ZERO and word & THP, "HUGE_ZERO_PAGE"),
            (more and word & ZERO, "ZERO_PAGE"),
            (more and word & HUGE, "HUGETLB_PMD_SHARING"),
            (more and by_number >= found - counted, "PFNMAP"),
            (word & COMPOUND and self.averaged, "LARGE_FOLIO_AVERAGE"),
            (word == MMAP and not found and self.zspages, "ZSMALLOC"),
            (not more and self.hidden == "lasting", "HIDDEN_MAPPERS"),
            (not more and self.hidden == "short-lived", "EXITING_MM"),
        )
        return next((name for holds, name in rules if holds), "UNEXPLAINED")

    def mapped_twice(self) -> tuple[set[int], set[int]]:
        """Frames that an address space maps more than once, and the processes that do."""
        times = Counter((entry.mm, entry.pfn) for entry in self.entries)
        twice = {
            (mm, pfn)
            for (mm, pfn), nr in times.items()
            if nr > 1 and pfn in self.words and pfn not in self.unstable and not self.words[pfn] & ZERO
        }
        return {pfn for _, pfn in twice}, {pid for mm, _ in twice for pid in self.pids[mm]}

    def other_paths(self) -> set[int]:
        """Frames of files that are mapped under several names."""
        names: dict[int, set[tuple[str, int, str]]] = {}
        for entry in self.entries:
            if entry.file is not None:
                names.setdefault(entry.pfn, set()).add(entry.file)
        reasons = self.reasons()
        return {
            pfn
            for pfn, of in names.items()
            if len(of) > 1
            and pfn in self.words
            and not self.words[pfn] & (ANON | ZERO | TYPED)
            and self.words[pfn] != MMAP
            and reasons[pfn] == "MATCH"
            and pfn not in self.unstable
        }

    def shared_slots(self) -> tuple[int, int, set[int]]:
        """Slots with several entries, those entries, and the processes that have them."""
        users: dict[tuple[int, int], list[int]] = {}
        for mm, slot in self.slots:
            users.setdefault(slot, []).append(mm)
        shared = [mms for mms in users.values() if len(mms) > 1]
        pids = {pid for mms in shared for mm in mms for pid in self.pids[mm]}
        return len(shared), sum(len(mms) for mms in shared), pids
