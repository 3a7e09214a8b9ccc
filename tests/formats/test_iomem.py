from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats.iomem import Resource, hidden, parse

NAME = "iomem"


@st.composite
def trees(draw):
    """Resources whose depth grows by one at most."""
    rows = []
    for _ in range(draw(st.integers(0, 12))):
        depth = draw(st.integers(0, rows[-1].depth + 1 if rows else 0))
        start, last = sorted(draw(st.tuples(*[st.integers(0, 2**64 - 1)] * 2)))
        name = draw(
            st.sampled_from(["System RAM", "PCI Bus 0000:00", "a : b", "<BAD>"]) | st.text("ab :", max_size=8)
        )
        rows.append(Resource(depth, start, last, name))
    return rows


@given(trees())
def test_what_the_kernel_prints_comes_back(rows):
    """kernel/resource.c: r_show: "%*s%0*llx-%0*llx : %s\\n", depth * 2, width 8."""
    text = "".join(f"{'  ' * r.depth}{r.start:08x}-{r.last:08x} : {r.name}\n" for r in rows)
    assert parse(text.encode()) == rows


def test_golden_rows_are_the_lines(golden):
    rows = parse(golden.read_bytes())
    again = "".join(f"{'  ' * r.depth}{r.start:08x}-{r.last:08x} : {r.name}\n" for r in rows)
    assert again == golden.read_text()


def test_golden_is_hidden_from_the_unprivileged_alone(golden):
    assert hidden(parse(golden.read_bytes())) == (golden.parent.name == "self_unprivileged")


@pytest.mark.parametrize(("shape", "last"), [("6.12-1node", 0x7FFDEFFF), ("6.1-1node", 0x7FFDEFFF)])
def test_golden_memory_of_the_2_gib_guests(proc, shape, last):
    text = (proc / shape / "iomem").read_text()
    ram = [row for row in parse(text.encode()) if row.name == "System RAM"]
    assert [(row.depth, row.start, row.last) for row in ram] == [(0, 0x1000, 0x9FBFF), (0, 0x100000, last)]
    assert len(re.findall("Kernel code", text)) == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            b"   00001000-00001fff : x",
            "expected `start-last : name`, indented by two blanks a level: '   00001000-00001fff : x'",
        ),
        (
            b"    00001000-00001fff : x",
            "expected at most one level more than the line above: '    00001000-00001fff : x'",
        ),
        (
            b"00002000-00001fff : x",
            "expected a range that ends at or behind its start: '00002000-00001fff : x'",
        ),
        (
            b"00001000-00001FFF : x",
            "expected `start-last : name`, indented by two blanks a level: '00001000-00001FFF : x'",
        ),
        (
            b"00001000-00001fff x",
            "expected `start-last : name`, indented by two blanks a level: '00001000-00001fff x'",
        ),
        (b"", "expected `start-last : name`, indented by two blanks a level: ''"),
        (
            b"0-10000000000000000 : x",
            "expected an address, found '10000000000000000': '0-10000000000000000 : x'",
        ),
        (b"\xff-1 : x", "expected `start-last : name`, indented by two blanks a level: '\\\\xff-1 : x'"),
    ],
)
def test_a_bad_line_is_named(bad, message):
    with pytest.raises(FormatError) as caught:
        parse(b"00000000-00000fff : Reserved\n" + bad + b"\n")
    assert str(caught.value) == f"iomem, line 2: {message}"


def test_the_first_line_is_outermost():
    with pytest.raises(FormatError, match="line 1: expected at most one level more"):
        parse(b"  00001000-00001fff : x\n")


def test_one_address_is_enough_not_to_be_hidden():
    zero = Resource(0, 0, 0, "Reserved")
    assert hidden([zero, zero])
    assert not hidden([zero, Resource(0, 0, 1, "System RAM")])
    assert not hidden([])
