"""Zone numbers: against the C, line by line, and against what guests printed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vmprobe
from kernelmodel.errors import ModelError
from kernelmodel.geometry import Geometry
from kernelmodel.mmzone import (
    ZONE_TYPES,
    Difference,
    Node,
    Printed,
    Watermarks,
    Zone,
    default_min_free_kbytes,
    differences,
    lowmem_reserves,
    nr_free_buffer_pages,
    pcp_batch,
    pcp_high,
    recommended_min_free_kbytes,
    totalreserve_pages,
    zone_watermarks,
)
from tests.oracles import mmzone as oracle

SNAPSHOTS = sorted((Path(__file__).parents[2] / "fixtures" / "snapshots").glob("*.vmsnap"))
GEOMETRIES = (Geometry(), Geometry(16384, 11, 12), Geometry(65536, 13, 14))
PAGES = st.one_of(st.just(0), st.integers(1, 5000), st.integers(1, 1 << 28))


@st.composite
def hosts(draw: st.DrawFn) -> tuple[Node, ...]:
    """Draw one or two nodes with all zone types, some of them empty, at least one lowmem page in all."""
    nodes = []
    for number in range(draw(st.integers(1, 2))):
        zones = []
        for name in ZONE_TYPES:
            managed = 0 if name == "Device" else draw(PAGES)
            present = managed + draw(st.integers(0, 3))
            zones.append(Zone(number, name, managed, 0 if present else None, present, present))
        nodes.append(Node(number, tuple(zones)))
    if not any(zone.managed_pages for node in nodes for zone in node.zones if zone.is_lowmem):
        sizes = zip(ZONE_TYPES, (7, 7, 7, 0, 0), strict=True)
        nodes.append(Node(2, tuple(Zone(2, name, n, 0, n, n) for name, n in sizes)))
    return tuple(nodes)


@given(
    nodes=hosts(),
    geometry=st.sampled_from(GEOMETRIES),
    min_free=st.integers(0, 1 << 24),
    scale=st.integers(1, 3000),
    ratios=st.lists(st.integers(0, 512), min_size=5, max_size=5),
)
def test_every_number_is_that_of_the_c_code(
    nodes: tuple[Node, ...], geometry: Geometry, min_free: int, scale: int, ratios: list[int]
) -> None:
    zones = [zone for node in nodes for zone in node.zones]
    twins = [
        {"node": z.node, "name": z.name, "managed": z.managed_pages, "present": z.present_pages}
        for z in zones
    ]
    shift = geometry.page_shift
    boot = oracle.calculate_min_free_kbytes(twins, shift)
    assert default_min_free_kbytes(zones, geometry) == boot
    oracle.setup_per_zone_wmarks(twins, boot, scale, shift)
    recommended = oracle.set_recommended_min_free_kbytes(twins, boot, geometry.pageblock_pages, shift)
    assert recommended_min_free_kbytes(zones, scale, geometry) == recommended

    oracle.setup_per_zone_wmarks(twins, min_free, scale, shift)
    watermarks = zone_watermarks(zones, min_free, scale, geometry)
    assert [tuple(mark) for mark in watermarks] == [
        (twin["min"], twin["low"], twin["high"], twin["promo"]) for twin in twins
    ]
    assert nr_free_buffer_pages(zones, [m.high for m in watermarks]) == oracle.nr_free_buffer_pages(twins)

    oracle.setup_per_zone_lowmem_reserve(twins, ratios)
    reserves = [reserve for node in nodes for reserve in lowmem_reserves(node, ratios)]
    assert [list(reserve) for reserve in reserves] == [twin["lowmem_reserve"] for twin in twins]
    assert totalreserve_pages(zones, watermarks, reserves) == oracle.calculate_totalreserve_pages(twins)

    for nr_cpus, (zone, twin, mark) in enumerate(zip(zones, twins, watermarks, strict=True), 1):
        batch = oracle.zone_batchsize(zone.managed_pages, geometry.page_size)
        assert pcp_batch(zone.managed_pages, geometry) == batch
        bounds = tuple(oracle.zone_highsize(twin, batch, nr_cpus, fraction) for fraction in (0, 8))
        assert pcp_high(zone.managed_pages, mark.low, nr_cpus, geometry) == bounds


class Guest(NamedTuple):
    """What a committed snapshot says, and what the formulas give."""

    zones: list[Zone]
    printed: list[Printed]
    found: list[Difference]
    thp_never: bool


@cache
def guest(path: Path) -> Guest:
    snapshot = vmprobe.load(str(path))
    zones, printed = [], []
    for row in snapshot.table("zones").rows():
        node, name, start, spanned, present, managed = row[:6]
        zones.append(Zone(int(node), name, int(managed), start, int(spanned), int(present)))
        marks = tuple(None if value is None else int(value) for value in row[8:12])
        printed.append(Printed(marks, int(row[12]), tuple(int(pages) for pages in row[14])))
    counters = {row[:3]: row for row in snapshot.table("counters").rows()}
    sysctl = {name: counters["sysctl", "vm", name] for name in ("min_free_kbytes", "watermark_scale_factor")}
    ratios = [int(part) for part in counters["sysctl", "vm", "lowmem_reserve_ratio"][6].split()]
    watermarks = zone_watermarks(
        zones, sysctl["min_free_kbytes"][3], sysctl["watermark_scale_factor"][3], Geometry()
    )
    nodes = [Node(n, tuple(z for z in zones if z.node == n)) for n in sorted({z.node for z in zones})]
    reserves = [reserve for node in nodes for reserve in lowmem_reserves(node, ratios)]
    thp = counters["thp", "", "enabled"][6]
    return Guest(zones, printed, differences(zones, printed, watermarks, reserves), "[never]" in thp)


@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.stem)
def test_guests_printed_what_the_formulas_give(path: Path) -> None:
    seen = guest(path)
    if seen.thp_never:
        assert seen.found == []
    # Elsewhere khugepaged set the watermarks while the pages of init sections were not yet managed.
    assert not [d for d in seen.found if d.field.startswith("lowmem")]
    assert all(abs(d.computed - d.printed) * 1000 <= 18 * d.printed for d in seen.found)


def test_there_are_guests_of_both_kinds() -> None:
    kinds = [(guest(path).thp_never, bool(guest(path).found)) for path in SNAPSHOTS]
    # Without differences although khugepaged ran: a later change of settings computed them anew.
    assert set(kinds) == {(True, False), (False, True), (False, False)}


def test_transparent_huge_pages_raise_the_reserve() -> None:
    # Two pageblocks a zone and one for each of nine pairs of types; three zones of a 24 GiB host.
    pages = {"DMA": 3840, "DMA32": 772854, "Normal": 5_500_000}
    zones = [Zone(0, name, n, 0, n, n) for name, n in pages.items()]
    assert recommended_min_free_kbytes(zones, 10, Geometry()) == 512 * 3 * 11 * 4


ZONE = Zone(1, "Normal", 1000, 4096, 1024, 1010)
MARKS = Watermarks(10, 20, 30, 40)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (Printed((10, 20, 30, 40), 0, (0, 5)), []),
        (Printed((17, 27, 37, 47), 7, (0, 5)), []),
        (Printed((10, 20, 30, None), 0, (0, 5)), []),
        (Printed((10, 21, 30, 40), 0, (0, 5)), [("low", 20, 21)]),
        (
            Printed((10, 20, 30, 44), 3, (0, 5)),
            [("min", 10, 7), ("low", 20, 17), ("high", 30, 27), ("promo", 40, 41)],
        ),
        (Printed((10, 20, 30, 40), 0, (0, 6)), [("lowmem_reserve[1]", 5, 6)]),
    ],
)
def test_each_difference_is_named(printed: Printed, expected: list[tuple[str, int, int]]) -> None:
    found = differences([ZONE], [printed], [MARKS], [(0, 5)])
    assert found == [Difference(1, "Normal", *row) for row in expected]


def test_empty_zones_are_passed_over() -> None:
    empty = Zone(0, "Movable", 0)
    assert differences([empty], [Printed((0, 0, 0, 0), 0, (0,))], [Watermarks(32, 32, 32, 32)], [(0,)]) == []


@pytest.mark.parametrize(("managed", "present", "spanned"), [(-1, 0, 0), (5, 4, 9), (1, 9, 8)])
def test_zones_that_cannot_be_are_refused(managed: int, present: int, spanned: int) -> None:
    with pytest.raises(ModelError, match="node 0 zone DMA"):
        Zone(0, "DMA", managed, 0, spanned, present)
