"""Whether one frame can move, and what one pageblock holds, rule by rule and frame by frame."""

from __future__ import annotations

from tests.oracles.pageclass import class_name

BITS = {
    "LOCKED": 0, "REFERENCED": 2, "UPTODATE": 3, "DIRTY": 4, "LRU": 5, "ACTIVE": 6, "WRITEBACK": 8,
    "ANON": 12, "SWAPCACHE": 13, "SWAPBACKED": 14, "HEAD": 15, "TAIL": 16, "UNEVICTABLE": 18, "KSM": 21,
    "MLOCKED": 33, "PRIVATE": 35,
}  # fmt: skip
"""Both headers called kernel-page-flags.h, typed in by hand once more."""

OF_THE_FOLIO = (
    "LOCKED", "REFERENCED", "UPTODATE", "DIRTY", "LRU", "ACTIVE", "WRITEBACK", "ANON", "SWAPCACHE",
    "SWAPBACKED", "UNEVICTABLE", "KSM", "MLOCKED",
)  # fmt: skip
"""What kernels up to 6.9 print on the head alone."""

STAY = ("HOLE", "HWPOISON", "SLAB", "PGTABLE", "HUGETLB", "ZERO", "RESERVED")
VERDICTS = {
    "free": ("FREE",),
    "yes": ("ANON", "SHMEM", "FILE", "LARGE", "UNEVICTABLE", "MOVABLE_OPS"),
    "if": (
        "DIRTY", "DIRTY_LARGE", "WRITEBACK", "LOCKED", "OFF_LRU", "UNEVICTABLE_UNTOLD", "HELD",
        "HIDDEN_MAPPERS",
    ),
    "no": (*STAY, "UNEVICTABLE_KEPT", "DRIVER", "KERNEL"),
    "unknown": (
        "OFFLINE", "ZSMALLOC_OR_DRIVER", "CACHE_OR_KERNEL", "SECRET_OR_MLOCKED", "UNKNOWN", "UNREAD",
    ),
}  # fmt: skip


def has(word: int, flag: str) -> bool:
    return bool(word >> BITS[flag] & 1)


def verdict(name: str) -> str:
    return next(v for v, names in VERDICTS.items() if name in names)


def movability(word: int, allowed: bool | None, zspages: int | None) -> str:
    """Return the name of the `Movability` of a word."""
    kind = class_name(word, trust_ksm=True)
    if kind in (*STAY, "FREE", "UNKNOWN"):
        return kind
    if kind == "OFFLINE":
        return "MOVABLE_OPS" if has(word, "UPTODATE") else "OFFLINE"
    if kind == "DRIVER":
        return "DRIVER" if zspages == 0 else "ZSMALLOC_OR_DRIVER"
    if kind == "KERNEL":
        if has(word, "PRIVATE") and zspages != 0:
            return "ZSMALLOC_OR_DRIVER"
        return "CACHE_OR_KERNEL" if has(word, "UPTODATE") else "KERNEL"
    return lru_page(word, kind, allowed)


def lru_page(word: int, kind: str, allowed: bool | None) -> str:
    """What the compaction scanner asks of a page of processes or of the page cache, in its order."""
    unevictable, lru = has(word, "UNEVICTABLE"), has(word, "LRU")
    large = has(word, "HEAD") or has(word, "TAIL")
    answer = "LARGE" if large else kind if kind in {"SHMEM", "FILE"} else "ANON"
    if unevictable:
        answer = "UNEVICTABLE"
    if kind == "FILE" and has(word, "DIRTY"):
        answer = "DIRTY_LARGE" if large else "DIRTY"
    if unevictable and allowed is None:
        answer = "UNEVICTABLE_UNTOLD"
    if not lru:
        answer = "SECRET_OR_MLOCKED" if kind == "FILE" and has(word, "MLOCKED") else "OFF_LRU"
    for flag in ("LOCKED", "WRITEBACK"):
        if has(word, flag):
            answer = flag
    return "UNEVICTABLE_KEPT" if unevictable and allowed is False else answer


def with_head(words: list[int], row: int) -> int:
    """Return the word of a row, a tail's with the flags of the head that the frames before it lead to."""
    owner = row
    while owner > 0 and has(words[owner], "TAIL"):
        owner -= 1
    word = words[row]
    if has(words[owner], "HEAD"):
        for flag in OF_THE_FOLIO:
            word |= words[owner] & (1 << BITS[flag])
    return word


def frames(
    ranges: list[tuple[int, int]],
    words: list[int],
    *,
    known: list[bool] | None,
    ram: list[tuple[int, int]] | None,
    allowed: bool | None,
    zspages: int | None,
) -> list[str]:
    """Return the name of the `Movability` of every frame."""
    names = []
    pfns = [pfn for start, end in ranges for pfn in range(start, end)]
    for row, pfn in enumerate(pfns):
        name = movability(with_head(words, row), allowed, zspages)
        if name == "UNKNOWN" and ram is not None and not any(start <= pfn < end for start, end in ram):
            name = "HOLE"
        names.append(name if known is None or known[row] else "UNREAD")
    return names


def pageblocks(ranges: list[tuple[int, int]], names: list[str], order: int) -> dict[int, list[int]]:
    """Return, for each pageblock that has frames, its frames by verdict: free, yes, if, no, unknown."""
    pfns = [pfn for start, end in ranges for pfn in range(start, end)]
    by_pfn = dict(zip(pfns, names, strict=True))
    blocks = {}
    for start in sorted({pfn >> order << order for pfn in pfns}):
        counts = dict.fromkeys(VERDICTS, 0)
        for pfn in range(start, start + (1 << order)):
            counts[verdict(by_pfn.get(pfn, "HOLE"))] += 1
        blocks[start] = list(counts.values())
    return blocks


def content(counts: list[int]) -> str:
    """Return a pageblock in a word."""
    free, yes, conditional, no, unknown = counts
    movable = yes + conditional
    if not movable and not no and not unknown:
        return "free"
    if no and not free and not movable:
        return "unmovable"
    if no == 1 and not unknown:
        return "one unmovable page only"
    if no:
        return "mixed"
    return "unknown" if unknown else "movable only"
