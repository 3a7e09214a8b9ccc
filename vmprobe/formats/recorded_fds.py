"""fds.json and internal_mounts.json of a recorded tree: open files of a process, mounts of the kernel's own.

Not files of the kernel: ``lab/record.py`` writes them; docs/snapshot-format.md says what they hold.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from vmprobe.errors import InputError
from vmprobe.formats.recording import DAMAGED, is_whole, load

_NAMESPACE: Final = re.compile(r"mnt:\[[0-9]{1,20}\]")


class FileStat(NamedTuple):
    """What stat says of a file on a memory file system; the device as ``major:minor`` in hex, bytes."""

    mode: int
    dev: str
    size_bytes: int
    allocated_bytes: int


class RecordedFile(NamedTuple):
    """One open file: its link, the text of fdinfo and its stat, None where they were not read."""

    link: str
    info: bytes | None
    stat: FileStat | None


class RecordedFds(NamedTuple):
    """The mount namespace of a process, as its link says, and its open files by descriptor."""

    namespace: str
    files: dict[int, RecordedFile]


def parse(data: bytes, *, file: str = "fds.json") -> RecordedFds:
    """Return the open files of one process.

    Raises
    ------
    InputError
        It is not what the recorder writes.

    Examples
    --------
    >>> parse(b'{"mounts": "mnt:[9]", "files": [[3, "pipe:[7]", null, null]]}').files[3].link
    'pipe:[7]'
    """
    document = load(data, file)
    if not isinstance(document, dict) or not isinstance(document.get("files"), list):
        raise InputError(f"{file}: expected an object with a list `files`", hint=DAMAGED)
    namespace = document.get("mounts")
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise InputError(f"{file}: mounts should be `mnt:[number]`", hint=DAMAGED)
    return RecordedFds(namespace, dict(_row(row, file) for row in document["files"]))


def _row(row: Any, file: str) -> tuple[int, RecordedFile]:
    if isinstance(row, list) and len(row) == 4:
        fd, link, info, found = row
        told = found is None or (isinstance(found, list) and len(found) == 5 and all(map(is_whole, found)))
        if (
            is_whole(fd, 0, 1 << 31)
            and isinstance(link, str)
            and (info is None or isinstance(info, str))
            and told
        ):
            stat = None
            if found is not None:
                mode, major, minor, size_bytes, nr_blocks = found
                stat = FileStat(mode, f"{major:02x}:{minor:02x}", size_bytes, nr_blocks * 512)
            text = None if info is None else info.encode("utf-8", "surrogateescape")
            return fd, RecordedFile(link, text, stat)
    raise InputError(f"{file}: expected rows of a descriptor, a link, a text and a stat", hint=DAMAGED)


def parse_mounts(data: bytes, *, file: str = "internal_mounts.json") -> dict[int, str]:
    """Return the kinds of file system of the kernel's own mounts, by mount.

    Raises
    ------
    InputError
        It is no list of such pairs.

    Examples
    --------
    >>> parse_mounts(b'[[0, "tmpfs"], [18, "hugetlbfs"]]')
    {0: 'tmpfs', 18: 'hugetlbfs'}
    """
    found = {}
    rows = load(data, file)
    for row in rows if isinstance(rows, list) else [None]:
        if not (isinstance(row, list) and len(row) == 2 and is_whole(row[0]) and isinstance(row[1], str)):
            raise InputError(f"{file}: expected pairs of a mount and a file system", hint=DAMAGED)
        found[row[0]] = row[1]
    return found
