"""/proc/PID/smaps_rollup: the sums of smaps over all VMAs.

Kernel source: ``fs/proc/task_mmu.c: show_smaps_rollup``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from vmprobe.formats.lines import Line, empty, ends_early, lines
from vmprobe.formats.maps import header

_FIELD: Final = re.compile(r"([A-Z][A-Za-z0-9_]*): +([0-9]+)(?: kB)?")


class SmapsRollup(NamedTuple):
    """A process's sums.

    Parameters
    ----------
    start, end
        First address of the first VMA and first address behind the last one; both 0 without any VMA.
    fields
        By the kernel's names, kB.
    """

    start: int
    end: int
    fields: dict[str, int]


def parse(data: bytes, *, file: str = "smaps_rollup") -> SmapsRollup:
    r"""Return the sums.

    Raises
    ------
    FormatError
        The header or a field is malformed, a field comes twice, or there are none.

    Examples
    --------
    >>> parse(
    ...     b"00400000-7fff0000 ---p 00000000 00:00 0                              [rollup]\n"
    ...     b"Rss:                1760 kB\n"
    ... ).fields
    {'Rss': 1760}
    """
    rows = list(lines(data, file))
    if not rows:
        raise empty(file)
    whole = header(rows[0])
    if whole.name != "[rollup]" or whole.start > whole.end:
        raise rows[0].error("expected `start-end ---p 00000000 00:00 0 [rollup]`")
    fields: dict[str, int] = {}
    for line in rows[1:]:
        name, value = _field(line)
        if name in fields:
            raise line.error("expected each field once")
        fields[name] = value
    if not fields:
        raise ends_early(rows[0], "fields")
    return SmapsRollup(whole.start, whole.end, fields)


def _field(line: Line) -> tuple[str, int]:
    match = _FIELD.fullmatch(line.text)
    if match is None:
        raise line.error("expected `Name: number [kB]`")
    return match[1], line.unsigned(match[2], "a number of kB")
