from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats.lines import lines
from vmprobe.formats.maps import MapsRow, parse, torn, vma

NAME = "maps"

NAMES = st.one_of(
    st.just(""),
    st.sampled_from(
        ["[heap]", "[stack]", "[vdso]", "anon_inode:[perf_event]", "/dev/zero (deleted)", "/a b  c"]
    ),
    # What seq_file_path lets through: anything but a newline, which it prints as \012.
    st.text(st.characters(blacklist_characters="\0\n", blacklist_categories=["Cs"])).map(lambda s: "/" + s),
)


@st.composite
def vmas(draw):
    """Rows in ascending order, as one read under one lock gives them."""
    bounds = sorted(draw(st.sets(st.integers(0, 2**52 - 1), min_size=2, max_size=20)))
    rows = []
    for first, behind in zip(bounds[::2], bounds[1::2], strict=False):
        perms = "".join(draw(st.sampled_from(p)) for p in ("r-", "w-", "x-", "sp"))
        dev = f"{draw(st.integers(0, 2**12 - 1)):02x}:{draw(st.integers(0, 2**20 - 1)):02x}"
        offset, inode = draw(st.integers(0, 2**64 - 1)), draw(st.integers(0, 2**64 - 1))
        rows.append(MapsRow(first << 12, behind << 12, perms, offset, dev, inode, draw(NAMES)))
    return rows


def printed(row):
    """fs/proc/task_mmu.c: show_vma_header_prefix ("%08lx-%08lx %c%c%c%c %08llx %02x:%02x %lu "), seq_pad."""
    text = f"{row.start:08x}-{row.end:08x} {row.perms} {row.offset:08x} {row.dev} {row.inode} "
    if row.name:
        text = text.ljust(25 + 8 * 6 - 1) + " " + row.name
    return (text + "\n").encode()


@given(vmas())
def test_what_the_kernel_prints_comes_back(rows):
    parsed = parse(b"".join(map(printed, rows)))
    assert parsed == rows
    assert all(type(row) is MapsRow for row in parsed)
    assert not torn(parsed)


def test_golden_rows_equal_a_plain_split(golden):
    text = golden.read_text()
    rows = parse(golden.read_bytes())
    assert len(rows) == text.count("\n") > 0
    for row, line in zip(rows, text.splitlines(), strict=True):
        addresses, perms, offset, dev, inode, *name = line.split(maxsplit=5)
        assert f"{row.start:08x}-{row.end:08x}" == addresses
        assert (row.perms, f"{row.offset:08x}", row.dev, str(row.inode)) == (perms, offset, dev, inode)
        assert row.name == (name[0] if name else "")


def test_golden_file_is_not_torn(golden):
    assert not torn(parse(golden.read_bytes()))


def test_golden_names_of_the_6_12_workload(proc):
    rows = parse((proc / "6.12-1node" / "task" / "maps").read_bytes())
    assert rows[0].name == "/usr/bin/python3.11"
    assert rows[0].offset == 0
    names = [row.name for row in rows]
    for name in (
        "/tmp/lab file with space.bin",
        "/tmp/lab\\012newline.bin",
        "/memfd:lab memfd (deleted)",
        "[heap]",
    ):
        assert name in names
    assert names.count("") == len(re.findall(r" \n", (proc / "6.12-1node" / "task" / "maps").read_text()))


def test_empty_for_a_kernel_thread():
    assert parse(b"") == []


GOOD = b"00400000-0040b000 r-xp 00000000 fe:00 1234                       /bin/cat\n"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"0040b000-00400000 r-xp 00000000 fe:00 1234 ", "expected a range that ends behind its start"),
        (b"00400000-00400000 r-xp 00000000 fe:00 1234 ", "expected a range that ends behind its start"),
        (
            b"00400000-0040b000 r-xp 00000000 fe:00 18446744073709551616 ",
            "expected an inode, found '18446744073709551616'",
        ),
        (b"00400000-0040b000 r-xp 00000000 fe:00 -1 ", None),
        (b"00400000-0040b000 rwx 00000000 fe:00 1234 ", None),
        (b"00400000-0040b000 r-xq 00000000 fe:00 1234 ", None),
        (b"00400000-0040b000 r-xp 00000000 fe00 1234 ", None),
        (b"00400000-0040b000 r-xp 00000000 fe:00 ", None),
        (b"00400000-0040b000 r-xp 00000000 fe:00 1234", None),
        (b"00400000-0040b000 R-xp 00000000 fe:00 1234 ", None),
        (b"00400000-10000000000000000 r-xp 00000000 fe:00 1234 ", None),
        (b"0x400000-0040b000 r-xp 00000000 fe:00 1234 ", None),
        (b"\xff0400000-0040b000 r-xp 00000000 fe:00 1234 ", None),
        (b" 00400000-0040b000 r-xp 00000000 fe:00 1234 ", None),
        (b"", None),
    ],
)
def test_a_bad_line_is_named(bad, reason):
    with pytest.raises(FormatError) as caught:
        parse(GOOD + bad + b"\n" + GOOD, file="/proc/7/maps")
    shown = bad.decode("utf-8", "backslashreplace")
    reason = reason or "expected `start-end perms offset dev inode name`"
    assert str(caught.value) == f"/proc/7/maps, line 2: {reason}: {shown!r}"


def test_a_cut_off_file_is_an_error():
    with pytest.raises(FormatError) as caught:
        parse(GOOD + GOOD[:-3])
    assert caught.value.line == 2
    assert caught.value.reason == "expected a newline at the end, the file is cut off"


def test_a_name_keeps_bytes_that_are_not_utf8():
    assert parse(GOOD.replace(b"cat", b"c\xe9\x85t"))[0].name == "/bin/c\\xe9\\x85t"


def test_a_name_may_hold_what_python_takes_for_line_ends():
    assert [r.name for r in parse(GOOD.replace(b"cat", "c\r\u2028\x0c\x1ct".encode()))] == [
        "/bin/c\r\u2028\x0c\x1ct"
    ]


@given(vmas(), st.data())
def test_the_fast_way_equals_the_slow_one(rows, data):
    """Line by line through `vma` defines what `parse` does in one go."""
    text = bytearray(b"".join(map(printed, rows)))
    for _ in range(data.draw(st.integers(0, 3)) if text else 0):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.sampled_from(b"0a-: \nrsp/\xff"))

    def slow():
        return [vma(line) for line in lines(bytes(text), "maps")]

    try:
        expected = slow()
    except FormatError:
        with pytest.raises(FormatError):
            parse(bytes(text))
    else:
        assert parse(bytes(text)) == expected


def row(start, end):
    return MapsRow(start, end, "rw-p", 0, "00:00", 0, "")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], False),
        ([row(1, 2)], False),
        ([row(1, 2), row(2, 3)], False),
        ([row(1, 3), row(2, 4)], True),
        ([row(1, 2), row(1, 2)], True),
        ([row(4, 5), row(1, 2)], True),
        ([row(1, 2), row(3, 9), row(4, 5)], True),
    ],
)
def test_torn_means_overlap_or_descent(rows, expected):
    assert torn(rows) is expected
