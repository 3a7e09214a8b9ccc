"""The only place that writes to /proc/sys/vm/compact_memory: every zone of the host is compacted, at once.

Nothing else can be undone by us, and nothing needs to be: the kernel moves pages and goes on. What it did is
read from the counters of /proc/vmstat, and how each zone ended from its own trace event, where that may be.

Kernel source: ``mm/compaction.c: sysctl_compaction_handler, compact_nodes, compact_zone``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from vmprobe.errors import FormatError, InputError, PrivilegeError
from vmprobe.formats import vmstat
from vmprobe.sources.tracepoint import Tracepoint

if TYPE_CHECKING:
    from vmprobe.sources.procfs import Tree

FILE: Final = "sys/vm/compact_memory"
EVENT: Final = "compaction/mm_compaction_end"
PREFIXES: Final = ("compact_", "pgmigrate_", "pgalloc_", "thp_migration_")
NEEDS: Final = "root, in the first user namespace"


@dataclass(frozen=True)
class ZoneEnd:
    """How the kernel said that one zone ended.

    Parameters
    ----------
    start_pfn
        First frame of the zone.
    migrate_pfn, free_pfn
        Where its scanners stood.
    status
        The kernel's own word: ``complete``, ``contended``, ...
    """

    start_pfn: int
    migrate_pfn: int
    free_pfn: int
    status: str


@dataclass(frozen=True)
class Run:
    """One compaction of everything.

    Parameters
    ----------
    seconds
        How long the write took.
    counters
        By how much each counter of /proc/vmstat grew that begins as one of `PREFIXES` does.
    zones
        How each zone ended, in the order of the kernel; None where the kernel was not heard.
    why_unheard
        The reason for that.
    """

    seconds: float
    counters: dict[str, int]
    zones: tuple[ZoneEnd, ...] | None
    why_unheard: str | None = None


class CompactMemory:
    """Ready to compact: all that takes memory is done. Use as a context manager.

    Parameters
    ----------
    proc
        The live /proc.

    Raises
    ------
    PrivilegeError
        It may not be written.
    InputError
        There is none: the kernel was built without compaction, or this is no live /proc.
    """

    def __init__(self, proc: Tree) -> None:
        self._proc = proc
        self._path = proc.path(FILE)
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise PrivilegeError(self._path, NEEDS) from None
            raise InputError(
                f"{self._path}: {error.strerror}", hint="a kernel without CONFIG_COMPACTION has none"
            ) from None
        self._stack = contextlib.ExitStack()
        self._stack.callback(os.close, self._fd)
        self._trace: Tracepoint | None = None
        self._why: str | None = None
        try:
            self._trace = self._stack.enter_context(Tracepoint(EVENT))
        except OSError as error:
            self._why = f"trace event {EVENT}: {error.strerror}"
        except FormatError as error:
            self._why = error.without_text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def write(self) -> Run:
        """Compact every zone of the host, and return what came of it.

        Raises
        ------
        PrivilegeError
            The kernel refuses the write.
        InputError
            It fails otherwise, or the counters cannot be read.
        """
        before = self._counters()
        begin = time.monotonic()
        try:
            os.write(self._fd, b"1")
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM):
                raise PrivilegeError(self._path, NEEDS) from None
            raise InputError(f"{self._path}: {error.strerror}") from None
        seconds = time.monotonic() - begin
        after = self._counters()
        grown = {name: after[name] - value for name, value in before.items() if name in after}
        zones, why = self._heard()
        return Run(seconds, grown, zones, why)

    def _heard(self) -> tuple[tuple[ZoneEnd, ...] | None, str | None]:
        """Return how each zone ended, or why that is not known."""
        if self._trace is None:
            return None, self._why
        records = self._trace.records()
        if records is None:
            return None, f"trace event {EVENT}: more records than fit"
        try:
            return tuple(map(_zone_end, records)), None
        except KeyError as error:
            return None, f"trace event {EVENT} has no field {error}"

    def _counters(self) -> dict[str, int]:
        try:
            data = self._proc.read("vmstat")
        except OSError as error:
            raise InputError(f"{self._proc.path('vmstat')}: {error.strerror}") from None
        values = vmstat.parse(data, file=self._proc.path("vmstat"))
        return {name: value for name, value in values.items() if name.startswith(PREFIXES)}


def _zone_end(record: dict[str, int | str]) -> ZoneEnd:
    return ZoneEnd(
        int(record["zone_start"]),
        int(record["migrate_pfn"]),
        int(record["free_pfn"]),
        str(record["status"]),
    )
