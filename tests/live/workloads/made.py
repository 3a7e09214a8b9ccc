"""What a workload says of itself: the processes, and what a report on them must say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Scope(StrEnum):
    """What of the report is compared."""

    PROCESS = "process"
    """The mechanism's part that the process takes part in; the control must have none."""

    HOST = "host"
    """How far the mechanism's figures for the whole host grew: no process leads to what was made."""

    ACCOUNTS = "accounts"
    """The process must have no mechanism at all, and these Rss, Pss and Uss."""


@dataclass(frozen=True)
class Expected:
    """Figures that the report must show; None is not compared.

    Parameters
    ----------
    frames, processes, bytes, entries
        As the report names them; for the whole host they are by how much it grew at least.
    least
        Names of those that may be larger: others on this host take part too.
    accounts
        Pages of each process: (Rss, Pss, Uss).
    """

    frames: int | None = None
    processes: int | None = None
    bytes: int | None = None
    entries: int | None = None
    least: tuple[str, ...] = ()
    accounts: dict[int, tuple[int, int, int]] | None = None


@dataclass(frozen=True)
class Made:
    """What is held.

    Parameters
    ----------
    pids
        Processes that take part.
    expected
        What must be reported.
    procfs, ask
        For a snapshot through another mount of proc: where that is, and the pid to ask for in it.
    frames
        Frame numbers to look up one by one, where the figures of the whole host move by themselves.
    fleeting
        Frames that the kernel may free at any moment: it counts only if they were still there after the read.
    """

    pids: list[int]
    expected: Expected
    procfs: str | None = None
    ask: int | None = None
    frames: list[int] = field(default_factory=list)
    fleeting: list[int] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it fit for JSON."""
        return asdict(self)


Making = Callable[..., AbstractContextManager[Made]]
Holding = Iterator[Made]
"""A workload is a context manager of one argument, ``control``: whether to leave out the decisive step.

One that is compared by the whole host has no argument: its control is the host before it.
"""


@dataclass(frozen=True)
class Workload:
    """One program.

    Parameters
    ----------
    name
        Of the workload.
    mechanism
        What it makes, as the report names it; "" for none.
    make
        Makes it.
    scope
        What is compared.
    alone
        Whether it is photographed while no other is held, since the kernel undoes it soon.
    """

    name: str
    mechanism: str
    make: Making
    scope: Scope = Scope.PROCESS
    alone: bool = False

    @property
    def calls(self) -> list[tuple[bool, ...]]:
        """Arguments of `make`, of the workload first and then of its control if it has one."""
        return [()] if self.scope is Scope.HOST else [(False,), (True,)]
