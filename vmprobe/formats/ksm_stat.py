"""/proc/PID/ksm_stat: what kernel samepage merging did for one process.

Kernel source: ``fs/proc/base.c: proc_pid_ksm_stat`` (Linux 6.1; merged pages from 6.4, zero pages from 6.6).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.formats.lines import lines

if TYPE_CHECKING:
    from vmprobe.formats.lines import Line

_NEGATIVE: Final = re.compile(r"-[0-9]{1,19}")
_COUNTS: Final = ("ksm_merging_pages", "ksm_zero_pages")


class KsmStat(NamedTuple):
    """What a process has of merged pages; None where the kernel does not say, or it has no memory.

    Parameters
    ----------
    merging_pages
        Pages of it that were merged with others.
    zero_pages
        Its entries that became the zero page.
    """

    merging_pages: int | None
    zero_pages: int | None


def parse(data: bytes, *, file: str = "ksm_stat") -> KsmStat:
    r"""Return the counts; an empty file is that of a process without memory.

    Raises
    ------
    FormatError
        A line has no value, a count comes twice or is no number.

    Examples
    --------
    >>> parse(b"ksm_rmap_items 16\nksm_zero_pages 0\nksm_merging_pages 9\nksm_mergeable: yes\n")
    KsmStat(merging_pages=9, zero_pages=0)
    """
    found: dict[str, int] = {}
    for line in lines(data, file):
        name, blank, value = line.text.partition(" ")
        if not blank or not name or not value:
            raise line.error("expected `name value`")
        if name in found:
            raise line.error("expected each count once")
        if name in _COUNTS:
            found[name] = _pages(line, value)
    return KsmStat(*(found.get(name) for name in _COUNTS))


def _pages(line: Line, value: str) -> int:
    """Return a count; zero pages are a signed long, and may be below 0 for a moment."""
    return 0 if _NEGATIVE.fullmatch(value) else line.unsigned(value, "a number of pages")
