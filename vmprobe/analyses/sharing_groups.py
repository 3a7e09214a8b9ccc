"""What groups of processes cost together: distinct frames, what would be freed, what others share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vmprobe.analyses.process import ancestors
from vmprobe.bridge.sharing import PSS_SHIFT, costs
from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmprobe.bridge.sharing import Facts, Process, Survey

HOW: Final = "comm, uid, cgroup, tree or pid, several with commas between, or pids: 12,34"


@dataclass(frozen=True)
class GroupRow:
    """One group of processes.

    Parameters
    ----------
    group
        What its processes have in common.
    processes
        How many have memory that was read.
    distinct_bytes
        Frames that they reach, each once.
    freed_bytes, freed_file_bytes
        What their end would free; the part of it that stays as page cache until it is wanted.
    shared_bytes
        What of the distinct frames others map too.
    pss_bytes, others_bytes
        What of the distinct frames is charged to the group and to others: together they are all of it.
    unseen_bytes
        What of the distinct frames somebody unseen maps: others whose number is known and who are not.
    hugetlb_bytes
        Huge pages of hugetlb, each once; not in any of the above.
    swap_bytes, swap_freed_bytes
        Swap slots that their page tables lead to, each once, and those that would be free.
    """

    group: str
    processes: int
    distinct_bytes: int
    freed_bytes: int
    freed_file_bytes: int
    shared_bytes: int
    pss_bytes: int
    others_bytes: int
    unseen_bytes: int
    hugetlb_bytes: int
    swap_bytes: int
    swap_freed_bytes: int


def group_rows(surveyed: Survey, comms: dict[int, str | None], how: str) -> tuple[GroupRow, ...]:
    """Return the groups, those with the most distinct frames first.

    Parameters
    ----------
    surveyed
        The host.
    comms
        Name of each process.
    how
        ``comm``, ``uid``, ``cgroup``, ``tree`` (the topmost ancestor below init) or ``pid``; several with
        commas between; or the pids of one group.

    Raises
    ------
    UsageError
        It is none of these, or a process has no memory in the snapshot.
    """
    about = surveyed.view.facts
    named = _named(about, comms, how)
    found = costs(surveyed, [frozenset(pids) for pids in named.values()])
    page = about.page_size
    rows = [
        GroupRow(
            group=name,
            processes=len(pids),
            distinct_bytes=int(found.distinct_pages[at]) * page,
            freed_bytes=int(found.freed_pages[at]) * page,
            freed_file_bytes=int(found.freed_file_pages[at]) * page,
            shared_bytes=int(found.shared_pages[at]) * page,
            pss_bytes=int(found.pss_units[at]) >> PSS_SHIFT,
            # Rounded up, as that of the group is rounded down.
            others_bytes=-(-int(found.others_units[at]) >> PSS_SHIFT),
            unseen_bytes=int(found.hidden_pages[at]) * page,
            hugetlb_bytes=int(found.hugetlb_pages[at]) * page,
            swap_bytes=int(found.swap_slots[at]) * page,
            swap_freed_bytes=int(found.swap_freed_slots[at]) * page,
        )
        for at, (name, pids) in enumerate(named.items())
    ]
    return tuple(sorted(rows, key=lambda row: (-row.distinct_bytes, row.group)))


def _named(about: Facts, comms: dict[int, str | None], how: str) -> dict[str, list[int]]:
    """Return the pids of each group by its name."""
    words = [word.strip() for word in how.split(",")]
    with_memory = {process.pid: process for process in about.processes if process.mm is not None}
    if all(word.isdecimal() for word in words):
        pids = [int(word) for word in words]
        for pid in pids:
            if pid not in with_memory:
                raise UsageError(
                    f"process {pid} has no memory in the snapshot",
                    hint="the table tasks lists what is there, and why memory is missing",
                )
        return {",".join(map(str, sorted(set(pids)))): sorted(set(pids))}
    parents = {process.pid: process.ppid for process in about.processes}

    def tree(process: Process) -> str:
        # The topmost one below init.
        line = [process.pid, *(pid for pid in ancestors(process.pid, parents) if pid > 1)]
        top = line[-1]
        return f"{top} {comms.get(top) or '?'}"

    keys: dict[str, Callable[[Process], str]] = {
        "comm": lambda process: comms.get(process.pid) or "?",
        "uid": lambda process: "?" if process.uid is None else f"uid {process.uid}",
        "cgroup": lambda process: process.cgroup or "?",
        "tree": tree,
        "pid": lambda process: f"{process.pid} {comms.get(process.pid) or '?'}",
    }
    for word in words:
        if word not in keys:
            raise UsageError(f"--group {how}: {word or 'nothing'} is no way to group", hint=HOW)
    groups: dict[str, list[int]] = {}
    for process in with_memory.values():
        groups.setdefault(", ".join(keys[word](process) for word in words), []).append(process.pid)
    return groups
