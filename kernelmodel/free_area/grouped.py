"""``buddy-grouped``: Linux today, over the zones of a node.

Blocks are taken as `kernelmodel.free_area.slowpath` says; here is what gives them back, claims one, and makes
the zones of a ground.

Mirrors: mm/page_alloc.c (6.15 and later): prep_move_freepages_block, __isolate_free_page; in each zone
`kernelmodel.page_alloc`.
Fidelity: used frames are kept one by one, so that parts of a block can be given back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel._jit import compiled, jit
from kernelmodel.compaction.zone_layout import FIRST_MOVABLE, LAST_MOVABLE, Frame
from kernelmodel.errors import InvariantError
from kernelmodel.free_area.interface import Functions
from kernelmodel.free_area.policy import Policy
from kernelmodel.free_area.slowpath import (
    DEFRAG,
    DMA32,
    NOFRAGMENT,
    NORMAL,
    NR_INFO,
    NR_ZONES,
    ZONE_FALLBACKS,
    Zones,
    drain_all,
    drain_one,
    tag_used,
    take_grouped,
)
from kernelmodel.geometry import Geometry
from kernelmodel.page_alloc.check import Check
from kernelmodel.page_alloc.freelist import (
    account_freepages,
    add_to_free_list,
    del_from_free_list,
    is_free_buddy,
    pageblock_type,
)
from kernelmodel.page_alloc.layout import Layout, Tuning, UsedBlocks, build
from kernelmodel.page_alloc.rebuild import FreeBlocks, free_blocks
from kernelmodel.page_alloc.state import (
    FREE,
    MANAGED,
    NO_PAGE,
    NR_CLAIMS,
    NR_FRAMES,
    NR_FREE,
    NR_KSWAPD_WAKEUPS,
    NR_ORDERS,
    NR_STEALS,
    NR_UNRESERVED,
    ORDER_MASK,
    PAGEBLOCK_ORDER,
    PCP,
    TAIL,
    USED,
    USED_MOVABLE,
    WORD,
    ZONE_END,
    ZONE_FIRST,
    Zone,
)
from kernelmodel.page_alloc.state import (
    KIND_MASK as WORD_KIND,
)
from kernelmodel.page_alloc.stream import free_page
from kernelmodel.ranges import true_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.free_area.ground import Ground, ZoneGround

LRU_OR_MOVABLE_OPS: Final = (*range(FIRST_MOVABLE, LAST_MOVABLE + 1), Frame.PINNED, Frame.HELD)
"""Kinds of pages that prep_move_freepages_block counts as movable."""


@jit
def zone_at(node: Zones, index: int) -> int:
    """Return the type of the zone that holds a frame; NO_PAGE where none does."""
    for at in range(NR_ZONES):
        info = node.zones[at].info
        inside = index - node.first[at]
        if info[MANAGED] and info[ZONE_FIRST] <= inside < info[ZONE_END]:
            return at
    return NO_PAGE


@jit
def release_grouped(node: Zones, index: int, order: int, cpu: int) -> None:
    """Give a block back through the lists of a CPU."""
    at = zone_at(node, index)
    zone = node.zones[at]
    index -= int(node.first[at])
    word = int(zone.page[index, WORD]) & WORD_KIND
    tag_used(zone, index, order, TAIL)
    zone.page[index, WORD] = word | order
    free_page(zone, index, order, cpu % zone.pcp.shape[0], 0)


@jit
def free_block_around(zone: Zone, index: int, order: int) -> int:
    """Return the order of the free block that holds a range; NO_PAGE where none does."""
    for above in range(order, zone.info[NR_ORDERS]):
        if is_free_buddy(zone, index & -(1 << above), above):
            return above
    return NO_PAGE


@jit
def isolate(zone: Zone, index: int, order: int, word: int) -> None:
    """Take a range out of the free block that holds it; the rest goes back to the lists."""
    above = free_block_around(zone, index, order)
    start = index & -(1 << above)
    account_freepages(zone, -(1 << order), pageblock_type(zone, index))
    del_from_free_list(zone, start, above)
    while above > order:
        above -= 1
        upper = start + (1 << above)
        rest = upper if index < upper else start
        if index >= upper:
            start = upper
        add_to_free_list(zone, rest, above, pageblock_type(zone, rest), False)
    tag_used(zone, index, order, word)


@jit
def claim_grouped(node: Zones, index: int, order: int, movable: int) -> bool:
    """Take one certain block; see `kernelmodel.free_area.interface.claim`.

    Free buddies merge below the order of a pageblock, but not always above: pageblock by pageblock.
    """
    at = zone_at(node, index)
    if at == NO_PAGE:
        return False
    zone = node.zones[at]
    index -= int(node.first[at])
    step = min(order, int(zone.info[PAGEBLOCK_ORDER]))
    if index + (1 << order) > zone.info[NR_FRAMES]:
        return False
    for piece in range(index, index + (1 << order), 1 << step):
        if free_block_around(zone, piece, step) == NO_PAGE:
            return False
    for piece in range(index, index + (1 << order), 1 << step):
        isolate(zone, piece, step, USED_MOVABLE if movable else USED)
    return True


class Grouped(Policy):
    """Linux today (``typing.override`` needs Python 3.12).

    Parameters
    ----------
    name, ground, pure
        As for `Policy`.
    defrag_mode
        1 as if the sysctl were set; 0 as the ground's zones are tuned.
    """

    state: Zones

    def __init__(self, name: str, ground: Ground, *, pure: bool = False, defrag_mode: int = 0) -> None:
        functions = Functions(take_grouped, release_grouped, claim_grouped)
        super().__init__(name, ground, _zones(ground, defrag=bool(defrag_mode)), functions, pure=pure)

    def drain(self) -> None:  # type: ignore[explicit-override]
        """Give the pages of all CPUs' lists back."""
        compiled(drain_all, pure=self._pure)(self.state)

    def drain_cpu(self, cpu: int) -> None:  # type: ignore[explicit-override]
        """Give the pages of a CPU's lists back."""
        compiled(drain_one, pure=self._pure)(self.state, cpu)

    @property
    def nr_free(self) -> int:
        """Free pages on the buddy lists."""
        return sum(int(zone.info[NR_FREE]) for zone in self.state.zones)

    def _blocks(self, kind: int) -> FreeBlocks:
        start, order = [], []
        for zone, first in zip(self.state.zones, self.state.first, strict=True):
            word = zone.page[: zone.info[NR_FRAMES], WORD]
            at = np.flatnonzero(word & WORD_KIND == kind)
            start.append(at + first)
            order.append((word[at] & ORDER_MASK).astype(np.uint8))
        starts, orders = np.concatenate(start), np.concatenate(order)
        turn = np.argsort(starts, kind="stable")
        return FreeBlocks(starts[turn], orders[turn], self.ground.nr_orders)

    def free_blocks(self) -> FreeBlocks:
        """Return the blocks on the buddy lists by address; start_pfn counts from frame 0."""
        return self._blocks(FREE)

    def kept_blocks(self) -> FreeBlocks:  # type: ignore[explicit-override]
        """Return the blocks on the lists of CPUs by address; start_pfn counts from frame 0."""
        return self._blocks(PCP)

    def block_types(self) -> dict[int, NDArray[np.uint8]]:
        """Return the types of the pageblocks of each zone, by zone type, as `ZoneGround.block_type`."""
        shift = self.ground.zones[0].layout.pageblock_order
        found = {}
        for zone in self.ground.zones:
            layout = zone.layout
            types = self.state.zones[zone.zone_type].block_type
            begin = (layout.start_pfn - layout.base_pfn) >> shift
            found[zone.zone_type] = types[begin : begin + len(zone.block_type)].copy()
        return found

    def counters(self) -> dict[str, int]:
        """Return fallbacks to other types and zones, and what follows from them.

        ``fallbacks`` are what the kernel's event mm_page_alloc_extfrag counts: ``claims`` of pageblocks, and
        ``steals`` of single blocks.
        """
        summed = {"claims": NR_CLAIMS, "steals": NR_STEALS, "unreserved": NR_UNRESERVED}
        counted = {name: sum(int(zone.info[at]) for zone in self.state.zones) for name, at in summed.items()}
        wakeups = sum(int(zone.info[NR_KSWAPD_WAKEUPS]) for zone in self.state.zones)
        return {
            "fallbacks": counted["claims"] + counted["steals"],
            **counted,
            "kswapd_wakeups": wakeups,
            "zone_fallbacks": int(self.state.info[ZONE_FALLBACKS]),
        }

    def validate(self) -> None:
        """Check every invariant of `kernelmodel.page_alloc.check` in each zone, and ``used-single``."""
        for zone, first in zip(self.state.zones, self.state.first, strict=True):
            Check(zone, int(first), pure=self._pure).run()
            word = zone.page[: zone.info[NR_FRAMES], WORD]
            used = np.isin(word & WORD_KIND, (USED, USED_MOVABLE)) & (word & ORDER_MASK != 0)
            if used.any():
                at = int(used.argmax())
                raise InvariantError("used-single", f"frame {at + first}", f"word {word[at]:#x}")


