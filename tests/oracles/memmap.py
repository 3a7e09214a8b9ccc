"""Frames, folios and page tables by dictionaries, one page at a time."""

from __future__ import annotations

HEAD, TAIL = 1 << 15, 1 << 16
"""include/uapi/linux/kernel-page-flags.h, typed in by hand once more."""


def pfns(ranges: list[tuple[int, int]]) -> list[int]:
    """Return every frame of the ranges."""
    return [pfn for start, end in ranges for pfn in range(start, end)]


def runs(ranges: list[tuple[int, int]], chosen: list[bool]) -> list[tuple[int, int]]:
    """Return the half-open ranges of chosen frames; a range of rows never goes on in the next."""
    picked = {pfn for pfn, yes in zip(pfns(ranges), chosen, strict=True) if yes}
    found = []
    for start, end in ranges:
        pfn = start
        while pfn < end:
            first = pfn
            while pfn < end and pfn in picked:
                pfn += 1
            if pfn > first:
                found.append((first, pfn))
            pfn += pfn == first
    return found


def folios(ranges: list[tuple[int, int]], words: list[int]) -> list[tuple[int, int]]:
    """Return (head, pages) of each head with the tails right behind it."""
    by_pfn = dict(zip(pfns(ranges), words, strict=True))
    found = []
    for start, end in ranges:
        for pfn in range(start, end):
            if by_pfn[pfn] & HEAD:
                last = pfn + 1
                while last < end and by_pfn[last] & TAIL:
                    last += 1
                found.append((pfn, last - pfn))
    return found


def reverse(entries: dict[tuple[int, int], int]) -> dict[int, list[tuple[int, int]]]:
    """Return who maps each frame: (mm, vpn), in order."""
    found: dict[int, list[tuple[int, int]]] = {}
    for (mm, vpn), pfn in sorted(entries.items()):
        found.setdefault(pfn, []).append((mm, vpn))
    return found
