"""/proc/PID/cgroup: where a process stands in each cgroup hierarchy.

Kernel source: ``kernel/cgroup/cgroup.c: proc_cgroup_show``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.formats.lines import U32_LAST, lines

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROW: Final = re.compile(r"([0-9]+):([^:]*):(/.*)")


class CgroupRow(NamedTuple):
    """One hierarchy.

    Parameters
    ----------
    hierarchy
        Its number; 0 is cgroup v2.
    controllers
        Of a v1 hierarchy, ``name=...`` for a named one; empty for v2.
    path
        Below the mount, seen from the reader's cgroup namespace; a removed v2 cgroup ends in `` (deleted)``.
    """

    hierarchy: int
    controllers: tuple[str, ...]
    path: str


def parse(data: bytes, *, file: str = "cgroup") -> list[CgroupRow]:
    r"""Return the hierarchies in the order printed; none where none is mounted.

    Raises
    ------
    FormatError
        A line is malformed or a hierarchy comes twice.

    Examples
    --------
    >>> parse(b"4:memory:/batch\n0::/init.scope\n")[0]
    CgroupRow(hierarchy=4, controllers=('memory',), path='/batch')
    """
    rows: dict[int, CgroupRow] = {}
    for line in lines(data, file):
        match = _ROW.fullmatch(line.text)
        if match is None:
            raise line.error("expected `number:controllers:/path`")
        hierarchy = line.unsigned(match[1], "a hierarchy number", U32_LAST)
        if hierarchy in rows:
            raise line.error("expected each hierarchy once")
        rows[hierarchy] = CgroupRow(hierarchy, tuple(match[2].split(",")) if match[2] else (), match[3])
    return list(rows.values())


def memory_path(rows: Sequence[CgroupRow]) -> str | None:
    r"""Return the path in the hierarchy that charges memory, None without one.

    That is v1's where it carries the memory controller, else v2's.

    >>> memory_path(parse(b"4:memory:/batch\n0::/init.scope\n")), memory_path(parse(b"0::/init.scope\n"))
    ('/batch', '/init.scope')
    """
    for row in rows:
        if "memory" in row.controllers:
            return row.path
    return next((row.path for row in rows if row.hierarchy == 0), None)
