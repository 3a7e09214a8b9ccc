"""What every policy of free areas offers, so that the same demand can be run through each.

A policy keeps free frames and nothing else: who holds a used one is written in the book
(`kernelmodel.free_area.book`). It is a named tuple of arrays and three functions marked with `jit`, which the
loop of `kernelmodel.free_area.play` is compiled with; and a class around them, for what is done once.

Frames are counted as `kernelmodel.free_area.ground` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from kernelmodel._jit import jit

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.page_alloc.rebuild import FreeBlocks


class Ask(NamedTuple):
    """One request.

    Parameters
    ----------
    order
        log2 of the pages wanted.
    migratetype
        UNMOVABLE, MOVABLE or RECLAIMABLE.
    priority
        A `kernelmodel.priority.Priority`.
    highest_zone
        The highest zone type that will do.
    limit
        Frame behind the last one that will do: ``limits()[highest_zone]``.
    cpu
        Who asks; policies with lists for each CPU take it modulo their number.
    """

    order: int
    migratetype: int
    priority: int
    highest_zone: int
    limit: int
    cpu: int


@jit
def take(policy: Any, ask: Ask) -> int:
    """Take a block for a request; return its first frame, or NO_PAGE and leave everything free."""
    raise NotImplementedError


@jit
def release(policy: Any, index: int, order: int, cpu: int) -> None:
    """Make a used block free. Any naturally aligned part of what was taken may be released."""
    raise NotImplementedError


@jit
def claim(policy: Any, index: int, order: int, movable: int) -> bool:
    """Take one certain block, all of whose frames are free; return False, changing nothing, if they are not.

    How migration takes its destinations. `movable` says what will stand there.
    """
    raise NotImplementedError


class Functions(NamedTuple):
    """What a policy puts in place of `take`, `release` and `claim`."""

    take: Callable[[Any, Ask], int]
    release: Callable[[Any, int, int, int], None]
    claim: Callable[[Any, int, int, int], bool]


class FreeArea(Protocol):
    """One policy on one ground."""

    name: str
    """As it was asked for, options and all: ``reserve:t=4:n=8``."""
    state: Any
    """The named tuple that its functions work on."""
    functions: Functions

    def drain(self) -> None:
        """Give pages that all CPUs keep for themselves back; does nothing where there are none."""

    def drain_cpu(self, cpu: int) -> None:
        """Give pages that one CPU keeps for itself back."""

    def free_blocks(self) -> FreeBlocks:
        """Return the free blocks as they stand, by address; what CPUs keep is not among them.

        start_pfn counts from frame 0.
        """

    def kept_blocks(self) -> FreeBlocks:
        """Return the free blocks that CPUs keep for themselves, in the same way."""

    def counters(self) -> dict[str, int]:
        """Return what was done and what it cost: the same on every machine.

        ``splits``, ``merges`` and ``visits`` (entries of lists or nodes of trees looked at) of all policies
        that know one area of memory, which add their own; of Linux what the kernel counts itself.
        """

    def validate(self) -> None:
        """Check every invariant; InvariantError names the rule and the witnesses."""
