"""The reverse map of 1998: one ``(vma, offset from its start)`` for each frame.

Mirrors: no kernel that was released; the proposal for Linux 2.1, in which a shared frame has no entry.
Fidelity: as proposed, and so with its fault: the offset is counted from where the VMA starts, and nobody
tells the map when that changes. `kernelmodel.rmap.stale` finds what became wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kernelmodel.errors import InvariantError
from kernelmodel.fault.types import ZERO_PFN
from kernelmodel.mapping import PAGE_SHIFT
from kernelmodel.mm.types import PAGE_BYTES
from kernelmodel.rmap.interface import Cost, Entry

if TYPE_CHECKING:
    from kernelmodel.fault import Machine
    from kernelmodel.vma import Vma

ENTRY_BYTES: Final = 16
"""A pointer and an offset, 64-bit; every frame of memory has room for one."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the map holds for a frame.

    Parameters
    ----------
    vma
        The VMA through which it was mapped.
    offset
        Bytes from the start that the VMA had then.
    stamp
        The machine's clock when it was stored. Not of 1998: it is there to find out what went wrong.
    """

    vma: Vma
    offset: int
    stamp: int


class SingleEntry:
    """At most one mapping of each frame, right until the start of its VMA moves.

    A frame that gets a second mapping loses its entry and does not get it back when it has one mapping again:
    the map does not know which one is left.

    Parameters
    ----------
    machine
        Frames that are mapped once are entered as if that happened now.

    Attributes
    ----------
    entries
        What is stored, by frame.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.entries: dict[int, Stored] = {}
        self._nr_lookups = 0
        self._nr_visits = 0
        self._nr_false_visits = 0
        for mm_id, table in machine.tables.items():
            for vpn, pte in table.items():
                vma = machine.mms[mm_id].vma_lookup(vpn << PAGE_SHIFT)
                if pte.pfn != ZERO_PFN and vma is not None:
                    self.mapped(pte.pfn, mm_id, vma, vpn)
        machine.observers.append(self)

    def mapped(self, pfn: int, mm_id: int, vma: Vma, vpn: int) -> None:  # noqa: ARG002
        """Store the first mapping of a frame; forget it when there is a second."""
        if self._machine.frames[pfn].mapcount == 1:
            self.entries[pfn] = Stored(vma, (vpn << PAGE_SHIFT) - vma.start, self._machine.clock)
        else:
            self.entries.pop(pfn, None)

    def unmapped(self, pfn: int, mm_id: int, vpn: int) -> None:  # noqa: ARG002
        """Forget the entry of a frame whose mapping is gone."""
        self.entries.pop(pfn, None)

    def moved(self, pfn: int, mm_id: int, old_vpn: int, new_vpn: int) -> None:
        """Do nothing: the map of 1998 hears of faults and unmaps, not of motion."""

    def resolve(self, pfn: int) -> int | None:
        """Return the address that the entry of a frame leads to now, right or wrong; None without one."""
        stored = self.entries.get(pfn)
        return None if stored is None else stored.vma.start + stored.offset

    def mappings_of(self, pfn: int) -> list[Entry]:
        """Return the one mapping that is stored, as it resolves now, or none.

        A VMA that is gone leads nowhere: the kernel of 1998 would have read freed memory.
        """
        self._nr_lookups += 1
        stored = self.entries.get(pfn)
        if stored is None:
            return []
        self._nr_visits += 1
        mm_id = self._machine.owner.get(stored.vma)
        vpn = (stored.vma.start + stored.offset) >> PAGE_SHIFT
        pte = None if mm_id is None else self._machine.tables[mm_id].get(vpn)
        if pte is None or pte.pfn != pfn:
            self._nr_false_visits += 1
        return [] if mm_id is None else [Entry(mm_id, stored.vma, vpn)]

    def validate(self) -> None:
        """Check what holds whether or not VMAs moved.

        Raises
        ------
        InvariantError
            ``single-shared``: a frame with an entry is not mapped exactly once.
            ``single-offset``: an offset is negative or no multiple of the page size.
        """
        for pfn, stored in self.entries.items():
            frame = self._machine.frames.get(pfn)
            mapcount = 0 if frame is None else frame.mapcount
            if mapcount != 1:
                raise InvariantError("single-shared", f"pfn {pfn}", f"has an entry and {mapcount} mappings")
            if stored.offset < 0 or stored.offset % PAGE_BYTES:
                raise InvariantError("single-offset", f"pfn {pfn}", f"offset {stored.offset:#x}")

    def cost(self) -> Cost:
        """Return the bytes of the table of all frames, and visits of entries; false ones resolve wrongly."""
        nr_mapped = sum(frame.mapcount > 0 for frame in self._machine.frames.values())
        nr_bytes = self._machine.nr_frames * ENTRY_BYTES
        return Cost(nr_bytes, nr_mapped, self._nr_lookups, self._nr_visits, self._nr_false_visits)
