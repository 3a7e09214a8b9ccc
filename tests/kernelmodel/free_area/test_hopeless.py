"""Calls for help that are in vain cost little, and change nothing about what comes of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from kernelmodel.compaction.zone_layout import Frame
from kernelmodel.free_area.interface import Ask
from kernelmodel.free_area.result import HelpTally
from kernelmodel.priority import Priority
from tests.kernelmodel.free_area.demands import WANTS, Want, demand_of, waiting
from tests.kernelmodel.free_area.grounds import SHAPES, Shape, ground_of
from tests.kernelmodel.free_area.test_helping import came, fragmented, played, watched

if TYPE_CHECKING:
    import pytest


@given(shape=SHAPES, order=st.integers(1, 4), limit=st.integers(20, 200), kind=st.sampled_from(list(Frame)))
def test_who_looks_below_the_limit_first_finds_what_who_looks_at_all_finds(
    shape: Shape, order: int, limit: int, kind: Frame
) -> None:
    ground = ground_of(shape)
    ground.zones[0].layout.state[40:80] = kind
    helper = watched(ground, waiting(order), ("blit",))
    ask = Ask(order, 1, Priority.WAITS, 0, limit, 0)
    quick = [each.source.tolist() for each in helper.attempts.blit(ask)]
    helper.attempts._hopeless = lambda _content, _ask: False  # type: ignore[method-assign]
    assert quick == [each.source.tolist() for each in helper.attempts.blit(ask)]


@settings(max_examples=15)
@given(shape=SHAPES, want=WANTS)
def test_a_run_that_looks_below_the_limit_first_is_the_same(shape: Shape, want: Want) -> None:
    ground = ground_of(replace(shape, free_share=4))
    demand = demand_of(ground, replace(want, leaves=3))
    helpers = [watched(ground, demand, ("blit",)) for _ in range(2)]
    helpers[1].attempts._hopeless = lambda _content, _ask: False  # type: ignore[method-assign]
    for helper in helpers:
        played(helper)
    assert helpers[0].tally == helpers[1].tally
    assert came(helpers[0]) == came(helpers[1])
    assert helpers[0].book.content.tolist() == helpers[1].book.content.tolist()
    assert helpers[0].book.where.tolist() == helpers[1].book.where.tolist()


def test_hopeless_calls_are_cheap_and_count(monkeypatch: pytest.MonkeyPatch) -> None:
    demand = waiting(3, 3)
    demand.requests.highest_zone[:] = 0
    ground = fragmented()
    ground.zones[0].layout.state[:64:8] = Frame.FIXED
    monkeypatch.setattr("kernelmodel.free_area.attempts.blit", None)
    helper = played(watched(ground, demand, ("blit",)))
    assert came(helper) == [0, 0, 2, 0]
    assert helper.tally["blit"] == HelpTally(calls=2)


def test_a_window_across_the_limit_can_be_made() -> None:
    ground = fragmented()
    state = ground.zones[0].layout.state
    state[:], state[16:24] = Frame.FIXED, [Frame.ANON] * 2 + [Frame.FREE] * 6
    attempts = watched(ground, waiting(3), ("blit",)).attempts
    found = [attempts.blit(Ask(3, 1, Priority.WAITS, 0, limit, 0)) for limit in (18, 16)]
    assert [[each.source.tolist() for each in changes] for changes in found] == [[[16, 17]], [[]]]
