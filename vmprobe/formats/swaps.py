"""/proc/swaps: the swap areas in use.

Kernel source: ``mm/swapfile.c: swap_show``; the path is escaped by ``fs/seq_file.c: mangle_path``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from vmprobe.formats.lines import Line, decode, empty, lines

_HEADER: Final = ["Filename", "Type", "Size", "Used", "Priority"]
_ROW: Final = re.compile(r"([^ \t]+) +([^ \t]+)\t+([0-9]+)\t+([0-9]+)\t+(-?[0-9]+)")
_ESCAPE: Final = re.compile(rb"\\([0-3][0-7]{2})")


class SwapRow(NamedTuple):
    """One swap area.

    Parameters
    ----------
    path
        Device or file, the kernel's octal escapes undone; a removed file ends in `` (deleted)``.
    kind
        ``partition`` or ``file``.
    size_kib, used_kib
        Usable size and what is in use, in KiB.
    priority
        Higher is used first; below 0 where the kernel chose it.
    """

    path: str
    kind: str
    size_kib: int
    used_kib: int
    priority: int


def parse(data: bytes, *, file: str = "swaps") -> list[SwapRow]:
    r"""Return the areas, in the order of their swap types; types that were freed leave no gap.

    Raises
    ------
    FormatError
        The header is missing or a line is malformed.

    Examples
    --------
    >>> parse(
    ...     b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    ...     b"/my\\040swap                              file\t\t1048572\t\t0\t\t-2\n"
    ... )
    [SwapRow(path='/my swap', kind='file', size_kib=1048572, used_kib=0, priority=-2)]
    """
    rows = list(lines(data, file))
    if not rows:
        raise empty(file)
    if rows[0].text.split() != _HEADER:
        raise rows[0].error("expected the header `Filename Type Size Used Priority`")
    raw = data.split(b"\n")
    return [_row(line, raw[line.number - 1]) for line in rows[1:]]


def _row(line: Line, raw: bytes) -> SwapRow:
    match = _ROW.fullmatch(line.text)
    if match is None:
        raise line.error("expected `path kind size used priority`")
    # From the bytes: in the decoded text an undecodable byte is a backslash too.
    path = _ESCAPE.sub(lambda m: bytes((int(m[1], 8),)), raw[: raw.index(b" ")])
    return SwapRow(
        decode(path),
        match[2],
        line.unsigned(match[3], "a size in KiB"),
        line.unsigned(match[4], "a size in KiB"),
        line.signed(match[5], "a priority"),
    )
