"""The class of one flag word, rule by rule, as slowly and plainly as possible."""

from __future__ import annotations

BITS = {
    "UPTODATE": 3, "LRU": 5, "SLAB": 7, "BUDDY": 10, "MMAP": 11, "ANON": 12, "SWAPCACHE": 13,
    "SWAPBACKED": 14, "HUGE": 17, "HWPOISON": 19, "NOPAGE": 20, "KSM": 21,
    "OFFLINE": 23, "ZERO_PAGE": 24, "PGTABLE": 26, "RESERVED": 32,
}  # fmt: skip
"""include/uapi/linux/kernel-page-flags.h, typed in by hand once more."""


def class_name(word: int, *, trust_ksm: bool) -> str:
    """Return the name of the `PageClass` of `word`."""
    flags = {name for name, bit in BITS.items() if word & (1 << bit)}
    if word == 0:
        return "UNKNOWN"
    for flag, name in (
        ("NOPAGE", "HOLE"),
        ("HWPOISON", "HWPOISON"),
        ("BUDDY", "FREE"),
        ("SLAB", "SLAB"),
        ("PGTABLE", "PGTABLE"),
        ("HUGE", "HUGETLB"),
        ("ZERO_PAGE", "ZERO"),
        ("OFFLINE", "OFFLINE"),
        ("RESERVED", "RESERVED"),
    ):
        if flag in flags:
            return name
    if "ANON" in flags:
        return "KSM" if "KSM" in flags and trust_ksm else "ANON"
    if "SWAPBACKED" in flags:
        return "SWAPCACHE" if "SWAPCACHE" in flags else "SHMEM"
    if "LRU" in flags or {"MMAP", "UPTODATE"} <= flags:
        return "FILE"
    return "DRIVER" if "MMAP" in flags else "KERNEL"
