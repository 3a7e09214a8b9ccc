"""The answer of ``vmprobe whatif``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmprobe.analyses.map_answer import ZoneStrip
    from vmprobe.bridge.replay_compare import ForecastError
    from vmprobe.bridge.whatif import Help


class Spread(NamedTuple):
    """A share in per cent over the seeds: their mean, the lowest, the highest."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, seeds: Iterable[tuple[int, int]]) -> Spread:
        """Return the spread of what was met of what was asked, one pair a seed; seeds that ask count.

        >>> Spread.of([(1, 2), (2, 2), (0, 0)])
        Spread(mean=75.0, low=50.0, high=100.0)
        """
        each = [100.0 * met / asked for met, asked in seeds if asked]
        return cls(sum(each) / len(each), min(each), max(each))


@dataclass(frozen=True)
class Met:
    """Requests of one source, priority and order.

    Parameters
    ----------
    source, priority, order
        Which requests.
    asked, at_once, helped, failed, deferred
        How many, all seeds together: met without help and with it; not met, and not met without trying help
        because it had failed shortly before.
    of_seeds
        Of each seed: met, and asked.
    met_percent
        Share met, over the seeds.
    """

    source: str
    priority: str
    order: int
    asked: int
    at_once: int
    helped: int
    failed: int
    deferred: int
    of_seeds: tuple[tuple[int, int], ...]
    met_percent: Spread


@dataclass(frozen=True, eq=False)
class Side:
    """One policy with one choice of help.

    Parameters
    ----------
    policy, help
        As they were asked for; ``none`` for no help.
    met
        By source, priority and order.
    all_met_percent
        Share of all requests that were met; None where nothing was asked for.
    atomic_failures
        Requests that could not wait and got nothing, all seeds together.
    helps
        Each kind of help; with ``keep`` last, where areas were kept ready.
    operations
        What was done to free areas, all seeds together; ``nodes``, ``depth``, ``least_depth`` and
        ``left_permille`` tell of a tree at the end of the first seed.
    event, free_pages, unusable_permille
        Through the events of the first seed: free pages, those on CPUs' lists among them, and for each order
        the share of them that is of no use to it.
    free_blocks, kept_pages, low_blocks
        Free blocks of each order at the end of the first seed, and pages on CPUs' lists beside them; and the
        blocks within reach of the most limited requests.
    low_refused
        Orders of which the first seed's most limited requests were refused.
    strips
        The pageblocks of each zone at the end of the first seed.
    """

    policy: str
    help: str
    met: tuple[Met, ...]
    all_met_percent: Spread | None
    atomic_failures: int
    helps: tuple[Help, ...]
    operations: dict[str, int]
    event: tuple[int, ...]
    free_pages: tuple[int, ...]
    unusable_permille: tuple[tuple[int, ...], ...]
    free_blocks: tuple[int, ...]
    kept_pages: int
    low_blocks: tuple[int, ...]
    low_refused: tuple[int, ...]
    strips: tuple[ZoneStrip, ...]


@dataclass(frozen=True, eq=False)
class WhatIf:
    """The same demand under several policies.

    Parameters
    ----------
    path, page_size, pageblock_order, release, time
        Of the snapshot; `path` is None for one that was taken in memory.
    node
        Whose zones are played on.
    demand
        Streams, or the file that was replayed.
    steps
        Requests of each run.
    seeds
        Of the runs; empty where a file was replayed.
    keep
        Free areas that were kept ready, and their order; None for none.
    free_pages
        Free at the beginning.
    swap_free_pages, swap_assumed
        What swap has room for, and whether that was assumed, not read.
    peak_permille
        The most that the first seed's demand holds at once, if all of it is met, in thousandths of the free
        pages.
    low_limit_bytes
        Physical address below which the most limited requests must lie; None where any will do.
    sides
        Policies and help, in the order asked for.
    contents
        What a pageblock may hold; strips give indices in it.
    replay
        How far ``buddy-grouped`` is from what the kernel did; None where no recording was replayed.
    events_lost
        Events that are missing in the recording; None where none was replayed.
    """

    path: str | None
    page_size: int
    pageblock_order: int
    release: str
    time: str
    node: int
    demand: str
    steps: int
    seeds: tuple[int, ...]
    keep: tuple[int, int] | None
    free_pages: int
    swap_free_pages: int
    swap_assumed: bool
    peak_permille: int
    low_limit_bytes: int | None
    sides: tuple[Side, ...]
    contents: tuple[str, ...]
    replay: ForecastError | None = None
    events_lost: int | None = None
