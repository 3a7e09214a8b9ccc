"""Random lives of processes on a machine, and of their slow twin beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernelmodel.errors import SyscallError
from kernelmodel.fault import Machine
from kernelmodel.mapping import Mapping
from kernelmodel.mm.address_space import AddressSpace
from kernelmodel.ordered import RedBlackTree
from kernelmodel.vma import File, Vma
from kernelmodel.vmflags import (
    MADV_DOFORK,
    MADV_DONTFORK,
    MADV_KEEPONFORK,
    MADV_WIPEONFORK,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    MREMAP_DONTUNMAP,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    PROT_READ,
    PROT_WRITE,
    VM_ACCOUNT,
    VM_DATA_DEFAULT_FLAGS,
    VM_GROWSDOWN,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_SHARED,
)
from tests.oracles.fault import OFFSETS, Disk, Fault, Slot, Twin

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 4096
ARENA, ARENA_PAGES = 0x1000_0000, 40
STACK_END = 0x7FFF_FFFD_0000
MAX_PROCESSES = 8
ADVICE = (
    (MADV_DONTFORK, "skip"),
    (MADV_DOFORK, "copy"),
    (MADV_WIPEONFORK, "wipe"),
    (MADV_KEEPONFORK, "copy"),
)


def stack(nr_pages: int = 2, end: int = STACK_END) -> Vma:
    start = end - nr_pages * PAGE
    return Vma(start, end, VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT | VM_GROWSDOWN, start // PAGE)


class Workload:
    """Does one thing after another to a machine and to its twin, and compares what they show.

    `choose(n)` returns a number below n: from a generator, or from hypothesis.
    """

    def __init__(self, choose: Callable[[int], int], nr_frames: int = 4096) -> None:
        self.choose = choose
        self.machine = Machine(nr_frames)
        self.twin = Twin()
        self.nr_done = dict.fromkeys(self.OPERATIONS, 0)
        self._clock = 0
        files = [File(Mapping("a")), File(Mapping("b"), nr_pages=6), File(Mapping("c"), writable=False)]
        self.disks = {file: Disk(file.nr_pages) for file in files}
        self.spawn()

    OPERATIONS = (
        *(["touch"] * 14),
        *(["fork", "mmap"] * 2),
        *("munmap", "mprotect", "mremap", "brk", "exit", "grow", "madvise", "spawn", "evict"),
    )

    def step(self) -> str:
        """Do something, or nothing where it cannot be done; return its name."""
        name = self.OPERATIONS[self.choose(len(self.OPERATIONS))]
        if name == "spawn" or self.machine.mms:
            getattr(self, name)()
        self.nr_done[name] += 1
        return name

    def spawn(self) -> None:
        if len(self.machine.mms) >= MAX_PROCESSES:
            return
        mm = AddressSpace(RedBlackTree)
        vma = stack()
        mm.insert(vma)
        pid = self.machine.add(mm)
        self.twin.spawn(pid)
        self.twin.mmap(pid, vma.start, vma.end - vma.start, Slot(3, shared=False, disk=None, index=0))

    def touch(self) -> None:
        pid, vma = self._vma()
        if vma is None:
            return
        address = vma.start + self.choose(vma.nr_pages) * PAGE + OFFSETS[self.choose(2)]
        if self.choose(3):
            self._clock += 1
            expected = self._ask(self.twin.write, pid, address, self._clock)
            assert self._ask(self.machine.write, pid, address, self._clock) == expected
        assert self._ask(self.machine.read, pid, address) == self._ask(self.twin.read, pid, address)

    def fork(self) -> None:
        if len(self.machine.mms) < MAX_PROCESSES:
            pid = self._pid()
            self.twin.fork(pid, self.machine.fork(pid))

    def exit(self) -> None:
        pid = self._pid()
        self.machine.exit(pid)
        self.twin.exit(pid)

    def mmap(self) -> None:
        pid = self._pid()
        length = (1 + self.choose(6)) * PAGE
        prot = (PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ)[self.choose(3)]
        flags = (MAP_PRIVATE, MAP_PRIVATE, MAP_SHARED)[self.choose(3)]
        file, pgoff = None, 0
        if self.choose(2):
            flags |= MAP_ANONYMOUS
        else:
            file, pgoff = list(self.disks)[self.choose(3)], self.choose(4)
        address = 0
        if self.choose(2):
            flags |= MAP_FIXED
            address = self._in_arena(length)
        if flags & MAP_SHARED and file is not None and not file.writable:
            prot = PROT_READ
        start = self.machine.mmap(pid, address, length, prot, flags, file=file, pgoff=pgoff)
        disk = self.disks[file] if file is not None else Disk(length // PAGE) if flags & MAP_SHARED else None
        self.twin.mmap(pid, start, length, Slot(prot, bool(flags & MAP_SHARED), disk, pgoff))

    def munmap(self) -> None:
        pid, vma = self._vma()
        if vma is not None:
            start, length = self._part(vma)
            self.machine.munmap(pid, start, length)
            self.twin.munmap(pid, start, length)

    def mprotect(self) -> None:
        pid, vma = self._vma()
        if vma is not None and vma.flags & VM_MAYWRITE:
            start, length = self._part(vma)
            prot = self.choose(4)
            self.machine.mprotect(pid, start, length, prot)
            self.twin.mprotect(pid, start, length, prot)

    def madvise(self) -> None:
        pid, vma = self._vma()
        advice, what = ADVICE[self.choose(4)]
        # Both flags may be set; the twin knows one word. Not for files: they cannot be wiped.
        if vma is None or vma.file is not None:
            return
        start, length = self._part(vma)
        for undo in (MADV_DOFORK, MADV_KEEPONFORK, advice):
            self.machine.madvise(pid, start, length, undo)
        self.twin.on_fork(pid, start, length, what)

    def mremap(self) -> None:
        pid, vma = self._vma()
        if vma is None:
            return
        start, length = self._part(vma)
        new_length, flags, target = (1 + self.choose(8)) * PAGE, MREMAP_MAYMOVE, 0
        kind = self.choose(4)
        if kind == 1:
            flags |= MREMAP_FIXED
            target = self._in_arena(new_length)
        elif kind == 2:
            flags |= MREMAP_DONTUNMAP
            new_length = length
        elif kind == 3 and vma.flags & (VM_SHARED | VM_MAYSHARE):
            length = 0
        reaches = start < target + new_length and target < start + max(length, PAGE)
        if flags & MREMAP_FIXED and reaches:
            return
        now = self.machine.mremap(pid, start, length, new_length, flags, new_address=target)
        keep_old = bool(flags & MREMAP_DONTUNMAP)
        self.twin.mremap(pid, start, length, now, new_length, keep_old=keep_old)

    def brk(self) -> None:
        pid = self._pid()
        old = self.machine.mms[pid].brk
        new = self.machine.set_brk(pid, max(old + (self.choose(9) - 4) * PAGE, old % PAGE))
        self.twin.munmap(pid, new, max(old - new, 0))
        self.twin.mmap(pid, old, max(new - old, 0), Slot(3, shared=False, disk=None, index=0))

    def grow(self) -> None:
        pid = self._pid()
        stacks = [vma for vma in self.machine.mms[pid] if vma.flags & VM_GROWSDOWN]
        if not stacks:
            return
        vma = stacks[self.choose(len(stacks))]
        start = vma.start
        address = start - (1 + self.choose(3)) * PAGE
        if self.machine.mms[pid].find_vma(address) is not vma:
            return
        self._clock += 1
        try:
            self.machine.write(pid, address, self._clock)
        except SyscallError:
            # Too near to a neighbour, or read-only: whether it may grow is not this twin's business.
            self.twin.grow_down(pid, start, vma.start)
            return
        self.twin.grow_down(pid, start, vma.start)
        self.twin.write(pid, address, self._clock)

    def evict(self) -> None:
        file = list(self.disks)[self.choose(3)]
        if all(self.machine.frames[pfn].mapcount == 0 for pfn in file.mapping.pages.values()):
            self.machine.evict(file.mapping)
            self.disks[file].words.clear()

    def check(self) -> None:
        """Compare all that can be seen: which entries may exist, and which of them are one frame."""
        frames: dict[int, object] = {}
        for pid, table in self.machine.tables.items():
            for vpn, pte in table.items():
                identity = self.twin.identity(pid, vpn)
                assert frames.setdefault(pte.pfn, identity) == identity, (pid, hex(vpn), pte)
        assert len(set(map(_key, frames.values()))) == len(frames), "one page in two frames"
        for pid, mm in self.machine.mms.items():
            mapped = {vpn for vma in mm for vpn in range(vma.start // PAGE, vma.end // PAGE)}
            assert mapped == set(self.twin.pages[pid])
        for pid, pages in self.twin.pages.items():
            for address in (vpn * PAGE + offset for vpn in pages for offset in OFFSETS):
                expected = self._ask(self.twin.read, pid, address)
                assert self._ask(self.machine.read, pid, address) == expected

    def _ask(self, access: Callable[..., object], *args: object) -> object:
        try:
            return access(*args)
        except (SyscallError, Fault):
            return "EFAULT"

    def _pid(self) -> int:
        return list(self.machine.mms)[self.choose(len(self.machine.mms))]

    def _vma(self) -> tuple[int, Vma | None]:
        pid = self._pid()
        vmas = list(self.machine.mms[pid])
        return pid, vmas[self.choose(len(vmas))] if vmas else None

    def _part(self, vma: Vma) -> tuple[int, int]:
        first = self.choose(vma.nr_pages)
        return vma.start + first * PAGE, (1 + self.choose(vma.nr_pages - first)) * PAGE

    def _in_arena(self, length: int) -> int:
        return ARENA + self.choose(ARENA_PAGES - length // PAGE + 1) * PAGE


def _key(identity: object) -> object:
    return identity if isinstance(identity, (str, tuple)) else id(identity)
