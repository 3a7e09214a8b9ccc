"""Copy-on-write survival: how much of its parent's image a worker still shares, and how much it lost since.

Mirrors: ``mm/memory.c: wp_page_copy`` and ``mm/swapfile.c: swap_free``, by what they leave in page tables.
Fidelity: two photographs. A page that was lost and shared again in between was never lost. Pages are compared
between parent and worker of one photograph, so one that both still map after it was migrated, or that both
have in the same swap slot, is still shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.ranges import frames_inside

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.page_tables import PageTables
    from kernelmodel.sharing.facts import SwapRuns

_SWAPPED: Final = 1 << 58
"""Places from here on are swap slots: page frame numbers have 55 bits."""

_AREA_SHIFT: Final = 50
"""Swap offsets have 50 bits, swap areas 5 (``fs/proc/task_mmu.c: pagemap_read``)."""


class Image(NamedTuple):
    """Runs of pages of one address space, present and swapped, ascending by virtual page. Arrays of int64.

    Parameters
    ----------
    vpn
        First virtual page of each run.
    nr_pages
        Its pages.
    place
        Where the first one is: its frame, or a number for its swap slot that no frame has. The next page
        is in the next place.
    """

    vpn: NDArray[np.int64]
    nr_pages: NDArray[np.int64]
    place: NDArray[np.int64]

    @property
    def pages(self) -> NDArray[np.int64]:
        """Half-open ranges of virtual pages, shape (n, 2)."""
        return np.stack((self.vpn, self.vpn + self.nr_pages), axis=1)


@dataclass(frozen=True)
class Survival:
    """What a worker shares of its parent's image. By VMA of the parent's old image, int64, pages.

    Parameters
    ----------
    image_pages
        Pages that the parent had in the old photograph.
    old_pages, new_pages
        Those of them that worker and parent had in the same place, in the old and in the new photograph.
    lost_pages
        Shared in the old one and not in the new one.
    dropped_pages
        Those of them that parent or worker does not have any more at all; of the rest one made a copy.
    seconds
        Time between the two.
    """

    image_pages: NDArray[np.int64]
    old_pages: NDArray[np.int64]
    new_pages: NDArray[np.int64]
    lost_pages: NDArray[np.int64]
    dropped_pages: NDArray[np.int64]
    seconds: float

    @property
    def gained_pages(self) -> NDArray[np.int64]:
        """Shared in the new photograph and not in the old: the worker was forked, or KSM merged them."""
        return self.new_pages - self.old_pages + self.lost_pages

    @property
    def lost_per_minute(self) -> float:
        """Pages lost in a minute, all VMAs together."""
        return float(self.lost_pages.sum()) * 60 / self.seconds

    @property
    def survival_permille(self) -> int | None:
        """Share of the parent's image that is still shared, rounded down; None of an image of no page."""
        nr_pages = int(self.image_pages.sum())
        return int(self.new_pages.sum()) * 1000 // nr_pages if nr_pages else None

    def validate(self) -> None:
        """Check that parts are within their wholes.

        Raises
        ------
        InvariantError
            ``shared-within-image``, ``lost-was-shared``, ``dropped-within-lost`` or ``gained-is-shared``.
        """
        for invariant, part, whole in (
            ("shared-within-image", self.old_pages, self.image_pages),
            ("shared-within-image", self.new_pages, self.image_pages),
            ("lost-was-shared", self.lost_pages, self.old_pages),
            ("dropped-within-lost", self.dropped_pages, self.lost_pages),
            ("gained-is-shared", np.zeros_like(self.lost_pages), self.gained_pages),
        ):
            wrong = np.flatnonzero(part > whole)
            if len(wrong):
                vma = wrong[0]
                raise InvariantError(invariant, f"vma {vma}", f"{part[vma]} of {whole[vma]} pages")


