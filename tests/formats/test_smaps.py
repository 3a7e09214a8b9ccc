from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats import maps
from vmprobe.formats.smaps import SmapsRow, parse

NAME = "smaps"

HEAD = b"00400000-0040b000 r-xp 00000000 fe:00 1234                       /bin/cat\n"
VMA = maps.parse(HEAD)[0]

FIELDS = ["Size", "Rss", "Pss", "Pss_Dirty", "Shared_Clean", "KSM", "FilePmdMapped", "New_2030"]


@given(
    st.lists(
        st.builds(
            SmapsRow,
            st.just(VMA),
            st.dictionaries(
                st.sampled_from([*FIELDS, "THPeligible", "ProtectionKey"]), st.integers(0, 2**64 - 1)
            ),
            st.none() | st.lists(st.sampled_from(["rd", "wr", "??", "sd"])).map(tuple),
        )
    )
)
def test_what_the_kernel_prints_comes_back(rows):
    """fs/proc/task_mmu.c: SEQ_PUT_DEC (width 8 and " kB"), "THPeligible:    %8u\\n", "%c%c "."""
    text = b""
    for row in rows:
        text += HEAD
        for name, value in row.fields.items():
            unit = "" if name in {"THPeligible", "ProtectionKey"} else " kB"
            text += f"{name + ':':16}{value:8}{unit}\n".encode()
        if row.vm_flags is not None:
            text += b"VmFlags: " + b"".join(flag.encode() + b" " for flag in row.vm_flags) + b"\n"
    assert parse(text) == rows


def test_golden_vmas_are_those_of_the_headers(golden):
    rows = parse(golden.read_bytes())
    headers = re.findall(rb"^[0-9a-f]{8,}-.*\n", golden.read_bytes(), re.MULTILINE)
    assert [row.vma for row in rows] == maps.parse(b"".join(headers))


def test_golden_fields_add_up_to_the_columns(golden):
    rows = parse(golden.read_bytes())
    text = golden.read_text()
    for field in ("Size", "Rss", "Pss", "Private_Dirty", "Swap"):
        column = [int(n) for n in re.findall(rf"^{field}: +(\d+) kB$", text, re.MULTILINE)]
        assert [row.fields[field] for row in rows] == column
    for row in rows:
        assert row.fields["Size"] * 1024 == row.vma.end - row.vma.start
        assert row.fields["THPeligible"] in {0, 1}
        assert row.vm_flags
        assert ("rd" in row.vm_flags) == (row.vma.perms[0] == "r")


def test_golden_rss_is_that_of_the_rollup(golden):
    from vmprobe.formats import smaps_rollup

    whole = smaps_rollup.parse((golden.parent / "smaps_rollup").read_bytes())
    rows = parse(golden.read_bytes())
    # The gate VMA is in smaps alone; the workload sleeps while both are read.
    for field in ("Rss", "Anonymous", "Private_Dirty", "Swap"):
        assert sum(row.fields[field] for row in rows) == whole.fields[field]


def test_golden_values_of_the_6_12_workload(proc):
    row = parse((proc / "6.12-1node" / "task" / "smaps").read_bytes())[0]
    assert row.vma.name == "/usr/bin/python3.11"
    assert list(row.fields)[:3] == ["Size", "KernelPageSize", "MMUPageSize"]
    assert (row.fields["Size"], row.fields["KernelPageSize"]) == (124, 4)
    assert row.vm_flags is not None
    assert row.vm_flags[:2] == ("rd", "mr")


def test_empty_for_a_kernel_thread():
    assert parse(b"") == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"Rss: 1 kB\n" * 2, "expected each field once"),
        (b"VmFlags: rd \nVmFlags: rd \n", "expected one VmFlags line per VMA"),
        (b"Size: 1 kB\nVmFlags: rdx \n", "expected two-letter codes"),
        (b"Size: 1 kB\nRss: -4 kB\n", "expected `Name: number [kB]`"),
        (b"Size: 1 kB\nRss: 18446744073709551616 kB\n", "expected `Name: number [kB]`"),
        (b"Size: 1 kB\nRss: 999999999999999999999999 kB\n", "expected `Name: number [kB]`"),
        (b"Size: 1 kB\nRss: kB\n", "expected `Name: number [kB]`"),
        (b"Size: 1 kB\nRss: 4 MB\n", "expected `Name: number [kB]`"),
        (b"Size: 1 kB\nRss 4 kB\n", "expected `Name: number [kB]`"),
        (b"Size: 1 kB\n\n", "expected `start-end perms offset dev inode name`"),
        (
            b"Size: 1 kB\n0040b000-00400000 r-xp 00000000 fe:00 1 \n",
            "expected a range that ends behind its start",
        ),
    ],
)
def test_a_bad_line_is_named(bad, reason):
    with pytest.raises(FormatError) as caught:
        parse(HEAD + bad, file="/proc/7/smaps")
    shown = bad.decode().split("\n")[1]
    assert str(caught.value) == f"/proc/7/smaps, line 3: {reason}: {shown!r}"


def test_a_field_before_any_vma():
    with pytest.raises(FormatError) as caught:
        parse(b"Rss: 4 kB\n")
    assert str(caught.value) == "smaps, line 1: expected a VMA before its fields: 'Rss: 4 kB'"
