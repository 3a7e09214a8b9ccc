"""The allocator against its slow twin: the same frame at every step, the same lists after it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kernelmodel.page_alloc import state
from tests.kernelmodel.page_alloc.zones import GEOMETRY, TUNING, Shape, assert_same, pair_of, without_pcp

ORDERS = st.integers(0, GEOMETRY.max_order)
TYPES = st.integers(0, 2)
BITS = (
    state.ALLOC_NO_WATERMARKS, state.ALLOC_OOM, state.ALLOC_NON_BLOCK, state.ALLOC_MIN_RESERVE,
    state.ALLOC_CMA, state.ALLOC_NOFRAGMENT, state.ALLOC_HIGHATOMIC, state.ALLOC_KSWAPD,
)  # fmt: skip
FLAGS = st.tuples(st.integers(0, 2), st.sets(st.sampled_from(BITS), max_size=3)).map(
    lambda f: f[0] | sum(f[1])
)
TUNINGS = st.builds(
    replace,
    st.sampled_from((TUNING, without_pcp(), replace(TUNING, pcp_high_max=12))),
    pcp_free_high_batch=st.booleans(),
    defrag_mode=st.booleans(),
    watermark_boost_factor=st.sampled_from((0, 15000)),
)
SHAPES = st.builds(
    Shape,
    start=st.sampled_from((0, 5, 40)),
    end=st.sampled_from((250, 640)),
    free_share=st.floats(0.05, 1),
    clustered=st.booleans(),
    types=st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple),
    seed=st.integers(0, 1 << 30),
    tuning=TUNINGS,
)


class Machine(RuleBasedStateMachine):
    """Random operations on both."""

    @initialize(shape=SHAPES)
    def make(self, shape: Shape) -> None:
        self.buddy, self.twin = pair_of(shape)

    @rule(order=ORDERS, want=TYPES, flags=FLAGS, cpu=st.integers(0, 1), zone=st.integers(0, 4))
    def alloc(self, order: int, want: int, flags: int, cpu: int, zone: int) -> None:
        expected = self.twin.alloc(order, want, flags, cpu, zone)
        assert self.buddy.alloc(order, want, flags, cpu, zone) == expected

    @rule(order=st.integers(0, 4), want=TYPES, flags=FLAGS, times=st.integers(2, 60))
    def alloc_many(self, order: int, want: int, flags: int, times: int) -> None:
        for _ in range(times):
            self.alloc(order, want, flags, 0, 0)

    @precondition(lambda self: self.twin.used)
    @rule(data=st.data(), cpu=st.integers(0, 1), to_tail=st.booleans(), times=st.integers(1, 40))
    def free(self, data: st.DataObject, cpu: int, to_tail: bool, times: int) -> None:
        used = sorted(self.twin.used)
        at = data.draw(st.integers(0, len(used) - 1))
        for pfn in used[at : at + times]:
            order = self.twin.used[pfn][0]
            self.twin.free(pfn, order, cpu, to_tail)
            self.buddy.free(pfn, order, cpu, state.FPI_TO_TAIL if to_tail else 0)

    @rule()
    def drain(self) -> None:
        self.twin.drain()
        self.buddy.drain()

    @rule(cpu=st.integers(0, 1))
    def decay(self, cpu: int) -> None:
        self.twin.decay(cpu)
        self.buddy.decay(cpu)

    @rule(want=TYPES, force=st.booleans())
    def unreserve(self, want: int, force: bool) -> None:
        expected = self.twin.unreserve(want, force)
        assert self.buddy.unreserve_highatomic(want, force=force) == expected

    @rule(pages=st.integers(1, 100))
    def decay_boost(self, pages: int) -> None:
        self.twin.boost = max(self.twin.boost - pages, 0)
        self.buddy.decay_boost(pages)

    @invariant()
    def same(self) -> None:
        if hasattr(self, "twin"):
            assert_same(self.buddy, self.twin)
            self.buddy.validate()


Machine.TestCase.settings = settings(stateful_step_count=20)
TestMachine = Machine.TestCase


def demand(nr_ops: int, seed: int, nr_used: int) -> list[tuple[int, ...]]:
    """Return operations of a seeded stream: (order, type, flags, cpu, zone), or (index into the used,)."""
    rng = np.random.default_rng(seed)
    ops: list[tuple[int, ...]] = []
    for _ in range(nr_ops):
        if nr_used and rng.random() < 0.45:
            ops.append((int(rng.integers(1 << 30)),))
            nr_used -= 1
        else:
            order = int(rng.choice(7, p=(0.6, 0.15, 0.1, 0.06, 0.04, 0.03, 0.02)))
            flags = int(rng.integers(3)) | sum(int(bit) for bit in BITS if rng.random() < 0.15)
            ops.append((order, int(rng.integers(3)), flags, int(rng.integers(2)), int(rng.integers(5))))
            nr_used += 1
    return ops


@pytest.mark.parametrize("seed", range(3))
def test_a_long_stream_goes_through_every_path(seed: int) -> None:
    types = (state.MOVABLE, state.MOVABLE, state.UNMOVABLE, state.RECLAIMABLE, state.HIGHATOMIC, state.CMA)
    buddy, twin = pair_of(Shape(start=0, end=2048, types=types, free_share=0.3, seed=seed))
    failed = 0
    for step, op in enumerate(demand(1500, seed, len(twin.used))):
        if len(op) == 1:
            if not twin.used:
                continue
            pfn = sorted(twin.used)[op[0] % len(twin.used)]
            order = twin.used[pfn][0]
            twin.free(pfn, order, step % 2)
            buddy.free(pfn, order, step % 2)
        else:
            expected = twin.alloc(*op)
            failed += expected == -1
            assert buddy.alloc(*op) == expected, (step, op)
    assert_same(buddy, twin)
    buddy.validate()
    info = buddy.zone.info
    assert failed
    assert info[state.NR_CLAIMS]
    assert info[state.NR_STEALS]
    assert info[state.NR_KSWAPD_WAKEUPS]
    assert buddy.boost
