"""One finding: a mechanism at work, where, between whom, and how that is known.

Mirrors: nothing of the kernel.
Fidelity: numbers that no file tells are None.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.errors import InvariantError
from kernelmodel.sharing.mechanism import Certainty

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from kernelmodel.sharing.mechanism import Mechanism


@dataclass(frozen=True)
class Finding:
    """What was found of one mechanism with one certainty.

    Parameters
    ----------
    mechanism
        Which.
    certainty
        How well it is witnessed.
    rows
        int64, rows of the frames concerned, ascending and distinct; None where they are not known, or are so
        many that `mask` names them.
    nr_frames
        How many; None where that is not known. Of swap space: slots.
    nr_bytes
        What is reached through it; None where that is not known.
    nr_entries
        Page-table or swap entries concerned; None where that is not known.
    pids
        Processes that take part, ascending; () where none is known.
    note
        The evidence in one short sentence.
    mask
        bool, one for each row of the host: the frames among which the `nr_frames` are. Where it has more,
        which of them is not told.
    own
        Gives the part of the process with a pid, None where it has none; needed where `rows` do not tell.
    """

    mechanism: Mechanism
    certainty: Certainty
    rows: NDArray[np.int64] | None
    nr_frames: int | None
    nr_bytes: int | None
    nr_entries: int | None
    pids: tuple[int, ...]
    note: str
    mask: NDArray[np.bool_] | None = None
    own: Callable[[int], Finding | None] | None = None

    def at(self, row: int) -> Finding | None:
        """Return what the finding says of one frame, None where it does not concern it.

        Of a frame among candidates that are not as many as there are frames to find, it is possible, no more.
        """
        if self.rows is not None:
            at = int(np.searchsorted(self.rows, row))
            return self if at < len(self.rows) and self.rows[at] == row else None
        if self.mask is None or not self.mask[row]:
            return None
        if self.nr_frames is not None and int(np.count_nonzero(self.mask)) == self.nr_frames:
            return self
        return replace(self, certainty=Certainty.POSSIBLE)

    def validate(self) -> None:
        """Check that numbers, rows and processes agree.

        Raises
        ------
        InvariantError
            ``finding-rows``, ``finding-frames`` or ``finding-pids``.
        """
        if self.rows is not None:
            if (np.diff(self.rows) <= 0).any():
                raise InvariantError("finding-rows", self.mechanism, "rows do not ascend")
            if self.nr_frames != len(self.rows):
                detail = f"{self.nr_frames} frames, {len(self.rows)} rows"
                raise InvariantError("finding-frames", self.mechanism, detail)
        if list(self.pids) != sorted(set(self.pids)):
            raise InvariantError("finding-pids", self.mechanism, f"not ascending: {self.pids}")
