"""An address space as a table of pages; its VMAs are found by looking at every page.

A page knows what it maps, where its anonymous pages belong (a number) and which run of pages it goes
with. Neighbours of one run are one VMA. A hole or another run between two pages splits them without a
word being said; only joining must be told, and that is done at the bounds of what a call changed.
Nothing here knows of trees, lists, links or a range being grown.

The rules are those of 6.18 (`MergeRules` as it stands), on x86-64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count, groupby, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from kernelmodel.errors import NoMemoryError, SyscallError

if TYPE_CHECKING:
    from kernelmodel.mm.types import Layout

PAGE = 4096
READ, WRITE, EXEC, SHARED, MAYSHARE, GROWSDOWN = 1, 2, 4, 8, 0x80, 0x100
DONTCOPY, ACCOUNT, NORESERVE, WIPEONFORK = 0x20000, 0x100000, 0x200000, 0x2000000
ACCESS = READ | WRITE | EXEC
PRIVATE_MAY, HEAP = 0x70, 0x100073


@dataclass(frozen=True)
class Cell:
    """A mapped page: `index` in the file, or the page number it had when it was never written."""

    run: int
    flags: int
    file: Any
    index: int
    anon: int | None = None
    inherited: bool = False


class Area(NamedTuple):
    """A VMA as it is seen: page numbers, `end` open, and its first page."""

    start: int
    end: int
    cell: Cell


class Twin:
    """The slow twin of AddressSpace, with the same calls; addresses and lengths in bytes."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.cells: dict[int, Cell] = {}
        self.brk = layout.start_brk
        self.numbers = count(1)

    def areas(self) -> list[Area]:
        """Return the VMAs: pages one behind the other that go together."""
        pages = sorted(self.cells)
        runs = groupby(enumerate(pages), lambda pair: (pair[1] - pair[0], self.cells[pair[1]].run))
        bounds = [[page for _, page in run] for _, run in runs]
        return [Area(run[0], run[-1] + 1, self.cells[run[0]]) for run in bounds]

    def area(self, page: int) -> Area | None:
        return next((area for area in self.areas() if area.start <= page < area.end), None)

    def mmap(
        self, address: int, length: int, prot: int, flags: int, *, file: Any = None, pgoff: int = 0
    ) -> int:
        nr = pages(length)
        noreplace = bool(flags & 0x100000)
        start = self._place(address // PAGE, nr, fixed=noreplace or bool(flags & 0x10))
        if noreplace and any(page in self.cells for page in range(start, start + nr)):
            raise SyscallError("EEXIST", "")
        shared = flags & 0xF == 1
        vm_flags = prot | PRIVATE_MAY | (flags & 0x100) | (NORESERVE if flags & 0x4000 else 0)
        if shared:
            vm_flags |= SHARED | MAYSHARE
            if file is not None and not file.writable:
                vm_flags &= ~(SHARED | 0x20)
                if prot & WRITE:
                    raise SyscallError("EACCES", "")
        elif prot & WRITE and not flags & 0x4000:
            vm_flags |= ACCOUNT
        if file is None:
            pgoff = 0 if shared else start
            file = SharedMemory(nr) if shared else None
        self._forget(start, start + nr)
        self._fill(start, nr, Cell(next(self.numbers), vm_flags, file, pgoff))
        self._join(start, start + nr)
        return start * PAGE

    def munmap(self, address: int, length: int) -> None:
        self._forget(address // PAGE, address // PAGE + pages(length))

    def mprotect(self, address: int, length: int, prot: int) -> None:
        page, end = address // PAGE, address // PAGE + pages(length)
        while page < end:
            area = self.area(page)
            if area is None:
                raise SyscallError("ENOMEM", "")
            cell = area.cell
            if prot & WRITE and not cell.flags & 0x20:
                raise SyscallError("EACCES", "")
            flags = cell.flags & ~ACCESS | prot
            if flags != cell.flags:
                if prot & WRITE and not cell.flags & (ACCOUNT | WRITE | SHARED | NORESERVE):
                    flags |= ACCOUNT
                if not prot & WRITE and cell.file is None and cell.anon is None:
                    flags &= ~ACCOUNT
                self._set_flags(area, page, min(area.end, end), flags)
            page = self._end_of(page)

    def madvise(self, address: int, length: int, advice: int) -> None:
        changes = {10: (DONTCOPY, 0), 11: (0, DONTCOPY), 18: (WIPEONFORK, 0), 19: (0, WIPEONFORK)}
        on, off = changes[advice]
        page, end, hole = address // PAGE, address // PAGE + pages(length), False
        while page < end:
            area = self.area(page)
            if area is None:
                hole, page = True, page + 1
                continue
            if advice == 18 and area.cell.file is not None:
                raise SyscallError("EINVAL", "")
            flags = area.cell.flags & ~off | on
            if flags != area.cell.flags:
                self._set_flags(area, page, min(area.end, end), flags)
            page = self._end_of(page)
        if hole:
            raise SyscallError("ENOMEM", "")

    def mremap(self, address: int, old_length: int, length: int, flags: int, target: int = 0) -> int:
        page, old, new, to = address // PAGE, pages(old_length), pages(length), target // PAGE
        may_move, fixed, keep = bool(flags & 1), bool(flags & 2), bool(flags & 4)
        if not new or (keep and old != new) or ((fixed or keep) and not may_move):
            raise SyscallError("EINVAL", "")
        if fixed or keep:
            self._check_target(page, old, to, new)
        if fixed and old == new:
            return self._move_all(page, old, to, keep=keep)
        area = self.area(page)
        if area is None:
            raise SyscallError("EFAULT", "")
        if not fixed and not keep:
            return self._resize(area, page, old, new, may_move=may_move)
        self._check_source(area, page, old, new)
        if fixed:
            self._forget(to, to + new)
            # A duplicate may be put over its own original.
            if page not in self.cells:
                raise SyscallError("EFAULT", "")
        self._forget(page + new, page + old)
        to = self._place(to, new, fixed=fixed)
        self._carry(page, min(old, new), to, new, keep=keep)
        return to * PAGE

    def _resize(self, area: Area, page: int, old: int, new: int, *, may_move: bool) -> int:
        if new <= old:
            self._forget(page + new, page + old)
            return page * PAGE
        self._check_source(area, page, old, new)
        if self._has_room(area, page + old, page + new):
            index = area.cell.index + area.end - area.start
            # An extension is nobody's child: it may join a neighbour where the area as it stands might not.
            fresh = replace(area.cell, run=next(self.numbers), index=index, inherited=False)
            self._fill(area.end, new - old, fresh)
            self._join(area.end, area.end + new - old)
            return page * PAGE
        if not may_move:
            raise SyscallError("ENOMEM", "")
        to = self._place(0, new, fixed=False)
        self._carry(page, old, to, new, keep=False)
        return to * PAGE

    def set_brk(self, brk: int) -> int:
        old, new, start = pages(self.brk), pages(brk), self.layout.start_brk // PAGE
        if brk < self.layout.start_brk:
            return self.brk
        if new < old:
            if not any(page in self.cells for page in range(new, old)):
                return self.brk
            self._forget(new, old)
        elif new > old:
            above = [area for area in self.areas() if area.end > old]
            if above and new + 1 > self._start_gap(above[0]):
                return self.brk
            self._fill(old, new - old, Cell(next(self.numbers), HEAP, None, old))
            below = self.area(old - 1)
            if below is not None and below.end > start:
                self._join(old, new, right=False)
        self.brk = brk
        return brk

    def touch(self, address: int) -> None:
        page = address // PAGE
        areas = [area for area in self.areas() if area.end > page]
        if not areas:
            raise SyscallError("EFAULT", "")
        area = areas[0]
        if area.start > page:
            area = self._grow(area, page)
        cell = self.cells[page]
        if not cell.flags & WRITE:
            raise SyscallError("EFAULT", "")
        if not cell.flags & SHARED:
            self._prepare(area)
        if cell.file is not None and cell.file.nr_pages is not None and cell.index >= cell.file.nr_pages:
            raise SyscallError("EFAULT", "")

    def fork(self) -> Twin:
        child = Twin(self.layout)
        child.brk, child.numbers = self.brk, self.numbers
        for area in self.areas():
            if area.cell.flags & DONTCOPY:
                continue
            kept = area.cell.anon is not None and not area.cell.flags & WIPEONFORK
            anon = next(self.numbers) if kept else None
            for page in range(area.start, area.end):
                child.cells[page] = replace(self.cells[page], anon=anon, inherited=kept)
        return child

    def _place(self, page: int, nr: int, *, fixed: bool) -> int:
        limit = self.layout.task_size // PAGE
        if fixed:
            if page + nr > limit:
                raise SyscallError("ENOMEM", "")
            return page
        lowest = self.layout.min_address // PAGE
        taken = set(self.cells)
        for area in self.areas():
            guard = takewhile(
                lambda page: page not in self.cells, range(area.start - 1, self._start_gap(area) - 1, -1)
            )
            taken |= set(guard)

        def free(start: int) -> bool:
            return not any(p in taken for p in range(start, start + nr))

        if page:
            page = max(page, lowest)
            if page + nr <= limit and free(page):
                return page
        top, bottom = self.layout.mmap_base // PAGE, self.layout.mmap_legacy_base // PAGE
        tries = [*range(top - nr, lowest - 1, -1)] if self.layout.top_down else []
        tries += range(max(bottom, lowest), limit - nr + 1)
        found = next((start for start in tries if free(start)), None)
        if found is None:
            raise NoMemoryError("no gap")
        return found

    def _start_gap(self, area: Area) -> int:
        guard = self.layout.guard_gap_bytes // PAGE if area.cell.flags & GROWSDOWN else 0
        return max(area.start - guard, 0)

    def _fill(self, start: int, nr: int, cell: Cell) -> None:
        for i in range(nr):
            self.cells[start + i] = replace(cell, index=cell.index + i)

    def _forget(self, start: int, end: int) -> None:
        for page in range(start, end):
            self.cells.pop(page, None)
        self._renumber()

    def _renumber(self) -> None:
        """Give runs that fell apart a number each, or they would find together again by themselves."""
        for area in self.areas():
            self._change(area.start, area.end, run=next(self.numbers))

    def _change(self, start: int, end: int, **values: Any) -> None:
        for page in range(start, end):
            self.cells[page] = replace(self.cells[page], **values)

    def _end_of(self, page: int) -> int:
        area = self.area(page)
        assert area is not None
        return area.end

    def _set_flags(self, area: Area, start: int, end: int, flags: int) -> None:
        self._change(start, end, flags=flags, run=next(self.numbers))
        self._join(start, end, left=start == area.start, right=end == area.end)
        self._renumber()

    def _join(self, start: int, end: int, *, left: bool = True, right: bool = True) -> None:
        """Let the pages from `start` to `end`, all of one run, join the areas they touch."""
        below, above = self.area(start - 1) if left else None, self.area(end) if right else None
        if below is not None and not self._suits(start, start - 1):
            below = None
        if above is not None and not self._suits(end - 1, end):
            above = None
        if below is not None and above is not None and len({below.cell.anon, above.cell.anon, None}) == 3:
            above = None
        own = Area(start, end, self.cells[start])
        parts = [area for area in (below, own, above) if area is not None]
        # What has an anon_vma gives it to all.
        giver = next((part.cell for part in parts if part.cell.anon is not None), own.cell)
        run = next(self.numbers)
        for part in parts:
            self._change(part.start, part.end, run=run, anon=giver.anon, inherited=giver.inherited)

    def _suits(self, page: int, neighbour: int) -> bool:
        """Tell whether `page` may join the area of `neighbour`, the page next to it."""
        own, other = self.cells[page], self.cells[neighbour]
        if own.flags != other.flags or own.file is not other.file:
            return False
        if own.index - other.index != page - neighbour:
            return False
        if own.anon == other.anon:
            return True
        if other.anon is None:
            return not own.inherited
        return own.anon is None and not other.inherited

    def _has_room(self, area: Area, end: int, wanted: int) -> bool:
        limit = self.layout.task_size // PAGE
        return area.end == end and wanted <= limit and not any(p in self.cells for p in range(end, wanted))

    def _check_target(self, page: int, old: int, to: int, new: int) -> None:
        overlap = page + old > to and to + new > page
        if overlap or to + new > self.layout.task_size // PAGE:
            raise SyscallError("EINVAL", "")

    def _check_source(self, area: Area, page: int, old: int, new: int) -> None:
        if not old and not area.cell.flags & (SHARED | MAYSHARE):
            raise SyscallError("EINVAL", "")
        if min(old, new) > area.end - page:
            raise SyscallError("EFAULT", "")

    def _move_all(self, page: int, nr: int, to: int, *, keep: bool) -> int:
        sources = [area for area in self.areas() if area.end > page and area.start < page + nr]
        if not sources or sources[0].start > page:
            raise SyscallError("EFAULT", "")
        for source in sources:
            first, last = max(source.start, page), min(source.end, page + nr)
            there = to + first - page
            self._forget(there, there + last - first)
            self._carry(first, last - first, there, last - first, keep=keep)
        return to * PAGE

    def _carry(self, page: int, old: int, to: int, new: int, *, keep: bool) -> None:
        """Map at `to` what is mapped at `page`, and unmap that unless it is to be kept."""
        source = self.cells[page]
        fresh = source.file is None and source.anon is None
        index = to if fresh else source.index
        self._fill(to, new, replace(source, run=next(self.numbers), index=index))
        self._join(to, to + new)
        if not keep:
            self._forget(page, page + old)
        elif source.anon is not None and self.area(page) == Area(page, page + old, source):
            self._change(page, page + old, anon=None, inherited=False)

    def _grow(self, area: Area, page: int) -> Area:
        lowest, guard = self.layout.min_address // PAGE, self.layout.guard_gap_bytes // PAGE
        if not area.cell.flags & GROWSDOWN or page < lowest:
            raise SyscallError("EFAULT", "")
        below = [other for other in self.areas() if other.end <= page][-1:]
        guarded = [other.end for other in below if 0 < other.cell.flags & (GROWSDOWN | ACCESS) < GROWSDOWN]
        if any(page - end < guard for end in guarded):
            raise SyscallError("EFAULT", "")
        self._prepare(area)
        cell = self.cells[area.start]
        nr = area.start - page
        if area.end - page > self.layout.stack_limit_bytes // PAGE or nr > cell.index:
            raise SyscallError("EFAULT", "")
        self._fill(page, nr, replace(cell, index=cell.index - nr))
        grown = self.area(page)
        assert grown is not None
        return grown

    def _prepare(self, area: Area) -> None:
        """Give private pages that are written a number, a neighbour's where the two may join later."""
        if area.cell.anon is not None:
            return
        borders = ((area.end - 1, area.end), (area.start, area.start - 1))
        reused = (self.cells[far].anon for near, far in borders if self._may_share(near, far))
        anon = next((anon for anon in reused if anon is not None), next(self.numbers))
        self._change(area.start, area.end, anon=anon, inherited=False)

    def _may_share(self, page: int, neighbour: int) -> bool:
        own, other = self.cells[page], self.cells.get(neighbour)
        return (
            other is not None
            and not other.inherited
            and own.file is other.file
            and not (own.flags ^ other.flags) & ~ACCESS
            and own.index - other.index == page - neighbour
        )


class SharedMemory:
    """The file behind a shared anonymous mapping."""

    def __init__(self, nr_pages: int) -> None:
        self.nr_pages = nr_pages
        self.writable = True


def pages(length: int) -> int:
    return -(-length // PAGE)
