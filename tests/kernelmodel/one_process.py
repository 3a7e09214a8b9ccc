"""A machine with one process, for rules that are tried one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernelmodel.fault import Machine
from kernelmodel.mm.address_space import AddressSpace
from kernelmodel.ordered import RedBlackTree
from kernelmodel.vmflags import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE
from tests.kernelmodel.rmap.workload import PAGE

if TYPE_CHECKING:
    from kernelmodel.fault.types import Pte
    from kernelmodel.vma import File

RW = PROT_READ | PROT_WRITE
ANON = MAP_PRIVATE | MAP_ANONYMOUS
HERE = 0x1000_0000


class One:
    """A machine with one process, and short words for what it does."""

    def __init__(self, nr_frames: int = 64) -> None:
        self.machine = Machine(nr_frames)
        self.pid = self.machine.add(AddressSpace(RedBlackTree))

    def map(self, nr_pages: int = 4, flags: int = ANON, file: File | None = None, prot: int = RW) -> int:
        return self.machine.mmap(self.pid, HERE, nr_pages * PAGE, prot, flags | MAP_FIXED, file=file)

    def pte(self, address: int, pid: int | None = None) -> Pte | None:
        return self.machine.tables[self.pid if pid is None else pid].get(address // PAGE)

    def pfn(self, address: int, pid: int | None = None) -> int:
        pte = self.pte(address, pid)
        assert pte is not None
        return pte.pfn
