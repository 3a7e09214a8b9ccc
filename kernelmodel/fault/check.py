"""What must hold between frames, page tables, VMAs and the object reverse map.

Mirrors: ``mm/rmap.c: __page_check_anon_rmap``, ``mm/memory.c: print_bad_pte``, ``mm/page_alloc.c:
page_bad_reason``, which notice some of it when it is too late.
Fidelity: everything is counted again; no live kernel could afford it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kernelmodel.anon_vma import AnonVma, validate_anon_vmas
from kernelmodel.errors import InvariantError
from kernelmodel.fault.types import ZERO_PFN
from kernelmodel.mapping import PAGE_SHIFT, Mapping
from kernelmodel.vmflags import VM_WRITE

if TYPE_CHECKING:
    from kernelmodel.fault.memory import Memory
    from kernelmodel.fault.types import Frame, Pte
    from kernelmodel.mm.address_space import AddressSpace
    from kernelmodel.vma import Vma


def validate(memory: Memory, mms: dict[int, AddressSpace], owner: dict[Vma, int]) -> None:
    """Check everything.

    Parameters
    ----------
    memory
        Frames and page tables.
    mms, owner
        Address spaces by their id, and the id noted for each VMA.

    Raises
    ------
    InvariantError
        What address spaces, files and anon_vmas raise, and:
        ``vma-owner``: a VMA is noted under another address space, or one that is gone is noted.
        ``pte-vma``: an entry lies in no VMA. ``pte-frame``: an entry holds a frame that is free.
        ``pte-writable``: an entry may be written, but its VMA may not, or the frame is not its process's own.
        ``pte-index``: VMA and address give another page offset than the frame's.
        ``pte-reachable``: the frame's anon_vma or file does not lead to the VMA.
        ``mapcount``: another number than there are entries.
        ``exclusive``: a frame of one process alone is mapped more than once, or belongs to a file.
        ``anon-leak``: an anonymous frame that nobody maps is not free.
        ``page-cache``: a frame and its file do not agree.
        ``frame-list``: a frame is free and in use, or neither.
    """
    owners = {vma: mm_id for mm_id, mm in mms.items() for vma in mm}
    if owners != owner:
        wrong = owners.items() ^ owner.items()
        raise InvariantError("vma-owner", "machine", f"noted or true, not both: {sorted(map(repr, wrong))}")
    for mm in mms.values():
        mm.validate()
    validate_anon_vmas(owners)
    for mapping in {vma.mapping for vma in owners} - {None}:
        assert mapping is not None
        mapping.validate()
    counts: Counter[int] = Counter()
    for mm_id, table in memory.tables.items():
        for vpn, pte in table.items():
            _validate_pte(memory, mms[mm_id], pte, (mm_id, vpn))
            counts[pte.pfn] += 1
    for pfn, frame in memory.frames.items():
        _validate_frame(frame, counts[pfn])
    frames = sorted([*memory.free, *memory.frames])
    if frames != list(range(ZERO_PFN + 1, memory.nr_frames)):
        twice_or_lost = Counter(frames)
        twice_or_lost.subtract(range(ZERO_PFN + 1, memory.nr_frames))
        detail = (
            f"found more (+) or less (-) than once: {[item for item in twice_or_lost.items() if item[1]]}"
        )
        raise InvariantError("frame-list", "machine", detail)


def _validate_pte(memory: Memory, mm: AddressSpace, pte: Pte, place: tuple[int, int]) -> None:
    mm_id, vpn = place
    where = f"mm {mm_id} vpn {vpn:#x} -> pfn {pte.pfn}"
    vma = mm.vma_lookup(vpn << PAGE_SHIFT)
    if vma is None:
        raise InvariantError("pte-vma", where, "lies in no VMA")
    if pte.writable and not vma.flags & VM_WRITE:
        raise InvariantError("pte-writable", where, f"{vma!r} is not")
    if pte.pfn == ZERO_PFN:
        if pte.writable:
            raise InvariantError("pte-writable", where, "is the zero page")
        return
    frame = memory.frames.get(pte.pfn)
    if frame is None:
        raise InvariantError("pte-frame", where, "the frame is not in use")
    if pte.writable and not vma.is_writable_shared and not frame.exclusive:
        raise InvariantError("pte-writable", where, "private, and the frame is not exclusive")
    index = vma.pgoff_at(vpn << PAGE_SHIFT)
    if frame.index != index:
        raise InvariantError("pte-index", where, f"the frame has {frame.index:#x}, {vma!r} gives {index:#x}")
    if not _leads_to(frame, vma):
        raise InvariantError("pte-reachable", where, f"{frame.mapping!r} does not lead to {vma!r}")


def _leads_to(frame: Frame, vma: Vma) -> bool:
    if isinstance(frame.mapping, Mapping):
        return vma.mapping is frame.mapping
    return any(avc.anon_vma is frame.mapping for avc in vma.anon_vma_chain)


def _validate_frame(frame: Frame, nr_entries: int) -> None:
    where = f"pfn {frame.pfn}"
    if frame.mapcount != nr_entries:
        raise InvariantError("mapcount", where, f"counts {frame.mapcount}, {nr_entries} entries")
    if frame.exclusive and (frame.mapcount != 1 or not frame.is_anon):
        raise InvariantError("exclusive", where, f"{frame.mapcount} entries, page of {frame.mapping!r}")
    if isinstance(frame.mapping, AnonVma):
        if not frame.mapcount:
            raise InvariantError("anon-leak", where, "is mapped by nobody")
    elif frame.mapping.pages.get(frame.index) != frame.pfn:
        detail = f"{frame.mapping!r} has pfn {frame.mapping.pages.get(frame.index)} at {frame.index:#x}"
        raise InvariantError("page-cache", where, detail)
