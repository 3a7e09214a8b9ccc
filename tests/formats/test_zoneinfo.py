from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats.zoneinfo import ZoneInfo, ZoneRow, parse

NAME = "zoneinfo"

PAGES = st.integers(0, 2**63 - 1)
COUNTERS = st.integers(-(2**63), 2**63 - 1)
WATERMARKS = [
    ["free", "min", "low", "high", "spanned", "present", "managed", "cma"],
    ["free", "boost", "min", "low", "high", "promo", "spanned", "present", "managed", "cma"],
]
NODE_NAMES = ["nr_inactive_anon", "nr_anon_transparent_hugepages", "workingset_nodes", "nr_new_2030"]
ZONE_NAMES = ["nr_free_pages", "nr_zspages", "numa_hit", "nr_new_2030"]
CPU_NAMES = [["count", "high", "batch"], ["count", "high", "batch", "high_min", "high_max"]]


@st.composite
def files(draw):
    """Every zone of up to three nodes; nodes without memory and zones without pages among them."""
    watermarks, cpu_names, nr_cpus = (
        draw(st.sampled_from(WATERMARKS)),
        draw(st.sampled_from(CPU_NAMES)),
        draw(st.integers(1, 3)),
    )
    info = ZoneInfo([], {})
    names = ["DMA", "DMA32", "Normal", "Movable"][: draw(st.integers(1, 4))]
    for node in range(draw(st.integers(1, 3))):
        for name in names:
            fields = {key: draw(PAGES) for key in watermarks}
            protection = tuple(draw(PAGES) for _ in names)
            cpus = ()
            fields["present"] = draw(st.sampled_from([0, 1])) * fields["present"]
            if fields["present"]:
                if node not in info.node_stats:
                    info.node_stats[node] = {key: draw(COUNTERS) for key in NODE_NAMES}
                fields |= {key: draw(COUNTERS) for key in ZONE_NAMES}
                fields |= {"node_unreclaimable": draw(st.integers(0, 1)), "start_pfn": draw(PAGES)}
                cpus = tuple(
                    {"cpu": cpu}
                    | {key: draw(st.integers(0, 2**31 - 1)) for key in [*cpu_names, "vm stats threshold"]}
                    for cpu in range(nr_cpus)
                )
            info.zones.append(ZoneRow(node, name, fields, protection, cpus))
    return info


def printed(info):
    """mm/vmstat.c: zoneinfo_show_print, whose every format begins with the newline of the line before."""
    text, shown = "", set()
    after = [*ZONE_NAMES, "node_unreclaimable", "start_pfn"]
    for zone in info.zones:
        text += f"Node {zone.node}, zone {zone.zone:>8}"
        if zone.fields["present"] and zone.node not in shown:
            shown.add(zone.node)
            text += "\n  per-node stats"
            text += "".join(f"\n      {k:12} {v % 2**64}" for k, v in info.node_stats[zone.node].items())
        text += f"\n  pages free     {zone.fields['free']}"
        text += "".join(f"\n        {k:8} {v}" for k, v in zone.fields.items() if k not in {"free", *after})
        text += f"\n        protection: ({', '.join(map(str, zone.protection))})"
        if zone.fields["present"]:
            text += "".join(f"\n      {k:12} {zone.fields[k] % 2**64}" for k in ZONE_NAMES) + "\n  pagesets"
            for cpu in zone.cpus:
                text += f"\n    cpu: {cpu['cpu']}"
                text += "".join(f"\n              {k + ':':9} {cpu[k]}" for k in list(cpu)[1:-1])
                text += f"\n  vm stats threshold: {cpu['vm stats threshold']}"
            text += f"\n  node_unreclaimable:  {zone.fields['node_unreclaimable']}"
            text += f"\n  start_pfn:           {zone.fields['start_pfn']}"
        text += "\n"
    return text.encode()


@settings(deadline=None, max_examples=50)
@given(files())
def test_what_the_kernel_prints_comes_back(info):
    assert parse(printed(info)) == info


def test_golden_every_number_is_kept_once(golden):
    text = golden.read_text()
    info = parse(golden.read_bytes())
    kept = [row.node for row in info.zones]
    for zone in info.zones:
        kept += [*zone.fields.values(), *zone.protection, *(n for cpu in zone.cpus for n in cpu.values())]
    kept += [n for stats in info.node_stats.values() for n in stats.values()]
    assert sorted(kept) == sorted(int(n) for n in re.findall(r"(?<![A-Za-z0-9_])\d+", text))


def test_golden_node_statistics_stand_apart(golden):
    info = parse(golden.read_bytes())
    assert set(info.node_stats) == {zone.node for zone in info.zones if zone.fields["present"]}
    for stats in info.node_stats.values():
        assert {"nr_inactive_anon", "nr_file_pages", "nr_kernel_stack"} <= set(stats)
        assert not {"free", "nr_free_pages", "start_pfn"} & set(stats)
    for zone in info.zones:
        assert not {"nr_inactive_anon", "nr_file_pages"} & set(zone.fields)


