"""Whether a frame can be moved away from its place: what page migration and compaction take, and what stays.

Mirrors: ``mm/compaction.c: isolate_migratepages_block``, ``mm/migrate.c: migrate_folio_unmap,
move_to_new_folio``, ``include/linux/page-flags.h: PG_movable_ops``.
Fidelity: from the flag word alone, and from map counts where the caller has them. No reference count is
exported, so a long-term pin of a page that is still mapped is not seen; nor is what a file system can move.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.pageclass import PageClass, classify
from kernelmodel.pageflags import mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.memmap import MemMap


class Verdict(IntEnum):
    """The short answer."""

    FREE = 0
    YES = 1
    IF = 2
    NO = 3
    UNKNOWN = 4

    @property
    def word(self) -> str:
        """The verdict as output spells it.

        >>> Verdict.IF.word
        'if'
        """
        return self.name.lower()


class Movability(IntEnum):
    """Why a frame can be moved or not; every frame has exactly one."""

    FREE = 0
    ANON = 1
    SHMEM = 2
    FILE = 3
    LARGE = 4
    UNEVICTABLE = 5
    MOVABLE_OPS = 6
    DIRTY = 7
    DIRTY_LARGE = 8
    WRITEBACK = 9
    LOCKED = 10
    OFF_LRU = 11
    UNEVICTABLE_UNTOLD = 12
    HELD = 13
    HIDDEN_MAPPERS = 14
    UNEVICTABLE_KEPT = 15
    HOLE = 16
    HWPOISON = 17
    SLAB = 18
    PGTABLE = 19
    HUGETLB = 20
    ZERO = 21
    RESERVED = 22
    DRIVER = 23
    KERNEL = 24
    OFFLINE = 25
    ZSMALLOC_OR_DRIVER = 26
    CACHE_OR_KERNEL = 27
    SECRET_OR_MLOCKED = 28
    UNKNOWN = 29
    UNREAD = 30


class MovabilityInfo(NamedTuple):
    """Verdict, and the reason; for ``if`` the reason is the condition."""

    verdict: Verdict
    reason: str


_REASONS: Final = {
    Verdict.FREE: {Movability.FREE: "in the buddy allocator: nothing to move"},
    Verdict.YES: {
        Movability.ANON: "anonymous memory on an LRU list",
        Movability.SHMEM: "shared memory on an LRU list",
        Movability.FILE: "clean page cache on an LRU list",
        Movability.LARGE: "a large folio moves as one; compaction takes those below the order it works for"
        " (none before Linux 6.9)",
        Movability.UNEVICTABLE: "unevictable, and vm.compact_unevictable_allowed is 1",
        Movability.MOVABLE_OPS: "its driver can move it (a balloon)",
    },
    Verdict.IF: {
        Movability.DIRTY: "dirty page cache: moves where its file system moves dirty pages, or after a sync",
        Movability.DIRTY_LARGE: "dirty large folio: needs a free block of its own order until a sync, as it"
        " cannot be split",
        Movability.WRITEBACK: "under writeback: only fully synchronous migration (compact_memory) waits",
        Movability.LOCKED: "locked at that moment: asynchronous compaction passes it over",
        Movability.OFF_LRU: "on no LRU list: moves once the per-CPU batch that holds it is drained",
        Movability.UNEVICTABLE_UNTOLD: "unevictable: moves where vm.compact_unevictable_allowed is 1",
        Movability.HELD: "anonymous, yet nobody maps it: moves once who holds it lets go (a pin, a pipe, a"
        " per-CPU batch)",
        Movability.HIDDEN_MAPPERS: "the kernel counts more mappings than were found: moves unless one of"
        " those pins it",
    },
    Verdict.NO: {
        Movability.UNEVICTABLE_KEPT: "unevictable, and vm.compact_unevictable_allowed is 0; only CMA and"
        " offlining move it",
        Movability.HOLE: "no memory at that address",
        Movability.HWPOISON: "lost to a memory error",
        Movability.SLAB: "kernel objects, which have pointers to them",
        Movability.PGTABLE: "page tables",
        Movability.HUGETLB: "compaction passes hugetlb pages over; only CMA and offlining move them",
        Movability.ZERO: "the shared zero page",
        Movability.RESERVED: "reserved at boot",
        Movability.DRIVER: "a driver's memory, mapped into processes",
        Movability.KERNEL: "kernel memory, on no LRU list",
    },
    Verdict.UNKNOWN: {
        Movability.OFFLINE: "given to the hypervisor: a balloon's pages can move, others cannot",
        Movability.ZSMALLOC_OR_DRIVER: "of zsmalloc, whose pages move, or of a driver, whose do not",
        Movability.CACHE_OR_KERNEL: "page cache in a per-CPU batch, which then moves, or the kernel's",
        Movability.SECRET_OR_MLOCKED: "secret memory, which never moves, or mlocked and in a per-CPU batch",
        Movability.UNKNOWN: "flag word 0: free on a per-CPU list, or the kernel's",
        Movability.UNREAD: "its flag word could not be read",
    },
}
MOVABILITY_INFO: Final = {
    code: MovabilityInfo(verdict, reason)
    for verdict, reasons in _REASONS.items()
    for code, reason in reasons.items()
}
"""Verdict and reason of each code."""

VERDICTS: Final = np.array([MOVABILITY_INFO[code].verdict for code in Movability], np.uint8)
"""uint8, the `Verdict` of each code, to be indexed by codes."""

_BY_CLASS: Final = {
    PageClass.HOLE: Movability.HOLE,
    PageClass.HWPOISON: Movability.HWPOISON,
    PageClass.FREE: Movability.FREE,
    PageClass.SLAB: Movability.SLAB,
    PageClass.PGTABLE: Movability.PGTABLE,
    PageClass.HUGETLB: Movability.HUGETLB,
    PageClass.ZERO: Movability.ZERO,
    PageClass.OFFLINE: Movability.OFFLINE,
    PageClass.RESERVED: Movability.RESERVED,
    PageClass.KSM: Movability.ANON,
    PageClass.ANON: Movability.ANON,
    PageClass.SWAPCACHE: Movability.ANON,
    PageClass.SHMEM: Movability.SHMEM,
    PageClass.FILE: Movability.FILE,
    PageClass.DRIVER: Movability.DRIVER,
    PageClass.KERNEL: Movability.KERNEL,
    PageClass.UNKNOWN: Movability.UNKNOWN,
}
_PLAIN: Final = np.array([_BY_CLASS[page_class] for page_class in PageClass], np.uint8)
"""The code of each class where nothing else is known of the frame."""

_ON_LRU: Final = np.isin(_PLAIN, (Movability.ANON, Movability.SHMEM, Movability.FILE))
"""Which classes live on LRU lists."""


def movability(
    words: NDArray[np.uint64], *, unevictable_allowed: bool | None, nr_zspages: int | None
) -> NDArray[np.uint8]:
    """Return the `Movability` of each flag word. O(words): give it distinct words where there are many.

    What stays for good comes first, then what passes (writeback, a lock), then the rest: the first rule that
    fits wins.

    Parameters
    ----------
    words
        Words of /proc/kpageflags, tails with their head's bits (`kernelmodel.pageclass.inherit_from_head`).
    unevictable_allowed
        vm.compact_unevictable_allowed; None where it was not told.
    nr_zspages
        Pages of zsmalloc, which no flag tells from a driver's; None where that was not told.

    Examples
    --------
    >>> some = np.array([mask("LRU", "ANON"), mask("LRU", "DIRTY"), mask("SLAB")], np.uint64)
    >>> [Movability(code).name for code in movability(some, unevictable_allowed=True, nr_zspages=0)]
    ['ANON', 'DIRTY', 'SLAB']
    """

    def has(*names: str) -> NDArray[np.bool_]:
        wanted = np.uint64(mask(*names))
        found: NDArray[np.bool_] = (words & wanted) == wanted
        return found

    kind = classify(words)
    lru, file = _ON_LRU[kind], kind == PageClass.FILE
    unevictable = lru & has("UNEVICTABLE")
    dirty, large = file & has("DIRTY"), lru & (has("COMPOUND_HEAD") | has("COMPOUND_TAIL"))
    off, kernel = lru & ~has("LRU"), kind == PageClass.KERNEL
    # The first page of a zspage has PRIVATE; up to 6.11 each one looks mapped.
    zsmalloc = (kind == PageClass.DRIVER) | (kernel & has("PRIVATE"))
    rules = (
        (unevictable & (unevictable_allowed is False), Movability.UNEVICTABLE_KEPT),
        (lru & has("WRITEBACK"), Movability.WRITEBACK),
        (lru & has("LOCKED"), Movability.LOCKED),
        (off & file & has("MLOCKED"), Movability.SECRET_OR_MLOCKED),
        (off, Movability.OFF_LRU),
        (unevictable & (unevictable_allowed is None), Movability.UNEVICTABLE_UNTOLD),
        (dirty & large, Movability.DIRTY_LARGE),
        (dirty, Movability.DIRTY),
        (unevictable, Movability.UNEVICTABLE),
        (large, Movability.LARGE),
        # PG_movable_ops is PG_uptodate on pages that have a type (6.17 and later).
        ((kind == PageClass.OFFLINE) & has("UPTODATE"), Movability.MOVABLE_OPS),
        (zsmalloc & (nr_zspages != 0), Movability.ZSMALLOC_OR_DRIVER),
        (kernel & has("UPTODATE"), Movability.CACHE_OR_KERNEL),
    )
    conditions = [condition for condition, _ in rules]
    codes = [np.uint8(code) for _, code in rules]
    return np.select(conditions, codes, _PLAIN[kind]).astype(np.uint8)


def frame_movability(
    frames: MemMap,
    ram: NDArray[np.int64] | None,
    *,
    unevictable_allowed: bool | None,
    nr_zspages: int | None,
) -> NDArray[np.uint8]:
    """Return the `Movability` of every frame of a host, by row.

    Parameters
    ----------
    frames
        The frames.
    ram
        int64, shape (n, 2): sorted disjoint frame ranges with memory behind them; None where that is not
        known. A word of 0 outside them is a hole.
    unevictable_allowed, nr_zspages
        As for `movability`.
    """
    codes = frames.by_word(
        lambda words: movability(words, unevictable_allowed=unevictable_allowed, nr_zspages=nr_zspages)
    )
    if ram is not None:
        codes[(codes == Movability.UNKNOWN) & ~inside_ram(frames, ram)] = Movability.HOLE
    if frames.known is not None:
        codes[~frames.known] = Movability.UNREAD
    return codes


def inside_ram(frames: MemMap, ram: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows lie in `ram`; both are a handful of ranges."""
    low = np.maximum.outer(frames.ranges[:, 0], ram[:, 0])
    high = np.minimum.outer(frames.ranges[:, 1], ram[:, 1])
    meet = low < high
    inside = np.zeros(len(frames), np.bool_)
    for row, nr in zip(frames.rows(low[meet]).tolist(), (high - low)[meet].tolist(), strict=True):
        inside[row : row + nr] = True
    return inside


