"""Which open files are memory, or lead to it, told by the text of their links and the file system behind."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container

MEMORY_FILE_SYSTEMS: Final = frozenset({"tmpfs", "hugetlbfs", "ramfs", "devtmpfs", "rootfs"})
"""Files there are memory, and stat on them asks nobody but the kernel."""

_PSEUDO_FILE_SYSTEMS: Final = frozenset({
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "efivarfs",
    "fusectl", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs",
    "tracefs",
})  # fmt: skip
"""Files there are made of text when they are read."""

_ANON_INODES: Final = re.compile(
    r"anon_inode:(?:\[io_uring\]|\[perf_event\]|\[userfaultfd\]|bpf-map|\[?kvm-.*|\[vfio-.*|\[?dmabuf\]?)"
)
_TOLD_BY_DRIVER: Final = re.compile(r"anon_inode:(?:\[io_uring\]|\[userfaultfd\]|bpf-map)")
_MEMORY_DEVICE: Final = re.compile(
    r"/dev/(?:k?mem|kvm|dri/.*|dma_heap/.*|vfio/.*|udmabuf|userfaultfd|iommu|kfd|nvidia.*|mali\d*|ion"
    r"|infiniband/.*|vhost-.*|u?dmabuf.*|dax\d.*)"
)
_TEXT_DEVICE: Final = re.compile(
    r"/dev/(?:null|full|u?random|tty.*|console|ptmx|pts/.*|kmsg|log|rtc\d*|watchdog\d*|input/.*|fuse)"
)
"""The devices that nearly every process has open: no need to ask what file system they are on."""


def worth_a_look(link: str, mapped: Container[str]) -> bool:
    """Whether a file may be memory or lead to it, by its link alone.

    Parameters
    ----------
    link
        The text of ``/proc/PID/fd/N``.
    mapped
        Names of sockets and devices that some VMA has: the link of a socket does not tell a packet ring from
        another, that somebody maps it does.

    Examples
    --------
    >>> worth_a_look("socket:[12]", {"socket:[12]"}), worth_a_look("anon_inode:[eventpoll]", ())
    (True, False)
    """
    if link.startswith("/"):
        return not _TEXT_DEVICE.fullmatch(link) or link in mapped
    if link.startswith("socket:["):
        return link in mapped
    return link.startswith("pipe:[") or _ANON_INODES.fullmatch(link) is not None


def has_info(link: str) -> bool:
    """Whether fdinfo tells more than the link: where a file lives, or what a driver knows.

    >>> has_info("/memfd:x (deleted)"), has_info("anon_inode:bpf-map"), has_info("pipe:[12]")
    (True, True, False)
    """
    return link.startswith("/") or _TOLD_BY_DRIVER.fullmatch(link) is not None


def file_system_of(link: str) -> str | None:
    """Return the file system that a link without a path names.

    >>> file_system_of("pipe:[12]"), file_system_of("anon_inode:bpf-map"), file_system_of("/etc/passwd")
    ('pipefs', 'anon_inodefs', None)
    """
    if link.startswith("/dmabuf:"):
        return "dmabuf"
    kind, colon, _ = link.partition(":")
    return {"pipe": "pipefs", "socket": "sockfs", "anon_inode": "anon_inodefs"}.get(kind) if colon else None


def inode_of(link: str) -> int | None:
    """Return the inode that a link names.

    >>> inode_of("pipe:[12]")
    12
    """
    number = link.removeprefix("pipe:[").removeprefix("socket:[").removesuffix("]")
    return int(number) if number.isascii() and number.isdecimal() else None


def is_kept(link: str, mode: int | None, fstype: str | None, mapped: Container[str]) -> bool:
    """Whether a file with a path belongs into the table, now that its file system is known.

    Parameters
    ----------
    link
        As for `worth_a_look`.
    mode
        ``st_mode`` where that could be asked without risk.
    fstype
        None where no mount tells.
    mapped
        As for `worth_a_look`.
    """
    if fstype in _PSEUDO_FILE_SYSTEMS or (mode is not None and stat.S_ISDIR(mode)):
        return False
    if fstype == "devtmpfs" or (mode is not None and not stat.S_ISREG(mode)):
        regular = mode is not None and stat.S_ISREG(mode)
        return regular or _MEMORY_DEVICE.fullmatch(link) is not None or link in mapped
    return True
