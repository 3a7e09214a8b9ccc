from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats import zoneinfo
from vmprobe.formats.meminfo import MeminfoRow, parse

NAME = "meminfo"


@given(
    st.lists(
        st.builds(
            MeminfoRow,
            st.from_regex(r"[A-Z][A-Za-z0-9_]{0,20}(\(anon\))?", fullmatch=True),
            st.integers(-(2**63), 2**63 - 1),
            st.sampled_from(["kB", ""]),
        ),
        min_size=1,
        unique_by=lambda row: row.name,
    )
)
def test_what_the_kernel_prints_comes_back(rows):
    """fs/proc/meminfo.c: show_val_kb; mm/hugetlb.c: hugetlb_report_meminfo ("HugePages_Total:   %5lu")."""
    text = "".join(f"{r.name + ':':15} {r.value % 2**64:8}{' kB' if r.unit else ''}\n" for r in rows)
    assert parse(text.encode()) == rows


def test_golden_rows_are_the_lines(golden):
    rows = parse(golden.read_bytes())
    lines = re.findall(r"^(\S+): +(\d+)(?: (kB))?$", golden.read_text(), re.MULTILINE)
    assert [(row.name, str(row.value), row.unit) for row in rows] == lines
    assert len(lines) == golden.read_text().count("\n")


def test_golden_total_is_what_the_zones_manage(golden):
    total = next(row for row in parse(golden.read_bytes()) if row.name == "MemTotal")
    zones = zoneinfo.parse((golden.parent / "zoneinfo").read_bytes()).zones
    assert total.value == 4 * sum(zone.fields["managed"] for zone in zones)
    assert total.unit == "kB"


@pytest.mark.parametrize(("shape", "huge"), [("6.12-1node", 0), ("6.1-swap-hugetlb", 64)])
def test_golden_units(proc, shape, huge):
    rows = parse((proc / shape / "meminfo").read_bytes())
    assert MeminfoRow("HugePages_Total", huge, "") in rows
    assert MeminfoRow("Hugepagesize", 2048, "kB") in rows


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"MemTotal: 1 kB", "expected each name once: 'MemTotal: 1 kB'"),
        (b"MemFree: -1 kB", "expected `Name: number [kB]`: 'MemFree: -1 kB'"),
        (b"MemFree: 1 MB", "expected `Name: number [kB]`: 'MemFree: 1 MB'"),
        (b"MemFree 1 kB", "expected `Name: number [kB]`: 'MemFree 1 kB'"),
        (b"MemFree:", "expected `Name: number [kB]`: 'MemFree:'"),
        (b"", "expected `Name: number [kB]`: ''"),
        (
            b"MemFree: 18446744073709551616 kB",
            "expected a number, found '18446744073709551616': 'MemFree: 18446744073709551616 kB'",
        ),
    ],
)
def test_a_bad_line_is_named(bad, message):
    with pytest.raises(FormatError) as caught:
        parse(b"MemTotal:       16000000 kB\n" + bad + b"\n")
    assert str(caught.value) == f"meminfo, line 2: {message}"


def test_empty_is_an_error():
    with pytest.raises(FormatError, match="the file is empty"):
        parse(b"")
