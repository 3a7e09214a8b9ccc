"""What the kernel does by the clock and under pressure while a recorded stream goes by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from kernelmodel.compaction.zone_layout import Frame
from kernelmodel.free_area.grouped import Grouped
from kernelmodel.free_area.recorded import DECAY_NS, Clock, Followed, follow_recorded
from kernelmodel.page_alloc.layout import Tuning
from kernelmodel.page_alloc.state import PCP_COUNT, RECLAIM_ACTIVE, WMARK_MIN
from kernelmodel.workload.demand import Demand, Requests
from tests.kernelmodel.free_area.grounds import Shape, ground_of

if TYPE_CHECKING:
    from kernelmodel.free_area.ground import Ground

LISTS = Tuning(nr_cpus=2, pcp_batch=3, pcp_high_min=12, pcp_high_max=60)
ZONE = 2


def follow(
    ground: Ground, events: list[int], cpus: list[int], *, step_ns: int = 1, pure: bool = True
) -> Followed:
    """Carry out events of single movable pages, one after each `step_ns`."""
    nr = max((event if event >= 0 else ~event for event in events), default=-1) + 1
    columns = {name: np.zeros(nr, np.uint8) for name in ("order", "priority", "cpu", "source")}
    constants = {"migratetype": 1, "kind": Frame.ANON, "highest_zone": ZONE}
    constant = {name: np.full(nr, value, np.uint8) for name, value in constants.items()}
    demand = Demand(
        ("test",), Requests(**columns, **constant), np.array(events, np.int32), np.empty(0, np.int64)
    )
    clock = Clock(np.arange(len(events), dtype=np.int64) * step_ns, np.array(cpus, np.uint8))
    policy = Grouped("buddy-grouped", ground, pure=pure)
    done = follow_recorded(ground, demand, clock, policy, pure=pure)
    policy.validate()
    return done


def kept(done: Followed) -> list[int]:
    """Return the pages on the lists of each CPU, all zones together."""
    return sum(zone.pcp[:2, PCP_COUNT] for zone in done.policy.state.zones if zone.pcp.shape[0] == 2).tolist()


def with_tuning(tuning: Tuning, **other: int) -> Ground:
    return ground_of(Shape(seed=3, free_share=9, grain=16, tuning=replace(tuning, **other)))


def test_a_page_goes_to_the_list_of_the_cpu_that_frees_it() -> None:
    events = [*range(10), *(~each for each in range(10))]
    here = follow(with_tuning(LISTS), events, [0] * 20)
    there = follow(with_tuning(LISTS), events, [0] * 10 + [1] * 10)
    assert kept(here)[1] == 0
    assert kept(there)[1] == 10


def test_lists_of_a_cpu_that_rests_shrink_by_the_second() -> None:
    busy = [*range(60), *(~each for each in range(41))]
    events = [*busy, *range(60, 90)]
    cpus = [0] * len(busy) + [1] * 30
    at_once = follow(with_tuning(LISTS), events, cpus)
    slowly = follow(with_tuning(LISTS), events, cpus, step_ns=DECAY_NS // 4)
    frozen = follow(with_tuning(LISTS, pcp_high_max=12), events, cpus)
    assert kept(frozen)[0] <= LISTS.pcp_high_min
    assert kept(slowly)[0] <= LISTS.pcp_high_min < kept(at_once)[0]


def test_kswapd_begins_below_low_and_ends_above_high_and_lists_are_short_while_it_works() -> None:
    ground = with_tuning(LISTS)
    free = sum(zone.layout.free_blocks() @ (1 << np.arange(7)) for zone in ground.zones)
    events = [*range(60), *(~each for each in range(30))]

    def run(low: int, high: int) -> Followed:
        marks = {"wmark_low": low, "wmark_high": high}
        zones = tuple(replace(zone, tuning=replace(zone.tuning, **marks)) for zone in ground.zones)
        return follow(replace(ground, zones=zones), events, [0] * len(events))

    calm, pressed = run(0, 0), run(int(free), int(free))
    assert [int(zone.info[RECLAIM_ACTIVE]) for zone in calm.policy.state.zones] == [0] * 4
    assert [int(zone.info[RECLAIM_ACTIVE]) for zone in pressed.policy.state.zones] == [1] * 4
    assert sum(kept(pressed)) <= 4 * LISTS.pcp_batch < sum(kept(calm))


def test_what_the_kernel_gave_is_given_below_the_min_watermark() -> None:
    ground = with_tuning(Tuning(nr_cpus=2), wmark_min=10_000, wmark_low=10_000, wmark_high=10_000)
    done = follow(ground, [0, 1, ~0], [0, 0, 0])
    assert (done.nr_stalled, done.nr_refused) == (2, 0)
    assert [int(done.policy.state.zones[zone.zone_type].info[WMARK_MIN]) for zone in ground.zones] == [
        10_000
    ] * 3


def test_what_nobody_can_give_is_refused_and_its_release_is_nothing() -> None:
    ground = ground_of(Shape(seed=3, free_share=0, tuning=Tuning(nr_cpus=2)))
    done = follow(ground, [0, ~0], [0, 0])
    assert (done.nr_stalled, done.nr_refused) == (1, 1)
    assert done.policy.nr_free == 0


def test_a_stream_without_events_changes_nothing() -> None:
    ground = with_tuning(LISTS)
    assert (
        follow(ground, [], []).policy.free_blocks().counts().tolist()
        == ground.free_blocks().counts().tolist()
    )


@pytest.mark.slow
def test_compiled_it_is_the_same() -> None:
    events = [*range(60), *(~each for each in range(55))]
    cpus = [event % 2 for event in range(len(events))]
    both = [
        follow(with_tuning(LISTS), events, cpus, step_ns=DECAY_NS // 20, pure=pure) for pure in (True, False)
    ]
    assert kept(both[0]) == kept(both[1])
    assert both[0].policy.free_blocks().start_pfn.tolist() == both[1].policy.free_blocks().start_pfn.tolist()
