"""Trace sub-buffers: whole pages at once against one record at a time, and what is damaged."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles.trace_buffer import DATA, SIZE, Record, header, page, record_bytes, walk
from vmprobe.errors import FormatError
from vmprobe.formats.trace_buffer import SubBuffer, field, parse, parse_header_page
from vmprobe.formats.tracepoint import Field

LAYOUT = SubBuffer(SIZE, DATA)
RECORDS = st.builds(
    Record,
    st.one_of(st.integers(0, 1000), st.integers(0, (1 << 27) - 1), st.integers(1 << 27, 1 << 50)),
    st.integers(1, 40).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words)),
)


@st.composite
def sub_buffers(draw: st.DrawFn) -> bytes:
    """Draw sub-buffers with records, discarded ones, absolute times and empty ends."""
    made = b""
    for _ in range(draw(st.integers(1, 4))):
        body = b""
        for record in draw(st.lists(RECORDS, max_size=12)):
            absolute = draw(st.one_of(st.none(), st.integers(0, (1 << 59) - 1)))
            body += record_bytes(record, absolute=absolute)
            if draw(st.booleans()):
                room = 4 * draw(st.integers(1, 6))
                body += header(29, draw(st.integers(1, 99))) + struct.pack("=I", room) + bytes(room - 4)
        if draw(st.booleans()):
            body += header(29, 0) + b"\xff" * 8
        made += page(draw(st.integers(0, 1 << 60)), body, missed=draw(st.booleans()))
    return made


def array(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8)


@given(data=sub_buffers())
def test_all_at_once_is_one_by_one(data: bytes) -> None:
    records = parse(array(data), LAYOUT, "trace")
    assert list(zip(records.time.tolist(), records.at.tolist(), strict=True)) == walk(data)


def test_fields_are_read_where_they_lie() -> None:
    body = b"".join(
        record_bytes(Record(5, struct.pack("=HHIqi", 7, 0, 0, value, -3))) for value in (3, 1 << 40)
    )
    data = array(page(0, body))
    records = parse(data, LAYOUT, "trace")
    assert field(data, records.at, Field(8, 8, True)).tolist() == [3, 1 << 40]
    assert field(data, records.at, Field(16, 4, True)).tolist() == [-3, -3]
    assert field(data, records.at, Field(0, 2, False)).tolist() == [7, 7]
    assert field(data, records.at, Field(1, 1, False)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes(SIZE - 1), "a multiple of 4096"),
        (page(0, b"") [:8] + struct.pack("=Q", SIZE) + bytes(SIZE - 16), "byte 0"),
        (page(0, header(5, 1) + bytes(8)), "byte 16"),
        (page(0, header(1, 1) + bytes(4) + header(0, 1)), "byte 24"),
        (page(0, header(30, 1)), "byte 16"),
        (page(9, b"") + page(0, header(0, 1) + struct.pack("=I", 5000)), "byte 4112"),
    ],
)  # fmt: skip
def test_damaged_sub_buffers_are_refused_with_the_place(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        parse(array(data), LAYOUT, "trace of CPU 3")
    assert "trace of CPU 3" in str(caught.value)


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(FormatError, match="header_page"):
        parse_header_page(b"\tfield: u64 timestamp;\toffset:4;\tsize:8;\tsigned:0;\n")
