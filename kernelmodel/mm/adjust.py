"""Change the bounds of VMAs, in the address space and in the reverse maps at once.

Mirrors: ``mm/vma.c: vma_prepare, vma_complete, commit_merge, __split_vma, dup_anon_vma,
vms_gather_munmap_vmas, vms_complete_munmap_vmas, do_vmi_munmap``.
Fidelity: the page tables are not here; who keeps them moves and drops entries beside these calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernelmodel.anon_vma import anon_vma_clone, anon_vma_post_update, anon_vma_pre_update, unlink_anon_vmas

if TYPE_CHECKING:
    from kernelmodel.mm.types import Mm
    from kernelmodel.vma import Vma


def set_range(mm: Mm, vma: Vma, start: int, end: int, pgoff: int, *, removed: tuple[Vma, ...] = ()) -> None:
    """Give `vma` new bounds, in the address space and in its reverse maps, over those that it absorbs."""
    for absorbed in removed:
        mm.vmas.remove(absorbed)
        _unlink_reverse(absorbed)
    _pre_update(vma)
    mm.vmas.set_range(vma, start, end, pgoff)
    _post_update(vma)


def unlink(mm: Mm, vma: Vma) -> None:
    """Take `vma` out of the address space and of its reverse maps (``remove_vma``, ``free_pgtables``)."""
    mm.vmas.remove(vma)
    _unlink_reverse(vma)


def split(mm: Mm, vma: Vma, address: int, *, new_below: bool) -> None:
    """Make two VMAs of one; `vma` keeps the part above `address` if `new_below`, else that below.

    The caller has made sure that one more VMA is allowed (``__split_vma``).
    """
    new = vma.copy()
    pgoff = vma.pgoff_at(address)
    if new_below:
        new.end = address
    else:
        new.start, new.pgoff = address, pgoff
    anon_vma_clone(new, vma)
    if new_below:
        set_range(mm, vma, address, vma.end, pgoff)
    else:
        set_range(mm, vma, vma.start, address, vma.pgoff)
    mm.link(new)


def munmap_range(mm: Mm, start: int, end: int) -> None:
    """Take everything in the range out, splitting what reaches over its bounds.

    Raises
    ------
    NoMemoryError
        A hole in the middle of one VMA would make one VMA too many.
    """
    vma = mm.vmas.find_in(start, end)
    if vma is None:
        return
    if vma.start < start:
        if end < vma.end:
            mm.demand_slots(1)
        split(mm, vma, start, new_below=True)
    while vma is not None and vma.start < end:
        if vma.end > end:
            split(mm, vma, end, new_below=False)
        following = vma.next
        unlink(mm, vma)
        vma = following


def dup_anon_vma(target: Vma, source: Vma) -> None:
    """Let `target` reach the anonymous pages that come with `source`."""
    if source.anon_vma is not None and target.anon_vma is None:
        target.anon_vma = source.anon_vma
        anon_vma_clone(target, source)


def move_boundary(mm: Mm, below: Vma, above: Vma, address: int) -> None:
    """Move the boundary of two neighbours to `address`."""
    pgoff = above.pgoff_at(address)
    for vma in (below, above):
        _pre_update(vma)
    # The one that grows goes first: they overlap for a moment, and no gap appears that must be noted.
    if address < below.end:
        mm.vmas.set_range(above, address, above.end, pgoff)
        mm.vmas.set_range(below, below.start, address, below.pgoff)
    else:
        mm.vmas.set_range(below, below.start, address, below.pgoff)
        mm.vmas.set_range(above, address, above.end, pgoff)
    for vma in (below, above):
        _post_update(vma)


def _pre_update(vma: Vma) -> None:
    if vma.file is not None:
        vma.file.mapping.pre_update(vma)
    if vma.anon_vma_chain:
        anon_vma_pre_update(vma)


def _post_update(vma: Vma) -> None:
    if vma.file is not None:
        vma.file.mapping.post_update(vma)
    if vma.anon_vma_chain:
        anon_vma_post_update(vma)


def _unlink_reverse(vma: Vma) -> None:
    if vma.file is not None:
        vma.file.mapping.remove(vma)
    if vma.anon_vma_chain:
        unlink_anon_vmas(vma)
