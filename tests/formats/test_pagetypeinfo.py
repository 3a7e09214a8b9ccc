from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats import buddyinfo
from vmprobe.formats.pagetypeinfo import BlockRow, PageTypeInfo, TypeRow, parse

NAME = "pagetypeinfo"

BASE = ["Unmovable", "Movable", "Reclaimable", "HighAtomic"]
TYPES = [BASE, [*BASE, "Isolate"], [*BASE, "CMA"], [*BASE, "CMA", "Isolate"]]
CAP = 100_000


@st.composite
def files(draw):
    """A file of one to three nodes, with the columns of some architecture and configuration."""
    order, nr_orders, types = (
        draw(st.integers(0, 13)),
        draw(st.sampled_from([11, 12, 14])),
        draw(st.sampled_from(TYPES)),
    )
    counts = st.one_of(st.integers(0, CAP - 1), st.just(CAP))
    free, blocks, mixed = [], [], []
    owner = draw(st.booleans())
    for node in sorted(draw(st.sets(st.integers(0, 1023), min_size=1, max_size=3))):
        for zone in draw(
            st.lists(st.sampled_from(["DMA", "DMA32", "Normal", "Movable"]), min_size=1, unique=True)
        ):
            for name in types:
                nr_free = tuple(draw(st.lists(counts, min_size=nr_orders, max_size=nr_orders)))
                free.append(TypeRow(node, zone, name, nr_free, tuple(n == CAP for n in nr_free)))
                blocks.append(BlockRow(node, zone, name, draw(st.integers(0, 2**32 - 1))))
                if owner:
                    mixed.append(BlockRow(node, zone, name, draw(st.integers(0, 2**32 - 1))))
    return PageTypeInfo(order, 1 << order, free, blocks, mixed)


def printed(info):
    """mm/vmstat.c: pagetypeinfo_show and below; formats beside each line."""
    text = ""
    for node in dict.fromkeys(row.node for row in info.free_areas):
        text += f"Page block order: {info.pageblock_order}\nPages per block:  {info.pages_per_block}\n\n"
        free = [row for row in info.free_areas if row.node == node]
        orders = range(len(free[0].nr_free))
        text += (
            f"{'Free pages count per migrate type at order':43} " + "".join(f"{o:6} " for o in orders) + "\n"
        )
        for row in free:
            text += f"Node {node:4}, zone {row.zone:>8}, type {row.migratetype:>12} "
            text += (
                "".join(f"{'>' if c else ''}{n:6} " for n, c in zip(row.nr_free, row.capped, strict=True))
                + "\n"
            )
        for title, rows in (
            ("Number of blocks type ", info.pageblocks),
            ("Number of mixed blocks ", info.mixed),
        ):
            here = [row for row in rows if row.node == node]
            if here:
                types = dict.fromkeys(row.migratetype for row in here)
                text += f"\n{title:23}" + "".join(f"{name:>12} " for name in types) + "\n"
            for zone in dict.fromkeys(row.zone for row in here):
                text += f"Node {node}, zone {zone:>8} "
                text += "".join(f"{row.nr_pageblocks:12} " for row in here if row.zone == zone) + "\n"
    return text.encode()


@given(files())
def test_what_the_kernel_prints_comes_back(info):
    assert parse(printed(info)) == info


def test_golden_print_gives_the_file_again(golden):
    assert printed(parse(golden.read_bytes())) == golden.read_bytes()


def test_golden_counts_are_the_numbers_of_the_lines(golden):
    info = parse(golden.read_bytes())
    lines = re.findall(r"^Node +(\d+), zone +(\w+), type +(\w+) (.*)$", golden.read_text(), re.MULTILINE)
    assert [(str(r.node), r.zone, r.migratetype) for r in info.free_areas] == [line[:3] for line in lines]
    assert [list(r.nr_free) for r in info.free_areas] == [[int(n) for n in line[3].split()] for line in lines]
    assert not any(any(row.capped) for row in info.free_areas)
    assert (info.pageblock_order, info.pages_per_block, info.mixed) == (9, 512, [])


def test_golden_types_of_a_zone_add_up_to_buddyinfo(golden):
    info = parse(golden.read_bytes())
    zones = buddyinfo.parse((golden.parent / "buddyinfo").read_bytes())
    for zone in zones:
        rows = [row.nr_free for row in info.free_areas if (row.node, row.zone) == (zone.node, zone.zone)]
        pages = sum(sum(column) << order for order, column in enumerate(zip(*rows, strict=True)))
        other = sum(n << order for order, n in enumerate(zone.nr_free))
        assert abs(pages - other) < 2048  # two moments


