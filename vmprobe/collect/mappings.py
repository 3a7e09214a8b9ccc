"""Address spaces to the tables ``vmas`` and ``mappings``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vmprobe.collect.extents import NO_VMA, join
from vmprobe.formats import pagemap
from vmprobe.schema import TABLES
from vmprobe.tables import Coded, Table, from_rows

if TYPE_CHECKING:
    from vmprobe.collect.address_space import AddressSpace
    from vmprobe.collect.extents import Extents

CHUNK_RUNS: Final = 1 << 16

PRESENT, SWAP, FRAME_ENTRY = (pagemap.KINDS.index(kind) for kind in ("present", "swap", "frame-entry"))

BITS: Final = {
    "exclusive": pagemap.EXCLUSIVE,
    "file": pagemap.FILE,
    "soft_dirty": pagemap.SOFT_DIRTY,
    "uffd_wp": pagemap.UFFD_WP,
}
"""Columns that are one bit of the word."""

SMAPS_COLUMNS: Final = {"Rss": "rss_bytes", "Pss": "pss_bytes", "Swap": "swap_bytes"}


def vma_table(spaces: list[tuple[int, AddressSpace]], page_size: int, *, with_smaps: bool) -> Table:
    """Return the VMAs of all address spaces, numbered through.

    Parameters
    ----------
    spaces
        Address-space id and what was read of it.
    page_size
        Bytes.
    with_smaps
        Whether flags and the kernel's own sums were read.
    """
    names = ["vma", "mm", "start", "end", "perms", "pgoff", "dev", "inode", "name"]
    if with_smaps:
        names += ["vm_flags", *SMAPS_COLUMNS.values()]
    rows: list[tuple[Any, ...]] = []
    for mm, space in spaces:
        for row in space.vmas:
            vma = row.vma
            known: tuple[Any, ...] = (
                len(rows),
                mm,
                vma.start,
                vma.end,
                vma.perms,
                vma.offset // page_size,
                vma.dev,
                vma.inode,
                vma.name,
            )
            if with_smaps:
                kib = [row.fields.get(word) for word in SMAPS_COLUMNS]
                flags = None if row.vm_flags is None else " ".join(row.vm_flags)
                known += (flags, *(None if n is None else n * 1024 for n in kib))
            rows.append(known)
    return from_rows(TABLES["vmas"], names, rows)


def mapping_table(spaces: list[tuple[int, AddressSpace]], *, frames_visible: bool) -> Table:
    """Return the entries of all address spaces, and take the runs out of these.

    Runs are the largest thing in memory beside the frames, and would be there twice otherwise.

    Parameters
    ----------
    spaces
        Address-space id and what was read of it, in the order of `vma_table`.
    frames_visible
        Whether the kernel shows frame numbers and swap slots to us; it prints zeros otherwise.
    """
    columns = _Columns(sum(len(space.extents) for _, space in spaces))
    first_row, first_vma = 0, 0
    for number, space in spaces:
        for low in range(0, len(space.extents), CHUNK_RUNS):
            part = space.extents.part(slice(low, low + CHUNK_RUNS))
            columns.fill(slice(first_row, first_row + len(part)), part, number, first_vma)
            first_row += len(part)
        first_vma += len(space.vmas)
        space.extents = join([])
    return columns.table(frames_visible=frames_visible)


class _Columns:
    """The columns while they are filled, piece by piece so that what is computed on the way stays small."""

    def __init__(self, nr_rows: int) -> None:
        self.nr_rows = nr_rows
        self.mm = np.empty(nr_rows, np.uint32)
        self.vma = np.empty(nr_rows, np.uint32)
        self.vpn = np.empty(nr_rows, np.uint64)
        self.nr_pages = np.empty(nr_rows, np.uint32)
        self.kind = np.empty(nr_rows, np.uint8)
        self.pfn = np.empty(nr_rows, np.uint64)
        self.swap_type = np.empty(nr_rows, np.uint8)
        self.swap_offset = np.empty(nr_rows, np.uint64)
        self.unstable = np.empty(nr_rows, np.bool_)
        self.bits = {name: np.empty(nr_rows, np.bool_) for name in BITS}
        self.valid = {
            name: np.empty(nr_rows, np.bool_) for name in ("vma", "pfn", "swap_type", "swap_offset")
        }

    def fill(self, rows: slice, runs: Extents, mm: int, first_vma: int) -> None:
        """Write one piece of one address space."""
        words = runs.word
        self.mm[rows] = mm
        self.valid["vma"][rows] = has_vma = runs.vma != NO_VMA
        self.vma[rows] = np.where(has_vma, runs.vma + np.uint32(first_vma), np.uint32(0))
        self.vpn[rows], self.nr_pages[rows], self.unstable[rows] = runs.vpn, runs.nr_pages, runs.unstable
        self.kind[rows] = kinds = pagemap.kinds(words)
        is_swap, is_entry = kinds == SWAP, kinds == FRAME_ENTRY
        self.valid["pfn"][rows] = (kinds == PRESENT) | is_entry
        self.valid["swap_type"][rows] = has_type = is_swap | is_entry
        self.valid["swap_offset"][rows] = is_swap
        self.pfn[rows] = pagemap.frames(words)
        self.swap_type[rows] = np.where(has_type, pagemap.swap_types(words), np.uint8(0))
        self.swap_offset[rows] = np.where(is_swap, pagemap.swap_offsets(words), np.uint64(0))
        for name, mask in BITS.items():
            self.bits[name][rows] = (words & mask) != 0

    def table(self, *, frames_visible: bool) -> Table:
        """Return the table; hidden numbers leave their columns out."""
        columns: dict[str, Any] = {
            "mm": self.mm,
            "vma": self.vma,
            "vpn": self.vpn,
            "nr_pages": self.nr_pages,
            "kind": Coded(self.kind, pagemap.KINDS),
            "unstable": self.unstable,
            **self.bits,
        }
        if frames_visible:
            columns |= {"pfn": self.pfn, "swap_type": self.swap_type, "swap_offset": self.swap_offset}
        valid = {n: ok for n, ok in self.valid.items() if n in columns and not (n == "vma" and ok.all())}
        return Table(TABLES["mappings"], columns, self.nr_rows, valid)
