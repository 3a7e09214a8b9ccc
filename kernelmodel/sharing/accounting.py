"""What each address space has: resident, proportional and unique set size, huge pages, swap; exact in units.

Mirrors: ``fs/proc/task_mmu.c: smaps_account, smaps_page_accumulate, smaps_pte_entry, smaps_hugetlb_range``.
The integers are theirs: the share of a page is rounded down page by page, the sum once, when it is printed.
Fidelity: under CONFIG_NO_PAGE_MAPCOUNT a large folio is charged by its average, as there, and unique by it,
where the kernel looks who owns the folio. Swapped pages of shared memory have no entry: they are in the
kernel's Swap and not here. An entry in migration counts as shared; kernels before 6.11 called it private.
One of device memory is charged like one in migration: no count of its frame is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.errors import InvariantError
from kernelmodel.sharing.runs import PIECE_RUNS, Reach, before, coverage, reach, row_runs, sum_by_owner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.memmap import MemMap
    from kernelmodel.page_tables import PageTables, VmaTable
    from kernelmodel.sharing.facts import FrameEntries, SwapRuns

PSS_SHIFT: Final = 12
"""``fs/proc/task_mmu.c``: bits behind the point of a share in bytes."""


@dataclass(frozen=True)
class Accounts:
    """By address space, int64. Units are bytes times ``1 << PSS_SHIFT``.

    Parameters
    ----------
    rss_pages
        Entries that lead to pages the kernel counts: no zero pages, no huge pages of hugetlb, nothing of
        VM_PFNMAP areas; with those in migration. The ``Rss`` of smaps_rollup.
    uss_pages
        Those whose page is mapped once: ``Private_Clean`` and ``Private_Dirty``.
    pss_units
        Their shares: a page that n entries map charges each with an n-th, rounded down. ``Pss``.
    hidden_pages
        Those whose page somebody unseen maps as well: the kernel counts more entries than were found.
    hugetlb_pages
        Entries that lead to pages of hugetlb, in pages of the base size.
    zero_pages
        Entries that lead to a zero page.
    swap_pages
        Entries that lead to a swap slot. ``Swap``.
    swap_pss_units
        Shares of the slots, by the entries that were found. ``SwapPss``.
    swap_uss_pages
        Slots that one entry leads to.
    page_units
        What a page that nobody shares is charged with.
    """

    rss_pages: NDArray[np.int64]
    uss_pages: NDArray[np.int64]
    pss_units: NDArray[np.int64]
    hidden_pages: NDArray[np.int64]
    hugetlb_pages: NDArray[np.int64]
    zero_pages: NDArray[np.int64]
    swap_pages: NDArray[np.int64]
    swap_pss_units: NDArray[np.int64]
    swap_uss_pages: NDArray[np.int64]
    page_units: int

    def validate(self) -> None:
        """Check that unique is at most proportional, and that at most resident.

        Raises
        ------
        InvariantError
            ``uss-within-pss``, ``pss-within-rss``, ``swap-uss-within-pss`` or ``swap-pss-within-swap``.
        """
        unit = self.page_units
        for invariant, less, more in (
            ("uss-within-pss", self.uss_pages * unit, self.pss_units),
            ("pss-within-rss", self.pss_units, self.rss_pages * unit),
            ("swap-uss-within-pss", self.swap_uss_pages * unit, self.swap_pss_units),
            ("swap-pss-within-swap", self.swap_pss_units, self.swap_pages * unit),
        ):
            wrong = np.flatnonzero(less > more)
            if len(wrong):
                mm = wrong[0]
                raise InvariantError(invariant, f"mm {mm}", f"{less[mm]} units are more than {more[mm]}")


PIECE_ROWS: Final = 1 << 18
"""Rows whose shares are computed at a time."""


class Slots(NamedTuple):
    """Swapped entries on the stretches that their ends cut swap space into. Arrays of int64.

    Parameters
    ----------
    start, end
        Half-open stretches that each run covers.
    nr_slots
        Slots of each stretch.
    found
        Entries that lead to each slot of it.
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    nr_slots: NDArray[np.int64]
    found: NDArray[np.int64]


