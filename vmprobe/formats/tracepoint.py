"""The ``format`` file of a trace event: where its fields lie in a record, and what their numbers mean.

Kernel source: ``kernel/trace/trace_events.c: f_show``.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.formats.lines import empty, lines

if TYPE_CHECKING:
    from vmprobe.formats.lines import Line

_FIELD: Final = re.compile(r"\tfield:(.*?)(\w+)(?:\[\d*\])?;\toffset:(\d+);\tsize:(\d+);\tsigned:([01]);")
_SYMBOLIC: Final = re.compile(r"__print_symbolic\(REC->(\w+), ((?:\{[^{}]*\}(?:, )?)+)\)")
_PAIR: Final = re.compile(r'\{ ?(\d+), "([^"]*)" ?\}')


class Field(NamedTuple):
    """One field: its place in bytes, and whether its number is signed."""

    offset: int
    size: int
    signed: bool


class Event(NamedTuple):
    """One event.

    Parameters
    ----------
    identity
        Number by which perf knows it.
    fields
        Name to place.
    symbols
        Name of a field to the names of its numbers, where the kernel prints names.
    """

    identity: int
    fields: dict[str, Field]
    symbols: dict[str, dict[int, str]]

    def read(self, record: bytes) -> dict[str, int | str]:
        """Return the fields of one record, those with names by their names.

        Fields that are no numbers are left out, and so are those behind the end of a short record.
        """
        found: dict[str, int | str] = {}
        for name, (offset, size, signed) in self.fields.items():
            if size not in (1, 2, 4, 8) or offset + size > len(record):
                continue
            number = int.from_bytes(record[offset : offset + size], sys.byteorder, signed=signed)
            found[name] = self.symbols.get(name, {}).get(number, number)
        return found


def parse(data: bytes, *, file: str = "format") -> Event:
    r"""Return what the file says.

    Raises
    ------
    FormatError
        It has no number or no fields, or a line of a field that is none.

    Examples
    --------
    >>> text = b'name: a\nID: 7\nformat:\n\tfield:int s;\toffset:4;\tsize:4;\tsigned:1;\n\n'
    >>> event = parse(text + b'print fmt: "%s", __print_symbolic(REC->s, {1, "one"}, {2, "two"})\n')
    >>> event.identity, event.fields, event.symbols
    (7, {'s': Field(offset=4, size=4, signed=True)}, {'s': {1: 'one', 2: 'two'}})
    """
    identity = None
    fields: dict[str, Field] = {}
    symbols: dict[str, dict[int, str]] = {}
    for line in lines(data, file):
        if line.text.startswith("ID: "):
            identity = line.unsigned(line.text.removeprefix("ID: "), "a number of an event")
        elif line.text.startswith("\tfield:"):
            name, field = _field(line)
            fields[name] = field
        elif line.text.startswith("print fmt:"):
            for name, pairs in _SYMBOLIC.findall(line.text):
                symbols[name] = {int(number): text for number, text in _PAIR.findall(pairs)}
    if identity is None or not fields:
        raise empty(file)
    return Event(identity, fields, symbols)


def _field(line: Line) -> tuple[str, Field]:
    found = _FIELD.fullmatch(line.text)
    if found is None:
        raise line.error("expected `field:TYPE NAME; offset:N; size:N; signed:N;`")
    return found[2], Field(int(found[3]), int(found[4]), found[5] == "1")
