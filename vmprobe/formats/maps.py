"""/proc/PID/maps: one line per VMA.

Kernel source: ``fs/proc/task_mmu.c: show_map_vma, show_vma_header_prefix``; the pad before the name is
``fs/seq_file.c: seq_pad``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.formats.lines import U64_LAST, Line, decode, lines

if TYPE_CHECKING:
    from collections.abc import Sequence

# Under MULTILINE, ^ and $ stand at "\n" alone, so a match is a whole line of the file.
_LINE: Final = re.compile(
    r"^([0-9a-f]{8,16})-([0-9a-f]{8,16}) ([r-][w-][x-][sp]) ([0-9a-f]{8,16}) "
    r"([0-9a-f]{2,3}:[0-9a-f]{2,5}) ([0-9]{1,20}) +(.*)$",
    re.MULTILINE,
)


class MapsRow(NamedTuple):
    r"""One VMA, ``[start, end)`` in bytes.

    Parameters
    ----------
    start, end
        First address and first address behind it.
    perms
        ``rwx`` and ``s`` (may be shared) or ``p``.
    offset
        Bytes into the file; 0 for anonymous memory, whose true offset the kernel does not print.
    dev
        ``major:minor`` in hexadecimal, as printed.
    inode
        0 for anonymous memory.
    name
        Path or ``[label]``, '' for none. A newline in a path stays ``\012`` as printed: the kernel does not
        escape backslashes, so undoing it could be wrong.
    """

    start: int
    end: int
    perms: str
    offset: int
    dev: str
    inode: int
    name: str


def parse(data: bytes, *, file: str = "maps") -> list[MapsRow]:
    r"""Return the VMAs in the order printed; none for a kernel thread or a zombie.

    The order is not checked, since a torn read is no malformed one: ask `torn`.

    Raises
    ------
    FormatError
        A line is no VMA, or the last one is cut off.

    Examples
    --------
    >>> parse(b"00400000-0040b000 r-xp 00001000 fe:00 1234                       /usr/bin/my cat\n")[0].name
    '/usr/bin/my cat'
    """
    text = decode(data)
    rows: list[MapsRow] = []
    new = tuple.__new__  # skips MapsRow's argument handling: an eighth of the time of a line
    for match in _LINE.finditer(text):
        first, behind, perms, offset, dev, ino, name = match.groups()
        start, end, inode = int(first, 16), int(behind, 16), int(ino)
        if start >= end or inode > U64_LAST:
            break
        rows.append(new(MapsRow, (start, end, perms, int(offset, 16), dev, inode, name)))
    if len(rows) != text.count("\n") or (text and not text.endswith("\n")):
        return [vma(line) for line in lines(data, file)]  # line by line, to name the one that is none
    return rows


def header(line: Line) -> MapsRow:
    """Return the one line of maps, smaps or smaps_rollup in `line`; its range may be empty.

    Raises
    ------
    FormatError
        It is no such line.
    """
    match = _LINE.fullmatch(line.text)
    if match is None:
        raise line.error("expected `start-end perms offset dev inode name`")
    start, end, perms, offset, dev, inode, name = match.groups()
    return MapsRow(
        int(start, 16), int(end, 16), perms, int(offset, 16), dev, line.unsigned(inode, "an inode"), name
    )


def vma(line: Line) -> MapsRow:
    """Return the VMA in `line`: `header` with a range that holds something.

    Raises
    ------
    FormatError
        It is none.
    """
    row = header(line)
    if row.start >= row.end:
        raise line.error("expected a range that ends behind its start")
    return row


def torn(rows: Sequence[MapsRow]) -> bool:
    """Whether the list cannot be one moment's: VMAs overlap or do not ascend.

    A file longer than about 4 KiB takes several reads, between which the process may map and unmap.

    >>> low = MapsRow(0x1000, 0x3000, "r--p", 0, "00:00", 0, "")
    >>> torn([low, low._replace(start=0x2000)]), torn([low, low._replace(start=0x3000, end=0x4000)])
    (True, False)
    """
    return any(rows[i].start < rows[i - 1].end for i in range(1, len(rows)))