def test_golden_blocks(proc):
    blocks = {
        shape: {(r.node, r.zone) for r in parse((proc / shape / "pagetypeinfo").read_bytes()).pageblocks}
        for shape in ("6.1-1node", "6.12-2node")
    }
    assert blocks["6.1-1node"] == {(0, "DMA"), (0, "DMA32")}
    assert blocks["6.12-2node"] == {(0, "DMA"), (0, "DMA32"), (0, "Normal"), (1, "Normal")}
    rows = parse((proc / "6.1-1node" / "pagetypeinfo").read_bytes()).pageblocks
    # 4095 frames from frame 1: eight pageblocks, the first one begun.
    assert sum(row.nr_pageblocks for row in rows if row.zone == "DMA") == 8


HEAD = "Free pages count per migrate type at order"
GOOD = (
    b"Page block order: 9\nPages per block:  512\n\n"
    b"Free pages count per migrate type at order       0      1 \n"
    b"Node    0, zone      DMA, type    Unmovable      0 >100000 \n"
    b"Node    0, zone      DMA, type      Movable      7      1 \n\n"
    b"Number of blocks type     Unmovable      Movable \n"
    b"Node 0, zone      DMA            1            7 \n"
)


def test_a_capped_count_is_a_lower_bound():
    row = parse(GOOD).free_areas[0]
    assert row == TypeRow(0, "DMA", "Unmovable", (0, CAP), (False, True))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"order: 9", b"order: -9", "line 1: expected a pageblock order, found '-9': 'Page block order: -9'"),
        (b"order: 9", b"order: 99", "line 1: expected a pageblock order, found '99': 'Page block order: 99'"),
        (b"512", b"513", "line 2: expected 2**order pages per pageblock: 'Pages per block:  513'"),
        (
            b"Page block order: 9\n",
            b"",
            "line 1: expected 2**order pages per pageblock: 'Pages per block:  512'",
        ),
        (
            b"0      1 \n",
            b"0      2 \n",
            f"line 4: expected the orders 0, 1, 2, ...: '{HEAD}       0      2 '",
        ),
        (
            b"      0      1 \n",
            b"\n",
            f"line 4: expected the orders 0, 1, 2, ...: '{HEAD} '",
        ),
        (
            b"7      1 \n",
            b"7 \n",
            "line 6: expected 2 orders, found 1: 'Node    0, zone      DMA, type      Movable      7 '",
        ),
        (
            b"7      1 \n",
            b"-7      1 \n",
            "line 6: expected a number of blocks, found '-7': 'Node    0, zone      DMA, type      Movable ",
        ),
        (
            b"     Movable      7",
            b"   Unmovable      7",
            "line 6: expected each migratetype of a zone once: 'Node    0, zone      DMA, type    Unmovable ",
        ),
        (
            b", type      Movable",
            b"",
            "line 6: expected `, type NAME` and counts: 'Node    0, zone      DMA      7      1 '",
        ),
        (
            b"1            7",
            b"1",
            "line 9: expected 2 migratetypes, found 1: 'Node 0, zone      DMA            1 '",
        ),
        (
            b"Unmovable      Movable \n",
            b"Movable      Movable \n",
            "line 8: expected each migratetype once: 'Number of blocks type     Movable      Movable '",
        ),
        (
            b"Number of b",
            b"Sum of b",
            "line 8: expected a header or a zone: 'Sum of blocks type     Unmovable      Movable '",
        ),
        (
            b"Free pages count per migrate type at order       0      1 \n",
            b"",
            "line 4: expected a header above the first zone: 'Node    0, zone      DMA, type    Unmovable ",
        ),
        (
            GOOD[GOOD.index(b"Number") :],
            b"",
            "line 7: expected free areas and pageblocks before the end: ''",
        ),
        (GOOD, b"", "line 1: expected at least one line, the file is empty: ''"),
        (b"7 \n", b"7", "line 9: expected a newline at the end, the file is cut off: 'Node 0, "),
    ],
)
def test_a_bad_line_is_named(old, new, message):
    assert old in GOOD
    text = GOOD[: GOOD.rindex(old)] + new + GOOD[GOOD.rindex(old) + len(old) :]
    with pytest.raises(FormatError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"pagetypeinfo, {message}")


def test_the_second_node_is_checked_against_the_first():
    other = GOOD.replace(b"Node    0", b"Node    1").replace(b"Node 0", b"Node 1")
    assert len(parse(GOOD + other).free_areas) == 4
    with pytest.raises(FormatError, match="line 10: expected order 9 on every node"):
        parse(GOOD + other.replace(b"order: 9", b"order: 10"))
    with pytest.raises(FormatError, match="line 14: expected each migratetype of a zone once"):
        parse(GOOD + GOOD)
    with pytest.raises(FormatError, match="line 18: expected each zone once"):
        parse(GOOD + GOOD.replace(b"Node    0", b"Node    1"))
    with pytest.raises(FormatError, match="line 14: expected a header above the first zone"):
        parse(GOOD + GOOD.replace(b"Free pages count per migrate type at order       0      1 \n", b"\n"))