def suspect_pins(
    codes: NDArray[np.uint8],
    words: NDArray[np.uint64],
    counted: NDArray[np.int64],
    found: NDArray[np.int64] | None,
) -> NDArray[np.uint8]:
    """Return `codes` with the anonymous frames set apart that something may hold in place.

    Compaction passes an anonymous page over that has more references than mappings. References are not
    exported, but two things can be seen: an anonymous page that nobody maps, of which a reference is all that
    is left, and one with more mappings than could be looked at.

    Parameters
    ----------
    codes
        Of `frame_movability`.
    words
        Flag words, tails with their head's bits.
    counted
        The kernel's map counts; not those of large folios where they are averages.
    found
        Page-table entries that were found; None without page tables.
    """
    anon = (words & np.uint64(mask("ANON"))) != 0
    verdict = VERDICTS[codes]
    anon &= (verdict == Verdict.YES) | (verdict == Verdict.IF)
    # A page of a large folio may be unmapped while others are not; the swap cache holds without a pin; and
    # what was mapped between the readings of both files is not held.
    kept = (words & np.uint64(mask("SWAPCACHE", "MMAP", "COMPOUND_HEAD", "COMPOUND_TAIL"))) != 0
    refined = np.where(anon & ~kept & (counted == 0), np.uint8(Movability.HELD), codes)
    if found is not None:
        refined = np.where(anon & (counted > found), np.uint8(Movability.HIDDEN_MAPPERS), refined)
    return refined.astype(np.uint8)
