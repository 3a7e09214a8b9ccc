"""Sub-buffers of the trace ring buffer written and read one record at a time."""

from __future__ import annotations

import struct
from dataclasses import dataclass

SIZE, DATA = 4096, 16
MISSED = 1 << 31


@dataclass(frozen=True)
class Record:
    """What is written: the time since the record before it, and data of a multiple of four bytes."""

    delta: int
    data: bytes


def header(kind: int, delta: int) -> bytes:
    return struct.pack("=I", kind | delta << 5)


def record_bytes(record: Record, *, absolute: int | None = None) -> bytes:
    """Return a record as the kernel writes it, with a time extension in front where the delta is large."""
    made, delta = b"", record.delta
    if absolute is not None:
        made = header(31, absolute & (1 << 27) - 1) + struct.pack("=I", absolute >> 27 & (1 << 32) - 1)
        delta = 0
    elif delta >= 1 << 27:
        made = header(30, delta & (1 << 27) - 1) + struct.pack("=I", delta >> 27)
        delta = 0
    words = len(record.data) // 4
    if 1 <= words <= 28:
        return made + header(words, delta) + record.data
    return made + header(0, delta) + struct.pack("=I", len(record.data) + 4) + record.data


def page(start: int, body: bytes, *, missed: bool = False) -> bytes:
    assert len(body) <= SIZE - DATA
    return (struct.pack("=QQ", start, len(body) | (MISSED if missed else 0)) + body).ljust(SIZE, b"\0")


def walk(data: bytes) -> list[tuple[int, int]]:
    """Return time and first byte of the data of every record."""
    found = []
    for base in range(0, len(data), SIZE):
        time, commit = struct.unpack_from("=QQ", data, base)
        at, end = base + DATA, base + DATA + (commit & (1 << 27) - 1)
        while at < end:
            (word,) = struct.unpack_from("=I", data, at)
            kind, delta = word & 31, word >> 5
            second = struct.unpack_from("=I", data, at + 4)[0] if at + 8 <= end else 0
            if kind == 29:
                if delta == 0:
                    break
                time += delta
                at += 4 + second
            elif kind == 30:
                time += delta + (second << 27)
                at += 8
            elif kind == 31:
                low = delta + (second << 27)
                time = time >> 59 << 59 | low & (1 << 59) - 1
                at += 8
            else:
                time += delta
                found.append((time, at + (8 if kind == 0 else 4)))
                at += 4 + (second if kind == 0 else 4 * kind)
    return found
