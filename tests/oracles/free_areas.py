"""What each policy without zones hands out, found the slow way: of all places that there are, the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernelmodel.priority import Priority

if TYPE_CHECKING:
    from kernelmodel.free_area.interface import Ask

NO_PAGE = -1


def wmark_allows(nr_free: int, wmark_min: int, ask: Ask) -> bool:
    kept = wmark_min * 3 // 8 if ask.priority == Priority.ATOMIC else wmark_min
    return nr_free - 2**ask.order >= kept


@dataclass
class ListTwin:
    """Free blocks as Python lists of first frames, the next to be taken first."""

    lists: list[list[int]]
    wmark_min: int = 0
    to_tail: bool = False
    t: int = 0
    n: int = 0

    def nr_free(self) -> int:
        return sum(len(starts) << order for order, starts in enumerate(self.lists))

    def _add(self, index: int, order: int) -> None:
        self.lists[order].insert(len(self.lists[order]) if self.to_tail else 0, index)

    def _keeps(self, ask: Ask, order: int) -> bool:
        """Whether splitting a block of `order` would leave too few of order t and more."""
        if order < self.t or ask.order >= self.t or ask.priority == Priority.ATOMIC:
            return False
        areas = [
            index + part
            for each, starts in enumerate(self.lists)
            for index in starts
            for part in range(0, 2**each, 2**self.t)
            if each >= self.t
        ]
        return len(areas) - 1 < self.n

    def take(self, ask: Ask) -> int:
        if not wmark_allows(self.nr_free(), self.wmark_min, ask):
            return NO_PAGE
        for order in range(ask.order, len(self.lists)):
            usable = [index for index in self.lists[order] if index + 2**ask.order <= ask.limit]
            if usable and not self._keeps(ask, order):
                self.lists[order].remove(usable[0])
                for lower in reversed(range(ask.order, order)):
                    self._add(usable[0] + 2**lower, lower)
                return usable[0]
        return NO_PAGE

    def release(self, index: int, order: int) -> None:
        while order + 1 < len(self.lists) and index ^ 2**order in self.lists[order]:
            self.lists[order].remove(index ^ 2**order)
            index &= ~(2**order)
            order += 1
        self._add(index, order)


@dataclass
class AreaTwin:
    """Free frames as a set; areas are found again each time."""

    free: set[int]
    rule: str
    wmark_min: int = 0
    large: int = 4

    def areas(self) -> list[tuple[int, int]]:
        starts = sorted(each for each in self.free if each - 1 not in self.free)
        ends = sorted(each + 1 for each in self.free if each + 1 not in self.free)
        return list(zip(starts, ends, strict=True))

    def take(self, ask: Ask) -> int:
        if not wmark_allows(len(self.free), self.wmark_min, ask):
            return NO_PAGE
        size = 2**ask.order
        places = [
            (end - start, index)
            for start, end in self.areas()
            for index in range(-(-start // size) * size, min(end, ask.limit) - size + 1, size)
        ]
        if not places:
            return NO_PAGE
        if self.rule == "best-fit":
            index = min(places)[1]
        elif self.rule == "gravity" and ask.order < self.large:
            index = max(at for _, at in places)
        else:
            index = min(at for _, at in places)
        self.free -= set(range(index, index + size))
        return index

    def release(self, index: int, order: int) -> None:
        self.free |= set(range(index, index + 2**order))
