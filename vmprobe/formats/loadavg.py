"""/proc/loadavg: taken for the number of threads of the whole machine.

Kernel source: ``fs/proc/loadavg.c: loadavg_proc_show``. The number is the kernel's ``nr_threads``: threads of
every PID namespace, and those that hidepid hides.
"""

from __future__ import annotations

import re
from typing import Final

from vmprobe.formats.lines import U32_LAST, empty, lines

_ROW: Final = re.compile(r"[0-9]+\.[0-9]{2} [0-9]+\.[0-9]{2} [0-9]+\.[0-9]{2} [0-9]+/([0-9]+) [0-9]+")


def parse(data: bytes, *, file: str = "loadavg") -> int:
    r"""Return the number of threads.

    Raises
    ------
    FormatError
        It is not one line of that form.

    Examples
    --------
    >>> parse(b"0.00 0.01 0.18 1/86 25810\n")
    86
    """
    rows = list(lines(data, file))
    if not rows:
        raise empty(file)
    match = _ROW.fullmatch(rows[0].text)
    if match is None or len(rows) > 1:
        raise rows[-1].error("expected `load load load running/threads pid`")
    return rows[0].unsigned(match[1], "a number of threads", U32_LAST)
