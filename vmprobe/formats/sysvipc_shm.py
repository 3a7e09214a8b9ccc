"""/proc/sysvipc/shm: the System V shared memory segments of the reader's IPC namespace.

Kernel source: ``ipc/shm.c: sysvipc_shm_proc_show``. It is the namespace of who opens the file, wherever the
/proc is mounted; its pids are those of the mount.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.formats.lines import U32_LAST, empty, lines

if TYPE_CHECKING:
    from vmprobe.formats.lines import Line

_REQUIRED: Final = ("key", "shmid", "size", "cpid", "lpid", "nattch", "uid")


class Segment(NamedTuple):
    """One segment.

    Parameters
    ----------
    key
        Of ``ftok``, as a C int; 0 for a private segment.
    shmid
        Its id, which is the inode of its mappings in maps.
    size_bytes
        As it was asked for.
    creator_pid, last_pid
        Who made it; who attached or detached last, 0 for nobody.
    nr_attached
        Attachments, by VMA.
    uid
        The owner.
    rss_bytes, swap_bytes
        What is in memory and in swap, None where the kernel does not say.
    """

    key: int
    shmid: int
    size_bytes: int
    creator_pid: int
    last_pid: int
    nr_attached: int
    uid: int
    rss_bytes: int | None
    swap_bytes: int | None


def parse(data: bytes, *, file: str = "sysvipc/shm") -> list[Segment]:
    r"""Return the segments.

    Raises
    ------
    FormatError
        The header lacks a column that every kernel prints, or a line is malformed.

    Examples
    --------
    >>> head = b" key shmid perms size cpid lpid nattch uid rss swap\n"
    >>> (segment,) = parse(head + b" -5 3 600 8192 70 0 2 1000 4096 0\n")
    >>> segment.key, segment.shmid, segment.size_bytes, segment.nr_attached, segment.rss_bytes
    (-5, 3, 8192, 2, 4096)
    """
    rows = list(lines(data, file))
    if not rows:
        raise empty(file)
    names = rows[0].text.split()
    if len(set(names)) != len(names) or not set(_REQUIRED) <= set(names):
        raise rows[0].error(f"expected a header with the columns `{' '.join(_REQUIRED)}`")
    return [_row(line, names) for line in rows[1:]]


def _row(line: Line, names: list[str]) -> Segment:
    words = line.text.split()
    if len(words) != len(names):
        raise line.error(f"expected {len(names)} columns")
    row = dict(zip(names, words, strict=True))
    return Segment(
        key=line.signed(row["key"], "a key"),
        shmid=line.unsigned(row["shmid"], "an id", U32_LAST >> 1),
        size_bytes=line.unsigned(row["size"], "a size in bytes"),
        creator_pid=line.unsigned(row["cpid"], "a pid", U32_LAST),
        last_pid=line.unsigned(row["lpid"], "a pid", U32_LAST),
        nr_attached=line.unsigned(row["nattch"], "a number of attachments"),
        uid=line.unsigned(row["uid"], "a user", U32_LAST),
        rss_bytes=line.unsigned(row["rss"], "bytes in memory") if "rss" in row else None,
        swap_bytes=line.unsigned(row["swap"], "bytes in swap") if "swap" in row else None,
    )
