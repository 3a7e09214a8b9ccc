"""The format file of a trace event: places of fields, names of numbers, and records read by both."""

from __future__ import annotations

import struct

import pytest

from vmprobe.errors import FormatError
from vmprobe.formats import tracepoint

TEXT = b"""name: mm_compaction_end
ID: 669
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:unsigned long zone_start;\toffset:8;\tsize:8;\tsigned:0;
\tfield:bool sync;\toffset:40;\tsize:1;\tsigned:0;
\tfield:int status;\toffset:44;\tsize:4;\tsigned:1;
\tfield:char name[16];\toffset:48;\tsize:16;\tsigned:1;

print fmt: "zone_start=0x%lx mode=%s status=%s", REC->zone_start, REC->sync ? "sync" : "async", \
__print_symbolic(REC->status, {1, "skipped"}, { 5, "complete" }, {7, "contended"})
"""
RECORD = struct.pack("<HxxiQ24xBxxxi", 669, -1, 0x1000, 1, 7)
"""As from a kernel on x86-64, without the name."""


def test_fields_and_names() -> None:
    event = tracepoint.parse(TEXT)
    assert event.identity == 669
    assert event.fields["status"] == (44, 4, True)
    assert event.fields["name"] == (48, 16, True)
    assert event.symbols == {"status": {1: "skipped", 5: "complete", 7: "contended"}}


def test_a_record_by_its_event() -> None:
    event = tracepoint.parse(TEXT)
    found = event.read(RECORD)
    assert found == {
        "common_type": 669, "common_pid": -1, "zone_start": 0x1000, "sync": 1, "status": "contended",
    }  # fmt: skip
    # A number without a name stays one; what lies behind the end is left out.
    assert event.read(RECORD[:44] + struct.pack("<i", 6))["status"] == 6
    assert "status" not in event.read(RECORD[:47])


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (b"ID: 669\n", b"ID: many\n", "format, line 2: expected a number of an event"),
        (b"offset:8;", b"offset:eight;", "format, line 7: expected `field:TYPE NAME"),
        (b"ID: 669\n", b"", "format, line 1: expected at least one line"),
    ],
)
def test_what_is_none_is_refused_with_its_line(old: bytes, new: bytes, place: str) -> None:
    with pytest.raises(FormatError, match=place):
        tracepoint.parse(TEXT.replace(old, new))


def test_no_fields_no_event() -> None:
    with pytest.raises(FormatError):
        tracepoint.parse(b"name: a\nID: 7\nformat:\n")
