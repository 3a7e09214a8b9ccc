"""The buddy allocator once more, from the description of it, with Python lists and sets and nothing fast.

Written from kernel-interfaces.md section 8 (and mm/page_alloc.c for the tuning of the per-CPU limits),
not from kernelmodel. A list's first element is its head.
"""

from __future__ import annotations

from itertools import product

UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC, CMA, ISOLATE = range(6)
ORDINARY = {UNMOVABLE, MOVABLE, RECLAIMABLE}
FALLBACK = {
    UNMOVABLE: [RECLAIMABLE, MOVABLE],
    MOVABLE: [RECLAIMABLE, UNMOVABLE],
    RECLAIMABLE: [UNMOVABLE, MOVABLE],
}
FLAGS = {
    "NO_WATERMARKS": 4, "OOM": 8, "NON_BLOCK": 0x10, "MIN_RESERVE": 0x20, "CMA": 0x80, "NOFRAGMENT": 0x100,
    "HIGHATOMIC": 0x200, "KSWAPD": 0x800,
}  # fmt: skip


def greedy_blocks(free: set[int], zone_start: int, zone_end: int, nr_orders: int) -> list[tuple[int, int]]:
    """Split free frames into blocks: from each frame on, the largest aligned one that is free throughout."""
    blocks, pfn = [], zone_start
    while pfn < zone_end:
        if pfn not in free:
            pfn += 1
            continue
        order = 0
        while order + 1 < nr_orders:
            size = 2 << order
            if pfn % size or pfn + size > zone_end or not all(p in free for p in range(pfn, pfn + size)):
                break
            order += 1
        blocks.append((pfn, order))
        pfn += 1 << order
    return blocks


class Cpu:
    """One CPU's lists of free blocks, and the limits that tune themselves."""

    def __init__(self) -> None:
        self.lists: list[list[int]] = [[] for _ in range(14)]
        self.count = self.high = self.alloc_factor = self.free_count = 0
        self.last_free_was_high_order = False


