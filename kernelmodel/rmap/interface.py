"""What every reverse map offers: from a frame to the page-table entries that lead to it.

Mirrors: ``mm/rmap.c: rmap_walk``, whose callers are handed each mapping in turn.
Fidelity: all mappings are returned at once; no caller stops a walk half way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from kernelmodel.vma import Vma


class Entry(NamedTuple):
    """One mapping of a frame: address space, VMA, and virtual page number."""

    mm_id: int
    vma: Vma
    vpn: int


@dataclass(frozen=True)
class Cost:
    """What a reverse map takes and what its look-ups took so far.

    Parameters
    ----------
    nr_bytes
        Memory of the map beyond the page tables and VMAs, as 64-bit kernel structures would take it.
    nr_mapped_pages
        Frames with at least one mapping: what the bytes are shared out over.
    nr_lookups
        Calls of ``mappings_of``.
    nr_visits
        Places looked at by them: entries of a chain, or VMAs whose page table was asked.
    nr_false_visits
        Visits that led to no mapping of the frame.
    """

    nr_bytes: int
    nr_mapped_pages: int
    nr_lookups: int
    nr_visits: int
    nr_false_visits: int

    @property
    def bytes_per_page(self) -> float:
        """Bytes for each mapped frame; 0 when nothing is mapped.

        >>> Cost(640, nr_mapped_pages=40, nr_lookups=0, nr_visits=0, nr_false_visits=0).bytes_per_page
        16.0
        """
        return self.nr_bytes / self.nr_mapped_pages if self.nr_mapped_pages else 0.0


class ReverseMap(Protocol):
    """From a frame to its mappings.

    An implementation says how complete its answers are. The zero page has no mappings in any of them, because
    the kernel does not count it (``vm_normal_page``).
    """

    def mappings_of(self, pfn: int) -> list[Entry]:
        """Return the mappings of a frame that the map knows of, in no order."""

    def validate(self) -> None:
        """Check the map against the machine; InvariantError names the rule and the witnesses."""

    def cost(self) -> Cost:
        """Return what the map takes and what its look-ups took."""
