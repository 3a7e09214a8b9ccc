"""Three reverse maps of one photograph side by side: which frames each serves, what it takes, what it visits.

``single``, the mail of 1998: one (VMA, offset) in every ``struct page``, invalid once a second entry appears.
``chain``, 2.5: a list of page-table entries at every frame. ``object``, today: a frame names an object and a
linear page offset, and the object's interval tree has the VMAs that may map it. On a simulated machine the
same three live in `kernelmodel.rmap`.

Mirrors: ``mm/rmap.c: page_add_rmap`` of 2.5 (chain); ``mm/rmap.c: rmap_walk_file, rmap_walk_anon``,
``mm/ksm.c: rmap_walk_ksm`` (object).

Fidelity: objects are inferred, see `kernelmodel.rmap.inferred`. To which anon_vma a page belongs is not told:
that of the process which faulted it. Visits are counted from the lowest one that leads to all its mappings,
and also from the whole family: as many as there are at most, and as there were up to 2.6.33.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.errors import InvariantError
from kernelmodel.rmap.inferred import files, kin, stab_counts
from kernelmodel.rmap.object_rmap import ANON_VMA_BYTES, AVC_BYTES, I_MMAP_BYTES
from kernelmodel.rmap.pte_chain import CHAIN_BYTES, CHAIN_ENTRIES, DIRECT_BYTES
from kernelmodel.rmap.single_entry import ENTRY_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.rmap.csr import ReverseEntries
    from kernelmodel.rmap.inferred import Areas, Kin

KSM_ITEM_BYTES: Final = 64
"""``struct ksm_rmap_item``: KSM keeps a list of its own, one for every entry."""


class FrameKind(IntEnum):
    """How today's kernel finds who maps a frame."""

    FILE = 0
    """By its file or shared memory."""
    ANON = 1
    """By its anon_vma."""
    KSM = 2
    """By KSM's own list."""
    UNCOUNTED = 3
    """Not at all, and it counts no mappings either: the zero pages."""


class MapFigures(NamedTuple):
    """What one reverse map does for the mapped frames.

    Parameters
    ----------
    name
        ``single``, ``chain`` or ``object``.
    nr_served, nr_entries_served
        Frames whose mappings it finds, all of them, and those mappings.
    nr_bytes
        Memory, 64-bit; None where the number of frames is unknown. ``single`` and ``chain`` take theirs in
        every ``struct page``, and chains beside it; ``object`` in VMAs, beside ``mapping`` and ``index``,
        which the page cache needs anyway.
    nr_visits, visits_max
        Places looked at when each frame that is served is looked up once: in all, and at most for one.
    nr_false_visits
        Visits that lead to no mapping.
    nr_visits_at_most
        `nr_visits`, if every anonymous page was faulted before all forks of its family.
    """

    name: str
    nr_served: int
    nr_entries_served: int
    nr_bytes: int | None
    nr_visits: int
    visits_max: int
    nr_false_visits: int
    nr_visits_at_most: int


@dataclass(frozen=True)
class Survey:
    """The comparison. Arrays have one row for each frame of `pfn`, those that are mapped and counted.

    Parameters
    ----------
    pfn
        int64, frames, ascending.
    kind
        uint8, `FrameKind`.
    nr_entries
        int64, mappings.
    single
        bool, mapped exactly once, also by the kernel's word.
    found
        int64, mappings that the object map finds.
    visits, visits_at_most
        int64, VMAs (for KSM: entries) that the object map looks at, see `MapFigures`.
    nr_families
        Families of address spaces with anonymous pages.
    maps
        Figures of the three maps.
    """

    pfn: NDArray[np.int64]
    kind: NDArray[np.uint8]
    nr_entries: NDArray[np.int64]
    single: NDArray[np.bool_]
    found: NDArray[np.int64]
    visits: NDArray[np.int64]
    visits_at_most: NDArray[np.int64]
    nr_families: int
    maps: tuple[MapFigures, ...]

    def validate(self) -> None:
        """Check that no map finds more than there is.

        Raises
        ------
        InvariantError
            ``single-shared``, ``found-too-many``, ``visits-cover-found`` or ``visits-at-most``.
        """
        for invariant, wrong in (
            ("single-shared", self.single & (self.nr_entries != 1)),
            ("found-too-many", self.found > self.nr_entries),
            ("visits-cover-found", self.visits < self.found),
            ("visits-at-most", self.visits_at_most < self.visits),
        ):
            rows = np.flatnonzero(wrong)
            if len(rows):
                row = rows[0]
                detail = (
                    f"{self.nr_entries[row]} entries, {self.found[row]} found in {self.visits[row]} visits"
                )
                raise InvariantError(invariant, f"pfn {self.pfn[row]}", detail)


