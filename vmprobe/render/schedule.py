"""A report that runs by itself: the crontab, and the service and timer of systemd, as text."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from vmprobe.errors import UsageError
from vmprobe.render.service import service

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE: Final = "/var/lib/vmprobe"
DEFAULTS: Final = {"--lock": f"{STATE}/report.lock", "--history": f"{STATE}/history.duckdb"}
"""What every scheduled report has, unless it was asked to have it elsewhere."""

PLACES: Final = ("--lock", "--history", "--openmetrics", "--html", "--procfs", "--sysfs")
"""Options that name a file or folder."""

CRON_FILE: Final = "/etc/cron.d/vmprobe-report"
CRON_COMMAND_BYTES: Final = 998
"""Most that Vixie cron takes (``cron.h: MAX_COMMAND``)."""

_MINUTES: Final = tuple(n for n in range(1, 60) if 60 % n == 0)
_HOURS: Final = tuple(n for n in range(1, 25) if 24 % n == 0)


@dataclass(frozen=True)
class Job:
    """What is to be run.

    Parameters
    ----------
    program
        Absolute path of the vmprobe in use.
    arguments
        Of ``report``, a word each, an option and its value apart.
    every_minutes
        How often.
    """

    program: str
    arguments: tuple[str, ...]
    every_minutes: int


def cron_text(job: Job) -> str:
    """Return a file for /etc/cron.d.

    Raises
    ------
    UsageError
        Cron cannot run it that often, or cannot be given these words.
    """
    minute, hour = _fields(job.every_minutes)
    run = " ".join(shlex.quote(word) for word in words(job))
    if "\\" in run or not run.isprintable():
        raise UsageError("a crontab takes neither backslashes nor line ends in a command")
    # Cron reads % as a line end unless a backslash stands before it, also within quotes.
    command = f'{{ r=$({run}) || printf %s "$r"; }} 2>&1 | logger -t vmprobe-report'.replace("%", "\\%")
    if len(command.encode()) > CRON_COMMAND_BYTES:
        raise UsageError(
            f"the command has {len(command.encode())} bytes, and cron takes {CRON_COMMAND_BYTES}",
            hint="put it into a script, or use --print-systemd",
        )
    return f"""\
# {CRON_FILE}: a report on this host's memory every {_spoken(job.every_minutes)}.
# Owner root, mode 0644, and no dot in its name, or cron passes it over.
#
# It says nothing while all is well. A threshold that is crossed, an overlap and an error go to the system's
# log; `journalctl -t vmprobe-report` shows them. For mail instead take away `| logger -t vmprobe-report` at
# the end of the line, and the # here:
#MAILTO=root
SHELL=/bin/sh

{minute} {hour} * * * root {command}
"""


def systemd_text(job: Job) -> str:
    """Return a service and its timer, each headed by a comment that names its file.

    Raises
    ------
    UsageError
        It cannot be run that often, or cannot be given these words.
    """
    minute, hour = _fields(job.every_minutes)
    run = words(job)
    if not all(word.isprintable() for word in run):
        raise UsageError("a unit of systemd takes no line ends in a command")
    calendar = f"{hour.replace('*/', '0/')}:{minute.replace('*/', '0/')}"
    return f"""\
{service(run, STATE, _folders(run), job.every_minutes)}
# /etc/systemd/system/vmprobe-report.timer
[Unit]
Description=Report on this host's memory every {_spoken(job.every_minutes)}
Documentation=man:vmprobe-report(1)

[Timer]
OnCalendar={calendar}
# Hosts of a fleet do not all report in the same second; each keeps its own distance.
RandomizedDelaySec={6 * job.every_minutes}s
FixedRandomDelay=yes
AccuracySec=1s
# A run that was due while the host was down is made up for.
Persistent=yes

[Install]
WantedBy=timers.target
"""


def words(job: Job) -> tuple[str, ...]:
    """Return the whole command line of a scheduled report.

    >>> words(Job("/bin/vmprobe", ("--lock", "/l", "--no-frames"), 15))[2:]
    ('--lock', '/l', '--no-frames', '--history', '/var/lib/vmprobe/history.duckdb')
    """
    for option, value in _places(job.arguments):
        if not PurePosixPath(value).is_absolute():
            raise UsageError(
                f"{option} {value}: a relative path leads elsewhere when it runs by itself",
                hint="give it from / on",
            )
    missing = [word for pair in DEFAULTS.items() if pair[0] not in job.arguments for word in pair]
    return (job.program, "report", *job.arguments, *missing)


def _places(run: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Give each option that names a file or folder, with its value."""
    for option, value in pairwise(run):
        if option in PLACES:
            yield option, value


def _folders(run: tuple[str, ...]) -> tuple[str, ...]:
    """Return the folders outside `STATE` in which files are written; temporary siblings need the folder."""
    found: dict[str, None] = {}
    for option, value in _places(run):
        if option in {"--procfs", "--sysfs"}:
            continue
        parts = PurePosixPath(value).parts
        # What stands before .. may be a symbolic link: only the kernel knows where that leads.
        if ".." in parts:
            raise UsageError(
                f"{option} {value}: it is not plain where .. leads", hint="write the path without .."
            )
        folder = PurePosixPath("/", *parts[1:-1])
        if folder.is_relative_to(STATE):
            continue
        if folder == PurePosixPath("/"):
            raise UsageError(
                f"{option} {value}: the service may write in the folders of its files, and this is /",
                hint=f"name a file in {STATE}",
            )
        if folder.is_relative_to("/tmp") or folder.is_relative_to("/var/tmp"):  # noqa: S108
            raise UsageError(
                f"{option} {value}: the service has a /tmp of its own, where nobody finds it",
                hint=f"name a file in {STATE}",
            )
        found[str(folder)] = None
    return tuple(found)


def _fields(every_minutes: int) -> tuple[str, str]:
    """Return cron's fields for minute and hour; the same distance all day, also past midnight.

    >>> _fields(15), _fields(60), _fields(360), _fields(1440)
    (('*/15', '*'), ('0', '*'), ('0', '*/6'), ('0', '0'))
    """
    if every_minutes in _MINUTES:
        return ("*" if every_minutes == 1 else f"*/{every_minutes}"), "*"
    hours, rest = divmod(every_minutes, 60)
    if rest == 0 and hours in _HOURS:
        return "0", {1: "*", 24: "0"}.get(hours, f"*/{hours}")
    possible = (*_MINUTES, *(60 * n for n in _HOURS))
    below, above = ([n for n in possible if n < every_minutes], [n for n in possible if n > every_minutes])
    near = " and ".join(str(n) for n in (*below[-1:], *above[:1]))
    raise UsageError(
        f"--every {every_minutes}: divides neither an hour nor a day, so runs would not be equally far apart",
        hint=f"near it: {near}",
    )


def _spoken(every_minutes: int) -> str:
    hours, rest = divmod(every_minutes, 60)
    number, unit = (hours, "hour") if rest == 0 else (every_minutes, "minute")
    return unit if number == 1 else f"{number} {unit}s"
