"""How many blocks of an order can be taken now: from free lists, watermarks and reserves, without a frame.

What compaction would add takes frames and is in `vmprobe.bridge.can_alloc`; both say the same of now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmprobe.tables import Snapshot


class ZoneFree(NamedTuple):
    """What is free in one zone.

    Parameters
    ----------
    node, zone
        Which zone.
    nr_free
        Blocks by order, by buddyinfo.
    reserve_pages
        Pages that a request which any zone would do for must leave there: the lowest watermark, without its
        boost, and the largest lowmem reserve (``mm/page_alloc.c: __zone_watermark_ok``).
    """

    node: int
    zone: str
    nr_free: tuple[int, ...]
    reserve_pages: int

    @property
    def free_pages(self) -> int:
        """Pages in the free lists."""
        return sum(nr << order for order, nr in enumerate(self.nr_free))

    def room(self, order: int) -> int:
        """Return the blocks that all of what may be taken would make, if it lay together."""
        return max(0, self.free_pages - self.reserve_pages) >> order

    def listed(self, order: int) -> int | None:
        """Return the blocks that are free; None where larger ranges may be, and only frames can tell.

        >>> zone = ZoneFree(0, "Normal", (0, 1, 3), 4)
        >>> zone.listed(1), zone.listed(3), zone.listed(4)
        (7, None, 0)
        """
        largest = len(self.nr_free) - 1
        if order > largest:
            # Side by side the largest blocks may make a range, but not one of more pages than they have.
            return None if self.nr_free[largest] >> (order - largest) else 0
        return sum(nr << of - order for of, nr in enumerate(self.nr_free) if of >= order)


def free_lists(snapshot: Snapshot) -> dict[tuple[int, str], tuple[int, ...]] | None:
    """Return the free blocks of each zone by order, by node and name; None where they were not read."""
    if not snapshot.has("free_areas"):
        return None
    found: dict[tuple[int, str], list[int]] = {}
    for node, zone, _, nr in sorted(snapshot.table("free_areas").rows("node", "zone", "order", "nr_free")):
        found.setdefault((node, zone), []).append(nr)
    return {key: tuple(blocks) for key, blocks in found.items()}


def zones_free(snapshot: Snapshot) -> tuple[ZoneFree, ...] | None:
    """Return what is free in each zone that has memory; None where it is not known of any of them."""
    lists = free_lists(snapshot)
    if lists is None or not snapshot.has("zones"):
        return None
    reserves = lowmem_reserves(snapshot)
    found = []
    columns = ("node", "zone", "present_pages", "wmark_min", "boost")
    for node, zone, present_pages, wmark_min, boost in snapshot.table("zones").rows(*columns):
        if not present_pages:
            continue
        if wmark_min is None or (node, zone) not in lists:
            return None
        reserve = wmark_min - (boost or 0) + reserves.get((node, zone), 0)
        found.append(ZoneFree(node, zone, lists[node, zone], reserve))
    return tuple(found)


def lowmem_reserves(snapshot: Snapshot) -> dict[tuple[int, str], int]:
    """Return the pages of each zone that are kept from requests which any zone would do for."""
    rows = snapshot.table("zones").rows("node", "zone", "lowmem_reserve")
    return {(node, zone): int(max(kept, default=0)) for node, zone, kept in rows if kept is not None}


def obtainable_now(zones: Sequence[ZoneFree], order: int) -> int | None:
    """Return the blocks that can be taken now; None where only frames can tell.

    >>> obtainable_now([ZoneFree(0, "Normal", (0, 1, 3), 4)], 1)
    5
    """
    total = 0
    for zone in zones:
        room, listed = zone.room(order), zone.listed(order)
        if room and listed is None:
            return None
        total += min(room, listed or 0)
    return total


def room_for(zones: Sequence[ZoneFree], order: int) -> int:
    """Return the blocks that free memory above the watermarks would make, if it lay together in each zone.

    Where this is 0, memory is short: a request fails for want of pages, and compaction does not help.
    """
    return sum(zone.room(order) for zone in zones)
