"""The reverse map of today: frame to object, object to VMAs, VMA and linear offset to an address to look at.

Mirrors: ``mm/rmap.c: rmap_walk_anon, rmap_walk_file, vma_address``; ``mm/page_vma_mapped.c: check_pte``.
Fidelity: no locks; a walk sees all mappings, where callers of the kernel's stop when the count is reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from kernelmodel.errors import InvariantError
from kernelmodel.mapping import PAGE_SHIFT, Mapping
from kernelmodel.rmap.interface import Cost, Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelmodel.fault import Machine
    from kernelmodel.fault.types import Frame
    from kernelmodel.vma import Vma

FOLIO_BYTES: Final = 16
"""``folio->mapping`` and ``folio->index``."""
ANON_VMA_BYTES: Final = 104
"""``anon_vma`` in /proc/slabinfo, 64-bit."""
AVC_BYTES: Final = 64
"""``anon_vma_chain`` in /proc/slabinfo, 64-bit."""
I_MMAP_BYTES: Final = 32
"""``vma->shared``: node of the file's interval tree and the largest end below it."""


class ObjectRmap:
    """Find the mappings of a frame by search, in the structures that the machine keeps anyway.

    Complete while the trees are; paid for with visits of VMAs that turn out not to map the frame: a child of
    a fork copied the page, or somebody never touched it or has let it go.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._nr_lookups = 0
        self._nr_visits = 0
        self._nr_false_visits = 0

    def mappings_of(self, pfn: int) -> list[Entry]:
        """Return all mappings of a frame (``rmap_walk``)."""
        self._nr_lookups += 1
        frame = self._machine.frames.get(pfn)
        if frame is None:
            return []
        found = []
        for candidate in self._candidates(frame):
            self._nr_visits += 1
            if self._maps(candidate, frame):
                found.append(candidate)
            else:
                self._nr_false_visits += 1
        return found

    def validate(self) -> None:
        """Check that a walk from each frame finds as many mappings as it counts. Costs no look-ups.

        Raises
        ------
        InvariantError
            ``rmap-walk``: a mapping is out of reach, or the count is wrong.
        """
        for frame in self._machine.frames.values():
            found = [entry for entry in self._candidates(frame) if self._maps(entry, frame)]
            if len(found) != frame.mapcount:
                detail = f"counts {frame.mapcount} mappings, the walk found {found!r}"
                raise InvariantError("rmap-walk", f"pfn {frame.pfn}", detail)

    def cost(self) -> Cost:
        """Return bytes of folio fields, anon_vmas and links, and visits of VMAs."""
        links = [avc for vma in self._machine.owner for avc in vma.anon_vma_chain]
        nr_mapped = sum(frame.mapcount > 0 for frame in self._machine.frames.values())
        nr_bytes = (
            nr_mapped * FOLIO_BYTES
            + len({id(avc.anon_vma) for avc in links}) * ANON_VMA_BYTES
            + len(links) * AVC_BYTES
            + sum(vma.mapping is not None for vma in self._machine.owner) * I_MMAP_BYTES
        )
        return Cost(nr_bytes, nr_mapped, self._nr_lookups, self._nr_visits, self._nr_false_visits)

    def _candidates(self, frame: Frame) -> Iterator[Entry]:
        """Iterate the VMAs that might map a frame, with the address where they would."""
        index = frame.index
        if isinstance(frame.mapping, Mapping):
            areas = frame.mapping.overlapping(index, index)
        else:
            areas = (avc.vma for avc in frame.mapping.overlapping(index, index))
        for area in areas:
            vma = cast("Vma", area)
            vpn = (vma.start >> PAGE_SHIFT) + index - vma.pgoff
            yield Entry(self._machine.owner[vma], vma, vpn)

    def _maps(self, entry: Entry, frame: Frame) -> bool:
        pte = self._machine.tables[entry.mm_id].get(entry.vpn)
        return pte is not None and pte.pfn == frame.pfn
