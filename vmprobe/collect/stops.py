"""Freezing as the collector sees it: refused where it would hang us, over when its time is."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Self

from vmprobe.errors import InputError, PrivilegeError, UsageError
from vmprobe.sources import host

if TYPE_CHECKING:
    from vmprobe.collect.options import Options
    from vmprobe.collect.tasks import Task
    from vmprobe.sources.freezer import Freezer


class Stops:
    """Holds the chosen processes still; does nothing unless freezing was asked for.

    Parameters
    ----------
    options
        Whether, and for how long.
    same_pids
        Whether the pids of the /proc that is read mean the same to ptrace.
    """

    def __init__(self, options: Options, *, same_pids: bool) -> None:
        self._options = options
        self._same_pids = same_pids
        self._freezer: Freezer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._freezer is not None:
            self._freezer.release()

    def stop(self, tasks: list[Task]) -> None:
        """Stop every chosen process with user memory.

        Raises
        ------
        UsageError
            One of them is ourselves, an ancestor of ours or PID 1, or belongs to another PID namespace.
        PrivilegeError
            None of them may be stopped.
        InputError
            None of them could be, for other reasons.
        """
        if not self._options.freeze:
            return
        if not self._same_pids:
            raise UsageError(
                f"cannot freeze: the pids below {self._options.procfs} are those of another PID namespace",
                hint="run vmprobe in the host's PID namespace, or without --freeze",
            )
        users = [task for task in tasks if task.has_memory]
        refused = sorted(host.protected_pids() & {task.pid for task in users})
        if refused:
            raise UsageError(
                f"cannot freeze process {refused[0]}: it is vmprobe itself, an ancestor of it, or PID 1",
                hint="choose other processes, or leave out --freeze",
            )
        from vmprobe.sources.freezer import Freezer  # noqa: PLC0415 - ptrace is loaded by those who freeze

        self._freezer = Freezer(self._options.freeze_limit_seconds)
        self._freezer.freeze(host.handles(task.pid for task in users))
        stopped = self._freezer.stopped_pids()
        if not stopped:
            errors = sorted({p.error for p in self._freezer.processes if p.error})
            what = f"cannot freeze any of {len(users)} processes"
            if errors == [os.strerror(errno.EPERM)]:
                raise PrivilegeError(what, "CAP_SYS_PTRACE, or the same user and a permissive ptrace_scope")
            raise InputError(f"{what}: {', '.join(errors) or 'none of them has memory of its own'}")
        for task in users:
            task.frozen = task.pid in stopped

    def tick(self) -> None:
        """Let everything go when the time limit is over."""
        if self._freezer is not None and self._freezer.overdue:
            self._freezer.release(early=True)

    def manifest(self) -> list[dict[str, Any]]:
        """Return the manifest's ``frozen`` entry; complete once everything runs again."""
        return [
            {
                "pid": process.pid,
                "nr_threads": len(process.tids),
                "stopped_us": round(process.stopped_seconds * 1e6),
                "released_early": process.released_early,
                "error": process.error,
            }
            for process in (self._freezer.processes if self._freezer else ())
        ]
