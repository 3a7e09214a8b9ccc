"""What became of the VMA that held a page: the motions of its start, one after another.

Mirrors: nothing in the kernel, which forgets. It is the witness for `kernelmodel.rmap.stale`.
Fidelity: told apart by what was there before and after a call, not by what the call did in between.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from kernelmodel.fault.types import Area

if TYPE_CHECKING:
    from kernelmodel.fault import Machine
    from kernelmodel.fault.types import VmaChange
    from kernelmodel.vma import Vma


class Motion(Enum):
    """Why a page is at another distance from the start of its VMA, or in another VMA, than before."""

    STACK_GROWTH = "stack-growth"
    """The stack grew down to a fault."""
    TRIMMED_HEAD = "trimmed-head"
    """What lay before was unmapped, and nothing is there now."""
    SPLIT = "split"
    """The VMA was cut: another one begins where it began, or it was replaced by its parts."""
    MERGE = "merge"
    """The VMA was joined to the one below it, or took it in."""
    MREMAP = "mremap"
    """The page went to another address."""


class Journey(NamedTuple):
    """Where a page came to be: VMA and address in bytes, and by which motions. No VMA: it was unmapped."""

    vma: Vma | None
    address: int
    motions: tuple[Motion, ...]


class Journal:
    """All changes of VMAs since it was begun.

    Parameters
    ----------
    machine
        The machine whose changes are kept.

    Attributes
    ----------
    changes
        In order of their clock.
    """

    def __init__(self, machine: Machine) -> None:
        self.changes: list[VmaChange] = []
        self._mm_of = dict(machine.owner)
        machine.vma_observers.append(self)

    def vmas_changed(self, change: VmaChange) -> None:
        """Keep a change."""
        self.changes.append(change)
        self._mm_of.update(dict.fromkeys(change.after, change.mm_id))

    def area_at(self, vma: Vma, clock: int) -> Area:
        """Return the bounds that `vma` had when the machine's clock was `clock`, not before it came to be."""
        for change in self._since(clock):
            if vma in change.before:
                return change.before[vma]
        return Area(vma.start, vma.end, vma.pgoff)

    def follow(self, vma: Vma, address: int, clock: int) -> Journey:
        """Return where the page is now that was at `address` in `vma` when the clock was `clock`."""
        motions: list[Motion] = []
        mm_id = self._mm_of.get(vma)
        for change in self._since(clock):
            if change.mm_id != mm_id:
                continue
            move = change.move
            moved = move is not None and move.old <= address < move.old + move.length
            if move is not None and moved:
                address += move.new - move.old
            elif vma not in change.before:
                continue
            holder = _holder(change, address)
            if holder is None:
                return Journey(None, address, tuple(motions))
            motion = Motion.MREMAP if moved else _motion(change, vma, holder)
            if motion is not None:
                motions.append(motion)
            vma = holder
        return Journey(vma, address, tuple(motions))

    def _since(self, clock: int) -> list[VmaChange]:
        return self.changes[bisect_right(self.changes, clock, key=attrgetter("clock")) :]


def _holder(change: VmaChange, address: int) -> Vma | None:
    for vma, area in change.after.items():
        if area.start <= address < area.end:
            return vma
    return None


def _motion(change: VmaChange, vma: Vma, holder: Vma) -> Motion | None:
    """Name what happened to a page of `vma` that is now held by `holder`, at the same address."""
    old, new = change.before[vma], change.after[holder]
    if holder is vma and new.start == old.start:
        return None
    if new.start < old.start:
        return Motion.STACK_GROWTH if change.cause == "expand_stack" else Motion.MERGE
    if holder is not vma and holder in change.before:
        return Motion.MERGE
    if new.start > old.start and _holder(change, old.start) is None:
        return Motion.TRIMMED_HEAD
    return Motion.SPLIT