def survey(
    entries: ReverseEntries,
    kind: NDArray[np.uint8],
    exclusive: NDArray[np.bool_],
    areas: Areas,
    parent: NDArray[np.int64],
    *,
    nr_frames: int | None,
    mm: int | None = None,
) -> Survey:
    """Compare the three maps. The naive equivalent stands in ``tests/oracles/rmap_survey.py``.

    Parameters
    ----------
    entries
        Every mapping, PFN maps left out.
    kind, exclusive
        `FrameKind`, and whether the kernel says "mapped exactly once", of each frame of `entries`. One entry
        that is not exclusive: somebody who could not be read maps the frame as well.
    areas
        What the VMAs map.
    parent
        int64, by address space: that of the parent process, -1 where there is none or it is not known.
    nr_frames
        Frames that have a ``struct page``; None where that is not known.
    mm
        Look only at frames that this address space maps, and only at its VMAs for `nr_bytes`.
    """
    counts = entries.counts()
    walks = _walks(entries, kind, areas, parent)
    chosen = kind != FrameKind.UNCOUNTED
    counted_areas = areas.vmas.listed
    if mm is not None:
        row = np.repeat(np.arange(len(counts)), counts)
        mapped = np.zeros(len(counts), np.bool_)
        mapped[row[areas.vmas.mm[entries.vma] == mm]] = True
        chosen = chosen & mapped
        counted_areas = counted_areas & (areas.vmas.mm == mm)
        nr_frames = int(np.count_nonzero(chosen))
    found, visits, at_most = (
        np.where(kind == FrameKind.KSM, counts, nr)[chosen]
        for nr in (walks.found, walks.visits, walks.visits_at_most)
    )
    compared = Survey(
        entries.pfn[chosen],
        kind[chosen],
        counts[chosen],
        (exclusive & (counts == 1))[chosen],
        found,
        visits,
        at_most,
        walks.nr_families,
        (),
    )
    linked = I_MMAP_BYTES * int(np.count_nonzero(counted_areas & (walks.file >= 0)))
    linked += ANON_VMA_BYTES * int(np.count_nonzero(counted_areas & walks.kin.member))
    vma, node = walks.kin.links(areas)
    linked += AVC_BYTES * int(np.count_nonzero(counted_areas[vma] & (node < walks.kin.nr_mms)))
    return replace(compared, maps=_figures(compared, nr_frames, linked))


class _Walks(NamedTuple):
    """By frame, what walks of its object find and visit; by VMA its file, -1 for none; and who is related."""

    found: NDArray[np.int64]
    visits: NDArray[np.int64]
    visits_at_most: NDArray[np.int64]
    file: NDArray[np.int64]
    kin: Kin
    nr_families: int


def _walks(
    entries: ReverseEntries, kind: NDArray[np.uint8], areas: Areas, parent: NDArray[np.int64]
) -> _Walks:
    """Walk the object of each frame.

    A frame can name but one object and one offset; those of its first entry are taken for it.
    """
    vma, begin, counts = entries.vma, entries.first[:-1], entries.counts()
    row = np.repeat(np.arange(len(counts)), counts)
    hub = vma[begin[row]]
    linear = areas.pgoff[vma] + entries.offset_pages
    alike = linear == linear[begin[row]]
    filed, anon = (alike & (kind[row] == which) for which in (FrameKind.FILE, FrameKind.ANON))
    anonymous = np.zeros(len(areas), np.bool_)
    anonymous[vma[kind[row] == FrameKind.ANON]] = True
    kinship = kin(areas, hub[anon], vma[anon], anonymous, parent)
    file = files(areas, hub[filed], vma[filed])
    family = kinship.families[areas.vmas.mm]
    filed &= (file[vma] >= 0) & (file[vma] == file[hub])
    anon &= kinship.member[vma] & kinship.member[hub] & (areas.backing[vma] == areas.backing[hub])
    found = np.bincount(row[filed | anon], minlength=len(counts))

    # Objects: files by their number, behind them an anon_vma for each node and backing.
    stride, base = int(areas.backing.max(initial=-1)) + 2, int(file.max(initial=-1)) + 1
    linked, node = kinship.links(areas)
    owned = np.flatnonzero(file >= 0)
    group = np.concatenate((file[owned], base + node * stride + areas.backing[linked] + 1))
    inside = np.concatenate((owned, linked))
    start = areas.pgoff[inside]
    end = start + (areas.vmas.end_vpn - areas.vmas.start_vpn)[inside]
    named, at = vma[begin], linear[begin]
    owner = kinship.common(areas.vmas.mm[vma], anon, begin)
    by_file = np.where(kind == FrameKind.FILE, file[named], -1)
    is_anon = (kind == FrameKind.ANON) & (found > 0)
    visits, at_most = (
        stab_counts(
            group, start, end, np.where(is_anon, base + top * stride + areas.backing[named] + 1, by_file), at
        )
        for top in (owner, family[named])
    )
    return _Walks(found, visits, at_most, file, kinship, len(np.unique(family[anonymous])))


def _figures(compared: Survey, nr_frames: int | None, linked_bytes: int) -> tuple[MapFigures, ...]:
    counts = compared.nr_entries
    nr_single, nr_entries = int(np.count_nonzero(compared.single)), int(counts.sum())
    nr_ksm = int(counts[compared.kind == FrameKind.KSM].sum())
    nr_chains = int(-(-counts[counts > 1] // CHAIN_ENTRIES).sum())
    single = None if nr_frames is None else ENTRY_BYTES * nr_frames
    chain = None if nr_frames is None else DIRECT_BYTES * nr_frames + CHAIN_BYTES * nr_chains
    served = compared.found == counts
    nr_found = int(counts[served].sum())
    visits, at_most = compared.visits[served], int(compared.visits_at_most[served].sum())
    nr_visits, most = int(visits.sum()), int(visits.max(initial=0))
    return (
        MapFigures("single", nr_single, nr_single, single, nr_single, min(nr_single, 1), 0, nr_single),
        MapFigures(
            "chain", len(counts), nr_entries, chain, nr_entries, int(counts.max(initial=0)), 0, nr_entries
        ),
        MapFigures(
            "object",
            int(np.count_nonzero(served)),
            nr_found,
            linked_bytes + KSM_ITEM_BYTES * nr_ksm,
            nr_visits,
            most,
            nr_visits - nr_found,
            at_most,
        ),
    )