def account(
    frames: MemMap,
    entries: Reach,
    swap: SwapRuns,
    nr_mms: int,
    page_size: int,
    *,
    moving: FrameEntries | None = None,
) -> Accounts:
    """Add up what each of `nr_mms` address spaces has. O(frames + runs).

    The naive equivalent stands in ``tests/oracles/sharing_costs.py``. A page is shared by as many as the
    kernel counts, found or not; by those found where it does not say.

    Parameters
    ----------
    frames, entries, swap
        Page frames, present entries as `counted_entries` gives them, swapped entries.
    nr_mms
        Address spaces are numbered from 0 to `nr_mms` - 1.
    page_size
        Bytes.
    moving
        Entries that are not present but name a frame.
    """
    huge, zero = frames.having("HUGE"), frames.having("ZERO_PAGE")
    offline = frames.having("NOPAGE")  # persistent memory has no page that counts as resident

    def of_mm(values: NDArray[np.bool_]) -> NDArray[np.int64]:
        if not values.any():  # of huge pages there are none on most hosts
            return np.zeros(nr_mms, np.int64)
        return between(before(values))

    def between(sums: NDArray[np.int64] | NDArray[np.int32]) -> NDArray[np.int64]:
        total = np.zeros(nr_mms, np.int64)
        for low in range(0, len(entries.owner), PIECE_RUNS):
            mm, start, end = (column[low : low + PIECE_RUNS] for column in entries)
            total += sum_by_owner(mm, sums[end] - sums[start], nr_mms)
        return total

    hugetlb_pages, zero_pages = of_mm(huge), of_mm(zero)
    rss_pages = sum_by_owner(entries.owner, entries.nr_pages, nr_mms) - hugetlb_pages - zero_pages
    rss_pages -= of_mm(offline)
    moving_pages = np.zeros(nr_mms, np.int64)
    if moving is not None:
        named = row_runs(frames, moving.pfn, moving.nr_pages)
        sums = before(huge)
        pooled = sum_by_owner(moving.mm[named.run], sums[named.end] - sums[named.start], nr_mms)
        moving_pages = sum_by_owner(moving.mm, moving.nr_pages, nr_mms) - pooled
        hugetlb_pages += pooled
    normal = ~(huge | zero | offline)
    del huge, zero, offline
    found = coverage(entries.start, entries.end, len(frames)).view(np.uint32)
    counted = found if frames.mapcount is None else frames.mapcount
    uss_pages, hidden_pages = of_mm(normal & (counted <= 1)), of_mm(normal & (counted > found))
    del found
    pss_units = between(shares_before(counted, normal, page_size))
    unit = page_size << PSS_SHIFT
    slots = swap_slots(swap)

    def of_swap(values: NDArray[np.int64]) -> NDArray[np.int64]:
        sums = before(values)
        return sum_by_owner(swap.mm, sums[slots.end] - sums[slots.start], nr_mms)

    return Accounts(
        rss_pages + moving_pages,
        uss_pages,
        pss_units + moving_pages * unit,
        hidden_pages,
        hugetlb_pages,
        zero_pages,
        sum_by_owner(swap.mm, swap.nr_pages, nr_mms),
        of_swap(slots.nr_slots * (unit // np.maximum(slots.found, 1))),
        of_swap(slots.nr_slots * (slots.found == 1)),
        unit,
    )


def counted_entries(frames: MemMap, tables: PageTables) -> Reach:
    """Return the entries that lead to frames by address space, those of VM_PFNMAP areas left out."""
    return without_pfnmap(reach(frames, tables.vma, tables.pfn, tables.nr_pages)[0], tables.vmas)


def without_pfnmap(of_vma: Reach, vmas: VmaTable) -> Reach:
    """Return the runs of VMAs as runs of their address spaces, those of VM_PFNMAP areas left out."""
    owner, start, end = of_vma
    if vmas.pfnmap is not None and vmas.pfnmap.any():
        owner, start, end = (part[~vmas.pfnmap[of_vma.owner]] for part in of_vma)
    return Reach(vmas.mm.astype(np.int32)[owner], start, end)


def shares(counted: NDArray[np.uint32], normal: NDArray[np.bool_], page_size: int) -> NDArray[np.uint32]:
    """Return what an entry of each row is charged with, in units; nothing where it is not `normal`.

    A page that nobody is counted for is charged whole. uint32, which holds pages of up to 512 KiB; no
    architecture has pages of more than 256.
    """
    units = np.zeros(len(counted), np.uint32)
    np.floor_divide(np.uint32(page_size << PSS_SHIFT), np.maximum(counted, 1), out=units, where=normal)
    return units


def shares_before(
    counted: NDArray[np.uint32], normal: NDArray[np.bool_], page_size: int
) -> NDArray[np.int64]:
    """Return the sum of `shares` before each row, and of all. Piece by piece: there is one large array."""
    sums = np.zeros(len(counted) + 1, np.int64)
    for low in range(0, len(counted), PIECE_ROWS):
        part = slice(low, low + PIECE_ROWS)
        sums[1:][part] = shares(counted[part], normal[part], page_size)
    np.cumsum(sums, out=sums)
    return sums


def swap_slots(swap: SwapRuns) -> Slots:
    """Return the stretches of swap space between the ends of runs. O(runs log runs), however large it is."""
    stride = int((swap.offset + swap.nr_pages).max(initial=0)) + 1
    first = swap.area * stride + swap.offset
    # Ends that coincide make stretches of no slot, which harm nobody.
    bounds = np.sort(np.concatenate((first, first + swap.nr_pages)))
    start, end = np.searchsorted(bounds, first), np.searchsorted(bounds, first + swap.nr_pages)
    found = coverage(start, end, max(len(bounds) - 1, 0)).astype(np.int64)
    return Slots(start, end, np.diff(bounds), found)
