"""What a strategy of compaction comes to: which folios move where, what is evicted, what is free then."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.compaction.zone_layout import KIND_MASK, Frame
from kernelmodel.errors import InvariantError
from kernelmodel.ranges import frames_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.compaction.zone_layout import ZoneLayout


class Status(StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    """Did all that it was to do; for Linux: the scanners met."""
    CONTENDED = "contended"
    """Linux gave the zone up at a folio that could neither be placed nor split."""
    INFEASIBLE = "infeasible"
    """What was asked for cannot be had; what can be had was done."""


@dataclass(frozen=True)
class Moves:
    """Folios that move, in the order of the moves.

    No frame is source and destination of one outcome: a destination was free at the beginning, and a source
    is not filled again. All moves together are therefore one substitution of frame numbers.

    Parameters
    ----------
    source_pfn, destination_pfn
        int64, first frame of each folio, before and after.
    nr_pages
        int64, frames of each folio.
    """

    source_pfn: NDArray[np.int64]
    destination_pfn: NDArray[np.int64]
    nr_pages: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.source_pfn)

    @property
    def total_pages(self) -> int:
        """Pages copied."""
        return int(self.nr_pages.sum())

    def frames(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return source and destination of every single frame, in the order of the moves.

        >>> moves = Moves(np.array([8]), np.array([32]), np.array([2]))
        >>> [frames.tolist() for frames in moves.frames()]
        [[8, 9], [32, 33]]
        """
        return frames_of(self.source_pfn, self.nr_pages), frames_of(self.destination_pfn, self.nr_pages)

    def validate(self) -> None:
        """Check that the moves are one substitution.

        Raises
        ------
        InvariantError
            ``move-doubled`` (a frame is left or filled twice) or ``move-chained`` (left and filled).
        """
        source, destination = self.frames()
        for name, frames in (("left", source), ("filled", destination)):
            ordered = np.sort(frames)
            again = np.flatnonzero(ordered[1:] == ordered[:-1])
            if len(again):
                raise InvariantError("move-doubled", f"pfn {ordered[again[0]]}", f"{name} twice")
        both = np.intersect1d(source, destination, assume_unique=True)
        if len(both):
            raise InvariantError("move-chained", f"pfn {both[0]}", "left and filled")


def no_moves() -> Moves:
    """Return the moves of a strategy that moves nothing."""
    return Moves(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True)
class Outcome:
    """What one strategy comes to on one zone.

    Parameters
    ----------
    strategy
        ``linux``, ``plan``, ``blit``, ``evict`` or ``gravity``.
    order
        Order of the blocks that are wanted.
    before
        The zone as it was.
    after
        uint8, the state of the zone afterwards, as in `ZoneLayout.state`.
    moves
        Folios moved.
    evicted_pfn
        int64, frames freed by eviction instead of a move; ascending.
    status
        How it ended.
    migrate_scanned, free_scanned
        Pages that the scanners looked at, as vmstat counts them; None for what has no scanners.
    held_back_pages
        Freed pages that stay on per-CPU lists: `Frame.UNKNOWN` in `after`, though nobody uses them.
    stopped_pfn
        Where the scanners met, or the folio that ended the run; None for what has no scanners.
    blocked
        Reason to pageblocks: those that the strategy could not clear, by what stands in the way.
    failed_pages
        Pages that were isolated and could not be moved.
    """

    strategy: str
    order: int
    before: ZoneLayout
    after: NDArray[np.uint8]
    moves: Moves
    evicted_pfn: NDArray[np.int64]
    status: Status
    migrate_scanned: int | None = None
    free_scanned: int | None = None
    held_back_pages: int = 0
    stopped_pfn: int | None = None
    blocked: dict[str, int] = field(default_factory=dict)
    failed_pages: int = 0

    @cached_property
    def free_before(self) -> NDArray[np.int64]:
        """int64, free blocks of each order as the zone was."""
        return self.before.free_blocks()

    @cached_property
    def free_after(self) -> NDArray[np.int64]:
        """int64, free blocks of each order afterwards."""
        return self.before.with_state(self.after).free_blocks()

    @property
    def gained_blocks(self) -> int:
        """Blocks of the wanted order that are free afterwards and were not before, larger ones divided."""
        return blocks_of_order(self.free_after, self.order) - blocks_of_order(self.free_before, self.order)

    def validate(self) -> None:
        """Check the moves, and that the frames afterwards are those of before less what left plus what came.

        Raises
        ------
        InvariantError
            Those of `Moves.validate`; ``move-from``, ``move-to``, ``after-frames``.
        """
        self.moves.validate()
        base, state = self.before.base_pfn, self.before.state
        source, destination = self.moves.frames()
        kinds = self.before.kinds
        if (kinds[destination - base] != Frame.FREE).any():
            at = destination[kinds[destination - base] != Frame.FREE][0]
            raise InvariantError("move-to", f"pfn {at}", "a destination was not free")
        vacant = source[kinds[source - base] == Frame.FREE]
        if len(vacant):
            raise InvariantError("move-from", f"pfn {vacant[0]}", "nothing there")
        expected = state & KIND_MASK
        expected[destination - base] = expected[source - base]
        expected[source - base] = Frame.FREE
        expected[self.evicted_pfn - base] = Frame.FREE
        held = (self.after & KIND_MASK == Frame.UNKNOWN) & (expected == Frame.FREE)
        wrong = (self.after & KIND_MASK != expected) & ~held
        if wrong.any() or int(held.sum()) != self.held_back_pages:
            at = int(wrong.argmax()) + base
            detail = f"{self.after[at - base]:#x}, and {expected[at - base]:#x} was due"
            raise InvariantError("after-frames", f"pfn {at}", detail)


def blocks_of_order(free_blocks: NDArray[np.int64], order: int) -> int:
    """Return how many blocks of an order can be had without moving anything, larger ones divided.

    >>> blocks_of_order(np.array([5, 0, 1, 1]), 2)
    3
    """
    higher = free_blocks[order:]
    return int((higher << np.arange(len(higher))).sum())
