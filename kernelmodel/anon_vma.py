"""Which VMAs may map the anonymous pages of a VMA and of its forks (struct anon_vma).

Mirrors: ``mm/rmap.c: __anon_vma_prepare, anon_vma_clone, anon_vma_fork, unlink_anon_vmas``;
``mm/vma.c: anon_vma_interval_tree_pre_update_vma, anon_vma_interval_tree_post_update_vma``;
``mm/interval_tree.c: avc_start_pgoff, avc_last_pgoff``.
Fidelity: no locks and no reference counts (an anon_vma dies when nothing names it); allocation never fails;
the choice of a neighbour's anon_vma (``find_mergeable_anon_vma``) is the address space's.

::

    parent's VMA ──avc── A (root)          a page the parent faulted names A: A's tree has both VMAs
        fork │            │ parent
    child's VMA  ──avc────┤
        │                 │
        └────avc──────── B                 a page the child copied on write names B: only the child's VMA
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from kernelmodel.errors import InvariantError
from kernelmodel.interval_tree import IntervalTree
from kernelmodel.mapping import PgoffRange, pgoff_range
from kernelmodel.ordered.rbtree import RedBlackTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class AnonArea(PgoffRange, Protocol):
    """What this module needs of a VMA, beside the page offsets it maps.

    ``anon_vma_chain`` is ordered from the newest anon_vma to the oldest, the root last, as in the kernel.
    """

    anon_vma: AnonVma | None
    anon_vma_chain: list[AnonVmaChain]


class AnonVma:
    """The VMAs that may map a set of anonymous pages.

    Parameters
    ----------
    parent
        The anon_vma of the VMA this one's VMA was forked from; None makes a root.

    Attributes
    ----------
    root, parent
        A root names itself in both.
    num_children
        Anon_vmas in use whose parent this is; a root counts itself.
    num_active_vmas
        VMAs whose new pages go here, that is, whose ``anon_vma`` this is.
    tree
        The links to every VMA that may map a page of this anon_vma, by the VMA's page offsets (``rb_root``).
    """

    def __init__(self, parent: AnonVma | None = None) -> None:
        self.parent: AnonVma = parent or self
        self.root: AnonVma = self.parent.root if parent else self
        self.num_children = 0
        self.num_active_vmas = 0
        self.tree: IntervalTree[AnonVmaChain] = IntervalTree(RedBlackTree)
        self.parent.num_children += 1

    def __repr__(self) -> str:  # type: ignore[explicit-override]
        return f"AnonVma({id(self):#x})"

    def overlapping(self, first: int, last: int) -> Iterator[AnonVmaChain]:
        """Iterate the links to VMAs with a page offset in the range (``anon_vma_interval_tree_foreach``)."""
        return self.tree.iter_overlaps(first, last)

    def validate(self) -> None:
        """Check the tree, its links, and the counts that follow from them.

        Raises
        ------
        InvariantError
            ``anon-vma-root``: parent and root do not agree. ``anon-vma-twice``: a VMA is linked twice.
            ``anon-vma-link``: a link in the tree is not in its VMA's chain, or names another anon_vma.
            ``anon-vma-range``: a VMA changed without anon_vma_pre_update and anon_vma_post_update.
            ``anon-vma-active``: num_active_vmas is not the number of VMAs whose new pages go here.
            ``anon-vma-ancestor``: a VMA is here and not at the parent, so the parent's pages would miss it.
        """
        self.tree.validate()
        if self.parent.root is not self.root or self.root.parent is not self.root:
            raise InvariantError("anon-vma-root", repr(self), "its parent, or its root, has another root")
        linked = {id(avc.vma) for _, _, avc in self.tree.items()}
        if len(linked) != len(self.tree):
            detail = f"{len(self.tree)} links to {len(linked)} VMAs"
            raise InvariantError("anon-vma-twice", repr(self), detail)
        at_parent = {id(avc.vma) for _, _, avc in self.parent.tree.items()}
        for first, last, avc in self.tree.items():
            avc.validate(self, first, last)
            if id(avc.vma) not in at_parent:
                detail = f"{avc.vma!r} is not linked at the parent"
                raise InvariantError("anon-vma-ancestor", repr(self), detail)
        nr_active = sum(avc.vma.anon_vma is self for _, _, avc in self.tree.items())
        if nr_active != self.num_active_vmas:
            detail = f"num_active_vmas {self.num_active_vmas}, VMAs that put their pages here {nr_active}"
            raise InvariantError("anon-vma-active", repr(self), detail)


class AnonVmaChain:
    """The link between one VMA and one anon_vma (struct anon_vma_chain)."""

    def __init__(self, vma: AnonArea, anon_vma: AnonVma) -> None:
        self.vma = vma
        self.anon_vma = anon_vma

    def validate(self, anon_vma: AnonVma, first: int, last: int) -> None:
        """Check that this link belongs in the tree of `anon_vma` under the offsets `first` to `last`."""
        where = f"link of {self.vma!r}"
        if self.anon_vma is not anon_vma:
            raise InvariantError("anon-vma-link", where, f"names {self.anon_vma!r}, stands in {anon_vma!r}")
        if not any(avc is self for avc in self.vma.anon_vma_chain):
            raise InvariantError("anon-vma-link", where, "is not in the chain of its VMA")
        if (first, last) != pgoff_range(self.vma):
            detail = f"linked as {first}..{last}, the VMA has {pgoff_range(self.vma)}"
            raise InvariantError("anon-vma-range", where, detail)


def anon_vma_prepare(vma: AnonArea, reusable: AnonVma | None = None) -> AnonVma:
    """Return the anon_vma for the new anonymous pages of `vma`; give it one when it has none.

    Parameters
    ----------
    reusable
        The anon_vma of a neighbour that may be shared, so that the two can merge later
        (``find_mergeable_anon_vma``; the neighbour has a single link); None makes a new root.
    """
    if vma.anon_vma is None:
        vma.anon_vma = AnonVma() if reusable is None else reusable
        vma.anon_vma.num_active_vmas += 1
        _link(vma, vma.anon_vma)
    return vma.anon_vma


def anon_vma_clone(dst: AnonArea, src: AnonArea) -> AnonVma | None:
    """Link `dst` to every anon_vma of `src`, for a split, a merge, a move or a fork; return its anon_vma.

    For a split, merge or move the caller copies ``src.anon_vma`` to `dst` first. A `dst` without anon_vma is
    a fork, and may take over one that no VMA puts its pages in any more and that has one child or none:
    where child after child forks and its parent exits, the tree would otherwise grow without end.
    """
    for src_avc in reversed(src.anon_vma_chain):
        anon_vma = src_avc.anon_vma
        _link(dst, anon_vma)
        if dst.anon_vma is None and anon_vma.num_children < 2 and anon_vma.num_active_vmas == 0:
            dst.anon_vma = anon_vma
    if dst.anon_vma is not None:
        dst.anon_vma.num_active_vmas += 1
    return dst.anon_vma


def anon_vma_fork(child: AnonArea, parent: AnonArea) -> None:
    """Link a forked VMA to its parent's anon_vmas, and give it one for the pages it will copy on write."""
    if parent.anon_vma is None:
        return
    child.anon_vma = None
    if anon_vma_clone(child, parent) is not None:
        return
    child.anon_vma = AnonVma(parent.anon_vma)
    child.anon_vma.num_active_vmas += 1
    _link(child, child.anon_vma)


