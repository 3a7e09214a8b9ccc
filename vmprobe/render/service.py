"""The service of systemd that makes one report, closed up as far as its work allows."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9_@+=:,./-]+")

PRIVILEGES: Final = """\
# Frame numbers in pagemap need CAP_SYS_ADMIN in the first user namespace, page tables of other users'
# processes the other two. Each was taken away by itself and the gap seen (tests/live/test_capabilities.py).
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_SYS_PTRACE CAP_DAC_READ_SEARCH
# numba writes machine code and then runs it; kept here it is compiled once.
MemoryDenyWriteExecute=no
CacheDirectory=vmprobe
CacheDirectoryMode=0700
Environment=NUMBA_CACHE_DIR=/var/cache/vmprobe
# Measured: 150 MiB and 90 bytes a page of 4 KiB. A small host needs the half, a large one a fortieth.
MemoryMax=50%"""

NO_PRIVILEGES: Final = """\
# Free lists and counters are for everybody, and what is for root alone (pagetypeinfo) goes by the owner.
CapabilityBoundingSet=
MemoryDenyWriteExecute=yes
# Twice what it takes.
MemoryMax=256M"""

MANNERS: Final = """\
Nice=19
CPUSchedulingPolicy=batch
CPUWeight=10
IOSchedulingClass=idle
IOWeight=10
"""


def service(run: tuple[str, ...], state: str, folders: tuple[str, ...], every_minutes: int) -> str:
    """Return the unit.

    Parameters
    ----------
    run
        The command line.
    state
        Folder below /var/lib that it has for itself.
    folders
        Others that it writes in.
    every_minutes
        How often it is started.
    """
    writes = f"\nReadWritePaths={' '.join(map(quoted, folders))}" if folders else ""
    return f"""\
# /etc/systemd/system/vmprobe-report.service
[Unit]
Description=Report on this host's memory
Documentation=man:vmprobe-report(1)
# A report that ends with 1 crossed a --fail-when: the unit has failed, and this can tell somebody.
#OnFailure=tell-somebody@%n.service

[Service]
Type=oneshot
ExecStart={_command(run)}
# A run that hangs does not keep the next ones away for ever.
TimeoutStartSec={max(every_minutes, 15)}min

# It gives way to everything else, and is the first to go where memory is short.
{"" if "--full-speed" in run else MANNERS}OOMScoreAdjust=500
{NO_PRIVILEGES if "--no-frames" in run else PRIVILEGES}

# It writes here and nowhere else.
StateDirectory={PurePosixPath(state).relative_to("/var/lib")}
StateDirectoryMode=0700
UMask=0077
ProtectSystem=strict{writes}
# The record of verified forecasts lies in root's home (vmprobe compact --verify).
ProtectHome=read-only

# It reads the whole host's /proc: every process, frame numbers, System V segments. These stay open.
ProtectProc=default
ProcSubset=all
PrivateUsers=no
PrivateIPC=no

NoNewPrivileges=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateNetwork=yes
IPAddressDeny=any
RestrictAddressFamilies=none
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
# Makes /proc/sys and /sys read-only; they stay readable.
ProtectKernelTunables=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service kcmp
SystemCallFilter=~@privileged @resources @keyring
SystemCallErrorNumber=EPERM
"""


def _command(run: tuple[str, ...]) -> str:
    """Return a command line; variables are expanded in the words after the program's path, and nowhere else.

    >>> _command(("/a$b/vmprobe", "--html", "/a$b/r.html"))
    '"/a$b/vmprobe" --html "/a$$b/r.html"'
    """
    program, *arguments = run
    return " ".join([quoted(program), *(quoted(word.replace("$", "$$")) for word in arguments)])


def quoted(word: str) -> str:
    r"""Return a word as systemd reads it back: no specifier, no escape (systemd.syntax(7)).

    >>> print(quoted("free_blocks[order>=9] < 64"), quoted("/a"), quoted('50% of "$x"\\'))
    "free_blocks[order>=9] < 64" /a "50%% of \"$x\"\\"
    """
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return escaped if _PLAIN.fullmatch(word) else f'"{escaped}"'
