"""Status of a zone: exact, within the drift that is printed, or violated."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.consistency.buddy import check_buddy
from kernelmodel.pageflags import mask
from tests.kernelmodel.hosts import RANGES, Host, draw_host, merged

if TYPE_CHECKING:
    from kernelmodel.host import HostModel

BUDDY = mask("BUDDY")


def model(
    before: list[int] | None, after: list[int] | None, *, apart: int = 0, unstable: tuple[int, ...] = ()
) -> HostModel:
    """First zone: free are 16 to 20 (a block of order 2) and 22 (order 0); pfn 21 is slab."""
    host = Host(words={**dict.fromkeys((16, 17, 18, 19, 22), BUDDY), 21: mask("SLAB")})
    made = host.model()
    first = replace(
        made.zones[0],
        nr_free_before=None if before is None else tuple(before),
        nr_free_after=None if after is None else tuple(after),
        pageblock_order=2,
        nr_pageblocks_apart=apart,
    )
    marks = np.zeros(len(made.frames), np.bool_)
    marks[[pfn - 16 for pfn in unstable]] = True
    return replace(made, zones=(first, made.zones[1]), frames=replace(made.frames, unstable=marks))


RIGHT = [1, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("before", "after", "status", "drift"),
    [
        (RIGHT, RIGHT, "exact", [0, 0, 0, 0, 0]),
        (RIGHT, None, "exact", [0, 0, 0, 0, 0]),
        (None, None, None, None),
        ([2, 0, 1, 0, 0], [2, 0, 1, 0, 0], "violated", [0, 0, 0, 0, 0]),
        ([0, 0, 0, 0, 0], RIGHT, "within_drift", [1, 0, 1, 0, 0]),
        ([3, 0, 1, 0, 0], [4, 0, 1, 0, 0], "violated", [1, 0, 0, 0, 0]),
        ([2, 0, 1, 0, 0], [3, 0, 1, 0, 0], "within_drift", [1, 0, 0, 0, 0]),
        ([1, 1, 1, 0, 0], [2, 1, 1, 0, 0], "violated", [1, 0, 0, 0, 0]),  # order 1 stood still and is off
        ([1, 0, 1, 0], [1, 0, 1, 0], "violated", [0, 0, 0, 0]),
    ],
)
def test_status_and_drift(
    before: list[int] | None, after: list[int] | None, status: str | None, drift: list[int] | None
) -> None:
    zones, violations = check_buddy(model(before, after))
    assert zones[0].status == status
    assert zones[0].drift == (None if drift is None else tuple(drift))
    assert [v.kind for v in violations] == (["free-blocks"] if status == "violated" else [])
    assert zones[0].rebuilt == tuple(RIGHT)


def test_blocks_that_may_have_come_or_gone_with_a_frame_are_in_doubt() -> None:
    # Free are 16 to 20 and 22; 21 changed, 20 and 23 are in use: 21 itself, and no other.
    assert check_buddy(model(RIGHT, RIGHT, unstable=(21,)))[0][0].drift == (1, 0, 0, 0, 0)
    # 23 may have been free, and then one block with 22.
    assert check_buddy(model(RIGHT, RIGHT, unstable=(23,)))[0][0].drift == (2, 1, 0, 0, 0)
    # 20, 21 and 23 changed: all of 20 to 24 may have been free, and one block with 16 to 20.
    assert check_buddy(model(RIGHT, RIGHT, unstable=(20, 21, 23)))[0][0].drift == (4, 2, 2, 1, 0)
    # What the doubt does not reach must fit.
    off = [1, 0, 2, 0, 0]
    assert check_buddy(model(off, off, unstable=(21,)))[0][0].status == "violated"
    assert check_buddy(model(off, off, unstable=(20, 21, 23)))[0][0].status == "within_drift"


@given(st.integers(0, 1 << 32))
def test_the_doubt_covers_whatever_really_happened(seed: int) -> None:
    """Frames are taken and given back behind our back; they are marked, as a second look would mark them."""
    chooser = random.Random(seed)
    host = draw_host(seed)
    host.entries.clear()
    seen = host.model()
    true = draw_host(seed)
    true.entries.clear()
    first, last = RANGES[0]
    changed = chooser.sample(range(first, last), chooser.randint(0, 40))
    for pfn in changed:
        true.words[pfn] = mask("SLAB") if true.words[pfn] == BUDDY else BUDDY
    true.free[0] = merged([pfn for pfn in range(first, last) if true.words[pfn] == BUDDY])
    told = true.model().zones[0].nr_free_before
    marks = np.zeros(len(seen.frames), np.bool_)
    marks[[pfn - first for pfn in changed]] = True
    photographed = replace(
        seen,
        zones=(replace(seen.zones[0], nr_free_before=told, nr_free_after=told), seen.zones[1]),
        frames=replace(seen.frames, unstable=marks),
    )
    zones, _ = check_buddy(photographed)
    assert zones[0].status in {"exact", "within_drift"}
    assert zones[1].status == "exact"


def test_pageblocks_that_merge_with_no_other_may_keep_buddies_apart() -> None:
    split = [1, 2, 0, 0, 0]
    assert check_buddy(model(split, split, apart=1))[0][0].status == "violated", "below a pageblock all merge"
    more = [1, 0, 3, 0, 0]
    zones, violations = check_buddy(model(more, more, apart=1))
    assert (zones[0].status, zones[0].drift) == ("within_drift", (0, 0, 2, 2, 2))
    assert violations == []
