"""What to do next about large blocks: one sentence or command for each verdict."""

from __future__ import annotations

from typing import Final, NamedTuple

from vmprobe.analyses.can_alloc_answer import Verdict

COMPACT: Final = "echo 1 > /proc/sys/vm/compact_memory"
DROP: Final = "sync; echo 1 > /proc/sys/vm/drop_caches"
POOLS: Final = {2 << 20: ("2048kB", "2M"), 1 << 30: ("1048576kB", "1G")}
"""Sizes of huge pages that x86-64 has pools of: as sysfs and as the kernel's command line write them."""
MOST_NAMES: Final = 3


class Asked(NamedTuple):
    """What was asked for, and the order of the largest free block."""

    order: int
    nr_blocks: int
    page_size: int
    max_order: int

    @property
    def pool(self) -> tuple[str, str] | None:
        """The pool that such blocks are pages of; None where they are not."""
        return POOLS.get(self.page_size << self.order)

    @property
    def again(self) -> str:
        """The question, to be asked once more."""
        return f"vmprobe can-alloc --order {self.order} --count {self.nr_blocks}"


def advice(verdict: Verdict, asked: Asked, ending: tuple[str, ...], *, dirty: bool, likely: bool) -> str:
    """Return the next step.

    Parameters
    ----------
    verdict
        Of `vmprobe.analyses.can_alloc_answer`.
    asked
        What for.
    ending
        Name and pid of processes that hold blocks, those that hold the most first.
    dirty
        Whether compaction would give a zone up at a large dirty folio.
    likely
        Whether the forecast itself, which may be wrong, says that compaction does.

    Examples
    --------
    >>> advice(Verdict.EVICTION, Asked(9, 4, 4096, 10), (), dirty=False, likely=False)
    'sync; echo 1 > /proc/sys/vm/drop_caches; echo 1 > /proc/sys/vm/compact_memory'
    """
    compacts = _by_range(asked) if asked.order > asked.max_order else COMPACT
    dropped = f"{DROP}; {compacts}"
    if dirty:
        compacts = f"sync; {compacts}"
    if verdict == Verdict.UNCERTAIN:
        return f"{compacts if likely else dropped}; {asked.again}"
    if verdict == Verdict.PROCESSES:
        return _end(ending)
    said = {
        Verdict.NOW: _taken(asked),
        Verdict.COMPACTION: compacts,
        Verdict.EVICTION: dropped,
        Verdict.REBOOT: _at_boot(asked),
        Verdict.NEVER: "ask for fewer, or for a smaller order",
    }
    return said[verdict]


def _taken(asked: Asked) -> str:
    if asked.pool is None:
        return "nothing has to be done first"
    return f"nothing has to be done first; to keep them: {_raise_pool(asked, asked.pool[0])}"


def _raise_pool(asked: Asked, name: str) -> str:
    file = f"/sys/kernel/mm/hugepages/hugepages-{name}/nr_hugepages"
    return f"echo $(($(cat {file}) + {asked.nr_blocks})) > {file}"


def _by_range(asked: Asked) -> str:
    """Return who clears a range that is larger than any free block."""
    if asked.pool is None:
        return "true  # no command does: only a driver's alloc_contig_range clears so large a range"
    return _raise_pool(asked, asked.pool[0])


def _at_boot(asked: Asked) -> str:
    if asked.pool is None:
        return "reboot, and take them before anybody else does"
    words = f"hugepagesz={asked.pool[1]} hugepages={asked.nr_blocks}"
    return f"reserve them at boot: {words} on the kernel command line"


def _end(ending: tuple[str, ...]) -> str:
    if not ending:
        return "there is too little memory for what is in use: end processes, or add swap"
    more = len(ending) - MOST_NAMES
    named = ", ".join(ending[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
    return f"end who holds them: {named}"
