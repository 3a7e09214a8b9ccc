"""The reverse map of 2.5: every frame knows all entries that hold it.

Mirrors: ``mm/rmap.c: page_add_rmap, page_remove_rmap, struct pte_chain`` of 2.5.27 to 2.6.6.
Fidelity: a chain is a dict of (address space, virtual page), where the kernel kept addresses of entries and
found both from the page of the page table; the bytes are counted as the kernel's arrays would take them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernelmodel.errors import InvariantError
from kernelmodel.fault.types import ZERO_PFN
from kernelmodel.mapping import PAGE_SHIFT
from kernelmodel.rmap.interface import Cost, Entry

if TYPE_CHECKING:
    from kernelmodel.fault import Machine
    from kernelmodel.vma import Vma

DIRECT_BYTES: Final = 8
"""``page->pte``: the one entry, or the chain."""
CHAIN_BYTES: Final = 64
"""One ``struct pte_chain``: a cache line."""
CHAIN_ENTRIES: Final = 7
"""``NRPTE``: addresses of entries beside the pointer to the next."""


class PteChain:
    """All entries of each frame, kept up to date with every change of a page table.

    Complete, and never wrong; paid for with memory, and with work on every fault, fork and unmap.

    Parameters
    ----------
    machine
        What is mapped there is entered at once, and whatever changes from now on.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._chains: dict[int, dict[tuple[int, int], None]] = {}
        self._nr_lookups = 0
        self._nr_visits = 0
        for mm_id, table in machine.tables.items():
            for vpn, pte in table.items():
                if pte.pfn != ZERO_PFN:
                    self._add(pte.pfn, mm_id, vpn)
        machine.observers.append(self)

    def mapped(self, pfn: int, mm_id: int, vma: Vma, vpn: int) -> None:  # noqa: ARG002
        """Enter an entry (``page_add_rmap``)."""
        self._add(pfn, mm_id, vpn)

    def unmapped(self, pfn: int, mm_id: int, vpn: int) -> None:
        """Take an entry out (``page_remove_rmap``)."""
        chain = self._chains[pfn]
        del chain[mm_id, vpn]
        if not chain:
            del self._chains[pfn]

    def moved(self, pfn: int, mm_id: int, old_vpn: int, new_vpn: int) -> None:
        """Take note that an entry stands elsewhere (``move_one_page`` of 2.5)."""
        self._add(pfn, mm_id, new_vpn)
        self.unmapped(pfn, mm_id, old_vpn)

    def mappings_of(self, pfn: int) -> list[Entry]:
        """Return all mappings of a frame."""
        chain = self._chains.get(pfn, {})
        self._nr_lookups += 1
        self._nr_visits += len(chain)
        found = []
        for mm_id, vpn in chain:
            vma = self._machine.mms[mm_id].vma_lookup(vpn << PAGE_SHIFT)
            assert vma is not None
            found.append(Entry(mm_id, vma, vpn))
        return found

    def validate(self) -> None:
        """Check the chains against the page tables.

        Raises
        ------
        InvariantError
            ``pte-chain``: an entry is in one and not in the other.
        """
        chained = {(pfn, *place) for pfn, chain in self._chains.items() for place in chain}
        present = {
            (pte.pfn, mm_id, vpn)
            for mm_id, table in self._machine.tables.items()
            for vpn, pte in table.items()
            if pte.pfn != ZERO_PFN
        }
        for pfn, mm_id, vpn in sorted(chained ^ present):
            side = "the page table" if (pfn, mm_id, vpn) in present else "the chain"
            raise InvariantError("pte-chain", f"pfn {pfn}", f"mm {mm_id} vpn {vpn:#x} is in {side} alone")

    def cost(self) -> Cost:
        """Return bytes of pointers and chains, and visits of entries, none of them in vain."""
        nr_bytes = sum(
            DIRECT_BYTES + (CHAIN_BYTES * -(-len(chain) // CHAIN_ENTRIES) if len(chain) > 1 else 0)
            for chain in self._chains.values()
        )
        return Cost(nr_bytes, len(self._chains), self._nr_lookups, self._nr_visits, 0)

    def _add(self, pfn: int, mm_id: int, vpn: int) -> None:
        self._chains.setdefault(pfn, {})[mm_id, vpn] = None
