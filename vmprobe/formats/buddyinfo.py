"""/proc/buddyinfo: free blocks per zone and order.

Kernel source: ``mm/vmstat.c: frag_show, frag_show_print``; zones without memory are left out.
"""

from __future__ import annotations

from typing import NamedTuple

from vmprobe.formats.lines import empty, lines


class BuddyRow(NamedTuple):
    """One zone.

    Parameters
    ----------
    node, zone
        NUMA node and zone name.
    nr_free
        Free blocks of 2**order pages at index order; pages on per-CPU lists are not in them.
    """

    node: int
    zone: str
    nr_free: tuple[int, ...]


def parse(data: bytes, *, file: str = "buddyinfo") -> list[BuddyRow]:
    r"""Return the zones in the order printed.

    The number of orders is the number of columns: 11 on x86-64, up to 14 elsewhere.

    Raises
    ------
    FormatError
        A line is malformed, a zone comes twice, rows differ in their columns, or there are none.

    Examples
    --------
    >>> parse(b"Node 0, zone      DMA      0      1      2 \n")
    [BuddyRow(node=0, zone='DMA', nr_free=(0, 1, 2))]
    """
    rows: list[BuddyRow] = []
    seen: set[tuple[int, str]] = set()
    for line in lines(data, file):
        node, zone, rest = line.zone()
        nr_free = tuple(line.unsigned(word, "a number of blocks") for word in rest.split())
        if (node, zone) in seen:
            raise line.error("expected each zone once")
        seen.add((node, zone))
        wanted = len(rows[0].nr_free) if rows else len(nr_free) or 1
        if len(nr_free) != wanted:
            raise line.error(f"expected {wanted} orders, found {len(nr_free)}")
        rows.append(BuddyRow(node, zone, nr_free))
    if not rows:
        raise empty(file)
    return rows
