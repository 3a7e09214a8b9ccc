"""Policies without zones against their slow twins: the same frame at every step."""

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
    precondition,
    rule,
    run_state_machine_as_test,
)

from kernelmodel.free_area import areas, lists
from kernelmodel.free_area.interface import Ask
from kernelmodel.free_area.lists_state import NEXT, NR_FRAMES, TO_TAIL
from kernelmodel.free_area.registry import make
from kernelmodel.page_alloc.layout import Tuning
from kernelmodel.page_alloc.state import NO_PAGE
from tests.kernelmodel.free_area.grounds import NR_ORDERS, SHAPES, Shape, free_frames, ground_of
from tests.oracles.free_areas import AreaTwin, ListTwin

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.free_area.ground import Ground

WMARK = 10


def on_lists(ground: Ground) -> list[list[int]]:
    blocks = ground.free_blocks()
    return [blocks.start_pfn[blocks.order == order].tolist() for order in range(NR_ORDERS)]


TWINS: dict[str, Callable[[Ground], Any]] = {
    "buddy-lifo": lambda ground: ListTwin(on_lists(ground), 3 * WMARK),
    "buddy-fifo": lambda ground: ListTwin(on_lists(ground), 3 * WMARK, to_tail=True),
    "reserve:t=2:n=60": lambda ground: ListTwin(on_lists(ground), 3 * WMARK, t=2, n=60),
    "reserve:t=4:n=1": lambda ground: ListTwin(on_lists(ground), 3 * WMARK, t=4, n=1),
    "gravity:tree=rb": lambda ground: AreaTwin(free_frames(ground), "gravity", 3 * WMARK),
    "gravity:tree=avl:large=2": lambda ground: AreaTwin(free_frames(ground), "gravity", 3 * WMARK, 2),
    "first-fit": lambda ground: AreaTwin(free_frames(ground), "first-fit", 3 * WMARK),
    "best-fit:tree=avl": lambda ground: AreaTwin(free_frames(ground), "best-fit", 3 * WMARK),
    "best-fit:tree=none": lambda ground: AreaTwin(free_frames(ground), "best-fit", 3 * WMARK),
}


class Machine(RuleBasedStateMachine):
    spec: str

    @initialize(shape=SHAPES)
    def begin(self, shape: Shape) -> None:
        ground = ground_of(replace(shape, tuning=Tuning(wmark_min=WMARK)))
        self.policy: Any = make(self.spec, ground, pure=True)
        self.twin = TWINS[self.spec](ground)
        self.limits = ground.limits().tolist()
        self.held: dict[int, int] = {}

    @rule(
        order=st.integers(0, NR_ORDERS - 1), priority=st.integers(0, 2), zone=st.integers(0, 2),
        times=st.sampled_from((1, 1, 12)),
    )  # fmt: skip
    def take(self, order: int, priority: int, zone: int, times: int) -> None:
        for _ in range(times):
            ask = Ask(order, 1, priority, zone, self.limits[zone], 0)
            index = self.twin.take(ask)
            assert self.policy.alloc(ask) == index
            if index == NO_PAGE:
                return
            self.held[index] = order

    @precondition(lambda self: self.held)
    @rule(data=st.data(), times=st.integers(1, 12), in_parts=st.booleans())
    def release(self, data: st.DataObject, times: int, in_parts: bool) -> None:
        starts = sorted(self.held)
        first = data.draw(st.integers(0, len(starts) - 1))
        for index in starts[first : first + times]:
            order = self.held.pop(index)
            part = data.draw(st.integers(0, order)) if in_parts else order
            for start in range(index, index + (1 << order), 1 << part):
                self.policy.free(start, part)
                self.twin.release(start, part)
        self.policy.validate()
        if isinstance(self.twin, ListTwin):
            assert [walk(self.policy.state, order) for order in range(NR_ORDERS)] == self.twin.lists
        else:
            assert self.policy.areas().tolist() == [list(area) for area in self.twin.areas()]