def _zones(ground: Ground, *, defrag: bool) -> Zones:
    """Return the arrays of all four zones."""
    made = {zone.zone_type: _zone(zone, ground.nr_orders, defrag=defrag) for zone in ground.zones}
    geometry = Geometry(pageblock_order=ground.zones[0].layout.pageblock_order, nr_orders=ground.nr_orders)
    grain = 1 << geometry.max_order
    none = free_blocks(np.empty((0, 2), np.int64), 0, grain, geometry.nr_orders)
    types = np.zeros(grain >> geometry.pageblock_order, np.uint8)
    by_type = []
    first = np.zeros(NR_ZONES, np.int64)
    for zone_type in range(NR_ZONES):
        if zone_type in made:
            zone, base = made[zone_type]
            first[zone_type] = base - ground.base_pfn
        else:
            zone, _ = build(Layout(0, grain, 0, none, types, geometry=geometry), Tuning())
        by_type.append(zone)
    info = np.zeros(NR_INFO, np.int64)
    info[NOFRAGMENT] = DMA32 in made and NORMAL in made
    info[DEFRAG] = defrag or any(zone.tuning.defrag_mode for zone in ground.zones)
    return Zones((by_type[0], by_type[1], by_type[2], by_type[3]), first, info)


def _zone(zone: ZoneGround, nr_orders: int, *, defrag: bool) -> tuple[Zone, int]:
    """Return the arrays of one zone and the pfn of their first frame; used frames stand one by one."""
    layout = zone.layout
    kinds = layout.kinds
    span = layout.start_pfn, layout.end_pfn
    runs = true_runs(kinds == Frame.FREE) + layout.base_pfn
    used = np.flatnonzero((kinds != Frame.FREE) & (kinds != Frame.HOLE)) + layout.base_pfn
    # What is on an LRU list counts as movable when a pageblock is claimed, whoever holds it.
    movable = np.isin(kinds[used - layout.base_pfn], LRU_OR_MOVABLE_OPS)
    blocks = UsedBlocks(used, np.zeros(len(used), np.uint8), movable)
    geometry = Geometry(pageblock_order=layout.pageblock_order, nr_orders=nr_orders)
    free = free_blocks(runs, *span, nr_orders)
    tuning = replace(zone.tuning, defrag_mode=True) if defrag else zone.tuning
    made = Layout(*span, zone.managed_pages, free, zone.block_type, blocks, geometry)
    return build(made, tuning)
