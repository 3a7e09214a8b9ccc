"""What to photograph and how gently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[str, int, int], None]
    """Called with a stage, steps done and steps in all."""


@dataclass(frozen=True)
class Options:
    """The choices of ``vmprobe snapshot``.

    Parameters
    ----------
    pids
        Only these processes.
    trees
        Only these processes and their descendants.
    cgroups
        Only processes in these cgroups or below, by path as ``/proc/PID/cgroup`` prints it.
    processes
        Read who is there, with VMAs, page tables and open files. Without, frames have no owners.
    frames
        Read the flags, map count and cgroup of every page frame.
    require_frames
        Fail with `vmprobe.errors.PrivilegeError` where that is not permitted, instead of going on without.
    smaps
        Read ``smaps`` in place of ``maps``: VMA flags and the kernel's own Rss, Pss and Swap, at the price of
        a page-table walk in the kernel for each process.
    by_type
        Read free lists and pageblocks by migratetype: the kernel walks every free list under its zone's lock.
    fds
        Read which open files are memory or lead to it.
    sysvipc
        Read the System V shared memory segments.
    ksm_stat
        Read what KSM merged of each process.
    freeze
        Stop the chosen processes while they are read.
    freeze_limit_seconds
        Let them go after this long at the latest.
    redact
        Replace names and paths by keyed hashes.
    pace_percent
        Share of the time to spend reading page tables and frames; below 100 one thread reads instead of two.
    procfs
        Where /proc of the host is mounted, or a recorded tree (see docs/snapshot-format.md).
    sysfs
        Where its /sys is; None is /sys, or what a recorded tree has of it.

    Raises
    ------
    UsageError
        The choices contradict one another.
    """

    pids: tuple[int, ...] = ()
    trees: tuple[int, ...] = ()
    cgroups: tuple[str, ...] = ()
    processes: bool = True
    frames: bool = True
    require_frames: bool = False
    smaps: bool = False
    by_type: bool = True
    fds: bool = True
    sysvipc: bool = True
    ksm_stat: bool = True
    freeze: bool = False
    freeze_limit_seconds: float = 2.0
    redact: bool = False
    pace_percent: int = 100
    procfs: str = "/proc"
    sysfs: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.pace_percent <= 100:
            raise UsageError(f"pace is a percentage from 1 to 100, not {self.pace_percent}")
        if self.require_frames and not self.frames:
            raise UsageError("frames cannot be both required and left out")
        if self.selective and not self.processes:
            raise UsageError("processes cannot be both chosen and left out")
        if any(not path.strip() for path in self.cgroups):
            raise UsageError("a cgroup without a name", hint="`/` is the root, and every process is below it")
        if self.freeze and not self.selective:
            raise UsageError(
                "freezing needs a choice of processes",
                hint="add --pid, --tree or --cgroup: vmprobe never stops a whole host",
            )
        if self.freeze and self.freeze_limit_seconds <= 0:
            raise UsageError(f"a freeze limit of {self.freeze_limit_seconds} s leaves no time to read")

    @classmethod
    def cheap(cls, *, procfs: str = "/proc", sysfs: str | None = None) -> Self:
        """Choose what costs next to nothing on any host: zones, free lists, counters and settings."""
        return cls(
            processes=False, frames=False, by_type=False, fds=False, sysvipc=False, ksm_stat=False,
            procfs=procfs, sysfs=sysfs,
        )  # fmt: skip

    @property
    def selective(self) -> bool:
        """Whether only some processes are wanted."""
        return bool(self.pids or self.trees or self.cgroups)

    def manifest(self) -> dict[str, Any]:
        """Return the manifest's ``options`` entry."""
        return {
            "pids": list(self.pids),
            "trees": list(self.trees),
            "cgroups": list(self.cgroups),
            "processes": self.processes,
            "frames": self.frames,
            "by_type": self.by_type,
            "smaps": self.smaps,
            "fds": self.fds,
            "sysvipc": self.sysvipc,
            "ksm_stat": self.ksm_stat,
            "freeze": self.freeze,
            "redact": self.redact,
            "pace_percent": self.pace_percent,
        }