def walk(state: lists.Lists, order: int) -> list[int]:
    head = int(state.info[NR_FRAMES]) + order
    found, entry = [], int(state.page[head, NEXT])
    while entry != head:
        found.append(entry)
        entry = int(state.page[entry, NEXT])
    return found


# A fault that is found need not be made small.
UNSHRUNK = (Phase.explicit, Phase.generate)
SETTINGS = settings(
    phases=UNSHRUNK,
    max_examples=20,
    stateful_step_count=20,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def run(spec: str, settings_: settings = SETTINGS) -> None:
    run_state_machine_as_test(type("Machine", (Machine,), {"spec": spec}), settings=settings_)


@pytest.mark.parametrize("spec", TWINS)
def test_the_same_frame_at_every_step(spec: str) -> None:
    run(spec)


ADD_BLOCK = lists.add_block


def add_at_the_tail(state: lists.Lists, index: int, order: int) -> None:
    state.info[TO_TAIL] = 1
    ADD_BLOCK(state, index, order)


@pytest.mark.parametrize(
    ("spec", "where", "name", "value"),
    [
        ("buddy-lifo", lists, "add_block", add_at_the_tail),
        ("reserve:t=2:n=60", lists, "may_break", lambda _lists, _ask, _order: True),
        ("gravity:tree=rb", areas, "GRAVITY", 7),
        ("best-fit:tree=avl", areas, "next_most", lambda *_: 0),
    ],
)
def test_a_rule_left_out_is_found(
    spec: str, where: Any, name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, name, value)
    with pytest.raises(AssertionError):
        # It ends with the first example that shows the fault; a rare one must not be left to luck.
        run(spec, settings(SETTINGS, max_examples=500))


def test_a_request_below_a_limit_passes_blocks_above_it_over() -> None:
    policy: Any = make("buddy-lifo", ground_of(Shape(free_share=10, grain=1)), pure=True)
    high = policy.alloc(Ask(0, 1, 0, 2, 630, 0))
    policy.free(high, 0)
    index = policy.alloc(Ask(0, 1, 0, 0, 64, 0))
    assert 0 <= index < 64
    assert policy.alloc(Ask(NR_ORDERS - 1, 1, 0, 0, 40, 0)) == NO_PAGE


def test_a_request_that_the_reserve_refuses_counts_once() -> None:
    policy: Any = make("reserve:t=2:n=1000", ground_of(Shape(free_share=10, grain=64)), pure=True)
    small = policy.free_blocks()
    assert len(set(small.order[small.order >= 2].tolist())) > 1
    nr_met = 0
    while policy.alloc(Ask(0, 1, 0, 2, 630, 0)) != NO_PAGE:
        nr_met += 1
    assert nr_met == (1 << small.order[small.order < 2].astype(int)).sum()
    assert policy.counters()["refusals"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec", ["buddy-fifo", "reserve:t=2:n=60", "gravity", "gravity:tree=avl", "best-fit"]
)
def test_compiled_and_plain_code_hand_out_the_same(spec: str) -> None:
    pytest.importorskip("numba")
    ground = ground_of(Shape(ends=(128, 4096, 8100), seed=5))
    found = []
    for pure in (True, False):
        policy: Any = make(spec, ground, pure=pure)
        rng = np.random.default_rng(1998)
        held: list[tuple[int, int]] = []
        taken = []
        for _ in range(4000):
            if held and rng.integers(2):
                policy.free(*held.pop(int(rng.integers(len(held)))))
                continue
            order, zone = int(rng.integers(5)), int(rng.integers(3))
            index = policy.alloc(Ask(order, 1, 0, zone, int(ground.limits()[zone]), 0))
            taken.append(index)
            if index != NO_PAGE:
                held.append((index, order))
        policy.validate()
        found.append((taken, policy.counters()))
    assert found[0] == found[1]
