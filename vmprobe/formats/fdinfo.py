"""/proc/PID/fdinfo/N: where an open file lives, and what its driver tells of memory behind it.

Kernel source: ``fs/proc/fd.c: seq_show``; what drivers add below: ``io_uring/fdinfo.c``,
``kernel/bpf/syscall.c: bpf_map_show_fdinfo``, ``drivers/dma-buf/dma-buf.c: dma_buf_show_fdinfo``,
``drivers/gpu/drm/drm_file.c: drm_show_fdinfo``, ``fs/userfaultfd.c: userfaultfd_show_fdinfo``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.formats.lines import U32_LAST, Line, empty, ends_early, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEPT: Final = frozenset({
    "map_type", "map_id", "key_size", "value_size", "max_entries", "memlock",  # bpf-map
    "exp_name", "size", "count",  # dma-buf
    "pending", "total",  # userfaultfd
    "drm-driver", "drm-client-id", "drm-pdev",
})  # fmt: skip
_KEPT_FAMILIES: Final = ("drm-memory-", "drm-total-", "drm-shared-", "drm-resident-")
_PLAIN: Final = re.compile(
    rb"pos:\t-?[0-9]+\nflags:\t[0-7]+\nmnt_id:\t([0-9]{1,9})\n(?:ino:\t([0-9]{1,19})\n)?"
)
"""All that most files have to say, taken in one step: line by line it cost more than the system calls."""

_BUFFER: Final = re.compile(r" *[0-9]+: (?:0x[0-9a-f]+/[0-9]+|<none>)")


class FdInfo(NamedTuple):
    """What fdinfo says of one open file.

    Parameters
    ----------
    mnt_id
        The mount, as in mountinfo; mounts of the kernel's own are in no mountinfo.
    inode
        None where the kernel does not say (before 5.14).
    info
        The lines that tell of memory, as ``Name: value``, joined by newlines; the registered buffers of an
        io_uring follow their ``UserBufs: nr`` as ``index: address/bytes``. Empty where there are none.
    """

    mnt_id: int
    inode: int | None
    info: str


def parse(data: bytes, *, file: str = "fdinfo") -> FdInfo:
    r"""Return the facts.

    Drivers print what they like behind the first lines, names of files among it, so that what is not known
    there is passed over.

    Raises
    ------
    FormatError
        The lines that the kernel prints for every file are not there.

    Examples
    --------
    >>> parse(b"pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t7\nUserBufs:\t1\n    0: 0x7f00/4096\nPollList:\n")
    FdInfo(mnt_id=15, inode=7, info='UserBufs: 1\n0: 0x7f00/4096')
    """
    if plain := _PLAIN.fullmatch(data):
        return FdInfo(int(plain[1]), None if plain[2] is None else int(plain[2]), "")
    rows = list(lines(data, file))
    if not rows:
        raise empty(file)
    for row, key in zip(rows, ("pos", "flags", "mnt_id"), strict=False):
        if not row.text.startswith(f"{key}:\t"):
            raise row.error(f"expected `{key}:`")
    if len(rows) < 3:
        raise ends_early(rows[-1], "a line `mnt_id:`")
    mnt_id = rows[2].unsigned(rows[2].text.partition("\t")[2], "a mount", U32_LAST)
    inode = None
    if len(rows) > 3 and rows[3].text.startswith("ino:\t"):
        inode = rows[3].unsigned(rows[3].text.partition("\t")[2], "an inode")
    return FdInfo(mnt_id, inode, "\n".join(_kept(rows[3:])))


def _kept(rows: list[Line]) -> Iterator[str]:
    in_buffers = False
    for row in rows:
        name, colon, value = row.text.partition(":")
        if in_buffers and _BUFFER.fullmatch(row.text):
            yield row.text.lstrip(" ")
            continue
        in_buffers = name == "UserBufs"
        if colon and (in_buffers or name in _KEPT or name.startswith(_KEPT_FAMILIES)):
            yield f"{name}: {' '.join(value.split())}"
