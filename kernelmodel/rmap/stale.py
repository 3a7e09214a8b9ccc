"""Find the entries of the 1998 map that became wrong, and say of each why.

Mirrors: the check of 1998, which found offsets wrong by exactly the distance that vm_start had moved.
Fidelity: it had the page tables and the VMAs of the moment; here there is a journal of motions as well, so
that no cause has to be guessed.

::

    1998        stored              now                     resolved          right
    stack       bfffe000 + 1000     start is bfffd000       bfffe000          bfffd000 + 2000 = bffff000
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from kernelmodel.mapping import PAGE_SHIFT
from kernelmodel.rmap.interface import Entry

if TYPE_CHECKING:
    from kernelmodel.fault import Machine
    from kernelmodel.rmap.journal import Journal, Motion
    from kernelmodel.rmap.single_entry import SingleEntry, Stored


class Cause(Enum):
    """Why an entry is wrong."""

    VMA_MOTION = "vma-motion"
    """It was right when it was stored; then the start of its VMA moved, and its page offset with it."""
    ALLOCATION_ORDER = "allocation-order"
    """It is of an earlier use of the frame, which was freed and is free or allocated again."""
    POINTER_ARITHMETIC = "pointer-arithmetic"
    """It was wrong when it was stored: VMA and offset never gave the page's address."""


@dataclass(frozen=True)
class Stale:
    """An entry that is wrong.

    Parameters
    ----------
    pfn, stored
        The frame and its entry.
    cause
        Why it is wrong.
    motions
        What moved, in order; empty unless the cause is motion.
    right
        The mapping of the frame; None when nothing maps it.
    right_offset
        Bytes from the start of the right VMA; None when nothing maps it.
    moved_bytes
        How far the start of the page's VMA moved since the entry was stored; 0 unless the cause is motion.
    """

    pfn: int
    stored: Stored
    cause: Cause
    motions: tuple[Motion, ...]
    right: Entry | None
    right_offset: int | None
    moved_bytes: int


class Served(NamedTuple):
    """How far the map of 1998 goes on this machine, in frames."""

    nr_mapped: int
    nr_stored: int
    nr_right: int

    @property
    def permille(self) -> int:
        """Mapped frames that are served rightly, rounded down; 1000 when nothing is mapped.

        >>> Served(nr_mapped=3, nr_stored=2, nr_right=1).permille
        333
        """
        return self.nr_right * 1000 // self.nr_mapped if self.nr_mapped else 1000


def find_stale(machine: Machine, single: SingleEntry, journal: Journal) -> list[Stale]:
    """Return the wrong entries of `single`, in order of frames.

    An entry is right if its VMA maps the frame at its offset. `journal` must be as old as the entries. All
    page tables are read once.
    """
    places = _places(machine)
    found = []
    for pfn, stored in sorted(single.entries.items()):
        right = places.get(pfn)
        if right is None or not _is_right(stored, right):
            found.append(_explain(machine, journal, pfn, stored, right))
    return found


def served(machine: Machine, single: SingleEntry) -> Served:
    """Return how many of the mapped frames the map of 1998 has, and has right."""
    places = _places(machine)
    nr_right = sum(pfn in places and _is_right(stored, places[pfn]) for pfn, stored in single.entries.items())
    nr_mapped = sum(frame.mapcount > 0 for frame in machine.frames.values())
    return Served(nr_mapped, len(single.entries), nr_right)


def _places(machine: Machine) -> dict[int, Entry]:
    """Return a mapping of each frame, read from the page tables."""
    places = {}
    for mm_id, table in machine.tables.items():
        for vpn, pte in table.items():
            vma = machine.mms[mm_id].vma_lookup(vpn << PAGE_SHIFT)
            if vma is not None:
                places[pte.pfn] = Entry(mm_id, vma, vpn)
    return places


def _is_right(stored: Stored, right: Entry) -> bool:
    return stored.vma is right.vma and stored.vma.start + stored.offset == right.vpn << PAGE_SHIFT


def _explain(machine: Machine, journal: Journal, pfn: int, stored: Stored, right: Entry | None) -> Stale:
    frame = machine.frames.get(pfn)
    right_offset = None if right is None else (right.vpn << PAGE_SHIFT) - right.vma.start
    if frame is None or stored.stamp < frame.born:
        return Stale(pfn, stored, Cause.ALLOCATION_ORDER, (), right, right_offset, 0)
    area = journal.area_at(stored.vma, stored.stamp)
    address = area.start + stored.offset
    journey = journal.follow(stored.vma, address, stored.stamp)
    arrives = right is not None and (journey.vma, journey.address) == (right.vma, right.vpn << PAGE_SHIFT)
    if right is not None and arrives:
        moved_bytes = right.vma.start - area.start
        return Stale(pfn, stored, Cause.VMA_MOTION, journey.motions, right, right_offset, moved_bytes)
    return Stale(pfn, stored, Cause.POINTER_ARITHMETIC, (), right, right_offset, 0)