def test_golden_zones_without_pages_are_short(golden):
    for zone in parse(golden.read_bytes()).zones:
        fields = zone.fields
        assert (
            ("start_pfn" in fields)
            == ("nr_free_pages" in fields)
            == bool(zone.cpus)
            == bool(fields["present"])
        )
        assert fields["free"] <= fields["managed"] <= fields["present"] <= fields["spanned"]
        assert fields["min"] <= fields["low"] <= fields["high"]
        assert len(zone.protection) == 5


@pytest.mark.parametrize(
    ("shape", "zones", "promo"),
    [
        ("6.1-1node", [(0, "DMA"), (0, "DMA32")], False),
        ("6.12-2node", [(0, "DMA"), (0, "DMA32"), (0, "Normal"), (1, "Normal")], True),
    ],
)
def test_golden_zones(proc, shape, zones, promo):
    info = parse((proc / shape / "zoneinfo").read_bytes())
    assert [(zone.node, zone.zone) for zone in info.zones if zone.fields["present"]] == zones
    assert all(("promo" in zone.fields) is promo for zone in info.zones)
    dma = info.zones[0].fields
    assert (dma["start_pfn"], dma["spanned"], dma["present"], dma["managed"]) == (1, 4095, 3998, 3840)
    assert [cpu["cpu"] for cpu in info.zones[0].cpus] == [0, 1]
    assert all("vm stats threshold" in cpu and "count" in cpu for cpu in info.zones[0].cpus)


GOOD = """\
Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 18446744073709551614
  pages free     3840
        min      60
        low      75
        high     90
        spanned  4095
        present  3998
        managed  3840
        protection: (0, 3019)
      nr_free_pages 3840
  pagesets
    cpu: 0
              count: 3
              high:  9
  vm stats threshold: 4
  node_unreclaimable:  0
  start_pfn:           1
Node 0, zone  Movable
  pages free     0
        min      0
        low      0
        high     0
        spanned  0
        present  0
        managed  0
        protection: (0, 0)
"""


def test_a_wrapped_counter_is_negative():
    info = parse(GOOD.encode())
    assert info.node_stats == {0: {"nr_inactive_anon": -2}}
    assert info.zones[0].cpus == ({"cpu": 0, "count": 3, "high": 9, "vm stats threshold": 4},)
    assert info.zones[1].protection == (0, 0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (GOOD, "", "line 1: expected at least one line, the file is empty: ''"),
        ("Node 0, zone      DMA\n", "", "line 1: expected `Node N, zone NAME` first: '  per-node stats'"),
        ("DMA\n", "DMA 1\n", "line 1: expected `Node N, zone NAME` alone: 'Node 0, zone      DMA 1'"),
        ("Movable", "DMA", "line 20: expected each zone once: 'Node 0, zone  DMA'"),
        (
            "  pagesets\n",
            "  per-node stats\n",
            "line 13: expected the statistics of a node once: '  per-node stats'",
        ),
        ("free     3840", "free     x", "line 4: expected a name and a number: '  pages free     x'"),
        ("free     3840", "free     -1", "line 4: expected a name and a number: '  pages free     -1'"),
        (
            "free     3840",
            "free     18446744073709551616",
            "line 4: expected a number for free, found '18446744073709551616': '  pages free ",
        ),
        ("low ", "min ", "line 6: expected min once: '        min      75'"),
        ("high:  9", "count: 9", "line 16: expected count once: '              count: 9'"),
        (
            "(0, 3019)",
            "(0, -3)",
            "line 11: expected `protection: (n, n, ...)`: '        protection: (0, -3)'",
        ),
        ("(0, 3019)", "()", "line 11: expected `protection: (n, n, ...)`: '        protection: ()'"),
        (
            "(0, 3019)",
            "(0,3)",
            "line 11: expected a number of pages, found '0,3': '        protection: (0,3)'",
        ),
        (
            "      nr_free_pages 3840",
            "        protection: (0)",
            "line 12: expected one protection line per zone: '        protection: (0)'",
        ),
        (
            "  start_pfn:           1\n",
            "",
            "line 18: expected start_pfn of node 0, zone DMA before the end: '  node_unreclaimable:  0'",
        ),
        (
            "        protection: (0, 0)\n",
            "",
            "line 27: expected protection of node 0, zone Movable before the end: '        managed  0'",
        ),
        ("        present  0\n", "", "line 27: expected present of node 0, zone Movable before the end: "),
        (
            "managed  0\n        protection: (0, 0)\n",
            "mana",
            "line 27: expected a newline at the end, the file is cut off: ",
        ),
    ],
)
def test_a_bad_line_is_named(old, new, message):
    assert old in GOOD
    with pytest.raises(FormatError) as caught:
        parse(GOOD.replace(old, new, 1).encode())
    assert str(caught.value).startswith(f"zoneinfo, {message}")
