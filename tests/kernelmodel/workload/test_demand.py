"""Every rule of a demand is tripped, by name, by a fault planted in a sound one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernelmodel.errors import InvariantError
from kernelmodel.workload.demand import Demand, Requests


def column(*values: int) -> np.ndarray:
    return np.array(values, np.uint8)


SOUND = Demand(
    sources=("a", "b"),
    requests=Requests(
        column(0, 3, 0), column(0, 1, 2), column(1, 3, 9), column(0, 1, 2), column(0, 2, 3), column(0, 7, 9),
        column(0, 1, 1),
    ),
    events=np.array([1, ~0, 2, ~1], np.int32),
    standing_pfn=np.array([64]),
)  # fmt: skip


def with_column(**columns: np.ndarray) -> Demand:
    return replace(SOUND, requests=replace(SOUND.requests, **columns))


def with_events(*events: int) -> Demand:
    return replace(SOUND, events=np.array(events, np.int32))


def test_a_sound_demand_passes() -> None:
    SOUND.validate()
    assert (len(SOUND.requests), SOUND.nr_standing) == (3, 1)
    with_events().validate()


@pytest.mark.parametrize(
    ("invariant", "demand", "witness"),
    [
        ("demand-columns", with_column(order=np.array([0, 3, 0])), "order"),
        ("demand-columns", with_column(cpu=column(0, 1)), "cpu"),
        ("demand-values", with_column(order=column(0, 11, 0)), "request 1"),
        ("demand-values", with_column(migratetype=column(0, 0, 3)), "request 2"),
        ("demand-values", with_column(kind=column(13, 0, 0)), "request 0"),
        ("demand-values", with_column(priority=column(0, 3, 0)), "request 1"),
        ("demand-values", with_column(highest_zone=column(0, 8, 0)), "request 1"),
        ("demand-values", with_column(source=column(0, 2, 1)), "request 1"),
        ("demand-events", with_events(1, 3), "request 3"),
        ("demand-events", with_events(1, 1), "request 1"),
        ("demand-events", with_events(1, ~1, ~1), "request 1"),
        ("demand-events", with_events(0), "request 0"),
        ("demand-events", with_events(~1, 1), "request 1"),
        ("demand-events", with_events(1, ~2), "request 2"),
    ],
)
def test_each_planted_fault_is_found(invariant: str, demand: Any, witness: str) -> None:
    with pytest.raises(InvariantError) as caught:
        demand.validate()
    assert (caught.value.invariant, caught.value.where) == (invariant, witness)
