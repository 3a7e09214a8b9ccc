"""The answer of ``vmprobe page``, as JSON has it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmprobe.analyses.page_address import Entry
    from vmprobe.analyses.show import MissingPart
    from vmprobe.bridge.page import Block


@dataclass(frozen=True)
class Folio:
    """The compound page that the frame is part of, or the frame alone.

    Parameters
    ----------
    head_pfn
        First frame.
    order
        log2 of its frames; None where a race left it with a number that is no power of two.
    nr_pages
        Its frames.
    """

    head_pfn: int
    order: int | None
    nr_pages: int


@dataclass(frozen=True)
class FreeBlock:
    """The free block that a free frame is part of: first frame and order."""

    start_pfn: int
    order: int


@dataclass(frozen=True)
class MappingRow:
    """One process that maps the frame at one address; the VMA is None where none of the list covers it."""

    pid: int | None
    comm: str | None
    address: int
    vma_start: int | None
    vma_name: str | None
    perms: str | None


@dataclass(frozen=True)
class Movable:
    """``free``, ``yes``, ``if``, ``no`` or ``unknown``, and why; for ``if`` the reason is the condition."""

    verdict: str
    reason: str


@dataclass(frozen=True)
class MechanismOfPage:
    """A way in which the page is shared that its count does not tell; see ``vmprobe sharing``."""

    mechanism: str
    evidence: str
    note: str


@dataclass(frozen=True)
class Page:
    """The answer. All but `at` and `missing` is None where no page stands behind an address.

    Parameters
    ----------
    pfn
        Page frame number.
    page_class, meaning
        What the frame is used for; JSON calls the first one ``class``.
    flags
        Names of the bits in its own flag word.
    folio, free_block
        One of them for what is allocated, the other for what is free.
    node, zone, zone_offset_pages
        Where it lies; the offset is from the zone's first frame.
    pageblock
        What else is in its pageblock.
    mapcount
        Page-table entries that map it, by the kernel's count.
    memcg
        Path of the memory cgroup that it is charged to.
    mappings
        Who maps it, as far as page tables were read: a row for each process and address.
    entries
        Page-table entries that were found; processes that share an address space have one together.
    unseen_mappers
        Mappings that the kernel counts beyond those.
    mechanism
        Why `mapcount` and `entries` differ.
    mechanisms
        Every way in which it is shared that the count does not tell; None without counts or entries.
    movable
        Whether it can be moved away.
    unstable
        The frame, or a mapping of it, changed while it was looked at.
    page_size
        Bytes in a page.
    at
        The entry behind the address that was asked for; None when a frame was asked for.
    missing
        What is None, and why.
    """

    pfn: int | None
    page_class: str | None
    flags: tuple[str, ...] | None
    folio: Folio | None
    node: int | None
    zone: str | None
    pageblock: Block | None
    mapcount: int | None
    memcg: str | None
    mappings: tuple[MappingRow, ...] | None
    unseen_mappers: int | None
    movable: Movable | None
    meaning: str | None
    mechanism: str | None
    mechanisms: tuple[MechanismOfPage, ...] | None
    entries: int | None
    free_block: FreeBlock | None
    zone_offset_pages: int | None
    unstable: bool | None
    page_size: int
    at: Entry | None
    missing: tuple[MissingPart, ...]

    def document(self) -> dict[str, Any]:
        """Return the answer under the names that JSON has."""
        renamed = {"page_class": "class"}
        return {renamed.get(f.name, f.name): getattr(self, f.name) for f in fields(self)}
