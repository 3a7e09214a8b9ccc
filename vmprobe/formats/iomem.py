"""/proc/iomem: what lies where in the physical address space.

Kernel source: ``kernel/resource.c: r_show``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.formats.lines import lines

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROW: Final = re.compile(r"((?:  )*)([0-9a-f]+)-([0-9a-f]+) : (.*)")


class Resource(NamedTuple):
    """One range, ``[start, last]`` in bytes, both included.

    Parameters
    ----------
    depth
        Nesting, 0 is outermost; the kernel prints resources deeper than its limit of levels at that limit.
    start, last
        First and last physical address; both 0 for readers without CAP_SYS_ADMIN: see `hidden`.
    name
        ``System RAM``, ``Reserved``, ``Kernel code``, ...
    """

    depth: int
    start: int
    last: int
    name: str


def parse(data: bytes, *, file: str = "iomem") -> list[Resource]:
    r"""Return the ranges in the order printed: each before those inside it.

    Raises
    ------
    FormatError
        A line is malformed, ends before it starts, or is more than one level deeper than the one before.

    Examples
    --------
    >>> parse(b"00100000-bfffffff : System RAM\n  01000000-0220bb07 : Kernel code\n")[1]
    Resource(depth=1, start=16777216, last=35699463, name='Kernel code')
    """
    rows: list[Resource] = []
    for line in lines(data, file):
        match = _ROW.fullmatch(line.text)
        if match is None:
            raise line.error("expected `start-last : name`, indented by two blanks a level")
        row = Resource(
            len(match[1]) // 2,
            line.hexadecimal(match[2], "an address"),
            line.hexadecimal(match[3], "an address"),
            match[4],
        )
        if row.start > row.last:
            raise line.error("expected a range that ends at or behind its start")
        if row.depth > (rows[-1].depth + 1 if rows else 0):
            raise line.error("expected at most one level more than the line above")
        rows.append(row)
    return rows


def hidden(rows: Sequence[Resource]) -> bool:
    """Whether the kernel printed zeros for addresses, as it does without CAP_SYS_ADMIN.

    >>> hidden([Resource(0, 0, 0, "Reserved"), Resource(0, 0, 0, "System RAM")]), hidden([])
    (True, False)
    """
    return bool(rows) and all(row.last == 0 for row in rows)
