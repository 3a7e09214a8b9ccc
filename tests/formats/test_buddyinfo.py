from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats.buddyinfo import BuddyRow, parse

NAME = "buddyinfo"

ZONES = st.tuples(
    st.integers(0, 1023), st.sampled_from(["DMA", "DMA32", "Normal", "HighMem", "Movable", "Device"])
)


@given(st.data(), st.sampled_from([1, 11, 12, 14]), st.sets(ZONES, min_size=1))
def test_what_the_kernel_prints_comes_back(data, nr_orders, zones):
    """mm/vmstat.c: frag_show_print: "Node %d, zone %8s ", then "%6lu " per order."""
    counts = st.tuples(*[st.integers(0, 2**64 - 1)] * nr_orders)
    rows = [BuddyRow(node, zone, data.draw(counts)) for node, zone in sorted(zones)]
    text = "".join(
        f"Node {row.node}, zone {row.zone:>8} " + "".join(f"{n:6} " for n in row.nr_free) + "\n"
        for row in rows
    )
    assert parse(text.encode()) == rows


def test_golden_counts_are_the_numbers_of_the_lines(golden):
    rows = parse(golden.read_bytes())
    lines = golden.read_text().splitlines()
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        node, zone, *counts = re.findall(r"\b(?!Node|zone)\w+", line)
        assert (str(row.node), row.zone, list(map(str, row.nr_free))) == (node, zone, counts)
        assert len(row.nr_free) == 11


def test_golden_free_pages_are_those_of_zoneinfo(golden):
    zoneinfo = (golden.parent / "zoneinfo").read_text()
    for row in parse(golden.read_bytes()):
        free = sum(n << order for order, n in enumerate(row.nr_free))
        block = zoneinfo.split(f"Node {row.node}, zone {row.zone:>8}\n")[1]
        printed = int(re.search(r"pages free +(\d+)", block)[1])
        # Two moments: a few hundred pages may come and go between them.
        assert abs(free - printed) < 2048


def test_golden_zones(proc):
    zones = {
        shape: [(row.node, row.zone) for row in parse((proc / shape / "buddyinfo").read_bytes())]
        for shape in ("6.1-1node", "6.12-2node")
    }
    assert zones["6.1-1node"] == [(0, "DMA"), (0, "DMA32")]
    assert zones["6.12-2node"] == [(0, "DMA"), (0, "DMA32"), (0, "Normal"), (1, "Normal")]


GOOD = b"Node 0, zone      DMA      0      1      2 \n"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (GOOD, "expected each zone once: 'Node 0, zone      DMA      0      1      2 '"),
        (b"Node 1, zone DMA 0 1 \n", "expected 3 orders, found 2: 'Node 1, zone DMA 0 1 '"),
        (b"Node 1, zone DMA 0 1 2 3 \n", "expected 3 orders, found 4: 'Node 1, zone DMA 0 1 2 3 '"),
        (b"Node 1, zone DMA\n", "expected 3 orders, found 0: 'Node 1, zone DMA'"),
        (
            b"Node 1, zone DMA 0 -1 2 \n",
            "expected a number of blocks, found '-1': 'Node 1, zone DMA 0 -1 2 '",
        ),
        (
            b"Node 1, zone A 0 18446744073709551616 2 \n",
            "expected a number of blocks, found '18446744073709551616': 'Node 1, zone A 0 18",
        ),
        (b"Node -1, zone DMA 0 1 2 \n", "expected `Node N, zone NAME`: 'Node -1, zone DMA 0 1 2 '"),
        (b"\xfe\n", "expected `Node N, zone NAME`: '\\\\xfe'"),
        (b"\n", "expected `Node N, zone NAME`: ''"),
        (
            b"Node 1, zone DMA 0 1 2",
            "expected a newline at the end, the file is cut off: 'Node 1, zone DMA 0 1 2'",
        ),
    ],
)
def test_a_bad_line_is_named(bad, message):
    with pytest.raises(FormatError) as caught:
        parse(GOOD + bad)
    assert str(caught.value).startswith(f"buddyinfo, line 2: {message}")


@pytest.mark.parametrize("text", [b"", b"Node 0, zone DMA \n"], ids=["empty", "no orders"])
def test_there_is_always_a_zone_with_orders(text):
    with pytest.raises(FormatError, match="line 1: expected"):
        parse(text)
