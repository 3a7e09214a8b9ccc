"""What holds in an address space at any time.

Mirrors: ``mm/vma.c: validate_mm``; ``mm/interval_tree.c: anon_vma_interval_tree_verify``.
Fidelity: checks more than the kernel: every link of the reverse maps in both directions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernelmodel.errors import InvariantError
from kernelmodel.mapping import pgoff_range
from kernelmodel.mm.merge import Merge, can_merge_left, can_merge_right

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelmodel.anon_vma import AnonVma
    from kernelmodel.mapping import Mapping
    from kernelmodel.mm.types import Mm
    from kernelmodel.vma import Vma


def validate(mm: Mm) -> None:
    """Check the tree of VMAs and that the reverse maps agree with it.

    Raises
    ------
    InvariantError
        What `VmaTree.validate`, `AnonVma.validate` and `Mapping.validate` raise; ``vma-anon-vma``: a VMA
        has an anon_vma and no link to it, or links and no anon_vma; ``vma-mapping``: a VMA is not among
        those that map its file, or twice; ``vma-shared-anon``: pages of shared memory were given an
        anon_vma.
    """
    mm.vmas.validate()
    anon_vmas: dict[int, AnonVma] = {}
    mappings: dict[int, Mapping] = {}
    for vma in mm.vmas:
        linked = {id(avc.anon_vma): avc.anon_vma for avc in vma.anon_vma_chain}
        if (vma.anon_vma is not None or linked) and id(vma.anon_vma) not in linked:
            raise InvariantError("vma-anon-vma", repr(vma), f"has {len(linked)} links, none to its anon_vma")
        if vma.anon_vma is not None and vma.is_writable_shared:
            raise InvariantError("vma-shared-anon", repr(vma), "is shared and has an anon_vma")
        anon_vmas |= linked
        if vma.mapping is not None:
            mappings[id(vma.mapping)] = vma.mapping
            nr = sum(other is vma for other in vma.mapping.overlapping(*pgoff_range(vma)))
            if nr != 1:
                raise InvariantError("vma-mapping", repr(vma), f"stands {nr} times in the tree of its file")
    for anon_vma in anon_vmas.values():
        anon_vma.validate()
    for mapping in mappings.values():
        mapping.validate()


def unmerged_neighbours(mm: Mm) -> Iterator[tuple[Vma, Vma]]:
    """Iterate neighbours of which either would join the other if it were mapped or moved there now."""
    for above in mm.vmas:
        below = above.prev
        if below is None or below.end != above.start:
            continue
        upper, lower = _as_merge(above), _as_merge(below)
        upper.prev, lower.next = below, above
        if can_merge_left(mm.rules, upper) or can_merge_right(mm.rules, lower, with_left=False):
            yield below, above


def _as_merge(vma: Vma) -> Merge:
    return Merge(vma.start, vma.end, vma.flags, vma.pgoff, vma.file, vma.name, vma.anon_vma, middle=vma)
