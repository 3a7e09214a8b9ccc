"""Who maps a frame, by looking at every entry of every page table and every VMA."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernelmodel.fault import Machine
    from kernelmodel.vma import Vma


def mappings(machine: Machine, pfn: int) -> set[tuple[int, Vma, int]]:
    """Return (address space, VMA, virtual page) of each mapping of a frame that is counted."""
    found = set()
    for mm_id, table in machine.tables.items():
        for vpn, pte in table.items():
            if pte.pfn == pfn and pfn != 0:
                (vma,) = (vma for vma in machine.mms[mm_id] if vma.start <= vpn * 4096 < vma.end)
                found.add((mm_id, vma, vpn))
    return found
