"""Whole runs: what is told of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kernelmodel.compaction.result import blocks_of_order
from kernelmodel.compaction.zone_layout import Frame
from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.free_area.registry import POLICIES, make
from kernelmodel.free_area.result import Came, HelpTally, Run
from kernelmodel.free_area.run import NR_KEEP_STEPS, simulate
from kernelmodel.page_alloc.layout import Tuning
from kernelmodel.page_alloc.rebuild import FreeBlocks
from tests.kernelmodel.free_area.demands import Want, demand_of, waiting
from tests.kernelmodel.free_area.grounds import Shape, ground_of
from tests.kernelmodel.free_area.test_helping import fragmented
from tests.oracles.whatif import FirstFit, simulated

GROUND = ground_of(Shape())
EVERYTHING = ("blit", "evict", "linux")


def told(run: Run) -> list[object]:
    """Return everything that a run tells, to be compared."""
    layouts = [layout.state.tolist() for layout in run.layouts]
    free = run.samples.free_blocks, run.free_blocks, run.samples.kept_blocks, run.kept_blocks
    listed = [each.tolist() for each in (run.tally, run.samples.event, *free)]
    return [run.policy, run.help, run.background, run.operations, layouts, listed]


def test_a_run_tells_what_the_dictionary_tells() -> None:
    demand = demand_of(GROUND, Want(nr_requests=250))
    right = simulated(GROUND, demand, FirstFit(GROUND))
    run = simulate(GROUND, demand, FirstFit(GROUND), pure=True)
    assert int(run.tally.sum()) == sum(right.tally.values())
    assert [layout.state.tolist() for layout in run.layouts] == [
        layout.state.tolist() for layout in GROUND.layouts(np.array(right.content, np.uint8))
    ]
    for layout, counts in zip(run.layouts, run.free_blocks, strict=True):
        assert layout.free_blocks().tolist() == counts.tolist()
        layout.validate()
    assert (run.policy, run.help, run.background) == ("bytes", {}, HelpTally())
    assert run.operations["visits"] > 0


def test_samples_are_at_even_steps_and_hold_both_ends() -> None:
    demand = demand_of(GROUND, Want(nr_requests=130, nr_standing=0))
    done: list[float] = []
    run = simulate(GROUND, demand, FirstFit(GROUND), nr_samples=5, pure=True, progress=done.append)
    nr = len(demand.events)
    assert run.samples.event.tolist() == [nr * step // 4 for step in range(5)]
    assert run.samples.free_blocks.shape == (5, GROUND.nr_orders)
    assert run.samples.free_blocks[0].tolist() == GROUND.free_blocks().counts().tolist()
    assert run.samples.free_blocks[-1].tolist() == run.free_blocks.sum(axis=0).tolist()
    assert done == [at / nr for at in run.samples.event]


def test_an_empty_demand_changes_nothing() -> None:
    run = simulate(GROUND, waiting(), FirstFit(GROUND), pure=True)
    assert int(run.tally.sum()) == 0
    assert len(run.samples.event) == 50
    assert [layout.state.tolist() for layout in run.layouts] == [
        zone.layout.state.tolist() for zone in GROUND.zones
    ]


@pytest.mark.parametrize("kinds", [(), ("blit",), EVERYTHING])
def test_the_same_again_is_the_same(kinds: tuple[str, ...]) -> None:
    ground = replace(GROUND, swap_free_pages=50)
    demand = demand_of(ground, Want(nr_requests=300, leaves=2))
    again = [told(simulate(ground, demand, FirstFit(ground), help=kinds, pure=True)) for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.slow
def test_compiled_and_plain_runs_tell_the_same() -> None:
    ground = replace(GROUND, swap_free_pages=50)
    demand = demand_of(ground, Want(nr_requests=300, leaves=2))
    both = [
        told(simulate(ground, demand, FirstFit(ground, pure=pure), help=EVERYTHING, keep=(2, 4), pure=pure))
        for pure in (True, False)
    ]
    assert both[0] == both[1]


def test_help_meets_more() -> None:
    ground = replace(GROUND, swap_free_pages=50)
    demand = demand_of(ground, Want(nr_requests=300, leaves=2))
    alone, helped = (
        simulate(ground, demand, FirstFit(ground), help=kinds, pure=True) for kinds in ((), EVERYTHING)
    )
    assert alone.tally[..., Came.HELPED].sum() == alone.tally[..., Came.DEFERRED].sum() == 0
    assert helped.tally.sum() == alone.tally.sum() == (demand.events >= 0).sum()
    assert helped.tally[..., Came.HELPED].sum() > 5
    assert helped.tally[..., : Came.FAILED].sum() > alone.tally[..., : Came.FAILED].sum()


def test_areas_are_kept_and_the_cost_is_the_backgrounds() -> None:
    ground = ground_of(Shape(free_share=5, grain=1))
    demand = demand_of(ground, Want(nr_requests=100, orders=(0,)))
    plain, kept = (
        simulate(ground, demand, FirstFit(ground), keep=keep, nr_samples=NR_KEEP_STEPS + 1, pure=True)
        for keep in (None, (4, 3))
    )
    shift = np.arange(ground.nr_orders - 3)
    # After the last event nothing is kept any more.
    fewest = [int((run.samples.free_blocks[:-1, 3:] << shift).sum(axis=1).min()) for run in (plain, kept)]
    assert fewest[0] < 4 <= fewest[1]
    assert plain.background == HelpTally()
    assert kept.background.copied_pages > 0
    assert kept.background.calls >= kept.background.succeeded > 0
    assert kept.help == {}


def test_nothing_is_kept_for_nobody_after_the_last_event() -> None:
    run = simulate(fragmented(), waiting(3), FirstFit(fragmented()), keep=(5, 3), nr_samples=2, pure=True)
    assert run.background == HelpTally(calls=1, succeeded=1, copied_pages=20)
    assert [blocks_of_order(counts, 3) for counts in run.samples.free_blocks] == [5, 4]


class Keeps(FirstFit):
    """Keeps its first free block for itself until it is drained."""

    def free_blocks(self) -> FreeBlocks:
        blocks = super().free_blocks()
        return FreeBlocks(blocks.start_pfn[1:], blocks.order[1:], blocks.nr_orders)

    def kept_blocks(self) -> FreeBlocks:
        blocks = super().free_blocks()
        return FreeBlocks(blocks.start_pfn[:1], blocks.order[:1], blocks.nr_orders)


def test_what_cpus_keep_is_unknown_in_the_end() -> None:
    first = FirstFit(GROUND).free_blocks()
    start, size = int(first.start_pfn[0]), 1 << int(first.order[0])
    run = simulate(GROUND, waiting(), Keeps(GROUND), pure=True)
    assert (run.layouts[0].state[start : start + size] == Frame.UNKNOWN).all()
    assert (run.layouts[0].state == Frame.UNKNOWN).sum() == size
    assert run.free_blocks[0].tolist() == run.layouts[0].free_blocks().tolist()
    kept = [1 << order == size for order in range(GROUND.nr_orders)]
    assert run.kept_blocks.tolist() == [kept, *[[0] * GROUND.nr_orders] * 2]
    assert run.samples.kept_blocks.tolist() == [kept] * len(run.samples.event)


@pytest.mark.parametrize("spec", POLICIES)
def test_all_free_pages_are_sampled_whoever_keeps_them(spec: str) -> None:
    tuning = Tuning(nr_cpus=4, pcp_batch=2, pcp_high_min=8, pcp_high_max=16)
    ground = ground_of(Shape(tuning=tuning))
    run = simulate(ground, demand_of(ground, Want()), make(spec, ground, pure=True), nr_samples=9, pure=True)
    kept = run.samples.kept_blocks @ (1 << np.arange(ground.nr_orders))
    assert (kept.max() > 0) == (spec == "buddy-grouped")
    assert run.samples.kept_blocks.shape == run.samples.free_blocks.shape
    assert run.samples.kept_blocks[-1].tolist() == run.kept_blocks.sum(axis=0).tolist()
    free = (run.free_blocks + run.kept_blocks) @ (1 << np.arange(ground.nr_orders))
    unknown = [int((layout.kinds == Frame.UNKNOWN).sum()) for layout in run.layouts]
    seen = [int((layout.kinds == Frame.FREE).sum()) for layout in run.layouts]
    assert free.tolist() == np.add(seen, unknown).tolist()
    assert int(kept[-1]) == sum(unknown)


def test_a_demand_that_contradicts_itself_is_refused() -> None:
    demand = replace(waiting(0, 0), events=np.array([0, 0], np.int32))
    with pytest.raises(InvariantError, match="demand-events"):
        simulate(GROUND, demand, FirstFit(GROUND), pure=True)
    with pytest.raises(InvariantError, match="demand-values"):
        simulate(GROUND, waiting(7), FirstFit(GROUND), pure=True)
    with pytest.raises(ModelError, match="no help called"):
        simulate(GROUND, waiting(0), FirstFit(GROUND), help=("hope",), pure=True)
