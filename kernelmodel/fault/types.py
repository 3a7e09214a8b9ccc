"""What a machine is made of: frames, page-table entries, and who is told when either changes.

Mirrors: ``include/linux/mm_types.h: struct folio`` (mapping, index, _mapcount), ``pte_t``,
``include/linux/page-flags.h: PageAnonExclusive``.
Fidelity: folios of one page; an entry holds a frame and one permission; a page holds numbers at offsets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from kernelmodel.anon_vma import AnonVma
from kernelmodel.mapping import PAGE_SHIFT

if TYPE_CHECKING:
    from kernelmodel.mapping import Mapping
    from kernelmodel.vma import Vma

ZERO_PFN: Final = 0
"""The zero page: mapped by whoever read and never wrote, and counted nowhere."""


@dataclass(slots=True)
class Pte:
    """One entry of a page table that is present."""

    pfn: int
    writable: bool


@dataclass(eq=False, slots=True)
class Frame:
    """A frame in use, as far as mappings go.

    Parameters
    ----------
    pfn
        Its number.
    born
        The machine's clock when it was last allocated.
    mapping
        The anon_vma of an anonymous page, the file of a page of the page cache (``folio->mapping``).
    index
        Linear page offset in it (``folio->index``): what never changes while VMAs move.
    mapcount
        Entries that hold the frame.
    exclusive
        Anonymous and mapped by one process alone, for sure (``PageAnonExclusive``).
    words
        What the page holds: byte offset to number, 0 where none stands.
    """

    pfn: int
    born: int
    mapping: AnonVma | Mapping
    index: int
    mapcount: int = 0
    exclusive: bool = False
    words: dict[int, int] = field(default_factory=dict)

    @property
    def is_anon(self) -> bool:
        """Whether the page belongs to no file (``folio_test_anon``)."""
        return isinstance(self.mapping, AnonVma)


class Area(NamedTuple):
    """Bounds of a VMA at some time: bytes, `end` open; `pgoff` in pages."""

    start: int
    end: int
    pgoff: int

    def pgoff_at(self, address: int) -> int:
        """Return the linear page offset of `address`, inside the area or beyond it.

        >>> Area(0x4000, 0x7000, 10).pgoff_at(0x6000)
        12
        """
        return self.pgoff + ((address - self.start) >> PAGE_SHIFT)


class Move(NamedTuple):
    """Pages went from one range of addresses to another, in bytes."""

    old: int
    new: int
    length: int


@dataclass(frozen=True)
class VmaChange:
    """What one system call or fault did to the VMAs of an address space.

    Parameters
    ----------
    clock
        The machine's clock.
    mm_id
        The address space.
    cause
        Name of the call; ``expand_stack`` for a stack that grew.
    before, after
        The VMAs that were changed, removed (not in `after`) or made (not in `before`).
    move
        Where mremap took pages.
    """

    clock: int
    mm_id: int
    cause: str
    before: dict[Vma, Area]
    after: dict[Vma, Area]
    move: Move | None = None


class MapObserver(Protocol):
    """Is told of each change of a page table; counts of the frame are already changed then."""

    def mapped(self, pfn: int, mm_id: int, vma: Vma, vpn: int) -> None:
        """Take note of a new entry (``folio_add_*_rmap``)."""

    def unmapped(self, pfn: int, mm_id: int, vpn: int) -> None:
        """Take note that an entry is gone (``folio_remove_rmap``)."""

    def moved(self, pfn: int, mm_id: int, old_vpn: int, new_vpn: int) -> None:
        """Take note that mremap carried an entry to another address; counts stay."""


class VmaObserver(Protocol):
    """Is told of each change of VMAs."""

    def vmas_changed(self, change: VmaChange) -> None:
        """Take note of a change that has happened."""
