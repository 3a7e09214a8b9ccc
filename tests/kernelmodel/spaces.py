"""A small address space that counts in pages, for the tests of `kernelmodel.mm` and its parts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kernelmodel.errors import SyscallError
from kernelmodel.mm.address_space import AddressSpace
from kernelmodel.mm.types import Layout
from kernelmodel.ordered import TREES

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.vma import File, Vma

PAGE = 4096
READ, RW, RWX = 1, 3, 7
SHARED, ANON, FIXED, GROWSDOWN, NOREPLACE = 1, 0x22, 0x10, 0x100, 0x100000
MOVE, TO, DONTUNMAP = 1, 3, 7
DONTFORK, DOFORK, WIPEONFORK, KEEPONFORK = 10, 11, 18, 19
LAYOUT = Layout(
    task_size=4096 * PAGE,
    mmap_base=2048 * PAGE,
    mmap_legacy_base=1024 * PAGE,
    min_address=16 * PAGE,
    start_brk=512 * PAGE,
    guard_gap_bytes=8 * PAGE,
    stack_limit_bytes=32 * PAGE,
)


class Space:
    """An address space that counts in pages."""

    def __init__(self, tree: str = "rbtree", **limits: Any) -> None:
        self.mm = AddressSpace(TREES[tree], replace(LAYOUT, **limits))

    def map(self, page: int, nr: int = 1, prot: int = RW, flags: int = ANON | FIXED, **what: Any) -> int:
        return self.mm.mmap(page * PAGE, nr * PAGE, prot, flags, **what) // PAGE

    def map_file(self, page: int, nr: int, file: File, pgoff: int, *, prot: int = RW, kind: int = 2) -> None:
        self.mm.mmap(page * PAGE, nr * PAGE, prot, kind | FIXED, file=file, pgoff=pgoff)

    def unmap(self, page: int, nr: int = 1) -> None:
        self.mm.munmap(page * PAGE, nr * PAGE)

    def protect(self, page: int, nr: int = 1, prot: int = READ) -> None:
        self.mm.mprotect(page * PAGE, nr * PAGE, prot)

    def remap(self, page: int, old: int, new: int, flags: int = 0, to: int = 0) -> int:
        return self.mm.mremap(page * PAGE, old * PAGE, new * PAGE, flags, to * PAGE) // PAGE

    def touch(self, page: int) -> Vma:
        return self.mm.touch(page * PAGE)

    @property
    def pages(self) -> list[tuple[int, int]]:
        self.mm.validate()
        return [(vma.start // PAGE, vma.end // PAGE) for vma in self.mm]


def refused(code: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    with pytest.raises(SyscallError) as caught:
        call(*arguments, **named)
    assert caught.value.code == code
    assert str(caught.value).startswith(f"{code}: ")
