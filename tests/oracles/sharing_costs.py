"""What processes and groups cost, entry by entry; shares are exact fractions, rounded down at the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

from kernelmodel.pageflags import mask

HUGE, ZERO, RESERVED, ANON = (mask(name) for name in ("HUGE", "ZERO_PAGE", "RESERVED", "ANON"))
PAGE_SIZE = 4096
UNIT = PAGE_SIZE * 4096
"""A page in the kernel's fixed point."""

Figures = dict[str, int]


@dataclass
class Host:
    """Frames and their words, the kernel's counts (None: not told), and entries by (address space, page)."""

    words: dict[int, int] = field(default_factory=dict)
    counts: dict[int, int] | None = None
    entries: dict[tuple[int, int], int] = field(default_factory=dict)
    pfnmap: set[tuple[int, int]] = field(default_factory=set)
    """(mm, vpn) of entries in VM_PFNMAP areas."""
    slots: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """(mm, vpn) to swap area and offset."""
    moving: dict[tuple[int, int], int] = field(default_factory=dict)
    """(mm, vpn) to the frame that an entry names which is not present."""

    def seen(self) -> list[tuple[int, int]]:
        """Return address space and frame of each entry that the kernel would look at."""
        return [
            (mm, pfn)
            for (mm, vpn), pfn in self.entries.items()
            if pfn in self.words and (mm, vpn) not in self.pfnmap
        ]

    def found(self) -> Counter[int]:
        """Return how many entries lead to each frame."""
        return Counter(pfn for _, pfn in self.seen())

    def sharers(self, pfn: int) -> int:
        """Return by how many a frame is shared."""
        return max((self.found() if self.counts is None else self.counts)[pfn], 1)

    def account(self, mm: int) -> Figures:
        """Add up what an address space has."""
        figures = dict.fromkeys(
            ("rss_pages", "uss_pages", "pss_units", "hugetlb_pages", "zero_pages", "swap_pages"), 0
        ) | {"swap_pss_units": 0, "swap_uss_pages": 0, "hidden_pages": 0}
        for owner, pfn in self.seen():
            if owner != mm:
                continue
            if self.words[pfn] & HUGE:
                figures["hugetlb_pages"] += 1
            elif self.words[pfn] & ZERO:
                figures["zero_pages"] += 1
            else:
                figures["rss_pages"] += 1
                figures["uss_pages"] += self.sharers(pfn) < 2
                figures["pss_units"] += floor(Fraction(UNIT, self.sharers(pfn)))
                figures["hidden_pages"] += self.sharers(pfn) > self.found()[pfn]
        for (owner, _), pfn in self.moving.items():
            if owner == mm and self.words.get(pfn, 0) & HUGE:
                figures["hugetlb_pages"] += 1
            elif owner == mm:
                figures["rss_pages"] += 1
                figures["pss_units"] += UNIT
        users = Counter(self.slots.values())
        for (owner, _), slot in self.slots.items():
            if owner == mm:
                figures["swap_pages"] += 1
                figures["swap_pss_units"] += floor(Fraction(UNIT, users[slot]))
                figures["swap_uss_pages"] += users[slot] == 1
        return figures

    def group(self, members: set[int], whole: set[int]) -> Figures:
        """Add up what a group costs; `whole` are address spaces that end when their group ends."""
        names = ["distinct", "freed", "freed_file", "hidden", "hugetlb"]
        figures = dict.fromkeys([f"{name}_pages" for name in names], 0)
        exact = dict.fromkeys(["pss", "outside", "hidden", "rounding", "overcounted"], Fraction(0))
        reached = {pfn for mm, pfn in self.seen() if mm in members}
        for pfn in reached:
            users = [mm for mm, to in self.seen() if to == pfn]
            word, sharers = self.words[pfn], self.sharers(pfn)
            if word & HUGE:
                figures["hugetlb_pages"] += 1
            if word & (HUGE | ZERO):
                continue
            figures["distinct_pages"] += 1
            gone = all(mm in members & whole for mm in users)
            if gone and sharers <= len(users) and not word & RESERVED:
                figures["freed_pages"] += 1
                figures["freed_file_pages"] += not word & ANON
            figures["hidden_pages"] += sharers > len(users)
            share = floor(Fraction(UNIT, sharers))
            for mm in users:
                exact["pss" if mm in members else "outside"] += share
            exact["hidden"] += share * max(sharers - len(users), 0)
            exact["overcounted"] += share * max(len(users) - sharers, 0)
            exact["rounding"] += sharers * (Fraction(UNIT, sharers) - share)
        figures |= {f"{name}_units": int(value) for name, value in exact.items()}
        slots = {slot for (mm, _), slot in self.slots.items() if mm in members}
        figures["swap_slots"] = len(slots)
        figures["swap_freed_slots"] = sum(
            all(mm in members & whole for (mm, _), other in self.slots.items() if other == slot)
            for slot in slots
        )
        return figures

    def places(self, mm: int) -> dict[int, object]:
        """Return where each page of an address space is."""
        found: dict[int, object] = {vpn: pfn for (owner, vpn), pfn in self.entries.items() if owner == mm}
        return found | {vpn: slot for (owner, vpn), slot in self.slots.items() if owner == mm}


def survival(
    old: tuple[dict[int, object], dict[int, object]],
    new: tuple[dict[int, object], dict[int, object]],
    start: int,
    end: int,
) -> Figures:
    """Count in one VMA what a worker shares of its parent's image; pages to places, parent first."""
    names = ("image", "old", "new", "lost", "dropped", "gained")
    figures = dict.fromkeys([f"{name}_pages" for name in names], 0)
    for vpn in range(start, end):
        if vpn not in old[0]:
            continue
        was, still = (
            vpn in parent and vpn in worker and parent[vpn] == worker[vpn] for parent, worker in (old, new)
        )
        figures["image_pages"] += 1
        figures["old_pages"] += was
        figures["new_pages"] += still
        figures["lost_pages"] += was and not still
        figures["dropped_pages"] += was and not (vpn in new[0] and vpn in new[1])
        figures["gained_pages"] += still and not was
    return figures
