"""What the text parsers share: lines that know where they stand, and numbers that cannot lie.

Python's `int` takes ``1_000``, ``+5``, blanks and Arabic digits; the kernel prints none of these. So a number
here is ASCII digits that fit the kernel's type, or a `FormatError` that names file, line and text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

U64_LAST: Final = (1 << 64) - 1
"""Largest ``unsigned long`` of a 64-bit kernel."""

U32_LAST: Final = (1 << 32) - 1
"""Largest ``unsigned int``."""

_WRAP: Final = 1 << 64
_ZONE: Final = re.compile(r"Node +([0-9]+), zone +([^ ,]+)(.*)")


class Line(NamedTuple):
    """One line of a kernel file and where it stands.

    Parameters
    ----------
    file
        Name put into errors.
    number
        1-based.
    text
        Without the newline.
    """

    file: str
    number: int
    text: str

    def error(self, reason: str) -> FormatError:
        """Return the error that quotes this line and says what was expected of it."""
        return FormatError(self.file, self.number, self.text, reason)

    def unsigned(self, word: str, what: str, last: int = U64_LAST) -> int:
        """Return `word` as a number from 0 to `last`, bytes or pages or whatever `what` says.

        >>> Line("buddyinfo", 1, "Node 0").unsigned("17", "a node")
        17
        """
        if word.isascii() and word.isdigit() and len(word) <= 20:
            value = int(word)
            if value <= last:
                return value
        raise self.error(f"expected {what}, found {_shorten(word)}")

    def signed(self, word: str, what: str) -> int:
        """Return `word` as a C ``int``, -2**31 to 2**31 - 1.

        >>> Line("swaps", 2, "/dev/vda2 ... -2").signed("-2", "a priority")
        -2
        """
        digits = word.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) <= 10:
            value = int(word)
            if -(1 << 31) <= value < 1 << 31:
                return value
        raise self.error(f"expected {what}, found {_shorten(word)}")

    def counter(self, word: str, what: str) -> int:
        """Return an ``unsigned long`` counter, below 0 where it has wrapped.

        Per-CPU parts of a counter are folded late, so its sum may be below zero for a while; the kernel
        prints that as an enormous unsigned number. Values from 2**63 on are such negative ones.

        >>> Line("vmstat", 1, "nr_writeback").counter("18446744073709551613", "a counter")
        -3
        """
        value = self.unsigned(word, what)
        return value - _WRAP if value >= _WRAP // 2 else value

    def hexadecimal(self, word: str, what: str) -> int:
        """Return `word`, lower-case hexadecimal digits without prefix, as an unsigned 64-bit number.

        >>> Line("iomem", 1, "").hexadecimal("0009fbff", "an address")
        654335
        """
        if word and len(word) <= 16 and not word.strip("0123456789abcdef"):
            return int(word, 16)
        raise self.error(f"expected {what}, found {_shorten(word)}")

    def zone(self) -> tuple[int, str, str]:
        """Return node, zone and what follows: the beginning that three files share.

        >>> Line("zoneinfo", 1, "Node 0, zone    DMA32").zone()
        (0, 'DMA32', '')
        """
        match = _ZONE.fullmatch(self.text)
        if match is None:
            raise self.error("expected `Node N, zone NAME`")
        return self.unsigned(match[1], "a node", U32_LAST), match[2], match[3]


def _shorten(word: str) -> str:
    return repr(word if len(word) <= 32 else word[:32] + "…")


def decode(data: bytes) -> str:
    r"""Return text; bytes that are not UTF-8 stay visible as ``\xff``: names may hold anything.

    >>> decode(b"caf\xe9")
    'caf\\xe9'
    """
    return data.decode("utf-8", "backslashreplace")


def split(data: bytes, file: str) -> list[str]:
    r"""Return the lines of `data` without their newlines; no data, no lines.

    Only ``\n`` ends a line: names may hold carriage returns, form feeds and Unicode separators.

    Raises
    ------
    FormatError
        The last line has no newline: the text was cut off.
    """
    rows = decode(data).split("\n")
    if rows[-1]:
        raise FormatError(file, len(rows), rows[-1], "expected a newline at the end, the file is cut off")
    return rows[:-1]


def lines(data: bytes, file: str) -> Iterator[Line]:
    """Iterate the lines of `data` with their places; see `split`."""
    for number, text in enumerate(split(data, file), 1):
        yield Line(file, number, text)


def empty(file: str) -> FormatError:
    """Return the error for a file that the kernel never leaves empty."""
    return FormatError(file, 1, "", "expected at least one line, the file is empty")


def ends_early(last: Line, what: str) -> FormatError:
    """Return the error for a file, or a part of it, that ends with the line `last` before it gave `what`."""
    return last.error(f"expected {what} before the end")
