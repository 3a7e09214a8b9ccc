"""What groups of processes cost together: frames they reach, what comes back if they end, who pays the rest.

Mirrors: the shares of ``fs/proc/task_mmu.c: smaps_account``, summed over frames in place of processes.
Fidelity: of swap only the entries that were found are known; a frame that is also held otherwise (pinned, in
a pipe) counts as one that comes back. Entries that are not present charge nobody: smaps charges for those in
migration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kernelmodel.errors import InvariantError
from kernelmodel.sharing.accounting import PSS_SHIFT, shares, swap_slots
from kernelmodel.sharing.runs import before, coverage, segments, sum_by_owner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.memmap import MemMap
    from kernelmodel.sharing.facts import SwapRuns
    from kernelmodel.sharing.runs import Ints, Reach, Segments


@dataclass(frozen=True)
class GroupCosts:
    """By group, int64. Units are bytes times ``1 << PSS_SHIFT``.

    Parameters
    ----------
    distinct_pages
        Frames that the group reaches, each once; no zero pages, and those of hugetlb apart.
    freed_pages
        Those that nobody else maps, by the kernel's count: what comes back if all of the group ends.
    freed_file_pages
        Those among them that are pages of files or shared memory: nobody maps them then, and the page cache
        keeps them until it needs the room or the file goes.
    hidden_pages
        Frames that somebody unseen maps as well: so much more might come back at most, if those are of the
        group after all.
    pss_units
        What the group is charged with for the distinct frames, all its entries together.
    outside_units
        What the entries of other processes are charged with for them.
    hidden_units
        What entries that the kernel counts and nobody found are charged with.
    rounding_units
        What no entry is charged with, because the shares of each page are rounded down.
    overcounted_units
        What entries are charged with that the kernel does not count: the frame changed while it was read.
    hugetlb_pages
        Pages of hugetlb that the group reaches, each once, in pages of the base size.
    swap_slots, swap_freed_slots
        Swap slots that the group's entries lead to, each once, and those that no other entry leads to.
    page_units
        What a page that nobody shares is charged with.
    """

    distinct_pages: NDArray[np.int64]
    freed_pages: NDArray[np.int64]
    freed_file_pages: NDArray[np.int64]
    hidden_pages: NDArray[np.int64]
    pss_units: NDArray[np.int64]
    outside_units: NDArray[np.int64]
    hidden_units: NDArray[np.int64]
    rounding_units: NDArray[np.int64]
    overcounted_units: NDArray[np.int64]
    hugetlb_pages: NDArray[np.int64]
    swap_slots: NDArray[np.int64]
    swap_freed_slots: NDArray[np.int64]
    page_units: int

    @property
    def shared_pages(self) -> NDArray[np.int64]:
        """Distinct frames that stay: others map them too."""
        return self.distinct_pages - self.freed_pages

    @property
    def others_units(self) -> NDArray[np.int64]:
        """The part of the distinct frames that is not charged to the group."""
        return self.outside_units + self.hidden_units + self.rounding_units - self.overcounted_units

    def validate(self) -> None:
        """Check that charges add up to the frames, and that parts are within their wholes.

        Raises
        ------
        InvariantError
            ``charges-add-up``, ``freed-within-distinct``, ``files-within-freed``, ``hidden-not-freed`` or
            ``freed-slots-within-slots``.
        """
        whole = self.distinct_pages * self.page_units
        for invariant, wrong, one, other in (
            ("charges-add-up", self.pss_units + self.others_units != whole, self.others_units, whole),
            ("freed-within-distinct", self.shared_pages < 0, self.freed_pages, self.distinct_pages),
            (
                "files-within-freed",
                self.freed_file_pages > self.freed_pages,
                self.freed_file_pages,
                self.freed_pages,
            ),
            ("hidden-not-freed", self.hidden_pages > self.shared_pages, self.hidden_pages, self.shared_pages),
            (
                "freed-slots-within-slots",
                self.swap_freed_slots > self.swap_slots,
                self.swap_freed_slots,
                self.swap_slots,
            ),
        ):
            groups = np.flatnonzero(wrong)
            if len(groups):
                group = groups[0]
                detail = f"{one[group]} of {other[group]}, charged {self.pss_units[group]}"
                raise InvariantError(invariant, f"group {group}", detail)


class _Charges(NamedTuple):
    """Of `GroupCosts`, in its order: frames that somebody unseen maps, and the units."""

    hidden_pages: NDArray[np.int64]
    pss: NDArray[np.int64]
    outside: NDArray[np.int64]
    hidden: NDArray[np.int64]
    rounding: NDArray[np.int64]
    overcounted: NDArray[np.int64]


def group_costs(
    frames: MemMap,
    entries: Reach,
    swap: SwapRuns,
    member_of: NDArray[np.int64],
    whole: NDArray[np.bool_],
    *,
    nr_groups: int,
    page_size: int,
) -> GroupCosts:
    """Add up what each group costs. O(frames + runs log runs), however many groups there are.

    The naive equivalent stands in ``tests/oracles/sharing_costs.py``.

    Parameters
    ----------
    frames, entries, swap
        Page frames, present entries as `counted_entries` gives them, swapped entries, of all processes and
        not of those of the groups alone.
    member_of
        int64, group of each address space, -1 for none.
    whole
        bool, whether all tasks of an address space belong to the group: it is gone when the group ends.
    nr_groups
        Groups are numbered from 0 to `nr_groups` - 1.
    page_size
        Bytes.
    """
    own = _own(member_of[entries.owner], entries.start, entries.end, whole[entries.owner])

    def distinct(values: NDArray[Any]) -> NDArray[np.int64]:
        return _distinct(own, values, nr_groups)

    huge = frames.having("HUGE")
    hugetlb_pages = distinct(huge)
    normal = ~(huge | frames.having("ZERO_PAGE") | frames.having("NOPAGE"))
    del huge
    found = coverage(entries.start, entries.end, len(frames))
    counted = np.maximum(found.view(np.uint32) if frames.mapcount is None else frames.mapcount, 1)
    freed = normal & ~frames.having("RESERVED") & (counted <= found) & _of_one_group(own, found)
    freed_pages = distinct(freed)
    freed &= ~frames.having("ANON")
    freed_file_pages = distinct(freed)
    del freed
    rows = (counted, found, normal)
    charges = _charges(own, entries, member_of[entries.owner], rows, nr_groups=nr_groups, page_size=page_size)
    slots = swap_slots(swap)
    swapped = _own(member_of[swap.mm], slots.start, slots.end, whole[swap.mm])
    return GroupCosts(
        distinct(normal),
        freed_pages,
        freed_file_pages,
        *charges,
        hugetlb_pages,
        _distinct(swapped, slots.nr_slots, nr_groups),
        _distinct(swapped, slots.nr_slots * _of_one_group(swapped, slots.found), nr_groups),
        page_size << PSS_SHIFT,
    )


def _own(group: NDArray[np.int64], start: Ints, end: Ints, whole: NDArray[np.bool_]) -> Segments:
    """Return what the runs of each group cover; chosen are those of address spaces that are all its own."""
    inside = group >= 0
    return segments(group[inside], start[inside], end[inside], whole[inside])


def _distinct(own: Segments, values: NDArray[Any], nr_groups: int) -> NDArray[np.int64]:
    """Return the sum of the values of the rows that each group reaches, each row once."""
    sums = before(values)
    return sum_by_owner(own.owner, sums[own.end] - sums[own.start], nr_groups)


def _of_one_group(own: Segments, found: NDArray[np.int32] | NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the rows all of whose entries, and there are some, are of address spaces of one group alone.

    The squares of the groups' parts add up to the square of the whole only where one part is the whole.
    """
    squares = coverage(own.start, own.end, len(found), own.chosen**2)
    alone: NDArray[np.bool_] = (squares > 0) & (squares == np.square(found, dtype=np.int64))
    return alone


