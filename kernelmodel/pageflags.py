"""The bits of a /proc/kpageflags word, as data.

Bits 0 to 26 are ABI (``include/uapi/linux/kernel-page-flags.h``); 32 to 42 are "kernel hacking assistances"
that may change (``include/linux/kernel-page-flags.h``). ``fs/proc/page.c: stable_page_flags`` makes the word.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class PageFlag(NamedTuple):
    """One bit: number, the kernel's name without ``KPF_``, the release that brought it, what to beware of."""

    bit: int
    name: str
    since: str
    caveat: str


PAGE_FLAGS: Final = tuple(
    PageFlag(*row)
    for row in (
        (0, "LOCKED", "2.6.25", ""),
        (1, "ERROR", "2.6.25", "never set since 6.12, which removed PG_error"),
        (2, "REFERENCED", "2.6.25", "stale on pages that are on no LRU list"),
        (3, "UPTODATE", "2.6.25", "on a free block: already reported to the hypervisor (PG_reported)"),
        (4, "DIRTY", "2.6.25", ""),
        (5, "LRU", "2.6.25", "missing while a page waits in a per-CPU batch"),
        (6, "ACTIVE", "2.6.25", ""),
        (7, "SLAB", "2.6.25", "ANON and KSM beside it are noise"),
        (8, "WRITEBACK", "2.6.25", ""),
        (9, "RECLAIM", "2.6.25", "the same bit marks readahead"),
        (10, "BUDDY", "2.6.25", "head and inside of a free block since 4.6; no order; not the per-CPU lists"),
        (11, "MMAP", "2.6.31", "of the whole folio since 6.10, so also on pages of it that nobody maps"),
        (12, "ANON", "2.6.31", "noise on slab pages"),
        (13, "SWAPCACHE", "2.6.31", "only beside SWAPBACKED"),
        (14, "SWAPBACKED", "2.6.31", "anonymous or shared memory"),
        (15, "COMPOUND_HEAD", "2.6.31", ""),
        (16, "COMPOUND_TAIL", "2.6.31", ""),
        (17, "HUGE", "2.6.31", "hugetlb, also while free in its pool"),
        (18, "UNEVICTABLE", "2.6.31", ""),
        (19, "HWPOISON", "2.6.31", "of the whole folio on hugetlb"),
        (20, "NOPAGE", "2.6.31", "not reported by 6.16 and later"),
        (21, "KSM", "2.6.32", "on every anonymous page in some 6.12 kernels"),
        (22, "THP", "3.4", "any large folio since 6.10, page cache too"),
        (23, "OFFLINE", "3.19", "called BALLOON before 5.1"),
        (24, "ZERO_PAGE", "4.0", "with THP: the huge zero page"),
        (25, "IDLE", "4.3", "stale unless the idle bitmap was read first"),
        (26, "PGTABLE", "4.18", ""),
        (32, "RESERVED", "2.6.31", "not ABI"),
        (33, "MLOCKED", "2.6.31", "not ABI"),
        (34, "OWNER_2", "2.6.31", "not ABI; MAPPEDTODISK before 6.12; exclusive on anonymous pages"),
        (35, "PRIVATE", "2.6.31", "not ABI"),
        (36, "PRIVATE_2", "2.6.31", "not ABI"),
        (37, "OWNER_PRIVATE", "2.6.31", "not ABI"),
        (38, "ARCH", "2.6.31", "not ABI"),
        (39, "UNCACHED", "2.6.31", "not ABI; gone by 6.12"),
        (40, "SOFTDIRTY", "3.11", "not ABI; never set by the kernel"),
        (41, "ARCH_2", "5.10", "not ABI"),
        (42, "ARCH_3", "6.3", "not ABI"),
    )
)
"""Every bit that a kernel has given a meaning, by number."""

MASKS: Final = {flag.name: 1 << flag.bit for flag in PAGE_FLAGS}
"""Name to the word that has only that bit."""

_KNOWN: Final = sum(MASKS.values())


def mask(*names: str) -> int:
    """Return the word with exactly the bits `names`.

    >>> hex(mask("LRU", "ANON"))
    '0x1020'
    """
    word = 0
    for name in names:
        word |= MASKS[name]
    return word


def describe(word: int) -> str:
    """Return the names of the bits in `word`, lowest first; bits without a name by number; ``-`` for none.

    >>> describe(0x1020), describe(1 << 27), describe(0)
    ('LRU|ANON', 'bit27', '-')
    """
    names = [flag.name for flag in PAGE_FLAGS if word >> flag.bit & 1]
    names += [f"bit{bit}" for bit in range(64) if (word & ~_KNOWN) >> bit & 1]
    return "|".join(names) or "-"
