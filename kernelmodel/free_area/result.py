"""What came of one demand under one policy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kernelmodel.compaction.zone_layout import ZoneLayout


class Came(IntEnum):
    """What became of requests: the last column of `Run.tally`."""

    AT_ONCE = 0
    """Met without help."""
    HELPED = 1
    """Met after help made room."""
    FAILED = 2
    """Not met: no help was allowed, or none that ran was enough."""
    DEFERRED = 3
    """Not met, and compaction, which was allowed, did not run because it had failed for this order before."""


@dataclass
class HelpTally:
    """What one kind of help did, over a run.

    Parameters
    ----------
    calls, succeeded
        Times it was called, and times the request was met right after it.
    copied_pages
        Pages moved.
    dropped_pages, written_pages, swapped_pages
        Pages evicted: clean page cache; dirty page cache; anonymous and shared memory.
    scanned_pages
        Pages that Linux's scanners looked at; 0 for what has no scanners.
    """

    calls: int = 0
    succeeded: int = 0
    copied_pages: int = 0
    dropped_pages: int = 0
    written_pages: int = 0
    swapped_pages: int = 0
    scanned_pages: int = 0


@dataclass(frozen=True, eq=False)
class Samples:
    """The free memory at even steps through the events, the beginning and the end among them.

    Parameters
    ----------
    event
        int64 (n), events carried out before each sample.
    free_blocks
        int64 (n, nr_orders), free blocks of each order, of all zones, as the policy has them; for policies
        that keep areas of any length, the naturally aligned blocks these divide into.
    kept_blocks
        int64 of the same shape, free blocks besides, that CPUs keep on lists of their own.
    """

    event: NDArray[np.int64]
    free_blocks: NDArray[np.int64]
    kept_blocks: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Run:
    """One demand under one policy.

    Parameters
    ----------
    policy
        As it was asked for.
    tally
        int64 (sources, priorities, orders, `Came`), requests.
    samples
        The free memory over time.
    help
        Name of each kind of help that was allowed, to what it did.
    background
        What keeping areas in reserve did, if it was switched on.
    operations
        What `FreeArea.counters` said at the end.
    layouts
        The zones at the end: frames on per-CPU lists are `Frame.UNKNOWN`.
    free_blocks
        int64 (zones, nr_orders), free blocks at the end as the policy has them.
    kept_blocks
        int64 of the same shape, free blocks besides, that CPUs keep on lists of their own.
    """

    policy: str
    tally: NDArray[np.int64]
    samples: Samples
    help: dict[str, HelpTally]
    background: HelpTally
    operations: dict[str, int]
    layouts: tuple[ZoneLayout, ...]
    free_blocks: NDArray[np.int64]
    kept_blocks: NDArray[np.int64]
