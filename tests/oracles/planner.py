"""The cheapest windows, by trying all of them: one loop a question, and no theory.

Each function takes the bytes of a zone of single pages as a list of kinds (`Frame` as numbers).
"""

from __future__ import annotations

from itertools import combinations, product

FREE, ANON, SHMEM, CLEAN, DIRTY, UNEVICTABLE, MOVABLE_OPS = range(7)
MOVABLE = (ANON, SHMEM, CLEAN, DIRTY, UNEVICTABLE, MOVABLE_OPS)
Kinds = list[int]


def split(kinds: Kinds, order: int) -> list[Kinds]:
    """Cut a zone into windows."""
    size = 1 << order
    return [kinds[at : at + size] for at in range(0, len(kinds), size)]


def can_be_cleared(window: Kinds) -> bool:
    return all(kind == FREE or kind in MOVABLE for kind in window) and any(window)


def cheapest(kinds: Kinds, order: int, nr: int, reserve: int, price: dict[int, int]) -> int | None:
    """Return the least cost of clearing `nr` windows that are not free, by trying every set of them.

    Pages go to free frames outside the set and outside the windows that are free, `reserve` of which stay.
    """
    parts = split(kinds, order)
    best = None
    for chosen in combinations([i for i, part in enumerate(parts) if can_be_cleared(part)], nr):
        room = sum(part.count(FREE) for i, part in enumerate(parts) if i not in chosen and any(part))
        used = [kind for i in chosen for kind in parts[i] if kind != FREE]
        cost = sum(price[kind] for kind in used)
        if nr and len(used) > room - reserve:
            continue
        if best is None or cost < best:
            best = cost
    return best


def cheapest_with_eviction(
    kinds: Kinds,
    order: int,
    nr: int,
    *,
    reserve: int,
    move: int,
    drop: int,
    write: int | None,
    swap: int,
    swap_free: int,
) -> int | None:
    """Return the least cost if each page may be moved or evicted: every set of windows, every number evicted.

    None for `write` says that dirty pages may not be written.
    """
    parts = split(kinds, order)
    best = None
    for chosen in combinations([i for i, part in enumerate(parts) if can_be_cleared(part)], nr):
        room = sum(part.count(FREE) for i, part in enumerate(parts) if i not in chosen and any(part))
        room = max(0, room - reserve) if room - reserve < 0 else room - reserve
        used = [kind for i in chosen for kind in parts[i] if kind != FREE]
        clean, dirty = used.count(CLEAN), used.count(DIRTY) if write is not None else 0
        swappable = min(used.count(ANON) + used.count(SHMEM), swap_free)
        for c, d, s in product(range(clean + 1), range(dirty + 1), range(swappable + 1)):
            moved = len(used) - c - d - s
            # Free frames in the windows that are chosen are room for nobody, and already left out of `room`.
            if moved > room:
                continue
            cost = move * moved + drop * c + (write or 0) * d + swap * s
            if best is None or cost < best:
                best = cost
    return best


def cheapest_eviction(
    kinds: Kinds, order: int, nr: int, *, drop: int, write: int | None, swap: int, swap_free: int
) -> int | None:
    """Return the least cost of freeing `nr` windows by eviction alone."""
    parts = split(kinds, order)
    evictable = (FREE, ANON, SHMEM, CLEAN) + (() if write is None else (DIRTY,))
    price = {FREE: 0, ANON: swap, SHMEM: swap, CLEAN: drop, DIRTY: write or 0}
    possible = [i for i, part in enumerate(parts) if any(part) and all(kind in evictable for kind in part)]
    costs = []
    for chosen in combinations(possible, nr):
        used = [kind for i in chosen for kind in parts[i]]
        if used.count(ANON) + used.count(SHMEM) <= swap_free:
            costs.append(sum(price[kind] for kind in used))
    return min(costs, default=None)


def cheapest_orders(kinds: Kinds, wanted: dict[int, int], reserve: int) -> int | None:
    """Return the fewest copies for so many disjoint free blocks of each order, free ones counted as well."""
    free = kinds.count(FREE)
    if sum(nr << order for order, nr in wanted.items()) > free - reserve:
        return None
    best = None
    orders = [order for order, nr in wanted.items() for _ in range(nr)]
    if not orders:
        return 0
    choices = []
    for order, nr in wanted.items():
        parts = split(kinds, order)
        allowed = [i for i, part in enumerate(parts) if can_be_cleared(part) or not any(part)]
        choices.append([[(order, i) for i in chosen] for chosen in combinations(allowed, nr)])
    for combination in product(*choices):
        taken = [window for part in combination for window in part]
        frames = [frame for order, i in taken for frame in range(i << order, (i + 1) << order)]
        if len(set(frames)) < len(frames):
            continue
        cost = sum(kinds[frame] != FREE for frame in frames)
        if best is None or cost < best:
            best = cost
    return best
