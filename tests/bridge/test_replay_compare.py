"""What the policy engine forecasts of a recording, against the counts in the snapshot after it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.bridge.test_replay import TUNING, one_in_ten, recorded
from tests.kernelmodel.free_area.grounds import Shape, ground_of
from vmprobe.bridge.replay import replay
from vmprobe.bridge.replay_compare import Counted, counted, counted_rows, forecast_error
from vmprobe.errors import InputError

if TYPE_CHECKING:
    from kernelmodel.free_area.ground import Ground
    from kernelmodel.page_alloc.rebuild import FreeBlocks


class Counts:
    """As much of a snapshot as is compared: free blocks by zone and order, pages on per-CPU lists."""

    def __init__(self, *tables: str) -> None:
        self.areas = [
            (0, "DMA", 0, 5, 6),
            (0, "Normal", 2, 3, None),
            (1, "DMA", 0, 9, 9),
            (0, "Device", 0, 9, 9),
        ]
        self.zones = [(0, "DMA", 7), (1, "DMA", 9)]
        self.tables = tables

    def has(self, name: str) -> bool:
        return name in self.tables

    def table(self, name: str) -> Any:
        rows = self.areas if name == "free_areas" else self.zones
        return SimpleNamespace(rows=lambda *_names: rows)


def count(ground: Ground, blocks: FreeBlocks) -> Counted:
    """Return what the kernel would have counted."""
    at = blocks.start_pfn + ground.base_pfn
    counts = []
    for layout in (zone.layout for zone in ground.zones):
        here = blocks.order[(at >= layout.start_pfn) & (at < layout.end_pfn)]
        counts.append(np.bincount(here, minlength=layout.nr_orders))
    return Counted(np.array(counts), (7,) * len(counts))


def test_a_forecast_that_is_right_has_no_error() -> None:
    ground = ground_of(Shape(seed=1, tuning=TUNING))
    stream, kernel = recorded(ground, 1)
    before, after = count(ground, ground.free_blocks()), count(ground, kernel.free_blocks())
    error = forecast_error(stream, replay(stream, ground, pure=True), before, after, pure=True)
    assert error.distance == error.distance_at_start == 0
    assert error.fallbacks_forecast == error.fallbacks_real == kernel.counters()["fallbacks"] > 0
    assert error.fallbacks_percent == 0
    assert min(error.distance_unchanged, error.distance_simple) > 0.05
    assert [zone.distance for zone in error.zones] == [0, 0, 0]
    assert [zone.forecast for zone in error.zones] == [zone.real for zone in error.zones]
    kept = kernel.kept_blocks()
    assert sum(zone.pages_on_lists_forecast for zone in error.zones) == (1 << kept.order.astype(int)).sum()
    assert {zone.pages_on_lists_real for zone in error.zones} == {7}


@pytest.mark.parametrize("fault", ["one event in ten", "types"])
def test_a_wrong_replay_shows(fault: str) -> None:
    ground = ground_of(Shape(seed=1, tuning=TUNING))
    stream, kernel = recorded(ground, 1)
    wrong = replace(stream, migratetype=np.ones_like(stream.migratetype))
    before, after = count(ground, ground.free_blocks()), count(ground, kernel.free_blocks())
    changed = one_in_ten(stream) if fault == "one event in ten" else wrong
    error = forecast_error(changed, replay(changed, ground, pure=True), before, after, pure=True)
    assert error.distance > 0.05 or abs(error.fallbacks_percent or 0) > 10


def test_counts_of_a_snapshot_before_are_its_last_and_of_one_after_its_first() -> None:
    ground, snapshot = ground_of(Shape()), Counts("free_areas", "zones")
    before, after = (counted(snapshot, ground, last=last) for last in (True, False))
    assert before.free_blocks.tolist() == [[6, *[0] * 6], [0] * 7, [0, 0, 3, 0, 0, 0, 0]]
    assert after.free_blocks.tolist() == [[5, *[0] * 6], [0] * 7, [0, 0, 3, 0, 0, 0, 0]]
    assert before.pages_on_lists == after.pages_on_lists == (7, None, None)


def test_what_was_not_read_is_not_counted() -> None:
    ground = ground_of(Shape())
    assert counted(Counts("zones"), ground) is None
    assert counted(Counts("free_areas"), ground).pages_on_lists == (None,) * 3


def test_counts_of_the_recording_are_those_of_the_ground_and_none_is_assumed() -> None:
    ground = ground_of(Shape(seed=1, tuning=TUNING))
    rows: list[dict[str, Any]] = [
        {"node": 0, "zone": zone.layout.zone, "nr_free": [at, 2], "pcp_pages": None if at else 7}
        for at, zone in enumerate(ground.zones)
    ]
    found = counted_rows([*rows, {"node": 9, "zone": "DMA", "nr_free": [5]}], ground)
    assert found.free_blocks[:, :2].tolist() == [[at, 2] for at in range(len(rows))]
    assert found.pages_on_lists == (7, *[None] * (len(rows) - 1))
    with pytest.raises(InputError, match=f"no counts of node 0 zone {rows[-1]['zone']}"):
        counted_rows(rows[:-1], ground)
