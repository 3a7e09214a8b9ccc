"""Policies by name and option."""

from __future__ import annotations

import pytest

from kernelmodel.errors import ModelError
from kernelmodel.free_area.areas import Areas
from kernelmodel.free_area.lists import FreeLists
from kernelmodel.free_area.lists_state import NR_RESERVED, RESERVED_ORDER
from kernelmodel.free_area.registry import POLICIES, make
from kernelmodel.free_area.tree import AVL, BALANCE, LARGE
from tests.kernelmodel.free_area.grounds import Shape, ground_of

GROUND = ground_of(Shape())


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_begins_with_what_is_free(name: str) -> None:
    policy = make(name, GROUND, pure=True)
    assert policy.name == name
    assert policy.free_blocks().counts().tolist() == GROUND.free_blocks().counts().tolist()
    assert {"splits", "fallbacks"} & policy.counters().keys()
    policy.validate()


def test_options_reach_the_policy() -> None:
    reserve, gravity = make("reserve:n=3", GROUND), make("gravity:tree=avl:large=2", GROUND, pure=True)
    assert isinstance(reserve, FreeLists)
    assert isinstance(gravity, Areas)
    assert reserve.state.info[[RESERVED_ORDER, NR_RESERVED]].tolist() == [4, 3]
    assert gravity.state.info[[BALANCE, LARGE]].tolist() == [AVL, 2]
    assert "refusals" in reserve.counters()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("buddy", "no policy 'buddy': there are buddy-lifo, buddy-fifo, buddy-grouped, reserve, gravity"),
        ("buddy-lifo:t=1", "policy buddy-lifo has no option 't': there is none"),
        ("reserve:m=1", "has no option 'm': there is t, n"),
        ("reserve:t=0", "reserve: t=0: it may be 1 to 10"),
        ("reserve:n=many", "n=many: it may be 1 to 1048575"),
        ("gravity:tree", "tree=: it may be rb or avl or none"),
        ("gravity:tree=-1", "tree=-1: it may be rb or avl or none"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(spec: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make(spec, GROUND)
