"""What every workload has in common: the truth it tells, the bounds it keeps, the ways it can fail.

Each way has its exit status: 1 the kernel disagrees, 2 refused, 3 not done in time, 75 not possible here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lab.errors import LabError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Truth = dict[str, Any]
    """What was made, fit for JSON: addresses in bytes, ranges of pages half open, from the area's start."""

    Made = Iterator[Truth]
    """A workload is a context manager: it yields the truth, holds what it made, and frees it at the end."""

LIMIT_BYTES: Final = 1 << 30
"""The most that a workload takes unless ``limit=`` says otherwise."""

HARD_LIMIT_BYTES: Final = 12 << 30
"""The most that ``limit=`` can say."""

LIMIT_SECONDS: Final = 60.0
"""The time a workload has to make its layout unless ``seconds=`` says otherwise."""


class RefusedError(LabError):
    """What was asked for is no layout, or too large; the message is one line."""


class DisagreesError(LabError):
    """The kernel shows something else than the workload believes it made."""


class TooSlowError(LabError):
    """The goal was not reached in time."""


def status_of(error: LabError) -> int:
    """Return the exit status of a workload that failed like this."""
    kinds = {RefusedError: 2, TooSlowError: 3, UnavailableError: 75}
    return kinds.get(type(error), 1)


def need(holds: bool, message: str) -> None:
    """Refuse unless a parameter is sensible.

    Raises
    ------
    RefusedError
        It is not.
    """
    if not holds:
        raise RefusedError(message)


def bounded(nr_bytes: int, limit: int) -> int:
    """Return the bytes that a workload will take, before it takes them.

    Raises
    ------
    RefusedError
        They are more than the limit.
    UnavailableError
        This machine does not have them to spare.
    """
    need(limit <= HARD_LIMIT_BYTES, f"limit={limit}: at most {_mib(HARD_LIMIT_BYTES)}")
    need(nr_bytes <= limit, f"it would take {_mib(nr_bytes)}, and the limit is {_mib(limit)} (limit=)")
    with open("/proc/meminfo", encoding="ascii") as file:
        fields = dict(line.split(":") for line in file)
    spare = int(fields["MemAvailable"].split()[0]) * 1024
    if nr_bytes > spare:
        raise UnavailableError(f"it would take {_mib(nr_bytes)}, and {_mib(spare)} are available")
    return nr_bytes


def _mib(nr_bytes: int) -> str:
    return f"{nr_bytes / (1 << 20):,.1f} MiB"
