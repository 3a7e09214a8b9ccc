"""Room for a small request, and sliding to the top, frame by frame with lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernelmodel.compaction.zone_layout import HEAD, KIND_MASK, TAIL, UNSPLITTABLE, Frame

if TYPE_CHECKING:
    from kernelmodel.compaction.zone_layout import ZoneLayout

COPIED = {Frame.ANON, Frame.SHMEM, Frame.CLEAN, Frame.UNEVICTABLE}
MOVABLE = {*COPIED, Frame.DIRTY, Frame.MOVABLE_OPS}
Move = tuple[int, int, int]


def folio_at(state: list[int], at: int) -> list[int]:
    """Return the frames of what begins at a frame."""
    found = [at]
    while state[at] & (HEAD | TAIL) and found[-1] + 1 < len(state) and state[found[-1] + 1] & TAIL:
        found.append(found[-1] + 1)
    return found


def candidates(layout: ZoneLayout, order: int, immovable: set[int]) -> list[tuple[int, int]]:
    """Return (copies, window) of every window that can be cleared and is not free, cheapest first."""
    state, size = layout.state.tolist(), 1 << order
    found = []
    for start in range(0, len(state), size):
        window = range(start, start + size)
        kinds = [state[at] & KIND_MASK for at in window]
        held = any(at in immovable and state[at] & KIND_MASK for at in window)
        cut = bool(state[start] & TAIL) or (start + size < len(state) and bool(state[start + size] & TAIL))
        used = [kind for kind in kinds if kind]
        if used and not held and not cut and set(used) <= COPIED:
            found.append((len(used), start))
    return sorted(found)


def free_blocks(layout: ZoneLayout, order: int) -> list[tuple[int, int]]:
    """Return (order, start) of the largest aligned free blocks up to an order."""
    state = layout.state.tolist()

    def inside(start: int, at_most: int) -> list[tuple[int, int]]:
        if all(state[at] & KIND_MASK == 0 for at in range(start, start + (1 << at_most))):
            return [(at_most, start)]
        if at_most == 0:
            return []
        return inside(start, at_most - 1) + inside(start + (1 << at_most - 1), at_most - 1)

    return [block for start in range(0, len(state), 1 << order) for block in inside(start, order)]


def take(lists: list[list[int]], level: int) -> int | None:
    """Take a block off the lists by order, and put back what of a larger one is left."""
    for at in range(level, len(lists)):
        if lists[at]:
            start = lists[at].pop(0)
            pieces = list(range(start, start + (1 << at), 1 << level))
            lists[level][:0] = pieces[1:]
            return pieces[0]
    return None


def folios_in(state: list[int], starts: list[int], order: int) -> list[list[int]]:
    """Return what stands in some windows."""
    folios = []
    for start in starts:
        at = start
        while at < start + (1 << order):
            folio = folio_at(state, at)
            if state[at] & KIND_MASK:
                folios.append(folio)
            at += len(folio)
    return folios


def blit(
    layout: ZoneLayout, order: int, nr_blocks: int, immovable: set[int], reserve_pages: int
) -> list[Move]:
    """Return the moves, by frames from the layout's base."""
    windows = candidates(layout, order, immovable)
    small = sorted(block for block in free_blocks(layout, order) if block[0] < order)
    room = sum(1 << level for level, _ in small)
    nr_made = 0
    while nr_made < min(nr_blocks, len(windows)) and (nr_made + 1 << order) <= room - reserve_pages:
        nr_made += 1
    chosen = [start for _, start in windows[:nr_made]]
    cheap = {start for _, start in windows}
    lists: list[list[int]] = []
    for level in range(order):
        here = [start for each, start in small if each == level and start >> order << order not in chosen]
        lists.append(sorted(here, key=lambda start: (start >> order << order in cheap, start)))
    folios = folios_in(layout.state.tolist(), chosen, order)
    places: dict[int, int] = {}
    for level in range(order, 0, -1):
        for folio in folios:
            if len(folio) == 1 << level and (to := take(lists, level)) is not None:
                places[folio[0]] = to
    moves = []
    for folio in folios:
        if folio[0] in places:
            moves.append((folio[0], places[folio[0]], len(folio)))
            continue
        for page in folio:
            single = take(lists, 0)
            assert single is not None
            moves.append((page, single, 1))
    return moves


def gravity(layout: ZoneLayout) -> list[Move]:
    """Return the moves, by frames from the layout's base."""
    state = layout.state.tolist()
    free = {at for at, byte in enumerate(state) if byte & KIND_MASK == Frame.FREE}
    moves = []
    at = 0
    while at < len(state):
        folio = folio_at(state, at)
        nr = len(folio)
        whole = nr & (nr - 1) == 0 and at % nr == 0 and not state[at] & TAIL
        if state[at] & KIND_MASK in MOVABLE and whole:
            holes = [to for to in range(0, len(state), nr) if to > at and free >= set(range(to, to + nr))]
            above = sorted((to for to in free if to > at), reverse=True)
            if holes:
                moves.append((at, max(holes), nr))
            elif not state[at] & UNSPLITTABLE and len(above) >= nr:
                moves += [(page, to, 1) for page, to in zip(folio, above, strict=False)]
            for _, to, size in moves:
                free -= set(range(to, to + size))
        at += nr
    return moves
