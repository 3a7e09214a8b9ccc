"""Grow, shrink and move a mapping.

Mirrors: ``mm/mremap.c: do_mremap, check_mremap_params, check_prep_vma, mremap_to, mremap_at, remap_move,
expand_vma, move_vma, dontunmap_complete``; ``mm/vma.c: copy_vma, vma_merge_extend``.
Fidelity: no hugetlb, no mlock, no userfaultfd; page tables are the caller's to move.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernelmodel.anon_vma import anon_vma_clone, unlink_anon_vmas
from kernelmodel.errors import SyscallError
from kernelmodel.mapping import PAGE_SHIFT
from kernelmodel.mm.adjust import munmap_range
from kernelmodel.mm.merge import Merge, merge_new_range
from kernelmodel.mm.types import PAGE_BYTES, page_align
from kernelmodel.vmflags import (
    MAP_FIXED,
    MREMAP_DONTUNMAP,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    VM_ACCOUNT,
    VM_DONTEXPAND,
    VM_MAYSHARE,
    VM_SHARED,
)

if TYPE_CHECKING:
    from kernelmodel.mm.types import Mm
    from kernelmodel.vma import Vma


@dataclass(frozen=True, slots=True)
class Remap:
    """One request (struct vma_remap_struct); addresses and lengths in bytes."""

    address: int
    old_bytes: int
    new_bytes: int
    flags: int
    new_address: int

    @property
    def has_target(self) -> bool:
        """Whether the mapping goes to another address in any case."""
        return bool(self.flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))


def mremap(mm: Mm, remap: Remap) -> int:
    """Do what ``mremap(2)`` does and return the new address; `AddressSpace.mremap` says how it can fail."""
    aligned = replace(remap, old_bytes=page_align(remap.old_bytes), new_bytes=page_align(remap.new_bytes))
    # Before 6.17 the lengths were compared as they were given.
    compared = aligned if mm.rules.mremap_many else remap
    same = compared.old_bytes == compared.new_bytes
    _demand(same or not remap.flags & MREMAP_DONTUNMAP, "MREMAP_DONTUNMAP with a new size")
    remap = aligned
    _check_arguments(mm, remap)
    if remap.has_target:
        return _remap_move(mm, remap) if mm.rules.mremap_many else _remap_one(mm, remap)
    vma = _lookup(mm, remap.address)
    if remap.new_bytes <= remap.old_bytes:
        if remap.new_bytes < remap.old_bytes:
            munmap_range(mm, remap.address + remap.new_bytes, remap.address + remap.old_bytes)
        return remap.address
    _check_vma(vma, remap)
    return _expand(mm, vma, remap)


def _check_arguments(mm: Mm, remap: Remap) -> None:
    flags = remap.flags
    _demand(not flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP), f"unknown flags {flags:#x}")
    _demand(remap.address % PAGE_BYTES == 0, f"{remap.address:#x} is not page aligned")
    _demand(0 < remap.new_bytes <= mm.layout.task_size, f"cannot become {remap.new_bytes:#x} bytes")
    if remap.has_target:
        _demand(bool(flags & MREMAP_MAYMOVE), "a new address without MREMAP_MAYMOVE")


def _check_target(mm: Mm, remap: Remap) -> None:
    reaches = remap.new_address <= mm.layout.task_size - remap.new_bytes
    _demand(remap.new_address % PAGE_BYTES == 0 and reaches, f"cannot go to {remap.new_address:#x}")
    overlap = (
        remap.address + remap.old_bytes > remap.new_address
        and remap.new_address + remap.new_bytes > remap.address
    )
    _demand(not overlap, "the new range overlaps the old one")
    # Two splits to come, and what the move itself asks for (see _move).
    mm.demand_slots(6)


def _demand(condition: bool, reason: str) -> None:
    if not condition:
        raise SyscallError("EINVAL", reason)


def _check_vma(vma: Vma, remap: Remap) -> None:
    """Check that the VMA can be moved or resized (``check_prep_vma``; ``vma_to_resize`` before 6.17)."""
    old_bytes = remap.old_bytes
    if not old_bytes and not vma.flags & (VM_SHARED | VM_MAYSHARE):
        raise SyscallError("EINVAL", "a private mapping cannot be duplicated")
    if remap.flags & MREMAP_DONTUNMAP and vma.flags & VM_DONTEXPAND:
        raise SyscallError("EINVAL", f"{vma!r} must not grow")
    if min(old_bytes, remap.new_bytes) > vma.end - remap.address:
        raise SyscallError("EFAULT", f"{old_bytes:#x} bytes from {remap.address:#x} are not all in {vma!r}")
    if remap.new_bytes > old_bytes and vma.flags & VM_DONTEXPAND:
        raise SyscallError("EFAULT", f"{vma!r} must not grow")


def _remap_one(mm: Mm, remap: Remap) -> int:
    """Move one VMA, and look whether that can be done when its destination is unmapped already."""
    _lookup(mm, remap.address)
    _check_target(mm, remap)
    return _mremap_to(mm, remap, check=True)


def _remap_move(mm: Mm, remap: Remap) -> int:
    """Move all VMAs of the range, each to its place in the new range, the holes between them included.

    One VMA alone if it changes its size, or if the new address is only a hint.
    """
    _check_target(mm, remap)
    if not remap.flags & MREMAP_FIXED or remap.old_bytes != remap.new_bytes:
        _check_vma(_lookup(mm, remap.address), remap)
        return _mremap_to(mm, remap, check=False)
    end = remap.address + remap.old_bytes
    vma = mm.vmas.find_in(remap.address, end)
    if vma is None or vma.start > remap.address:
        raise SyscallError("EFAULT", f"nothing is mapped at {remap.address:#x}")
    while vma is not None:
        address = max(vma.start, remap.address)
        length_bytes = min(vma.end, end) - address
        target = remap.new_address + (address - remap.address)
        following = vma.end
        part = replace(
            remap, address=address, old_bytes=length_bytes, new_bytes=length_bytes, new_address=target
        )
        _check_vma(vma, part)
        _mremap_to(mm, part, check=False)
        vma = mm.vmas.find_in(following, end) if following < end else None
    return remap.new_address


def _mremap_to(mm: Mm, remap: Remap, *, check: bool) -> int:
    if remap.flags & MREMAP_FIXED:
        munmap_range(mm, remap.new_address, remap.new_address + remap.new_bytes)
    if remap.new_bytes < remap.old_bytes:
        munmap_range(mm, remap.address + remap.new_bytes, remap.address + remap.old_bytes)
        remap = replace(remap, old_bytes=remap.new_bytes)
    # What was unmapped may have been a part of the same VMA.
    vma = _lookup(mm, remap.address)
    if check:
        _check_vma(vma, remap)
    map_flags = MAP_FIXED if remap.flags & MREMAP_FIXED else 0
    new_address = mm.get_unmapped_area(remap.new_address, remap.new_bytes, map_flags)
    return _move(mm, vma, replace(remap, new_address=new_address))


def _expand(mm: Mm, vma: Vma, remap: Remap) -> int:
    delta_bytes = remap.new_bytes - remap.old_bytes
    end = vma.end + delta_bytes
    if vma.end - remap.address == remap.old_bytes and _is_free(mm, vma.end, end):
        extension = Merge(
            vma.end, end, vma.flags, vma.pgoff_at(vma.end), vma.file, vma.name, vma.anon_vma, vma, vma.next
        )
        merge_new_range(mm, extension)
        return remap.address
    if not remap.flags & MREMAP_MAYMOVE:
        raise SyscallError("ENOMEM", f"{vma!r} has no room to grow, and may not move")
    new_address = mm.get_unmapped_area(0, remap.new_bytes, 0)
    return _move(mm, vma, replace(remap, new_address=new_address))


def _is_free(mm: Mm, start: int, end: int) -> bool:
    return end <= mm.layout.task_size and mm.vmas.find_in(start, end) is None


def _move(mm: Mm, vma: Vma, remap: Remap) -> int:
    """Map at the new address what is mapped at the old one, and unmap the old (``move_vma``)."""
    mm.demand_slots(4)
    new = _copy_vma(mm, vma, remap)
    end = remap.address + remap.old_bytes
    if new.start <= vma.start < new.end:
        # A VMA without pages takes its page offset from the new address, and so the copy may have been merged
        # with the original itself.
        vma = new
    if not remap.flags & MREMAP_DONTUNMAP:
        if remap.old_bytes:
            munmap_range(mm, remap.address, end)
        return remap.new_address
    if mm.rules.dontunmap_unaccounted:
        vma.flags &= ~VM_ACCOUNT
    if vma is not new and (vma.start, vma.end) == (remap.address, end) and vma.anon_vma is not None:
        unlink_anon_vmas(vma)
    return remap.new_address


def _copy_vma(mm: Mm, vma: Vma, remap: Remap) -> Vma:
    start, end = remap.new_address, remap.new_address + remap.new_bytes
    pgoff = vma.pgoff_at(remap.address)
    if vma.file is None and vma.anon_vma is None:
        pgoff = start >> PAGE_SHIFT
    above = mm.vmas.find(start)
    below = above.prev if above is not None else mm.vmas.last
    if remap.flags & MREMAP_DONTUNMAP and (vma.end == start or vma.start == end):
        below, above = _admitted(mm, vma, below), _admitted(mm, vma, above)
    merge = Merge(
        start, end, vma.flags, pgoff, vma.file, vma.name, vma.anon_vma, below, above, copied_from=vma
    )
    merged = merge_new_range(mm, merge)
    if merged is not None:
        return merged
    new = vma.copy()
    new.start, new.end, new.pgoff = start, end, pgoff
    anon_vma_clone(new, vma)
    mm.link(new)
    return new


def _admitted(mm: Mm, source: Vma, neighbour: Vma | None) -> Vma | None:
    """Return `neighbour` if what lies beside `source` and was copied from it may join it."""
    rules = mm.rules
    may = rules.dontunmap_joins_source if neighbour is source else rules.dontunmap_joins_others
    return neighbour if may else None


def _lookup(mm: Mm, address: int) -> Vma:
    vma = mm.vmas.lookup(address)
    if vma is None:
        raise SyscallError("EFAULT", f"nothing is mapped at {address:#x}")
    return vma
