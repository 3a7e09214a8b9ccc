"""Motions of VMAs page by page, and address spaces on which every call is made by hand.

The simulation knows what it did; `motion_of` only looks at what was and what is, one page at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernelmodel.vma_motion import Area

if TYPE_CHECKING:
    import random


def motion_of(old: Area, others: list[Area], new: list[Area]) -> tuple[str, set[int]]:
    """Return the name of the motion of one VMA among others, and the rows of `new` that have a page of it."""
    holders = set()
    for page in range(old.start, old.end):
        for row, area in enumerate(new):
            same = (area.backing, area.private) == (old.backing, old.private)
            if area.start <= page < area.end and same and area.displacement == old.displacement:
                holders.add(row)
    if not holders:
        return "GONE", holders
    if len(holders) > 1:
        return "SPLIT", holders
    (row,) = holders
    if new[row].start == old.start:
        return "KEPT", holders
    if new[row].start > old.start:
        return "TRIMMED_HEAD", holders
    free = all(
        not area.start <= page < area.end for page in range(new[row].start, old.start) for area in others
    )
    return ("STACK_GROWTH" if old.grows_down and free else "MERGE"), holders


@dataclass
class Space:
    """One address space: VMAs in order, and the frame behind each page."""

    areas: list[Area] = field(default_factory=list)
    frames: dict[int, int] = field(default_factory=dict)
    next_frame: int = 1

    def area_at(self, page: int) -> Area:
        """Return the VMA of a page."""
        return next(area for area in self.areas if area.start <= page < area.end)

    def touch(self, *pages: int) -> None:
        """Give pages frames that no page had before."""
        for page in pages:
            self.frames[page] = self.next_frame
            self.next_frame += 1

    def place(self, area: Area) -> None:
        """Add a VMA where nothing is."""
        self.areas = sorted([*self.areas, area])

    def unmap(self, start: int, end: int) -> None:
        """Munmap."""
        kept = []
        for area in self.areas:
            below, above = area._replace(end=min(area.end, start)), area._replace(start=max(area.start, end))
            kept += [part for part in (below, above) if part.start < part.end]
        self.areas = sorted(kept)
        self.frames = {page: frame for page, frame in self.frames.items() if not start <= page < end}

    def split(self, at: int) -> None:
        """Cut a VMA in two, as mprotect and its like do."""
        area = self.area_at(at)
        self.areas.remove(area)
        self.areas = sorted([*self.areas, area._replace(end=at), area._replace(start=at)])

    def merge(self, at: int) -> None:
        """Make one of the two VMAs that meet at a page."""
        above, below = self.area_at(at), self.area_at(at - 1)
        self.areas.remove(above)
        self.areas.remove(below)
        self.areas = sorted([*self.areas, below._replace(end=above.end)])

    def grow(self, area: Area, nr_pages: int) -> None:
        """Let a stack reach further down, and touch it there."""
        self.areas.remove(area)
        self.place(area._replace(start=area.start - nr_pages))
        self.touch(*range(area.start - nr_pages, area.start))

    def move(self, area: Area, start: int) -> None:
        """Mremap a whole VMA to a free place; a file page keeps its offset."""
        by = start - area.start
        self.areas.remove(area)
        displacement = area.displacement + by if area.backing >= 0 else 0
        self.place(area._replace(start=start, end=area.end + by, displacement=displacement))
        for page in range(area.start, area.end):
            if page in self.frames:
                self.frames[page + by] = self.frames.pop(page)


def draw_space(draw: random.Random) -> Space:
    """Draw an address space in which every VMA has a hole of 40 pages below it, and a stack on top."""
    space = Space()
    start = 100
    for _ in range(draw.randint(1, 5)):
        start += 40
        end = start + draw.randint(2, 12)
        backing = draw.choice((-1, -1, 7))
        displacement = 0 if backing < 0 else start - draw.randint(0, 9)
        space.place(Area(start, end, displacement, backing))
        start = end
    space.place(Area(start + 40, start + 46, grows_down=True))
    for area in space.areas:
        space.touch(*(page for page in range(area.start, area.end) if draw.random() < 0.8))
    return space
