"""The ground of a snapshot: zones, watermarks and types as the kernel printed them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vmprobe
from kernelmodel.compaction.zone_layout import Frame
from kernelmodel.free_area.registry import POLICIES, make
from kernelmodel.migratetype import Migratetype
from vmprobe.analyses.compact import prepared
from vmprobe.bridge.ground import ground, scale
from vmprobe.errors import UsageError

SNAPSHOTS = sorted((Path(__file__).parents[2] / "fixtures" / "snapshots").glob("*.vmsnap"))
FRAGMENTED = next(path for path in SNAPSHOTS if path.name == "6.12-fragmented.vmsnap")


@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.stem)
def test_policies_begin_with_the_free_blocks_of_the_host(path: Path) -> None:
    snapshot = vmprobe.load(str(path))
    made = ground(snapshot, prepared(snapshot))
    buddyinfo = {
        (node, zone, order): nr
        for node, zone, order, nr in snapshot.table("free_areas").rows("node", "zone", "order", "nr_free")
    }
    node = made.zones[0].layout.node
    for name in POLICIES:
        policy = make(name, made, pure=True)
        policy.validate()
        counted = policy.free_blocks().counts()
        printed = [
            sum(nr for (of, _, order), nr in buddyinfo.items() if (of, order) == (node, each))
            for each in range(made.nr_orders)
        ]
        apart = np.abs(counted - printed) << np.arange(made.nr_orders)
        # The snapshot was taken of a guest that stands still, but for what taking it takes.
        assert apart.sum() <= sum(nr << order for (_, _, order), nr in buddyinfo.items()) // 100
    for zone in made.zones:
        assert zone.tuning.wmark_min < zone.tuning.wmark_low < zone.tuning.wmark_high
        assert zone.tuning.pcp_high_min >= 4 * zone.tuning.pcp_batch


def test_numbers_are_those_that_zoneinfo_and_sysctls_say() -> None:
    snapshot = vmprobe.load(str(FRAGMENTED))
    made = ground(snapshot, prepared(snapshot))
    dma, dma32 = made.zones
    assert [zone.zone_type for zone in made.zones] == [0, 1]
    assert (dma.managed_pages, dma.tuning.wmark_min, dma.tuning.lowmem_reserve[:2]) == (3840, 22, (0, 449))
    assert (dma32.tuning.wmark_low, dma32.tuning.nr_cpus, dma32.tuning.pcp_batch) == (823, 2, 31)
    # vm.percpu_pagelist_high_fraction is 8 in this guest: 114952 / 8 / 2 pages.
    assert (dma32.tuning.pcp_high_min, dma32.tuning.pcp_high_max) == (7184, 7184)
    types = np.bincount(np.concatenate([dma.block_type, dma32.block_type]), minlength=len(Migratetype))
    printed = dict.fromkeys(Migratetype, 0)
    for name, nr in snapshot.table("pageblocks_by_type").rows("migratetype", "nr_pageblocks"):
        printed[next(each for each in Migratetype if each.printed == name)] += nr
    assert types.tolist() == list(printed.values())


@pytest.mark.parametrize("printed", [(None, None), (9, 9), (300, 999)], ids=str)
def test_limits_of_lists_are_those_printed_or_those_of_the_node(
    printed: tuple[int | None, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(_: object, source: str, name: str, scope: str | None = None) -> int | None:
        if (source, scope) == ("zoneinfo", "node 1 zone Normal"):
            return printed[name.endswith("max")]
        return 8 if name == "percpu_pagelist_high_fraction" else None

    monkeypatch.setattr("vmprobe.bridge.ground.counter", told)
    snapshot = vmprobe.load(str(FRAGMENTED.with_name("6.12-two-nodes.vmsnap")))
    zone = next(
        each for each in ground(snapshot, prepared(snapshot), 1).zones if each.layout.zone == "Normal"
    )
    # One of the two CPUs is the node's. One number for both is the limit of the moment.
    worked_out = (zone.managed_pages // 8, zone.managed_pages // 8)
    found = (zone.tuning.pcp_high_min, zone.tuning.pcp_high_max)
    assert found == (printed if printed == (300, 999) else worked_out)


def test_the_scale_is_the_hosts() -> None:
    snapshot = vmprobe.load(str(FRAGMENTED))
    made = ground(snapshot, prepared(snapshot))
    found = scale(snapshot, made)
    assert found.free_pages == int((made.content() == Frame.FREE).sum())
    assert (found.highest_zone, found.nr_orders, found.huge_order) == (1, 11, 9)
    assert len(found.process_pages) > 5
    assert len(found.vma_pages) == snapshot.table("vmas").nr_rows


def test_another_node_can_be_chosen_if_there_is_one() -> None:
    snapshot = vmprobe.load(str(FRAGMENTED.with_name("6.12-two-nodes.vmsnap")))
    host = prepared(snapshot)
    assert {ground(snapshot, host, node).zones[0].layout.node for node in (0, 1)} == {0, 1}
    with pytest.raises(UsageError, match="no node 2") as caught:
        ground(snapshot, host, 2)
    assert "0, 1" in str(caught.value.hint)
