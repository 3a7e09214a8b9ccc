"""Where free addresses are found."""

from __future__ import annotations

import pytest

from kernelmodel.errors import NoMemoryError
from kernelmodel.ordered import TREES
from tests.kernelmodel.spaces import ANON, FIXED, GROWSDOWN, PAGE, READ, RW, Space


@pytest.fixture(params=TREES)
def space(request: pytest.FixtureRequest) -> Space:
    return Space(request.param)


def test_free_addresses_from_above_and_from_below(space: Space) -> None:
    assert space.map(0, 2, READ, ANON) == 2046
    assert space.map(0, 2, RW, ANON) == 2044
    space.map(2042, 1)
    assert space.map(0, 1, RW, ANON) == 2043
    assert space.map(0, 2, RW, ANON) == 2040
    assert space.map(0, 2047 - 16, RW, ANON) == 2048
    below = Space(top_down=False)
    assert below.map(0, 2, RW, ANON) == 1024
    assert below.map(0, 2, READ, ANON) == 1026
    with pytest.raises(NoMemoryError):
        below.map(0, 3072, RW, ANON)


def test_free_addresses_keep_off_a_stack(space: Space) -> None:
    space.map(2040, 8, flags=ANON | FIXED | GROWSDOWN)
    assert space.map(0, 1, RW, ANON) == 2031
    assert space.map(2033, 1, RW, ANON) == 2030
    space.map(2032, 1)
    assert space.map(0, 1, READ, ANON) == 2029


def test_a_hint_is_taken_if_it_is_free(space: Space) -> None:
    assert space.map(100, 2, RW, ANON) == 100
    assert space.map(101, 1, RW, ANON) == 2047
    assert space.map(3, 1, RW, ANON) == 16
    assert space.mm.mmap(200 * PAGE + 5, 1, RW, ANON) == 200 * PAGE
    assert space.map(4095, 2, RW, ANON) == 2045
