"""Reverse entries against page tables: each leads back to the entry it came from, and none is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.consistency.violation import Violation, each_with_next, witnesses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.page_tables import PageTables
    from kernelmodel.rmap.csr import ReverseEntries


def check_entries(tables: PageTables, entries: ReverseEntries) -> list[Violation]:
    """Hold every reverse entry against the page tables, and every page-table entry against the reverse map.

    Violations are ``entry-shifted`` (it resolves to an address whose entry leads to another frame, or to
    none), ``entry-doubled`` (two of them resolve to the same address) and ``entry-dropped`` (a page-table
    entry that no reverse entry resolves to).
    """
    mm, vpn = entries.address_of_entry()
    frame = entries.frame_of_entry()
    there = tables.lookup(mm, vpn)

    def shifted(row: int) -> tuple[str, str]:
        behind = "no entry is present" if there[row] < 0 else f"the entry leads to pfn {there[row]}"
        at = f"VMA {entries.vma[row]} offset {entries.offset_pages[row]}"
        return f"pfn {frame[row]}", f"{at}: mm {mm[row]} vpn {vpn[row]:#x}, where {behind}"

    violations = witnesses("entry-shifted", there != frame, shifted)
    right = np.flatnonzero(there == frame)
    key = np.sort(tables.key_of(mm[right], vpn[right]))
    doubled = each_with_next(key[1:] == key[:-1], len(key))
    violations += witnesses(
        "entry-doubled", doubled, lambda row: (_place(tables, key[row]), "two reverse entries resolve to it")
    )
    # Both sides in order of address: each page-table entry must find itself.
    distinct = key[~doubled]
    if len(distinct) == tables.nr_entries:
        return violations
    spread = np.repeat(tables.key - (np.cumsum(tables.nr_pages) - tables.nr_pages), tables.nr_pages)
    spread += np.arange(tables.nr_entries)
    lost = ~np.isin(spread, distinct, assume_unique=True)
    return violations + witnesses(
        "entry-dropped", lost, lambda row: (_place(tables, spread[row]), "no reverse entry resolves to it")
    )


def _place(tables: PageTables, key: NDArray[np.int64]) -> str:
    """Return the address behind a key, with its frame."""
    mm, vpn = divmod(int(key), 1 << tables.address_bits)
    pfn = tables.lookup(np.array([mm]), np.array([vpn]))[0]
    return f"pfn {pfn} at mm {mm} vpn {vpn:#x}"
