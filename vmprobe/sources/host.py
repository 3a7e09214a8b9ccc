"""Which machine this is and what we may do on it."""

from __future__ import annotations

import gzip
import os
import platform
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from vmprobe.formats import meminfo, status

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psutil

    from vmprobe.formats.recording import Recording
    from vmprobe.sources.procfs import Tree

CAPABILITIES: Final = {
    1: "CAP_DAC_OVERRIDE",
    2: "CAP_DAC_READ_SEARCH",
    19: "CAP_SYS_PTRACE",
    21: "CAP_SYS_ADMIN",
}
"""The ones that decide what a snapshot can hold, by bit (include/uapi/linux/capability.h)."""

CONFIG_OPTIONS: Final = ("NO_PAGE_MAPCOUNT", "MEM_SOFT_DIRTY", "MEMORY_FAILURE", "DEVICE_PRIVATE", "KSM")
"""Build options that change what a word of /proc means."""


def describe(proc: Tree) -> dict[str, Any]:
    """Return the manifest's ``host`` entry; what cannot be read is None."""
    uname = platform.uname()
    try:
        # Of the tree that is read, which may be saved from another host: "Linux version RELEASE ...".
        release = proc.read("version", "host").decode("utf-8", "backslashreplace").split()[2]
    except (OSError, IndexError):
        release = uname.release
    try:
        boot_id = proc.read("sys/kernel/random/boot_id", "host").decode().strip()
    except OSError:
        boot_id = None
    return {
        "release": release,
        "machine": uname.machine,
        "page_size": os.sysconf("SC_PAGE_SIZE"),
        "boot_id": boot_id,
        "nr_cpus": os.cpu_count(),
        "clock_ticks": os.sysconf("SC_CLK_TCK"),
        "mem_total_bytes": mem_total_bytes(proc),
        "config": kernel_config(proc, f"/boot/config-{release}"),
    }


def describe_recorded(proc: Tree, about: Recording) -> dict[str, Any]:
    """Return the same of a recorded host; nothing of this machine is in it."""
    return {
        "release": about.release,
        "machine": about.machine,
        "page_size": about.page_size,
        "boot_id": about.boot_id,
        "nr_cpus": about.nr_cpus,
        "clock_ticks": about.clock_ticks,
        "mem_total_bytes": mem_total_bytes(proc),
        "config": kernel_config(proc, None),
    }


def mem_total_bytes(proc: Tree) -> int | None:
    """Return the memory that the kernel manages, None when it cannot be read."""
    try:
        rows = meminfo.parse(proc.read("meminfo", "host"), file=proc.path("meminfo"))
    except OSError:
        return None
    return next((row.value * 1024 for row in rows if row.name == "MemTotal"), None)


def kernel_config(proc: Tree, beside: str | None) -> dict[str, bool] | None:
    """Return which of `CONFIG_OPTIONS` the kernel was built with, None when nothing tells.

    That is ``/proc/config.gz``, or the file that distributions without it put beside the kernel.

    Parameters
    ----------
    proc
        Where to look first.
    beside
        The other file.
    """
    try:
        text = gzip.decompress(proc.read("config.gz", "host")).decode(errors="replace")
    except (OSError, EOFError, zlib.error):
        if beside is None:
            return None
        try:
            with open(beside, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            return None
    lines = set(text.splitlines())
    return {name: f"CONFIG_{name}=y" in lines for name in CONFIG_OPTIONS}


def privileges(proc: Tree) -> dict[str, Any]:
    """Return the manifest's ``privileges`` entry.

    ``initial_userns`` is whether this process lives in the initial user namespace, the only place where
    CAP_SYS_ADMIN uncovers frame numbers (`fs/proc/task_mmu.c`: `file_ns_capable(&init_user_ns)`).
    """
    try:
        fields = _own_status(proc)
        effective = int(fields.get("CapEff", "0"), 16)
    except OSError:
        effective = 0
    try:
        uid_map = tuple(int(n) for n in proc.read("self/uid_map", "host").split())
    except (OSError, ValueError):
        uid_map = None
    return held(os.geteuid(), effective, uid_map)


def held(euid: int, effective: int, uid_map: tuple[int, ...] | None) -> dict[str, Any]:
    """Return the ``privileges`` entry for a user, a mask of effective capabilities and a ``uid_map``.

    >>> held(1000, 1 << 21, (0, 1000, 1))
    {'euid': 1000, 'capabilities': ['CAP_SYS_ADMIN'], 'initial_userns': False}
    """
    return {
        "euid": euid,
        "capabilities": [name for bit, name in CAPABILITIES.items() if effective >> bit & 1],
        "initial_userns": None if uid_map is None else uid_map == (0, 0, 0xFFFFFFFF),
    }


def _own_status(proc: Tree) -> dict[str, str]:
    return status.parse(proc.read("self/status", "host"), file=proc.path("self/status")).fields


def own_pid(proc: Tree) -> int | None:
    """Return the pid that this process has in the /proc that is read, None when it is not there."""
    try:
        return int(_own_status(proc)["Pid"])
    except (OSError, KeyError, ValueError):
        return None


def same_pid_namespace(proc: Tree) -> bool:
    """Whether the pids below this /proc mean the same to system calls of ours.

    False for a host's /proc mounted in a container: kcmp and ptrace would reach other processes there.
    """
    try:
        fields = _own_status(proc)
    except OSError:
        return False
    return fields.get("NSpid", "").split() == [str(os.getpid())]


def protected_pids() -> set[int]:
    """Return ourselves, our ancestors and PID 1: what must never be stopped."""
    import psutil  # noqa: PLC0415 - who stops nobody does without

    me = psutil.Process()
    return {1, me.pid, *(parent.pid for parent in me.parents())}


def handles(pids: Iterable[int]) -> list[psutil.Process]:
    """Return handles that know a pid from its later reuse; vanished ones are left out."""
    import psutil  # noqa: PLC0415 - who stops nobody does without

    found = []
    for pid in pids:
        try:
            found.append(psutil.Process(pid))
        except psutil.Error:
            continue
    return found


def wall_time() -> str:
    """Return the time of day in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def uptime_seconds(proc: Tree) -> float | None:
    """Return the seconds since boot as the kernel prints them."""
    try:
        return float(proc.read("uptime", "host").split()[0])
    except (OSError, ValueError, IndexError):
        return None