class Twin:
    """One zone.

    Parameters are those of `Layout` and `Tuning`, as plain Python: `free` and `used` are lists of
    (pfn, order) and of (pfn, order, movable), `types` maps the number of a pageblock to its type.
    """

    def __init__(self, *, zone, free, used, types, tuning, pageblock_order, nr_orders, managed):
        self.start, self.end = zone
        self.pageblock_order, self.nr_orders, self.managed = pageblock_order, nr_orders, managed
        self.types, self.t = dict(types), tuning
        self.lists = {(o, m): [] for o, m in product(range(nr_orders), range(6))}
        self.used = {pfn: (order, movable) for pfn, order, movable in used}
        for pfn, order in free:
            self.lists[order, self.type_of(pfn)].append(pfn)
        self.cpus = [Cpu() for _ in range(tuning.nr_cpus)]
        self.boost = 0
        self.below_high = False
        self.reserved = sum(1 << pageblock_order for m in self.types.values() if m == HIGHATOMIC)

    # Looking

    def type_of(self, pfn):
        return self.types[pfn >> self.pageblock_order]

    def free_pages(self, only=None):
        wanted = {only} if only is not None else {UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC, CMA}
        return sum(len(block) << o for (o, m), block in self.lists.items() if m in wanted)

    def free_list_of(self, pfn, order):
        """The list that holds `pfn` as a block of `order`, or None."""
        return next((m for m in range(6) if pfn in self.lists[order, m]), None)

    def pageblock(self, pfn):
        first = pfn >> self.pageblock_order << self.pageblock_order
        return range(first, first + (1 << self.pageblock_order))

    def whole_pageblock_in_zone(self, pfn):
        frames = self.pageblock(pfn)
        return self.start <= frames[0] and frames[-1] < self.end

    # Freeing into the buddy lists

    def merge_and_add(self, pfn, order, to_tail=False):
        mine = self.type_of(pfn)
        while order + 1 < self.nr_orders:
            buddy = pfn ^ (1 << order)
            theirs = self.free_list_of(buddy, order)
            if theirs is None:
                break
            if order >= self.pageblock_order and theirs != mine and not {theirs, mine} <= ORDINARY:
                break
            self.lists[order, theirs].remove(buddy)
            for frame in range(buddy, buddy + (1 << order), 1 << self.pageblock_order):
                if order >= self.pageblock_order:
                    self.types[frame >> self.pageblock_order] = mine
            pfn = min(pfn, buddy)
            order += 1
        parent = pfn & ~(1 << order)
        uncle = parent ^ (2 << order)
        soon = order + 2 < self.nr_orders and self.free_list_of(uncle, order + 1) is not None
        target = self.lists[order, mine]
        target.insert(len(target) if to_tail or soon else 0, pfn)

    def free_by_pageblocks(self, pfn, order, to_tail=False):
        step = min(order, self.pageblock_order)
        for part in range(pfn, pfn + (1 << order), 1 << step):
            self.merge_and_add(part, step, to_tail)

    # Taking from the buddy lists

    def split(self, pfn, have, want, migratetype):
        while have > want:
            have -= 1
            self.lists[have, migratetype].insert(0, pfn + (1 << have))
        return pfn

    def smallest(self, order, migratetype):
        for have in range(order, self.nr_orders):
            if self.lists[have, migratetype]:
                return self.split(self.lists[have, migratetype].pop(0), have, order, migratetype)
        return None

    def first_fallback(self, order, migratetype):
        return next((m for m in FALLBACK[migratetype] if self.lists[order, m]), None)

    def move_block(self, pfn, new):
        """Free pages of a pageblock to the ends of the new type's lists, lowest first; then the new type."""
        frames, old = self.pageblock(pfn), self.type_of(pfn)
        for frame in frames:
            for order in range(self.pageblock_order + 1):
                if frame in self.lists[order, old]:
                    self.lists[order, old].remove(frame)
                    self.lists[order, new].append(frame)
                    break
        self.types[pfn >> self.pageblock_order] = new

    def claim(self, order, want, flags):
        lowest = max(order, self.pageblock_order) if flags & FLAGS["NOFRAGMENT"] else order
        for have in range(self.nr_orders - 1, lowest - 1, -1):
            if have < self.pageblock_order // 2 and want == MOVABLE:
                return None
            victim = self.first_fallback(have, want)
            if victim is None:
                continue
            pfn = self.lists[have, victim][0]
            if have >= self.pageblock_order:
                self.lists[have, victim].pop(0)
                for block in range(1 << (have - self.pageblock_order)):
                    self.types[(pfn >> self.pageblock_order) + block] = want
                return self.split(pfn, have, order, want)
            self.raise_boost()
            if not self.whole_pageblock_in_zone(pfn):
                continue
            frames = self.pageblock(pfn)
            free = sum(
                1 << o
                for o, m in product(range(self.pageblock_order), range(6))
                for p in self.lists[o, m]
                if p in frames
            )
            movable = sum(1 << o for p, (o, is_movable) in self.used.items() if is_movable and p in frames)
            alike = 0
            if want == MOVABLE:
                alike = movable
            elif victim == MOVABLE:
                alike = len(frames) - free - movable
            if 2 * (free + alike) >= len(frames):
                self.move_block(pfn, want)
                return self.smallest(order, want)
        return None

    def steal(self, order, want):
        for have in range(order, self.nr_orders):
            victim = self.first_fallback(have, want)
            if victim is not None:
                return self.split(self.lists[have, victim].pop(0), have, order, victim)
        return None

    def rmqueue(self, order, want, flags, skip):
        """Return the frame and the ways that the next call of the same refill skips."""
        may_cma = flags & FLAGS["CMA"]
        if may_cma and self.free_pages(CMA) > self.free_pages() // 2:
            pfn = self.smallest(order, CMA)
            if pfn is not None:
                return pfn, skip
        ways = [
            lambda: self.smallest(order, want),
            lambda: self.smallest(order, CMA) if may_cma else None,
            lambda: self.claim(order, want, flags),
            lambda: None if flags & FLAGS["NOFRAGMENT"] else self.steal(order, want),
        ]
        for number, way in enumerate(ways):
            if number >= skip:
                pfn = way()
                if pfn is not None:
                    return pfn, 0 if number == 2 else number
        return None, skip

    # Watermarks

    def raise_boost(self):
        block = 1 << self.pageblock_order
        limit = self.t.wmark_high * self.t.watermark_boost_factor // 10000
        if self.t.watermark_boost_factor and 4 * block <= self.managed and limit:
            self.boost = min(self.boost + block, max(block, limit))

    def mark(self, which):
        return (self.t.wmark_min, self.t.wmark_low, self.t.wmark_high)[which] + self.boost

    def usable(self, order, flags):
        reserves = FLAGS["OOM"] | FLAGS["NON_BLOCK"] | FLAGS["MIN_RESERVE"] | FLAGS["HIGHATOMIC"]
        free = self.free_pages() - ((1 << order) - 1)
        free -= 0 if flags & reserves else self.free_pages(HIGHATOMIC)
        return free - (0 if flags & FLAGS["CMA"] else self.free_pages(CMA))

    def watermark_ok(self, order, mark, zone, flags):
        if flags & FLAGS["MIN_RESERVE"]:
            mark -= mark // 2
            if flags & FLAGS["NON_BLOCK"]:
                mark -= mark // 4
        if flags & FLAGS["OOM"]:
            mark -= mark // 2
        if self.usable(order, flags) <= mark + self.t.lowmem_reserve[zone]:
            return False
        allowed = ORDINARY | ({CMA} if flags & FLAGS["CMA"] else set())
        allowed |= {HIGHATOMIC} if flags & (FLAGS["HIGHATOMIC"] | FLAGS["OOM"]) else set()
        return order == 0 or any(self.lists[o, m] for o in range(order, self.nr_orders) for m in allowed)

    def watermark_fast(self, order, mark, zone, flags):
        if order == 0 and max(self.usable(0, flags), 0) > mark + self.t.lowmem_reserve[zone]:
            return True
        if self.watermark_ok(order, mark, zone, flags):
            return True
        if order == 0 and flags & FLAGS["MIN_RESERVE"] and self.boost and flags % 4 == 0:
            return self.watermark_ok(order, self.t.wmark_min, zone, flags)
        return False

    def allowed(self, order, zone, flags):
        if not self.below_high:
            if self.watermark_fast(order, self.mark(2), zone, flags):
                return True
            self.below_high = True
        if self.watermark_fast(order, self.mark(flags % 4), zone, flags):
            return True
        return bool(flags & FLAGS["NO_WATERMARKS"])

    # Per-CPU lists

    def has_pcp(self, order):
        return order <= 3 or order == self.pageblock_order

    def list_number(self, order, migratetype):
        return 12 + (migratetype == MOVABLE) if order > 3 else 3 * order + migratetype

    def clamp(self, cpu):
        cpu.high = max(self.t.pcp_high_min, min(cpu.high, self.t.pcp_high_max))
        return cpu.high

    def refill_blocks(self, cpu, order):
        high = self.clamp(cpu)
        if high < self.t.pcp_batch:
            return 1
        batch = self.t.pcp_batch << (0 if order else cpu.alloc_factor)
        if self.t.pcp_high_min < self.t.pcp_high_max and not self.below_high:
            high = cpu.high = min(high + batch, self.t.pcp_high_max)
        if order == 0:
            most = max(high - cpu.count - self.t.pcp_batch, self.t.pcp_batch)
            if batch <= most:
                cpu.alloc_factor = min(cpu.alloc_factor + 1, 5)
            batch = min(batch, most)
        return max(batch >> order, 2) if batch > 1 else batch

    def take_from_cpu(self, cpu, order, want, flags):
        cpu.free_count //= 2
        held = cpu.lists[self.list_number(order, want)]
        if not held:
            skip = 0
            for _ in range(self.refill_blocks(cpu, order)):
                pfn, skip = self.rmqueue(order, want, flags, skip)
                if pfn is None:
                    break
                held.append(pfn)
                cpu.count += 1 << order
        if not held:
            return None
        cpu.count -= 1 << order
        return held.pop(0)

    def give_back(self, cpu, pages, number):
        """Free the oldest blocks, list after list from `number` on, until so many pages are back."""
        pages = min(pages, cpu.count)
        while pages > 0:
            while not cpu.lists[number]:
                number = (number + 1) % 14
            order = self.pageblock_order if number >= 12 else number // 3
            while pages > 0 and cpu.lists[number]:
                pages -= 1 << order
                cpu.count -= 1 << order
                self.merge_and_add(cpu.lists[number].pop(), order)

    def put_on_cpu(self, cpu, pfn, order, migratetype):
        t = self.t
        number = self.list_number(order, migratetype)
        cpu.alloc_factor //= 2
        cpu.lists[number].insert(0, pfn)
        cpu.count += 1 << order
        high_order = 0 < order <= 3
        everything = (
            high_order
            and cpu.last_free_was_high_order
            and cpu.free_count >= t.pcp_batch + t.pcp_high_min // 2
            and (not t.pcp_free_high_batch or cpu.count >= t.pcp_batch)
        )
        cpu.last_free_was_high_order = high_order
        if cpu.free_count < 32 * t.pcp_batch:
            cpu.free_count += 1 << order
        high = self.limit_now(cpu, everything)
        if cpu.count < high:
            return
        if everything:
            pages = min(cpu.count, 32 * t.pcp_batch)
        elif high < t.pcp_batch:
            pages = 1
        else:
            pages = min(max(cpu.free_count, t.pcp_batch), high - t.pcp_batch)
        while pages > 0 and cpu.count > 0:
            self.give_back(cpu, min(pages, t.pcp_batch), number)
            pages -= t.pcp_batch
        if self.below_high and self.watermark_ok(0, self.mark(2), t.movable_zone, 0):
            self.below_high = False

    def limit_now(self, cpu, everything):
        t, high = self.t, self.clamp(cpu)
        if high == 0:
            return 0
        if everything:
            cpu.high = max(high - 32 * t.pcp_batch, t.pcp_high_min)
            return 0
        if t.pcp_high_min < t.pcp_high_max:
            if self.below_high:
                cpu.high = max(high - max(cpu.free_count, t.pcp_batch), t.pcp_high_min)
                return max(cpu.count, t.pcp_high_min)
            if cpu.count >= high:
                cpu.high = min(max(high, cpu.free_count + t.pcp_batch), t.pcp_high_max)
        return high

    # What the outside calls

    def alloc(self, order, want, flags=1, cpu=0, zone=0):
        pfn = self.try_alloc(order, want, flags, cpu, zone)
        if pfn is None and flags & FLAGS["NOFRAGMENT"] and not self.t.defrag_mode:
            pfn = self.try_alloc(order, want, flags & ~FLAGS["NOFRAGMENT"], cpu, zone)
        if pfn is None:
            return -1
        self.used[pfn] = (order, want == MOVABLE)
        if flags & FLAGS["HIGHATOMIC"]:
            self.reserve(pfn, order)
        return pfn

    def try_alloc(self, order, want, flags, cpu, zone):
        if not self.allowed(order, zone, flags):
            return None
        pfn = self.take_from_cpu(self.cpus[cpu], order, want, flags) if self.has_pcp(order) else None
        if pfn is None and flags & FLAGS["HIGHATOMIC"]:
            pfn = self.smallest(order, HIGHATOMIC)
        if pfn is None:
            pfn, _ = self.rmqueue(order, want, flags, 0)
        if pfn is None and flags & (FLAGS["OOM"] | FLAGS["NON_BLOCK"]):
            pfn = self.smallest(order, HIGHATOMIC)
        return pfn

    def free(self, pfn, order, cpu=0, to_tail=False):
        assert self.used.pop(pfn)[0] == order
        migratetype = self.type_of(pfn)
        if to_tail or migratetype == ISOLATE or not self.has_pcp(order):
            self.free_by_pageblocks(pfn, order, to_tail)
        else:
            kept_as = migratetype if migratetype in ORDINARY else MOVABLE
            self.put_on_cpu(self.cpus[cpu], pfn, order, kept_as)

    def drain(self):
        for cpu in self.cpus:
            while cpu.count:
                self.give_back(cpu, 32 * self.t.pcp_batch, 0)

    def decay(self, number):
        cpu, t = self.cpus[number], self.t
        if cpu.high > t.pcp_high_min:
            cpu.high = max(cpu.count - 32 * t.pcp_batch, cpu.high - cpu.high // 8, t.pcp_high_min)
        excess = cpu.count - cpu.high
        while excess > 0:
            self.give_back(cpu, min(excess, t.pcp_batch), 0)
            excess -= t.pcp_batch

    def reserve(self, pfn, order):
        block = 1 << self.pageblock_order
        limit = -(-(self.managed // 100) // block) * block if self.managed // 100 >= block else 0
        if self.reserved >= limit or self.type_of(pfn) not in ORDINARY:
            return
        if order >= self.pageblock_order:
            for frame in range(pfn, pfn + (1 << order), block):
                self.types[frame >> self.pageblock_order] = HIGHATOMIC
                self.reserved += block
        elif self.whole_pageblock_in_zone(pfn):
            self.move_block(pfn, HIGHATOMIC)
            self.reserved += block

    def unreserve(self, want, force):
        block = 1 << self.pageblock_order
        if self.reserved <= block and not force:
            return False
        for order in range(self.nr_orders):
            if not self.lists[order, HIGHATOMIC]:
                continue
            pfn = self.lists[order, HIGHATOMIC][0]
            if order >= self.pageblock_order:
                self.lists[order, want].append(self.lists[order, HIGHATOMIC].pop(0))
                for frame in range(pfn, pfn + (1 << order), block):
                    self.types[frame >> self.pageblock_order] = want
                    self.reserved -= block
                return True
            if self.whole_pageblock_in_zone(pfn):
                self.move_block(pfn, want)
                self.reserved -= block
                return True
        return False