def image(
    tables: PageTables,
    mm: int,
    *,
    chosen: NDArray[np.bool_] | None = None,
    swap: tuple[SwapRuns, NDArray[np.int64]] | None = None,
) -> Image:
    """Return the pages of one address space.

    Parameters
    ----------
    tables
        Page tables of the photograph.
    mm
        The address space; one that has no entries has an empty image.
    chosen
        Whether to take each run of `tables`: own memory and not, say, zero pages and pages of files, which
        every process shares with every other; None for all.
    swap
        Swapped entries to take as well, and the first virtual page of each run of them, int64.
    """
    first, end = np.searchsorted(tables.vmas.mm[tables.vma], (mm, mm + 1))
    row = np.arange(first, end)
    if chosen is not None:
        row = row[chosen[first:end]]
    vpn, nr_pages, place = tables.vpn[row], tables.nr_pages[row], tables.pfn[row]
    if swap is not None:
        runs, swap_vpn = swap
        out = np.flatnonzero(runs.mm == mm)
        slot = _SWAPPED + (runs.area[out] << _AREA_SHIFT) + runs.offset[out]
        vpn, place = np.append(vpn, swap_vpn[out]), np.append(place, slot)
        nr_pages = np.append(nr_pages, runs.nr_pages[out])
    order = np.argsort(vpn, kind="stable")
    return Image(vpn[order], nr_pages[order], place[order])


def survival(
    old: tuple[Image, Image],
    new: tuple[Image, Image],
    start_vpn: NDArray[np.int64],
    end_vpn: NDArray[np.int64],
    *,
    seconds: float,
) -> Survival:
    """Compare what parent and worker shared with what they share now. O(runs log runs).

    The naive equivalent stands in ``tests/oracles/sharing_costs.py``.

    Parameters
    ----------
    old, new
        Images of parent and worker in the two photographs.
    start_vpn, end_vpn
        int64, half-open ranges of virtual pages to report on, ascending and disjoint: the private VMAs of the
        parent's old image.
    seconds
        Time between the two photographs.

    Raises
    ------
    ModelError
        No time lies between the two.
    """
    if seconds <= 0:
        raise ModelError(f"two photographs {seconds} s apart: the second must be the later one")
    pages = old[0].pages
    was, still = _shared(*old), _common(_shared(*new), pages)
    have = _common(new[0].pages, new[1].pages)

    def by_vma(ranges: NDArray[np.int64]) -> NDArray[np.int64]:
        return frames_inside(ranges, start_vpn, end_vpn)

    old_pages, kept = by_vma(was), by_vma(_common(was, still))
    return Survival(
        by_vma(pages),
        old_pages,
        by_vma(still),
        old_pages - kept,
        old_pages - by_vma(_common(was, have)),
        seconds,
    )


def _shared(parent: Image, worker: Image) -> NDArray[np.int64]:
    """Return the ranges of virtual pages that both have in the same place. Shape (n, 2)."""
    both = _common(parent.pages, worker.pages)
    at = both[:, 0]
    places = []
    for one in (parent, worker):
        run = np.searchsorted(one.vpn, at, side="right") - 1
        places.append(one.place[run] + at - one.vpn[run])
    shared: NDArray[np.int64] = both[places[0] == places[1]]
    return shared


def _common(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what lies in both of two lists of ascending disjoint ranges, cut at the ends of either.

    >>> _common(np.array([[0, 4], [4, 9]]), np.array([[2, 6], [8, 12]])).tolist()
    [[2, 4], [4, 6], [8, 9]]
    """
    ranges = np.concatenate((one, other))
    # Four ascending parts: the stable sort is a timsort, which merges them.
    event = np.sort(np.concatenate((ranges[:, 0] << 1 | 1, ranges[:, 1] << 1)), kind="stable")
    depth = np.cumsum((event & 1).astype(np.int8) * 2 - 1, dtype=np.int8)
    event >>= 1
    inside = depth[:-1] == 2
    return np.stack((event[:-1][inside], event[1:][inside]), axis=1)