def _charges(
    own: Segments,
    entries: Reach,
    group: NDArray[np.int64],
    rows: tuple[NDArray[np.uint32], NDArray[np.int32] | NDArray[np.int64], NDArray[np.bool_]],
    *,
    nr_groups: int,
    page_size: int,
) -> _Charges:
    """Add up who is charged; `rows` are sharers and found entries of each row, and whether it is charged for.

    The group's charge comes from its runs, that of others from what is left of each segment.
    """
    counted, found, normal = rows
    units = shares(counted, normal, page_size)
    sums = before(units)
    inside = group >= 0
    pss = sum_by_owner(group[inside], (sums[entries.end] - sums[entries.start])[inside], nr_groups)
    paid = sum_by_owner(own.owner, own.depth * (sums[own.end] - sums[own.start]), nr_groups)
    del sums
    differ = np.flatnonzero(normal & (found > 0) & (counted != found))
    hidden = counted[differ].astype(np.int64) - found[differ]
    missing = hidden * units[differ]
    outside = _distinct(own, np.multiply(units, found, dtype=np.int64), nr_groups) - paid
    first, end = np.searchsorted(differ, own.start), np.searchsorted(differ, own.end)

    def at_differ(values: NDArray[Any]) -> NDArray[np.int64]:
        part = before(values)
        return sum_by_owner(own.owner, part[end] - part[first], nr_groups)

    np.remainder(np.uint32(page_size << PSS_SHIFT), counted, out=units, where=normal)
    return _Charges(
        at_differ(hidden > 0),
        pss,
        outside,
        at_differ(np.maximum(missing, 0)),
        _distinct(own, units, nr_groups),
        at_differ(np.maximum(-missing, 0)),
    )
