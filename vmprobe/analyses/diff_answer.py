"""The answer of ``vmprobe diff``, as JSON has it. Every pair is before and after; None is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmprobe.analyses.diff_frames import FrameChanges
    from vmprobe.analyses.sharing_answer import Totals
    from vmprobe.analyses.show import MissingPart


@dataclass(frozen=True)
class Side:
    """One of the two snapshots.

    Parameters
    ----------
    path
        None for one that was taken now.
    time
        When it was begun, ISO 8601 in UTC.
    uptime_seconds
        Of the host when it was done.
    release
        Of the kernel.
    frames
        Whether it has page frames.
    reader_pid
        The vmprobe that took it.
    """

    path: str | None
    time: str
    uptime_seconds: float | None
    release: str
    frames: bool
    reader_pid: int | None


@dataclass(frozen=True)
class FreePageblocks:
    """Pageblocks that are free, and what tells: ``frames``, or ``free lists``."""

    before: int
    after: int
    source: str


@dataclass(frozen=True)
class OrderChange:
    """Free blocks of one zone and order, and the kernel's indices for requests of that order."""

    node: int
    zone: str
    order: int
    free_blocks: tuple[int | None, int | None]
    unusable_permille: tuple[int | None, int | None]
    fragmentation_permille: tuple[int | None, int | None]


@dataclass(frozen=True)
class ClassChange:
    """Frames of one class; `unstable` are those of them that changed while they were read."""

    name: str
    frames: tuple[int, int]
    unstable: tuple[int, int]


@dataclass(frozen=True)
class ProcessChange:
    """An address space, under its lowest pid.

    Parameters
    ----------
    change
        ``came``, ``went``, ``grew`` or ``shrank``.
    pid, comm
        Who; a process is the same if pid and start time are.
    rss_bytes
        Resident set by page tables, or where those were not read both times, as stat prints it.
    change_bytes
        After less before; None where neither is known.
    """

    change: str
    pid: int
    comm: str | None
    rss_bytes: tuple[int | None, int | None]
    change_bytes: int | None


@dataclass(frozen=True)
class Processes:
    """Address spaces that changed.

    Parameters
    ----------
    came, went
        How many; None where a snapshot has chosen processes alone.
    grew, shrank, same
        How many; of `same` some may have no figure.
    rows
        Those that changed most first.
    rows_left_out
        How many more changed.
    """

    came: int | None
    went: int | None
    grew: int
    shrank: int
    same: int
    rows: tuple[ProcessChange, ...]
    rows_left_out: int


@dataclass(frozen=True)
class NameChange:
    """All processes of one name, where a boot lies between; resident sets added up, if each is known."""

    comm: str | None
    processes: tuple[int, int]
    rss_bytes: tuple[int | None, int | None]


@dataclass(frozen=True)
class MechanismChange:
    """One way of sharing, as far as it is known in one way; None where it is not there or no file tells."""

    mechanism: str
    evidence: str
    bytes: tuple[int | None, int | None]
    frames: tuple[int | None, int | None]
    processes: tuple[int | None, int | None]


@dataclass(frozen=True)
class SharingChange:
    """The totals of ``vmprobe sharing``, and the mechanisms of which anything changed."""

    before: Totals
    after: Totals
    mechanisms: tuple[MechanismChange, ...]


@dataclass(frozen=True)
class Event:
    """A counter of vmstat: how often between the two, and how often an hour, rounded."""

    name: str
    count: int
    per_hour: float | None


@dataclass(frozen=True)
class Diff:
    """The answer.

    Parameters
    ----------
    old, new
        The snapshots.
    seconds
        From the start of one to the start of the other.
    same_boot
        Whether both are of one boot; None where that is not known. Only then are frames compared.
    boot_evidence
        What tells: ``boot id``, ``uptime`` or ``nothing``.
    verdict
        What changed, in a sentence.
    page_size, pageblock_order
        In bytes; log2 of the pages in a pageblock.
    free_pageblocks
        None where neither frames nor free lists are in both.
    frames
        None without frames of one boot.
    classes, orders, processes, sharing
        None where one of the snapshots does not have what it takes.
    names
        Processes by name, where boots differ or are not known; None otherwise.
    events
        None where boots differ or are not known.
    missing
        Parts that are not in the answer, and why.
    """

    old: Side
    new: Side
    seconds: float
    same_boot: bool | None
    boot_evidence: str
    verdict: str
    page_size: int
    pageblock_order: int
    free_pageblocks: FreePageblocks | None
    frames: FrameChanges | None
    classes: tuple[ClassChange, ...] | None
    orders: tuple[OrderChange, ...] | None
    processes: Processes | None
    names: tuple[NameChange, ...] | None
    sharing: SharingChange | None
    events: tuple[Event, ...] | None
    missing: tuple[MissingPart, ...]
