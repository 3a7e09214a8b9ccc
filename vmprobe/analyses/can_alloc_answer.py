"""The answer of ``vmprobe can-alloc``, as JSON has it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmprobe.analyses.record import Record
    from vmprobe.analyses.show import MissingPart
    from vmprobe.bridge.can_alloc import ZoneChances
    from vmprobe.bridge.hazards import HazardRow


class Verdict(StrEnum):
    """Whether so many blocks can be had; the first that is true."""

    NOW = "now"
    """They are free."""
    COMPACTION = "after compaction"
    """Whatever is not known, compaction makes them."""
    EVICTION = "after dropping cache"
    """Compaction alone does not; with page cache dropped before it does, whatever is not known."""
    UNCERTAIN = "uncertain"
    """It hangs on what a snapshot does not tell, or takes better moves than Linux makes, or swapping."""
    PROCESSES = "after ending processes"
    """Processes hold or use what is missing."""
    REBOOT = "not without a reboot"
    """The kernel holds what is missing."""
    NEVER = "not on this host"
    """It has not so much memory in one piece."""


@dataclass(frozen=True)
class AfterCompaction:
    """Blocks that can be taken after compaction: at least, as forecast, at most."""

    low: int
    mid: int
    high: int


@dataclass(frozen=True)
class BlockerName:
    """Who holds blocks of that order.

    Parameters
    ----------
    owner
        Process, cgroup, or what the pages are; None where nobody could be named.
    kind
        process, cgroup, slab, page tables, kernel, pinned or unknown.
    pageblocks
        Blocks in which it has a page that stays; one can count under several owners.
    pid
        The process.
    """

    owner: str | None
    kind: str
    pageblocks: int
    pid: int | None


@dataclass(frozen=True)
class CanAlloc:
    """The answer. Watermarks are respected: what could not be taken does not count.

    Parameters
    ----------
    order, count
        What was asked for.
    now
        Blocks that can be taken now.
    after_compaction
        And after compaction.
    after_eviction
        After page cache that nobody maps was written and dropped, and memory compacted, as forecast.
    verdict
        See `Verdict`.
    blockers
        Who is in the way, those that hold the most first.
    advice
        The next step; a command, where one helps.
    at_most
        Whatever anybody moves, drops or swaps, and whatever unknown pages turn out to be.
    zones
        The same by zone.
    withheld
        Blocks that are free now, and that the watermarks keep from being taken.
    evicted_pages
        Pages of that cache.
    page_size
        Bytes in a page.
    hazards, record, missing
        As of ``vmprobe compact``.
    """

    order: int
    count: int
    now: int
    after_compaction: AfterCompaction
    after_eviction: int
    verdict: Verdict
    blockers: tuple[BlockerName, ...]
    advice: str
    at_most: int
    zones: tuple[ZoneChances, ...]
    withheld: int
    evicted_pages: int
    page_size: int
    hazards: tuple[HazardRow, ...]
    record: Record
    missing: tuple[MissingPart, ...]
