"""The answer of ``vmprobe sharing``, as JSON has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmprobe.analyses.sharing_groups import GroupRow
    from vmprobe.analyses.show import MissingPart


@dataclass(frozen=True)
class Totals:
    """The ledger: each frame that is mapped is in exactly one line, and what all processes have.

    Parameters
    ----------
    frames_mapped
        Frames that the kernel counts as mapped or that a page table leads to.
    counts_match
        Those of which both say the same: `private` (one process reaches it), `shared_anonymous`,
        `shared_shmem`, `shared_file`, `shared_other`.
    unstable
        Those that changed while they were read; nothing is said of them.
    explained
        Reason to frames, where the two differ and should.
    unexplained
        The rest.
    hidden_entries, hidden_at_most
        Entries that unseen processes must have, and how many they can have; None where that is not known.
    hidden_threads
        Threads that the machine has beyond those of the processes that /proc lists; None where that is not
        known.
    processes, address_spaces
        Processes with memory that was read, and in how many address spaces they run.
    rss_bytes, pss_bytes, uss_bytes, swap_bytes, swap_pss_bytes
        Sums over address spaces.
    """

    frames_mapped: int
    counts_match: int
    private: int
    shared_anonymous: int
    shared_shmem: int
    shared_file: int
    shared_other: int
    unstable: int
    explained: dict[str, int]
    unexplained: int
    hidden_entries: int
    hidden_at_most: int | None
    hidden_threads: int | None
    processes: int
    address_spaces: int
    rss_bytes: int
    pss_bytes: int
    uss_bytes: int
    swap_bytes: int
    swap_pss_bytes: int


@dataclass(frozen=True)
class MechanismRow:
    """One mechanism, as far as it is known in one way.

    Parameters
    ----------
    mechanism
        Its name.
    frames, bytes, entries
        How much; None where no file tells. Of swap space, frames are slots.
    processes
        How many take part.
    evidence
        ``proved``, ``likely`` or ``possible``.
    note
        The evidence in a sentence.
    """

    mechanism: str
    frames: int | None
    processes: int
    evidence: str
    bytes: int | None
    entries: int | None
    note: str


@dataclass(frozen=True)
class Meaning:
    """What a mechanism is, what the page count says of it, and its forebear of 1998; empty where none was."""

    mechanism: str
    meaning: str
    page_count: str
    in_1998: str


@dataclass(frozen=True)
class ProcessRow:
    """What one process has; processes that share an address space have the same figures.

    Parameters
    ----------
    pid, comm
        Who.
    rss_bytes, pss_bytes, uss_bytes
        Resident, proportional and unique set size, with the kernel's rounding (smaps_rollup).
    swap_bytes, swap_pss_bytes
        The same of swap space, as far as page tables lead to it.
    hidden_bytes
        What it can reach and its resident set does not count: huge pages of hugetlb, and files in memory that
        it holds open without mapping them. A lower bound.
    """

    pid: int
    comm: str | None
    rss_bytes: int
    pss_bytes: int
    uss_bytes: int
    swap_bytes: int
    swap_pss_bytes: int
    hidden_bytes: int


@dataclass(frozen=True)
class Sharing:
    """The answer.

    Parameters
    ----------
    pid
        The process whose part alone is shown; None for the host.
    totals
        The ledger of the host.
    mechanisms
        Those with the most bytes first.
    meanings
        What they are.
    processes
        Those with the largest proportional set first.
    processes_left_out
        How many more there are.
    groups
        What groups of processes cost together; empty where none were asked for.
    unexplained
        Frames whose two counts differ for no known reason.
    missing
        Parts of the evidence that the snapshot does not have, and why.
    """

    pid: int | None
    totals: Totals
    mechanisms: tuple[MechanismRow, ...]
    meanings: tuple[Meaning, ...]
    processes: tuple[ProcessRow, ...]
    processes_left_out: int
    groups: tuple[GroupRow, ...]
    unexplained: int
    missing: tuple[MissingPart, ...]
