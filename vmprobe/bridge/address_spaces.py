"""Address spaces with their processes, as they are known again in a later snapshot of the same boot."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot


class Member(NamedTuple):
    """A process, whatever its pid was before: `start_time` in clock ticks after boot."""

    pid: int
    start_time: int | None


class Space(NamedTuple):
    """An address space with its processes; `mm` is None of a process whose memory was not read."""

    mm: int | None
    pid: int
    comm: str | None
    rss_pages: int | None
    members: frozenset[Member]

    @property
    def age(self) -> tuple[float, int]:
        """What the processes of a host are sorted by, the oldest first."""
        starts = [member.start_time for member in self.members if member.start_time is not None]
        return min(starts, default=float("inf")), self.pid


def spaces(snapshot: Snapshot) -> tuple[Space, ...]:
    """Return the address spaces of a snapshot by their lowest pid; kernel threads have none."""
    if not snapshot.has("tasks"):
        return ()
    names = ("pid", "start_time", "comm", "mm", "rss_pages", "kernel_thread")
    found: dict[tuple[str, int], Space] = {}
    for pid, start, comm, mm, rss_pages, kernel_thread in sorted(snapshot.table("tasks", names).rows(*names)):
        if kernel_thread:
            continue
        key = ("pid", pid) if mm is None else ("mm", mm)
        first = found.get(key, Space(mm, pid, comm, rss_pages, frozenset()))
        found[key] = first._replace(members=first.members | {Member(pid, start)})
    return tuple(found.values())
