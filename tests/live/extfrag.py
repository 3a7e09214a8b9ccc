"""What a kernel says of its fragmentation, read at one moment, and whether vmprobe says the same.

Run as a program it prints one JSON object: ``buddyinfo`` and the two files of debugfs ``extfrag``, read while
the free lists stood still; or ``skip`` with the reason why they cannot be read. debugfs is mounted in a mount
namespace of the program's own, which nobody else sees and which ends with it.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kernelmodel import vmstat
from vmprobe.formats import buddyinfo

if TYPE_CHECKING:
    from collections.abc import Callable

CLONE_NEWNS: Final = 0x00020000
MS_REC_PRIVATE: Final = 0x4000 | 0x40000
INDICES: Final[dict[str, Callable[..., Any]]] = {
    "unusable_index": vmstat.unusable_free_index_permille,
    "extfrag_index": vmstat.fragmentation_index_permille,
}
MAX_ATTEMPTS: Final = 500
HUGE_BYTES: Final = 2 << 20


class SkipError(Exception):
    """It cannot be read here; the text says why."""


def checked(status: int, what: str) -> None:
    if status:
        raise SkipError(f"{what}: {os.strerror(ctypes.get_errno())}")


def mount_debugfs(folder: str) -> None:
    """Mount debugfs where nobody but this process sees it."""
    libc = ctypes.CDLL(None, use_errno=True)
    checked(libc.unshare(CLONE_NEWNS), "no mount namespace of our own")
    checked(libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None), "mounts cannot be made private")
    checked(libc.mount(b"debugfs", folder.encode(), b"debugfs", 0, None), "debugfs cannot be mounted")


def whole(fd: int) -> str:
    os.lseek(fd, 0, os.SEEK_SET)
    return os.read(fd, 1 << 20).decode()


def read_still(folder: str) -> dict[str, str]:
    """Read the indices between two readings of the free lists that are equal."""
    try:
        files = {name: os.open(f"{folder}/extfrag/{name}", os.O_RDONLY) for name in INDICES}
    except FileNotFoundError:
        raise SkipError("this kernel has no debugfs extfrag (CONFIG_COMPACTION)") from None
    lists = os.open("/proc/buddyinfo", os.O_RDONLY)
    for _ in range(MAX_ATTEMPTS):
        before = whole(lists)
        found = {name: whole(fd) for name, fd in files.items()}
        if whole(lists) == before:
            return {"buddyinfo": before} | found
        time.sleep(0.005)
    raise SkipError(f"the free lists changed during each of {MAX_ATTEMPTS} readings")


def take_huge_pages() -> list[mmap.mmap]:
    """Take free blocks of the size of huge pages until requests for them fail in some zone."""
    with open("/sys/kernel/mm/transparent_hugepage/enabled", "w", encoding="ascii") as file:
        file.write("madvise")
    with open("/sys/kernel/mm/transparent_hugepage/defrag", "w", encoding="ascii") as file:
        file.write("never")
    taken = []
    with open("/proc/buddyinfo", "rb") as lists:
        rows = buddyinfo.parse(lists.read())
    wanted = sum(nr << order - 9 for row in rows for order, nr in enumerate(row.nr_free) if order >= 9)
    for _ in range(wanted):
        area = mmap.mmap(-1, 2 * HUGE_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        area.madvise(mmap.MADV_HUGEPAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(area))
        area[-address % HUGE_BYTES] = 1
        taken.append(area)
    return taken


def cells(text: str) -> dict[tuple[str, int], str]:
    """(zone as printed, order) to the figure."""
    found = {}
    for line in text.splitlines():
        node, zone, *figures = line.replace(", zone", "").removeprefix("Node ").split()
        found |= {(f"{node} {zone}", order): figure for order, figure in enumerate(figures)}
    return found


def differences(
    reading: dict[str, str], indices: dict[str, Callable[..., Any]] | None = None
) -> list[tuple[str, tuple[str, int], str | None, str | None]]:
    """Return every cell that is not what vmprobe makes of buddyinfo: file, zone and order, theirs, ours.

    `indices` are other formulas in place of vmprobe's.
    """
    rows = buddyinfo.parse(reading["buddyinfo"].encode())
    different = []
    for name, index in (INDICES | (indices or {})).items():
        printed = cells(reading[name])
        ours = {
            (f"{row.node} {row.zone}", order): vmstat.debugfs_text(figure)
            for row in rows
            for order, figure in enumerate(np.asarray(index(row.nr_free)).tolist())
        }
        different += [
            (name, cell, printed.get(cell), ours.get(cell))
            for cell in printed | ours
            if printed.get(cell) != ours.get(cell)
        ]
    return different


def without_the_one(nr_free: tuple[int, ...]) -> list[int]:
    """The fragmentation index with the formula of FreeBSD, which adds no 1 to the requests that fit."""
    info = vmstat.contig_page_info(nr_free)
    pages, blocks = int(info.free_pages[0]), int(info.free_blocks_total[0])
    if not blocks:
        return [0] * len(nr_free)
    return [
        -1000 if usable else 1000 - (pages * 1000 // (1 << order)) // blocks
        for order, usable in enumerate(info.usable_pages.tolist())
    ]


def main(words: list[str]) -> None:
    """Print what was read; with ``fragment`` after all huge pages were taken."""
    kept = take_huge_pages() if "fragment" in words else []
    folder = tempfile.mkdtemp(prefix="extfrag")
    try:
        mount_debugfs(folder)
        found = read_still(folder)
    except SkipError as error:
        found = {"skip": str(error)}
    # In this mount namespace it is a mount point; outside it is an empty folder.
    ctypes.CDLL(None).umount2(folder.encode(), 2)
    os.rmdir(folder)
    sys.stdout.write(json.dumps(found) + "\n")
    del kept


if __name__ == "__main__":
    main(sys.argv[1:])
