"""Address spaces to the tables ``vmas`` and ``mappings``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vmprobe.collect.extents import NO_VMA, join
from vmprobe.formats import pagemap
from vmprobe.schema import TABLES
from vmprobe.tables import Coded, Table, from_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vmprobe.collect.address_space import AddressSpace

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
    """Return the entries of all address spaces.

    Parameters
    ----------
    spaces
        Address-space id and what was read of it, in the order of `vma_table`.
    frames_visible
        Whether the kernel shows frame numbers and swap slots to us; it prints zeros otherwise.
    """
    firsts = np.cumsum([0, *(len(space.vmas) for _, space in spaces)])
    mms: list[NDArray[np.uint32]] = []
    vmas: list[NDArray[np.uint32]] = []
    for first, (number, space) in zip(firsts.tolist(), spaces, strict=False):
        nr = len(space.extents)
        mms.append(np.full(nr, number, np.uint32))
        vmas.append(np.where(space.extents.vma == NO_VMA, NO_VMA, space.extents.vma + np.uint32(first)))
    runs = join([space.extents for _, space in spaces])
    words, nr_rows = runs.word, len(runs)
    mm = np.concatenate(mms or [np.empty(0, np.uint32)])
    vma = np.concatenate(vmas or [np.empty(0, np.uint32)]).astype(np.uint32)
    kinds = pagemap.kinds(words)
    codes = {kind: code for code, kind in enumerate(pagemap.KINDS)}
    is_frame = (kinds == codes["present"]) | (kinds == codes["frame-entry"])
    is_swap = kinds == codes["swap"]
    has_type = is_swap | (kinds == codes["frame-entry"])
    columns: dict[str, Any] = {
        "mm": mm,
        "vma": np.where(vma == NO_VMA, np.uint32(0), vma),
        "vpn": runs.vpn,
        "nr_pages": runs.nr_pages,
        "kind": Coded(kinds, pagemap.KINDS),
        "exclusive": _bit(words, pagemap.EXCLUSIVE),
        "file": _bit(words, pagemap.FILE),
        "soft_dirty": _bit(words, pagemap.SOFT_DIRTY),
        "uffd_wp": _bit(words, pagemap.UFFD_WP),
        "unstable": runs.unstable,
    }
    valid = {}
    if (vma == NO_VMA).any():
        valid["vma"] = vma != NO_VMA
    if frames_visible:
        columns["pfn"] = np.where(is_frame, pagemap.frames(words), np.uint64(0))
        columns["swap_type"] = np.where(has_type, pagemap.swap_types(words), np.uint8(0))
        columns["swap_offset"] = np.where(is_swap, pagemap.swap_offsets(words), np.uint64(0))
        valid |= {"pfn": is_frame, "swap_type": has_type, "swap_offset": is_swap}
    return Table(TABLES["mappings"], columns, nr_rows, valid)


def _bit(words: NDArray[np.uint64], mask: np.uint64) -> NDArray[np.bool_]:
    chosen: NDArray[np.bool_] = (words & mask) != 0
    return chosen
