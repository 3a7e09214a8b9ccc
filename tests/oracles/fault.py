"""What processes see of memory, without frames and page tables: pages with contents, shared by reference.

A process is a table of pages. A private page that was written is an object; parent and child hold the same
object until one of them writes while another holds it too. A page of a file is a number in the file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

PAGE = 4096
OFFSETS = (0, 8)
"""Where in a page anything is written."""
READ, WRITE = 1, 2


class Fault(Exception):
    """The access is not allowed."""


class Private:
    """A page that was written in a private mapping."""

    def __init__(self, words: dict[int, int]) -> None:
        self.words = words


class Disk:
    """A file, or a piece of shared anonymous memory; no page of it lies behind its end."""

    def __init__(self, nr_pages: int | None = None) -> None:
        self.nr_pages = nr_pages
        self.words: dict[tuple[int, int], int] = {}


@dataclass(frozen=True)
class Slot:
    """One virtual page: what may be done, what lies behind it, what fork does with it."""

    prot: int
    shared: bool
    disk: Disk | None
    index: int
    on_fork: str = "copy"
    private: Private | None = None


class Twin:
    """Processes and their pages; addresses and lengths in bytes, page aligned."""

    def __init__(self) -> None:
        self.pages: dict[int, dict[int, Slot]] = {}

    def spawn(self, pid: int) -> None:
        self.pages[pid] = {}

    def mmap(self, pid: int, start: int, length: int, slot: Slot) -> None:
        for nth in range(length // PAGE):
            self.pages[pid][start // PAGE + nth] = replace(slot, index=slot.index + nth)

    def munmap(self, pid: int, start: int, length: int) -> None:
        for vpn in self._mapped(pid, start, length):
            del self.pages[pid][vpn]

    def mprotect(self, pid: int, start: int, length: int, prot: int) -> None:
        for vpn in self._mapped(pid, start, length):
            self.pages[pid][vpn] = replace(self.pages[pid][vpn], prot=prot)

    def on_fork(self, pid: int, start: int, length: int, what: str) -> None:
        for vpn in self._mapped(pid, start, length):
            self.pages[pid][vpn] = replace(self.pages[pid][vpn], on_fork=what)

    def mremap(
        self, pid: int, old: int, old_length: int, new: int, new_length: int, *, keep_old: bool = False
    ) -> None:
        pages = self.pages[pid]
        model = pages[old // PAGE]
        taken = {vpn - old // PAGE: pages.pop(vpn) for vpn in self._mapped(pid, old, old_length)}
        if keep_old:
            for nth, slot in taken.items():
                pages[old // PAGE + nth] = replace(slot, private=None)
        if not old_length:
            pages[old // PAGE] = model
        if new != old:
            self.munmap(pid, new, new_length)
        for nth in range(new_length // PAGE):
            if nth in taken:
                pages[new // PAGE + nth] = taken[nth]
            elif nth >= old_length // PAGE:
                pages[new // PAGE + nth] = replace(model, index=model.index + nth, private=None)

    def grow_down(self, pid: int, start: int, new_start: int) -> None:
        model = self.pages[pid][start // PAGE]
        self.mmap(pid, new_start, start - new_start, replace(model, private=None, index=0))

    def fork(self, pid: int, child: int) -> None:
        self.pages[child] = {
            vpn: replace(slot, private=None) if slot.on_fork == "wipe" else slot
            for vpn, slot in self.pages[pid].items()
            if slot.on_fork != "skip"
        }

    def exit(self, pid: int) -> None:
        del self.pages[pid]

    def read(self, pid: int, address: int) -> int:
        slot = self.pages[pid].get(address // PAGE)
        if slot is None or not slot.prot or self._behind_end(slot):
            raise Fault
        if slot.private is not None:
            return slot.private.words.get(address % PAGE, 0)
        return slot.disk.words.get((slot.index, address % PAGE), 0) if slot.disk is not None else 0

    def write(self, pid: int, address: int, value: int) -> None:
        slot = self.pages[pid].get(address // PAGE)
        if slot is None or not slot.prot & WRITE or self._behind_end(slot):
            raise Fault
        if slot.shared:
            assert slot.disk is not None
            slot.disk.words[slot.index, address % PAGE] = value
        elif slot.private is not None and self._nr_holders(slot.private) == 1:
            slot.private.words[address % PAGE] = value
        else:
            seen = {offset: self.read(pid, address - address % PAGE + offset) for offset in OFFSETS}
            own = Private(seen | {address % PAGE: value})
            self.pages[pid][address // PAGE] = replace(slot, private=own)

    def identity(self, pid: int, vpn: int) -> object:
        """Return what must be one frame: the written page, the page of the file, or the zero page."""
        slot = self.pages[pid][vpn]
        if slot.private is not None:
            return slot.private
        return "zero" if slot.disk is None else (slot.disk, slot.index)

    def _behind_end(self, slot: Slot) -> bool:
        return slot.disk is not None and slot.disk.nr_pages is not None and slot.index >= slot.disk.nr_pages

    def _nr_holders(self, private: Private) -> int:
        return sum(slot.private is private for pages in self.pages.values() for slot in pages.values())

    def _mapped(self, pid: int, start: int, length: int) -> list[int]:
        vpns = range(start // PAGE, (start + length) // PAGE)
        return [vpn for vpn in vpns if vpn in self.pages[pid]]
