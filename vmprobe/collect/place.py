"""Where the host is that is photographed: here and now, or in a recording of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vmprobe.errors import UsageError
from vmprobe.sources import host, recording
from vmprobe.sources.pagemap import stale_walk_end
from vmprobe.sources.procfs import Tree

if TYPE_CHECKING:
    from vmprobe.collect.options import Options
    from vmprobe.formats.recording import Recording
    from vmprobe.sources.meter import Meter
    from vmprobe.sources.pagemap import PagemapScanner


@dataclass(frozen=True)
class Place:
    """The roots to read, and the facts that are not in them.

    Of a recorded host they are what the recorder wrote down, never this machine's.

    Parameters
    ----------
    proc, sys
        The first look.
    recorded
        What the recording says of itself; None on a host that is there.
    """

    proc: Tree
    sys: Tree
    recorded: Recording | None

    def later(self) -> tuple[Tree, Tree] | None:
        """Return the roots of the second look, None where there is but one."""
        proc, sys = self.proc.later(), self.sys.later()
        return None if proc is None or sys is None else (proc, sys)

    def narrowed(self, options: Options) -> Options:
        """Return the options with the choice that the recorder made, where they make none."""
        if self.recorded is None or options.selective or not options.processes or not self.recorded.pids:
            return options
        try:
            there = set(self.proc.pids())
        except OSError:
            return options  # said when they are listed
        return replace(options, pids=tuple(pid for pid in self.recorded.pids if pid in there))

    def privileges(self) -> dict[str, Any]:
        """Return the manifest's ``privileges`` entry."""
        if self.recorded is None:
            return host.privileges(self.proc)
        return host.held(self.recorded.euid, self.recorded.effective, self.recorded.uid_map)

    def host(self) -> dict[str, Any]:
        """Return the manifest's ``host`` entry."""
        if self.recorded is None:
            return host.describe(self.proc)
        return host.describe_recorded(self.proc, self.recorded)

    def same_pids(self) -> bool:
        """Whether system calls of ours reach the processes that are listed."""
        return self.recorded is None and host.same_pid_namespace(self.proc)

    def reader_pid(self) -> int | None:
        """Return the pid of what read the host."""
        return host.own_pid(self.proc) if self.recorded is None else self.recorded.pid

    def walk_end(self) -> bool | None:
        """Return whether PAGEMAP_SCAN ends with a stale walk_end here; None of a recorded host."""
        return stale_walk_end() if self.recorded is None else None

    def scan_supported(self, scanner: PagemapScanner) -> bool | None:
        """Return whether the kernel has PAGEMAP_SCAN."""
        return scanner.supported if self.recorded is None else self.recorded.scan_ioctl

    def time(self, start: str, seconds: float) -> dict[str, Any]:
        """Return the manifest's ``time`` entry.

        Parameters
        ----------
        start, seconds
            When our own reading began, and what it took.
        """
        later = self.later() or (self.proc, self.sys)
        taken = {"start": start, "end": host.wall_time(), "seconds": round(seconds, 6)}
        if self.recorded is not None:
            then = self.recorded
            taken = {"start": then.start, "end": then.end, "seconds": then.seconds}
        return {**taken, "uptime_seconds": host.uptime_seconds(later[0])}

    def replayed(self) -> dict[str, Any] | None:
        """Return the manifest's ``replayed`` entry."""
        return None if self.recorded is None else {"format": list(self.recorded.version)}


def find(options: Options, meter: Meter) -> Place:
    """Return where the options point to.

    Raises
    ------
    InputError
        It is a recording that cannot be replayed.
    UsageError
        It is one, and processes were to be stopped.
    """
    root = options.procfs
    found = recording.find(root)
    sys = Tree(options.sysfs or "/sys", meter)
    if found is None:
        proc = Tree(root, meter) if recording.is_live(root) else recording.StillTree(root, meter)
        return Place(proc, sys, None)
    if options.freeze:
        raise UsageError(
            f"cannot freeze: {root} is a recording, and nothing runs there", hint="leave out --freeze"
        )
    if options.sysfs is None:
        sys = recording.RecordedTree(root, found, meter, "sysfs")
    return Place(recording.RecordedTree(root, found, meter), sys, found)
