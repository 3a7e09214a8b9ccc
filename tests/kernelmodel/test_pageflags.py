"""kernelmodel.pageflags: the table is what the kernel's headers say."""

from __future__ import annotations

import pytest

from kernelmodel.pageflags import MASKS, PAGE_FLAGS, describe, mask

# include/uapi/linux/kernel-page-flags.h, bits 0 to 26; include/linux/kernel-page-flags.h, bits 32 to 42.
PUBLIC = [
    "LOCKED", "ERROR", "REFERENCED", "UPTODATE", "DIRTY", "LRU", "ACTIVE", "SLAB", "WRITEBACK", "RECLAIM",
    "BUDDY", "MMAP", "ANON", "SWAPCACHE", "SWAPBACKED", "COMPOUND_HEAD", "COMPOUND_TAIL", "HUGE",
    "UNEVICTABLE", "HWPOISON", "NOPAGE", "KSM", "THP", "OFFLINE", "ZERO_PAGE", "IDLE", "PGTABLE",
]  # fmt: skip
HACKING = [
    "RESERVED", "MLOCKED", "OWNER_2", "PRIVATE", "PRIVATE_2", "OWNER_PRIVATE", "ARCH", "UNCACHED",
    "SOFTDIRTY", "ARCH_2", "ARCH_3",
]  # fmt: skip


def test_bits_are_those_of_the_headers() -> None:
    expected = [*enumerate(PUBLIC), *((32 + i, name) for i, name in enumerate(HACKING))]
    assert [(flag.bit, flag.name) for flag in PAGE_FLAGS] == expected


def test_describe_names_every_bit_of_a_word() -> None:
    assert describe(2**64 - 1).count("|") == 63
    for flag in PAGE_FLAGS:
        assert describe(MASKS[flag.name]) == flag.name
    assert describe(mask("ANON", "LRU") | 1 << 63) == "LRU|ANON|bit63"


def test_a_name_that_no_kernel_knows_is_an_error() -> None:
    with pytest.raises(KeyError):
        mask("BALLON")
