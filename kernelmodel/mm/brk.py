"""Move the end of the heap.

Mirrors: ``mm/mmap.c: brk``; ``mm/vma.c: do_brk_flags``.
Fidelity: no RLIMIT_DATA; the heap is never locked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernelmodel.errors import NoMemoryError
from kernelmodel.mapping import PAGE_SHIFT
from kernelmodel.mm.adjust import munmap_range
from kernelmodel.mm.merge import Merge, merge_new_range
from kernelmodel.mm.types import PAGE_BYTES, page_align
from kernelmodel.vma import Vma
from kernelmodel.vmflags import VM_ACCOUNT, VM_DATA_DEFAULT_FLAGS

if TYPE_CHECKING:
    from kernelmodel.mm.types import Mm


def set_brk(mm: Mm, brk: int) -> int:
    """Do what ``brk(2)`` does and return the end of the heap, the old one if the kernel would not move it."""
    old, new = page_align(mm.brk), page_align(brk)
    if brk < mm.layout.start_brk:
        return mm.brk
    try:
        moved = new == old or (_shrink(mm, old, new) if new < old else _grow(mm, old, new))
    except NoMemoryError:
        moved = False
    if moved:
        mm.brk = brk
    return mm.brk


def _shrink(mm: Mm, old: int, new: int) -> bool:
    if mm.vmas.find_in(new, old) is None:
        return False
    munmap_range(mm, new, old)
    return True


def _grow(mm: Mm, old: int, new: int) -> bool:
    above = mm.vmas.find(old)
    if new > mm.layout.task_size or (above is not None and new + PAGE_BYTES > mm.vmas.start_gap(above)):
        return False
    mm.demand_slots(0)
    below = above.prev if above is not None else mm.vmas.last
    if below is not None and below.end <= mm.layout.start_brk:
        below = None
    flags, pgoff = VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT, old >> PAGE_SHIFT
    if merge_new_range(mm, Merge(old, new, flags, pgoff, None, prev=below)) is None:
        mm.link(Vma(old, new, flags, pgoff))
    return True
