"""Every policy goes through one state machine, which keeps its own account of who holds which frames."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kernelmodel._jit import jit
from kernelmodel.free_area.interface import Ask
from kernelmodel.free_area.lists import FreeLists, release_block, take_block
from kernelmodel.free_area.registry import make
from kernelmodel.page_alloc.layout import Tuning
from kernelmodel.page_alloc.state import NO_PAGE
from tests.kernelmodel.free_area.grounds import NR_ORDERS, SHAPES, Shape, free_frames, ground_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.free_area.ground import Ground

SPECS = (
    "buddy-lifo", "buddy-fifo", "reserve:t=2:n=2", "gravity:tree=rb", "gravity:tree=avl:large=3",
    "gravity:tree=none", "best-fit", "best-fit:tree=avl", "first-fit", "buddy-grouped",
    "buddy-grouped:defrag_mode=1",
)  # fmt: skip
TUNINGS = (
    Tuning(),
    Tuning(wmark_min=8, wmark_low=12, wmark_high=20, lowmem_reserve=(0, 4, 8, 8, 0)),
    Tuning(wmark_min=4, wmark_low=6, wmark_high=9, nr_cpus=2, pcp_batch=3, pcp_high_min=12, pcp_high_max=60),
)
ORDERS = st.integers(0, NR_ORDERS - 1)


class Machine(RuleBasedStateMachine):
    """One policy, and the frames that each block taken holds."""

    maker: Callable[[Ground], Any]

    @initialize(shape=SHAPES, tuning=st.sampled_from(TUNINGS))
    def begin(self, shape: Shape, tuning: Tuning) -> None:
        self.ground = ground_of(replace(shape, tuning=tuning))
        self.policy = type(self).maker(self.ground)
        self.free = free_frames(self.ground)
        self.held: dict[int, int] = {}
        self.limits = self.ground.limits()

    @rule(
        order=ORDERS, migratetype=st.integers(0, 2), priority=st.integers(0, 2), zone=st.integers(0, 3),
        cpu=st.integers(0, 3), times=st.sampled_from((1, 1, 1, 20)),
    )  # fmt: skip
    def alloc(self, *, order: int, migratetype: int, priority: int, zone: int, cpu: int, times: int) -> None:
        for _ in range(times):
            limit = int(self.limits[zone])
            index = self.policy.alloc(Ask(order, migratetype, priority, zone, limit, cpu))
            if index == NO_PAGE:
                return
            frames = set(range(index, index + (1 << order)))
            assert index % (1 << order) == 0
            assert index + (1 << order) <= limit
            assert frames <= self.free, "a frame that was not free"
            self.free -= frames
            self.held[index] = order

    @precondition(lambda self: self.held)
    @rule(data=st.data(), cpu=st.integers(0, 3), times=st.integers(1, 15), in_parts=st.booleans())
    def release(self, data: st.DataObject, cpu: int, times: int, in_parts: bool) -> None:
        starts = sorted(self.held)
        first = data.draw(st.integers(0, len(starts) - 1))
        for index in starts[first : first + times]:
            order = self.held.pop(index)
            part = data.draw(st.integers(0, order)) if in_parts else order
            for start in range(index, index + (1 << order), 1 << part):
                self.policy.free(start, part, cpu)
            self.free |= set(range(index, index + (1 << order)))

    @rule(data=st.data(), order=st.integers(0, 5), movable=st.integers(0, 1))
    def claim(self, data: st.DataObject, order: int, movable: int) -> None:
        self.policy.drain()
        index = data.draw(st.integers(0, (self.ground.nr_frames >> order) - 1)) << order
        frames = set(range(index, index + (1 << order)))
        assert self.policy.claim(index, order, movable) == (frames <= self.free)
        if frames <= self.free:
            self.free -= frames
            self.held[index] = order

    @rule()
    def drain(self) -> None:
        self.policy.drain()
        assert self.on_lists() == self.free

    def on_lists(self) -> set[int]:
        blocks = self.policy.free_blocks()
        pieces = [np.arange(a, a + (1 << o)) for a, o in zip(blocks.start_pfn, blocks.order, strict=True)]
        listed = np.concatenate([*pieces, np.empty(0, np.int64)]).tolist()
        assert len(listed) == len(set(listed)) == self.policy.nr_free
        return set(listed)

    @invariant()
    def sound(self) -> None:
        if not hasattr(self, "policy"):
            return
        self.policy.validate()
        listed = self.on_lists()
        assert listed <= self.free, "free in the policy, and held"
        if not hasattr(self.policy, "kept_blocks"):
            assert listed == self.free, "lost"


def machine_of(maker: Callable[[Ground], Any]) -> type[Machine]:
    return type("Machine", (Machine,), {"maker": staticmethod(maker)})


# A fault that is found need not be made small.
UNSHRUNK = (Phase.explicit, Phase.generate)
SETTINGS = settings(
    phases=UNSHRUNK,
    max_examples=25,
    stateful_step_count=25,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("spec", SPECS)
def test_no_page_is_handed_out_twice_and_none_is_lost(spec: str) -> None:
    run_state_machine_as_test(machine_of(lambda ground: make(spec, ground, pure=True)), settings=SETTINGS)


@jit
def take_twice(lists: Any, ask: Ask) -> int:
    """Hand out what the caller before was given, and leave the next block where it is."""
    index = take_block(lists, ask)
    if index != NO_PAGE and ask.order == 1:
        release_block(lists, index, 1, 0)
    return index


@jit
def release_half(lists: Any, index: int, order: int, cpu: int) -> None:
    release_block(lists, index, max(order - 1, 0), cpu)


@pytest.mark.parametrize("planted", [{"take": take_twice}, {"release": release_half}])
def test_a_page_handed_out_twice_or_lost_is_found(planted: dict[str, Any]) -> None:
    def broken(ground: Ground) -> FreeLists:
        policy = FreeLists("broken", ground, pure=True)
        policy.functions = policy.functions._replace(**planted)
        return policy

    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine_of(broken), settings=settings(SETTINGS, max_examples=500))
