"""The VMAs of an address space in order, with the free ranges between them.

Mirrors: ``include/linux/mm_types.h: mm_struct.mm_mt``, ``mm/mmap.c: find_vma``, ``mm/vma.c: unmapped_area,
unmapped_area_topdown``; the gap below each VMA as ``rb_subtree_gap`` had it from 3.8 to 6.0.
Fidelity: any ordered map of `kernelmodel.ordered` instead of the maple tree. A gap is held without the guard
gap of the stack above it, where the kernel finds the gap first and looks at the stack afterwards: the answers
are the same. No alignment (huge pages, the caches of AMD family 15h).
"""

from __future__ import annotations

from collections import deque
from operator import gt, lt
from typing import TYPE_CHECKING

from kernelmodel.errors import InvariantError
from kernelmodel.mapping import PAGE_SHIFT
from kernelmodel.ordered import Augment
from kernelmodel.vmflags import VM_GROWSDOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelmodel.ordered import MapFactory, OrderedMap
    from kernelmodel.vma import Vma

_GAPS: Augment[int, Vma] = Augment(lambda _, vma: vma.gap_bytes, max)


class VmaTree:
    """The VMAs of one address space, keyed by their ends: lookup asks for the first end above an address.

    The map is ordered from the end where the search for free addresses begins, so that the first gap that
    its summaries lead to is the one that is wanted.

    Parameters
    ----------
    factory
        Class of the map.
    top_down
        Order: whether free addresses are mostly sought from above.
    guard_gap_bytes
        Kept free below a VMA that grows down (``stack_guard_gap``).

    Attributes
    ----------
    first, last
        The lowest and the highest VMA.
    map_count
        Number of VMAs, counted as they come and go.
    """

    def __init__(self, factory: MapFactory, *, top_down: bool, guard_gap_bytes: int) -> None:
        self.top_down = top_down
        self.guard_gap_bytes = guard_gap_bytes
        self.first: Vma | None = None
        self.last: Vma | None = None
        self.map_count = 0
        self.map: OrderedMap[int, Vma] = factory(gt if top_down else lt, _GAPS)
        self._first_end_from = self.map.floor if top_down else self.map.ceiling

    def __iter__(self) -> Iterator[Vma]:
        vma = self.first
        while vma is not None:
            yield vma
            vma = vma.next

    def find(self, address: int) -> Vma | None:
        """Return the first VMA that ends above `address`, which may lie below it (``find_vma``). O(log n)."""
        entry = self._first_end_from(address + 1)
        return entry[1] if entry else None

    def lookup(self, address: int) -> Vma | None:
        """Return the VMA that holds `address` (``vma_lookup``)."""
        vma = self.find(address)
        return vma if vma is not None and vma.start <= address else None

    def find_in(self, start: int, end: int) -> Vma | None:
        """Return the first VMA with an address in the range (``find_vma_intersection``)."""
        vma = self.find(start)
        return vma if vma is not None and vma.start < end else None

    def insert(self, vma: Vma) -> None:
        """Put a VMA where nothing is mapped. O(log n)."""
        above = self.find(vma.start)
        below = above.prev if above is not None else self.last
        vma.prev, vma.next = below, above
        if below is None:
            self.first = vma
        else:
            below.next = vma
        if above is None:
            self.last = vma
        else:
            above.prev = vma
        vma.gap_bytes = self._gap(vma)
        self.map.insert(vma.end, vma)
        self.map_count += 1
        self._gap_changed(above)

    def remove(self, vma: Vma) -> None:
        """Take a VMA out. O(log n)."""
        below, above = vma.prev, vma.next
        if below is None:
            self.first = above
        else:
            below.next = above
        if above is None:
            self.last = below
        else:
            above.prev = below
        self.map.remove(vma.end)
        self.map_count -= 1
        self._gap_changed(above)

    def set_range(self, vma: Vma, start: int, end: int, pgoff: int) -> None:
        """Move the bounds of a VMA, without passing a neighbour (``vma_set_range``). O(log n)."""
        vma.pgoff = pgoff
        if end == vma.end:
            vma.start = start
            self._gap_changed(vma)
            return
        self.map.remove(vma.end)
        vma.start, vma.end = start, end
        vma.gap_bytes = self._gap(vma)
        self.map.insert(end, vma)
        self._gap_changed(vma.next)

    def start_gap(self, vma: Vma) -> int:
        """Return where the room below a VMA ends: its start, less the guard gap (``vm_start_gap``)."""
        if vma.flags & VM_GROWSDOWN:
            return max(vma.start - self.guard_gap_bytes, 0)
        return vma.start

    def unmapped_area(self, length_bytes: int, low: int, high: int, *, top_down: bool) -> int | None:
        """Return the highest or the lowest place for `length_bytes` in [low, high), None if there is none.

        O(log n) for each gap that is long enough but lies outside the limits, if the direction is that of the
        tree; O(long gaps) in the other direction.
        """
        gaps = self._gaps(length_bytes, low, high)
        gap = next(gaps, None) if top_down == self.top_down else next(iter(deque(gaps, 1)), None)
        if gap is None:
            return None
        return gap[1] - length_bytes if top_down else gap[0]

    def validate(self) -> None:
        """Check the map, the order of the VMAs and the gaps between them.

        Raises
        ------
        InvariantError
            What the map raises; ``vma-aligned``, ``vma-empty``, ``vma-order`` (overlap, or neighbours
            not linked in order), ``vma-key`` (the map holds other VMAs, or under other ends, than the
            list), ``vma-gap`` (the free bytes below are not what is noted), ``gap-summary``,
            ``map-count``.
        """
        self.map.validate()
        listed = list(self)
        below: Vma | None = None
        for vma in listed:
            where = repr(vma)
            if (vma.start | vma.end) & ((1 << PAGE_SHIFT) - 1):
                raise InvariantError("vma-aligned", where, "a bound is no multiple of the page size")
            if vma.start >= vma.end:
                raise InvariantError("vma-empty", where, "the end is not above the start")
            if vma.prev is not below or (below is not None and below.end > vma.start):
                raise InvariantError("vma-order", where, f"comes after {below!r}, its prev is {vma.prev!r}")
            if vma.gap_bytes != self._gap(vma):
                raise InvariantError("vma-gap", where, f"noted {vma.gap_bytes:#x}, free {self._gap(vma):#x}")
            below = vma
        if self.last is not below:
            raise InvariantError("vma-order", repr(self.last), f"is noted as the last, not {below!r}")
        mapped = list(self.map.items())
        if [vma.end for vma in listed] != sorted(end for end, _ in mapped) or any(
            end != vma.end for end, vma in mapped
        ):
            raise InvariantError("vma-key", "map", f"holds {mapped!r}, the list {listed!r}")
        longest = max((vma.gap_bytes for vma in listed), default=None)
        if self.map.summary() != longest:
            raise InvariantError(
                "gap-summary", "map", f"{self.map.summary()!r}, the longest gap is {longest!r}"
            )
        if self.map_count != len(self.map):
            raise InvariantError("map-count", "map", f"counted {self.map_count}, holds {len(self.map)}")

    def _gap(self, vma: Vma) -> int:
        free = self.start_gap(vma) - (vma.prev.end if vma.prev is not None else 0)
        return max(0, free)

    def _gap_changed(self, vma: Vma | None) -> None:
        if vma is None:
            return
        gap_bytes = self._gap(vma)
        if gap_bytes != vma.gap_bytes:
            vma.gap_bytes = gap_bytes
            self.map.refresh(vma.end)

    def _gaps(self, length_bytes: int, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Iterate the free ranges that are long enough, cut to the limits, in the order of the map."""
        above_all = (max(self.last.end if self.last else 0, low), high)
        if self.top_down and above_all[1] - above_all[0] >= length_bytes:
            yield above_all
        for _, vma in self.map.prune(lambda gap_bytes: gap_bytes >= length_bytes):
            end = self.start_gap(vma)
            start, end = max(end - vma.gap_bytes, low), min(end, high)
            if end - start >= length_bytes:
                yield start, end
        if not self.top_down and above_all[1] - above_all[0] >= length_bytes:
            yield above_all
