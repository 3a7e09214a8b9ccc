"""The indices of fragmentation once more, from the C of mm/vmstat.c and mm/compaction.c, line by line.

A zone is a list of free blocks by order; one order at a time, plain ints, C's division.
"""

from __future__ import annotations


def c_div(a: int, b: int) -> int:
    """Divide as C does: towards zero."""
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def c_mod(a: int, b: int) -> int:
    return a - b * c_div(a, b)


def fill_contig_page_info(zone: list[int], suitable_order: int) -> dict[str, int]:
    info = {"free_pages": 0, "free_blocks_total": 0, "free_blocks_suitable": 0}
    for order, blocks in enumerate(zone):
        info["free_blocks_total"] += blocks
        info["free_pages"] += blocks << order
        if order >= suitable_order:
            info["free_blocks_suitable"] += blocks << (order - suitable_order)
    return info


def unusable_free_index(zone: list[int], order: int) -> int:
    info = fill_contig_page_info(zone, order)
    if info["free_pages"] == 0:
        return 1000
    return c_div((info["free_pages"] - (info["free_blocks_suitable"] << order)) * 1000, info["free_pages"])


def fragmentation_index(zone: list[int], order: int) -> int:
    info = fill_contig_page_info(zone, order)
    requested = 1 << order
    if not info["free_blocks_total"]:
        return 0
    if info["free_blocks_suitable"]:
        return -1000
    return 1000 - c_div(1000 + c_div(info["free_pages"] * 1000, requested), info["free_blocks_total"])


def extfrag_for_order(zone: list[int], order: int) -> int:
    info = fill_contig_page_info(zone, order)
    if info["free_pages"] == 0:
        return 0
    return c_div((info["free_pages"] - (info["free_blocks_suitable"] << order)) * 100, info["free_pages"])


def printed(index: int) -> str:
    """seq_printf(m, "%d.%03d ", index / 1000, index % 1000)."""
    return "%d.%03d" % (c_div(index, 1000), c_mod(index, 1000))  # noqa: UP031 - as C has it


def score_node(zones: list[tuple[int, list[int]]], order: int) -> int:
    node_present_pages = 0
    for present_pages, _ in zones:
        node_present_pages += present_pages
    score = 0
    for present_pages, zone in zones:
        if present_pages:
            score += c_div(present_pages * extfrag_for_order(zone, order), node_present_pages + 1)
    return score


def wmark(proactiveness: int, low: bool) -> int:
    """Linux 5.9 to 6.15."""
    wmark_low = max(100 - proactiveness, 5)
    return wmark_low if low else min(wmark_low + 10, 100)


def wmark_uncapped(proactiveness: int, low: bool) -> int:
    """Without the cap."""
    wmark_low = 100 - proactiveness
    leeway = min(10, c_div(wmark_low, 2))
    return wmark_low if low else min(wmark_low + leeway, 100)
