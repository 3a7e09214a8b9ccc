"""How fragmented the free memory of a snapshot is: free lists in, the kernel's indices out.

What takes page frames is in `vmprobe.bridge.frag_frames`, which takes longer to load than this to run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from kernelmodel.vmstat import (
    ScoreMarks,
    compaction_hpage_order,
    contig_page_info,
    debugfs_text,
    extfrag_for_order_percent,
    fragmentation_index_permille,
    fragmentation_score_node,
    fragmentation_score_wmark,
    unusable_free_index_permille,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kernelmodel.blockers import Potential
    from vmprobe.tables import Snapshot

__all__ = [
    "Contiguity",
    "Indices",
    "ScoreMarks",
    "ZoneMemory",
    "compaction_hpage_order",
    "contiguity",
    "debugfs_text",
    "fragmentation_score_node",
    "indices",
    "order_of",
    "pageblock_order",
    "usable_pages",
    "wmarks",
]

SIZES_BYTES: Final = (2 << 20, 4 << 20, 32 << 20, 1 << 30)
"""Sizes of which contiguity is told: huge pages of both levels, and two between."""


class Indices(NamedTuple):
    """Indices of one zone, each by order."""

    unusable_permille: tuple[int, ...]
    fragmentation_permille: tuple[int, ...]
    extfrag_percent: tuple[int, ...]


def indices(nr_free: Sequence[int]) -> Indices:
    """Return the indices of one zone from its free blocks by order."""
    found = (
        unusable_free_index_permille(nr_free),
        fragmentation_index_permille(nr_free),
        extfrag_for_order_percent(nr_free),
    )
    return Indices(*(tuple(int(each) for each in index) for index in found))


def wmarks(proactiveness: int) -> ScoreMarks | None:
    """Return between which scores kcompactd works; None where kernels differ about that."""
    old, new = (fragmentation_score_wmark(proactiveness, capped=capped) for capped in (True, False))
    return old if old == new else None


class ZoneMemory(NamedTuple):
    """Sizes of one zone in pages, and its free blocks by order; None for what was not read."""

    present_pages: int | None
    pcp_pages: int | None
    wmark_min: int | None
    nr_free: tuple[int, ...] | None


@dataclass(frozen=True)
class Contiguity:
    """Free memory in naturally aligned blocks of one size.

    Parameters
    ----------
    bytes, order
        The size; the order exceeds those of the free lists where several blocks must lie side by side.
    free_pages
        In such blocks now.
    permille_of_free
        The same as a share of free memory.
    after_pages
        In such blocks after perfect compaction: those without an immovable page, as far as free memory beyond
        the lowest watermark goes. Pages of flag word 0 stay where they are.
    permille_of_total
        The same as a share of all memory.
    at_most_pages, at_most_permille_of_total
        If every page of flag word 0 were free on a per-CPU list, as far as there are any.
    """

    bytes: int
    order: int
    free_pages: int | None
    permille_of_free: int | None
    after_pages: int | None
    permille_of_total: int | None
    at_most_pages: int | None
    at_most_permille_of_total: int | None


def contiguity(
    snapshot: Snapshot,
    memory: dict[tuple[int, str], ZoneMemory],
    potential: Callable[[int], Potential] | None,
) -> tuple[Contiguity, ...]:
    """Return how much memory is and could be free in blocks of each size.

    Parameters
    ----------
    snapshot
        For the size of a page.
    memory
        Zones that have memory, by node and name.
    potential
        Blocks of an order, in the frames; None without, and then only what the free lists say is known.
    """
    listed = [zone.nr_free for zone in memory.values()]
    nr_free = None if None in listed or not listed else [each for each in listed if each is not None]
    free_pages = None if nr_free is None else sum(usable_pages(each, 0) for each in nr_free)
    present = [zone.present_pages for zone in memory.values()]
    total = None if None in present or not present else sum(each for each in present if each is not None)
    rows = []
    for nr_bytes in SIZES_BYTES:
        order = order_of(nr_bytes, snapshot.page_size)
        could = None if potential is None else potential(order)
        now = None if could is None else could.now << order
        if nr_free is not None and order < len(nr_free[0]):
            now = sum(usable_pages(each, order) for each in nr_free)
        after = None if could is None else max(could.after << order, now or 0)
        at_most = None if could is None else max(could.at_most << order, now or 0)
        rows.append(
            Contiguity(
                nr_bytes,
                order,
                now,
                _permille(now, free_pages),
                after,
                _permille(after, total),
                at_most,
                _permille(at_most, total),
            )
        )
    return tuple(rows)


def order_of(nr_bytes: int, page_size: int) -> int:
    """Return log2 of the pages in a block of that size."""
    return (nr_bytes // page_size).bit_length() - 1


def pageblock_order(snapshot: Snapshot) -> int:
    """Return the order of a pageblock; that of a huge page where the snapshot does not tell."""
    order: int | None = snapshot.manifest.get("pageblock_order")
    return compaction_hpage_order(snapshot.page_size) if order is None else order


def usable_pages(nr_free: Sequence[int], order: int) -> int:
    """Return the free pages of one zone in blocks of an order or more."""
    return int(contig_page_info(nr_free).usable_pages[order])


def _permille(part: int | None, whole: int | None) -> int | None:
    return None if part is None or not whole else part * 1000 // whole
