"""/proc/meminfo: the host's memory in one table.

Kernel source: ``fs/proc/meminfo.c: meminfo_proc_show``; huge pages: ``mm/hugetlb.c:
hugetlb_report_meminfo``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from vmprobe.formats.lines import empty, lines

_ROW: Final = re.compile(r"([^:\s][^:]*): +([0-9]+)( kB)?")


class MeminfoRow(NamedTuple):
    """One line.

    Parameters
    ----------
    name
        As printed, ``Active(anon)`` and the like.
    value
        In `unit`; below 0 where the kernel's counter stood below zero and wrapped.
    unit
        ``kB`` (1024 bytes) or '' for a plain number.
    """

    name: str
    value: int
    unit: str


def parse(data: bytes, *, file: str = "meminfo") -> list[MeminfoRow]:
    r"""Return the lines in the order printed.

    Raises
    ------
    FormatError
        A line is malformed, a name comes twice, or there are none.

    Examples
    --------
    >>> parse(b"MemTotal:       16000000 kB\nHugePages_Total:       0\n")[1]
    MeminfoRow(name='HugePages_Total', value=0, unit='')
    """
    rows: dict[str, MeminfoRow] = {}
    for line in lines(data, file):
        match = _ROW.fullmatch(line.text)
        if match is None:
            raise line.error("expected `Name: number [kB]`")
        if match[1] in rows:
            raise line.error("expected each name once")
        rows[match[1]] = MeminfoRow(match[1], line.counter(match[2], "a number"), (match[3] or "").strip())
    if not rows:
        raise empty(file)
    return list(rows.values())
