"""Sub-buffers of the kernel's trace ring buffer, as ``trace_pipe_raw`` gives them: records to columns.

::

    sub-buffer   | time stamp 8 | commit 8 | record | record | ...        commit: bytes of records, and flags
    record       | type_len 5 bits, time_delta 27 bits | data ...

All sub-buffers are walked together, one record of each at a time: numpy does a round for all of them at once.

Kernel source: ``include/linux/ring_buffer.h: struct ring_buffer_event, enum ring_buffer_type``;
``kernel/trace/ring_buffer.c: struct buffer_data_page, rb_event_length, rb_update_read_stamp``.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from vmprobe.errors import FormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vmprobe.formats.tracepoint import Field

PADDING: Final = 29
TIME_EXTEND: Final = 30
TIME_STAMP: Final = 31
TYPE_BITS: Final = 5
DELTA_BITS: Final = 27
ABSOLUTE_BITS: Final = 59
COMMIT_MASK: Final = (1 << 27) - 1

_FIELD: Final = re.compile(rb"field: (?:\w+ )+(\w+);\toffset:(\d+);\tsize:(\d+);")


class SubBuffer(NamedTuple):
    """How a sub-buffer is laid out: bytes in all, and where its records begin."""

    size: int
    data: int


def parse_header_page(data: bytes, file: str = "header_page") -> SubBuffer:
    r"""Return the layout that ``events/header_page`` tells.

    >>> parse_header_page(
    ...     b"\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
    ...     b"\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
    ...     b"\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;\n"
    ... )
    SubBuffer(size=4096, data=16)

    Raises
    ------
    FormatError
        The fields are not those that are known.
    """
    fields = {name: (int(offset), int(size)) for name, offset, size in _FIELD.findall(data)}
    if fields.get(b"timestamp") != (0, 8) or fields.get(b"commit") != (8, 8) or b"data" not in fields:
        shown = data[:60].decode("ascii", "replace")
        raise FormatError(file, 1, shown, "a time stamp and a commit of 8 bytes, then data")
    offset, size = fields[b"data"]
    return SubBuffer(offset + size, offset)


def nr_bytes(page: bytes) -> int:
    """Return how many bytes of records a sub-buffer holds."""
    return int.from_bytes(page[8:16], sys.byteorder) & COMMIT_MASK


class Records(NamedTuple):
    """The records of one CPU in the order in which they were written.

    Parameters
    ----------
    time
        uint64, the trace clock.
    at
        int64, first byte of the record's data in the whole.
    """

    time: NDArray[np.uint64]
    at: NDArray[np.int64]


def parse(data: NDArray[np.uint8], layout: SubBuffer, file: str) -> Records:
    """Return the records of whole sub-buffers that follow one another.

    Parameters
    ----------
    data
        uint8, a multiple of ``layout.size`` bytes.
    layout
        Of a sub-buffer.
    file
        What an error calls the source.

    Raises
    ------
    FormatError
        The bytes are no whole sub-buffers, or a record reaches out of its own.
    """
    if len(data) % layout.size:
        raise FormatError(file, None, f"{len(data)} bytes", f"a multiple of {layout.size}")
    nr_pages = len(data) // layout.size
    pages = data.reshape(nr_pages, layout.size)
    stamp = np.ascontiguousarray(pages[:, :8]).view(np.uint64).ravel()
    commit = np.ascontiguousarray(pages[:, 8:16]).view(np.uint64).ravel()
    end = (commit & np.uint64(COMMIT_MASK)).astype(np.int64) + layout.data
    words = np.ascontiguousarray(data).view(np.uint32)
    base = np.arange(nr_pages, dtype=np.int64) * layout.size
    _demand(end <= layout.size, base, file, "a commit within the sub-buffer")
    found: list[tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]] = []
    page = np.flatnonzero(end > layout.data)
    at = np.full(len(page), layout.data, np.int64)
    time = stamp[page]
    while len(page):
        word = words[(base[page] + at) >> 2]
        kind = (word & ((1 << TYPE_BITS) - 1)).astype(np.int64)
        delta = (word >> TYPE_BITS).astype(np.uint64)
        over = at + 8 > end[page]
        second = np.where(over, 0, words[(base[page] + np.where(over, at, at + 4)) >> 2]).astype(np.uint64)
        # A null record: the rest of the sub-buffer is empty.
        last = (kind == PADDING) & (delta == 0)
        length = _lengths(kind, second)
        whole = (at + length <= end[page]) & ~(over & ((kind == 0) | (kind >= PADDING)))
        _demand(whole | last, base[page] + at, file, "a record within the sub-buffer")
        time = _times(time, kind, delta, second)
        is_data = kind < PADDING
        start = at + np.where(kind == 0, 8, 4)
        found.append((page[is_data], time[is_data], (base[page] + start)[is_data]))
        at = at + length
        going = ~last & (at + 4 <= end[page])
        page, at, time = page[going], at[going], time[going]
    if not found:
        return Records(np.empty(0, np.uint64), np.empty(0, np.int64))
    of_page, times, starts = (np.concatenate(column) for column in zip(*found, strict=True))
    turn = np.argsort(of_page, kind="stable")
    return Records(times[turn], starts[turn])


def _lengths(kind: NDArray[np.int64], second: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the bytes of each record, its header included."""
    told = second.astype(np.int64)
    return np.select([kind == 0, kind == PADDING, kind > PADDING], [told + 4, told + 4, 8], 4 * kind + 4)


def _times(
    time: NDArray[np.uint64], kind: NDArray[np.int64], delta: NDArray[np.uint64], second: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Return the time after each record."""
    long = delta + (second << np.uint64(DELTA_BITS))
    upper = ~np.uint64((1 << ABSOLUTE_BITS) - 1)
    absolute = (time & upper) | (long & ~upper)
    return np.select([kind == TIME_STAMP, kind == TIME_EXTEND], [absolute, time + long], time + delta)


def _demand(holds: NDArray[np.bool_], place: NDArray[np.int64], file: str, expected: str) -> None:
    if not holds.all():
        raise FormatError(file, None, f"byte {place[int((~holds).argmax())]}", expected)


def field(data: NDArray[np.uint8], at: NDArray[np.int64], place: Field) -> NDArray[np.int64]:
    """Return one field of records, int64.

    Parameters
    ----------
    data
        As for `parse`.
    at
        First bytes of records that are long enough.
    place
        Where the field lies in them, and how large it is. Records begin at multiples of four bytes, and
        fields at multiples of their size in them.
    """
    kind = np.dtype(f"{'i' if place.signed else 'u'}{place.size}")
    start = at + place.offset
    if place.size < 8:
        return data.view(kind)[start // place.size].astype(np.int64)
    words = data.view(np.uint32)
    halves = np.stack((words[start >> 2], words[(start >> 2) + 1]), axis=1)
    return halves.view(kind).ravel().astype(np.int64)