def unlink_anon_vmas(vma: AnonArea) -> None:
    """Take `vma` out of every anon_vma; those left without a VMA are no longer in use.

    Raises
    ------
    InvariantError
        ``anon-vma-freed``: an anon_vma without VMA still has children or active VMAs.
    """
    emptied = []
    for avc in vma.anon_vma_chain:
        anon_vma = avc.anon_vma
        anon_vma.tree.remove(*pgoff_range(vma), avc)
        if len(anon_vma.tree) == 0:
            anon_vma.parent.num_children -= 1
            emptied.append(anon_vma)
    if vma.anon_vma is not None:
        vma.anon_vma.num_active_vmas -= 1
        vma.anon_vma = None
    vma.anon_vma_chain.clear()
    for anon_vma in emptied:
        if anon_vma.num_children or anon_vma.num_active_vmas:
            detail = f"num_children {anon_vma.num_children}, num_active_vmas {anon_vma.num_active_vmas}"
            raise InvariantError("anon-vma-freed", repr(anon_vma), detail)


def anon_vma_pre_update(vma: AnonArea) -> None:
    """Take the links of `vma` out of their trees before its start, end or pgoff changes."""
    for avc in vma.anon_vma_chain:
        avc.anon_vma.tree.remove(*pgoff_range(vma), avc)


def anon_vma_post_update(vma: AnonArea) -> None:
    """Put the links of `vma` back into their trees after its start, end or pgoff changed."""
    for avc in vma.anon_vma_chain:
        avc.anon_vma.tree.insert(*pgoff_range(vma), avc)


def validate_anon_vmas(vmas: Iterable[AnonArea]) -> None:
    """Check every anon_vma reachable from `vmas`, which are all the VMAs there are.

    Raises
    ------
    InvariantError
        What AnonVma.validate raises; ``vma-anon-vma``: a VMA has an anon_vma and no link to it, or links and
        no anon_vma; ``anon-vma-children``: num_children is not the number of anon_vmas with this parent.
    """
    reached: dict[int, AnonVma] = {}
    for vma in vmas:
        linked = {id(avc.anon_vma): avc.anon_vma for avc in vma.anon_vma_chain}
        if (vma.anon_vma is not None or linked) and id(vma.anon_vma) not in linked:
            raise InvariantError("vma-anon-vma", repr(vma), f"has {len(linked)} links, none to its anon_vma")
        reached |= linked
    for anon_vma in reached.values():
        anon_vma.validate()
    nr_children = Counter(id(anon_vma.parent) for anon_vma in reached.values())
    for key, anon_vma in reached.items():
        if anon_vma.num_children != nr_children[key]:
            detail = f"num_children {anon_vma.num_children}, anon_vmas with this parent {nr_children[key]}"
            raise InvariantError("anon-vma-children", repr(anon_vma), detail)


def _link(vma: AnonArea, anon_vma: AnonVma) -> None:
    avc = AnonVmaChain(vma, anon_vma)
    vma.anon_vma_chain.insert(0, avc)
    anon_vma.tree.insert(*pgoff_range(vma), avc)
