"""When neighbouring VMAs become one, and how.

Mirrors: ``mm/vma.c: is_mergeable_vma, is_mergeable_anon_vma, can_vma_merge_left, can_vma_merge_right,
vma_merge_new_range, vma_merge_existing_range, vma_merge_extend, vma_expand, vma_modify``.
Fidelity: no policies, no userfaultfd, no special mappings (VM_IO and the like never merge), no ``close``
hooks.

::

    new or copied range            range of a VMA that changes        what the fields of `Merge` name
    prev |------|      |  next     prev |--------******| next         ****** start..end
               start  end                  middle                     all else: what they would join
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernelmodel.mapping import PAGE_SHIFT
from kernelmodel.mm.adjust import dup_anon_vma, move_boundary, set_range, split
from kernelmodel.vmflags import VM_SOFTDIRTY

if TYPE_CHECKING:
    from kernelmodel.anon_vma import AnonVma
    from kernelmodel.mm.types import MergeRules, Mm
    from kernelmodel.vma import File, Vma


@dataclass(slots=True)
class Merge:
    """A range that might join its neighbours (struct vma_merge_struct).

    Parameters
    ----------
    start, end
        The range in bytes, `end` open.
    flags, pgoff, file, name, anon_vma
        What a VMA of just this range would have.
    prev, next
        The VMAs before and behind the range, whether they touch it or not.
    middle
        The VMA that holds the range already and changes.
    copied_from
        The VMA that mremap carries here.
    """

    start: int
    end: int
    flags: int
    pgoff: int
    file: File | None
    name: str = ""
    anon_vma: AnonVma | None = None
    prev: Vma | None = None
    next: Vma | None = None
    middle: Vma | None = None
    copied_from: Vma | None = None


def can_merge_left(rules: MergeRules, merge: Merge) -> bool:
    """Tell whether the range continues ``merge.prev``."""
    prev = merge.prev
    return (
        prev is not None
        and prev.end == merge.start
        and prev.pgoff_at(merge.start) == merge.pgoff
        and _is_mergeable(merge, prev)
        and _is_mergeable_anon_vma(rules, merge, prev)
    )


def can_merge_right(rules: MergeRules, merge: Merge, *, with_left: bool) -> bool:
    """Tell whether ``merge.next`` continues the range, and, `with_left`, also ``merge.prev``."""
    following = merge.next
    if (
        following is None
        or following.start != merge.end
        or following.pgoff != merge.pgoff + ((merge.end - merge.start) >> PAGE_SHIFT)
        or not _is_mergeable(merge, following)
        or not _is_mergeable_anon_vma(rules, merge, following)
    ):
        return False
    if not with_left:
        return True
    # Each may suit the range and yet not the other: one range must not join two anon_vmas.
    assert merge.prev is not None
    ours, theirs = merge.prev.anon_vma, following.anon_vma
    return ours is None or theirs is None or ours is theirs


def merge_new_range(mm: Mm, merge: Merge, *, next_decides: bool = False) -> Vma | None:
    """Let neighbours grow over a free range, and return the VMA that covers it; None if none may.

    Parameters
    ----------
    merge
        Without ``middle``. With ``copied_from`` for a range that mremap fills; with ``next`` None if only the
        previous may grow (brk).
    next_decides
        See `MergeRules`; only mmap has had this rule.
    """
    left = can_merge_left(mm.rules, merge)
    right = can_merge_right(mm.rules, merge, with_left=left)
    if next_decides and can_merge_right(mm.rules, merge, with_left=False):
        assert merge.next is not None
        merge.anon_vma = merge.next.anon_vma
        left, right = can_merge_left(mm.rules, merge), True
    prev, following = (merge.prev if left else None), (merge.next if right else None)
    target = prev or following
    if target is None:
        return None
    start, pgoff = (prev.start, prev.pgoff) if prev else (merge.start, merge.pgoff)
    absorbed = following if prev else None
    for source in (absorbed, merge.copied_from):
        if source is not None:
            dup_anon_vma(target, source)
    end = following.end if following else merge.end
    set_range(mm, target, start, end, pgoff, removed=(absorbed,) if absorbed else ())
    return target


def merge_existing_range(mm: Mm, merge: Merge) -> Vma | None:
    """Let neighbours take over a range of ``merge.middle``; return the VMA that has it then, or None.

    ``merge.flags`` are those the range is about to have. The range reaches to one end of ``middle`` at least,
    or nothing merges.
    """
    middle = merge.middle
    assert middle is not None
    left_side, right_side = merge.start == middle.start, merge.end == middle.end
    merge.prev, merge.next = (middle.prev if left_side else None), (middle.next if right_side else None)
    left = can_merge_left(mm.rules, merge)
    right = can_merge_right(mm.rules, merge, with_left=left)
    prev, following = merge.prev, merge.next
    whole = left_side and right_side
    if left and prev is not None:
        if right and following is not None:
            dup_anon_vma(prev, following if following.anon_vma is not None else middle)
            set_range(mm, prev, prev.start, following.end, prev.pgoff, removed=(middle, following))
            return prev
        dup_anon_vma(prev, middle)
        if whole:
            set_range(mm, prev, prev.start, merge.end, prev.pgoff, removed=(middle,))
        else:
            move_boundary(mm, prev, middle, merge.end)
        return prev
    if right and following is not None:
        dup_anon_vma(following, middle)
        if whole:
            set_range(mm, following, merge.start, following.end, merge.pgoff, removed=(middle,))
        else:
            move_boundary(mm, middle, following, merge.start)
        return following
    return None


def modify(mm: Mm, vma: Vma, start: int, end: int, flags: int) -> Vma:
    """Give a range of `vma` other flags: neighbours take it over, or it becomes a VMA (``vma_modify``).

    Returns
    -------
    Vma
        The one that covers the range now, which may be larger.

    Raises
    ------
    NoMemoryError
        The split would make one VMA too many.
    """
    merge = Merge(start, end, flags, vma.pgoff_at(start), vma.file, vma.name, vma.anon_vma, middle=vma)
    merged = merge_existing_range(mm, merge)
    if merged is not None:
        return merged
    if vma.start < start:
        mm.demand_slots(1)
        split(mm, vma, start, new_below=True)
    if vma.end > end:
        mm.demand_slots(1)
        split(mm, vma, end, new_below=False)
    vma.flags = flags
    return vma


def _is_mergeable(merge: Merge, vma: Vma) -> bool:
    different = (vma.flags ^ merge.flags) & ~VM_SOFTDIRTY
    return not different and vma.file is merge.file and vma.name == merge.name


def _is_mergeable_anon_vma(rules: MergeRules, merge: Merge, vma: Vma) -> bool:
    theirs, ours = vma.anon_vma, merge.anon_vma
    if theirs is ours:
        return True
    if theirs is None:
        # The range brings its anon_vma along. Links inherited by fork are not spread over more VMAs: their
        # anon_vmas are shared with other processes.
        if not rules.faulted_joins_unfaulted:
            return False
        moved = merge.copied_from if rules.moved_fork_child_apart else None
        return not any(source is not None and source.is_fork_child for source in (merge.middle, moved))
    return ours is None and not vma.is_fork_child
