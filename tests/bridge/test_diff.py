"""Frames and pageblocks of two snapshots: by hand, and against an oracle that looks at one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from kernelmodel.host import ZoneSpan
from tests.before_after import AFTER, BEFORE, after, before, frame_table
from tests.oracles.diff import Frame
from tests.ownerships import Host, by_kind, check, slowly
from vmprobe.bridge import diff as bridge
from vmprobe.bridge.diff import FrameDiff, Owner, Ownership, Turn, compare_frames, ownership
from vmprobe.bridge.ownership import Rank
from vmprobe.store import load

FIXTURES = Path(__file__).parents[2] / "fixtures" / "snapshots"

KINDS = {
    "free": ("free",), "hole": ("absent",), "slab": ("stays",), "unknown": ("unknown",),
    "ann": ("moves", "stays"), "bob": ("moves", "stays"), "cache": ("moves",),
}  # fmt: skip
"""Owners, and what their frames do."""


def owned(host: Host, zones: tuple[tuple[int, int], ...], names: list[str]) -> Ownership:
    """Make the arrays of a host; `names` is the order in which owners are numbered."""
    pfns = sorted(host)
    starts = [pfn for pfn in pfns if pfn - 1 not in host]
    ends = [pfn + 1 for pfn in pfns if pfn + 1 not in host]
    pairs = [(name, rank) for name in names for rank in KINDS[name]]
    code = {pair: at for at, pair in enumerate(pairs)}
    return Ownership(
        ranges=np.array(list(zip(starts, ends, strict=True)), np.int64).reshape(-1, 2),
        codes=np.array([code[host[pfn].owner, host[pfn].rank] for pfn in pfns], np.int32),
        unstable=np.array([host[pfn].unstable for pfn in pfns], np.bool_),
        owner_of=np.array([names.index(name) for name, _ in pairs], np.int32),
        rank_of=np.array([Rank[rank.upper()] for _, rank in pairs], np.uint8),
        owners=tuple(Owner(name, key=name) for name in names),
        zones=tuple(ZoneSpan(0, str(s), s, e, None, None, 9, 0) for s, e in zones),
    )


SEEN = [
    Frame(owner, rank, unstable) for owner in KINDS for rank in KINDS[owner] for unstable in (False, True)
]


@st.composite
def hosts(draw: st.DrawFn) -> tuple[Host, Host, int, tuple[tuple[int, int], ...]]:
    """Two looks at a few pageblocks, of which frames may be missing, and where zones are."""
    order = draw(st.integers(1, 3))
    nr = draw(st.integers(1, 4)) << order
    looks: list[Host] = []
    for _ in range(2):
        calm = Frame(*draw(st.sampled_from((("free", "free"), ("free", "free"), ("ann", "moves")))))
        odd = draw(st.dictionaries(st.integers(0, nr - 1), st.sampled_from(SEEN), max_size=nr))
        gone = draw(st.sets(st.integers(0, nr - 1), max_size=1))
        looks.append({pfn: odd.get(pfn, calm) for pfn in range(nr) if pfn not in gone})
    cut = draw(st.integers(0, nr))
    zones = draw(st.sampled_from(((), ((0, nr),), ((0, cut), (cut, nr)))))
    return looks[0], looks[1], order, tuple(zone for zone in zones if zone[0] < zone[1])


def compared(then: Host, now: Host, order: int, zones: tuple[tuple[int, int], ...]) -> FrameDiff:
    # Owners are numbered in another order on each side, as in life.
    return compare_frames(owned(then, zones, sorted(KINDS)), owned(now, zones, sorted(KINDS)[::-1]), order)


@given(hosts())
def test_small_hosts_are_told_as_one_frame_at_a_time(
    host: tuple[Host, Host, int, tuple[tuple[int, int], ...]],
) -> None:
    then, now, order, zones = host
    check(compared(then, now, order, zones), then, now, order, zones)


@given(hosts())
def test_portions_of_any_size_add_up(host: tuple[Host, Host, int, tuple[tuple[int, int], ...]]) -> None:
    then, now, order, zones = host
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bridge, "CHUNK", 3)
        patch.setattr(bridge, "SPARE_KEYS", -1 << 40)  # every key is sorted
        check(compared(then, now, order, zones), then, now, order, zones)


def owners(turned: Turn) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return {tuple(row.owner[:3]): tuple(row[1:]) for row in turned.owners}


def test_two_looks_by_hand() -> None:
    then, now = ownership(before()), ownership(after())
    found = compare_frames(then, now, 9)
    assert (found.free_before, found.free_after) == (3, 2)
    assert owners(found.broken) == {
        ("process", "eater", 95): (1, 1, 612, 0, (512, 1324)),
        ("slab", None, None): (1, 0, 1, 1, (1536,)),
        ("page cache", None, None): (0, 1, 300, 0, (1024,)),
    }
    assert (found.broken.pageblocks, found.broken.by_staying, found.broken.by_moving) == (3, 1, 2)
    assert (found.broken.shared, found.broken.unstable) == (1, 0)
    assert owners(found.held) == {
        ("page tables", None, None): (1, 0, 1, 1, (2148,)),
        ("unknown", "flag word 0", None): (1, 0, 2, 0, (2610,)),
    }
    assert owners(found.freed) == {
        ("process", "leaver", 80): (1, 0, 512, 0, (3072,)),
        ("slab", None, None): (1, 0, 12, 12, (3584,)),
    }
    assert owners(found.released) == {}
    assert [(row.old.kind, row.new.kind, row.new.pid, row.frames) for row in found.changes[:4]] == [
        ("free", "process", 95, 612), ("process", "free", None, 512), ("free", "page cache", None, 500),
        ("slab", "free", None, 12),
    ]  # fmt: skip
    check(by_kind(found), slowly(then), slowly(now), 9, ((0, 4096),))


def test_what_rests_on_frames_that_changed_is_said() -> None:
    # The slab page of pageblock 3 is unstable, and page cache beside it is not: it was broken all the same.
    # All of eater in pageblock 1 is unstable in the earlier snapshot.
    eater = tuple(range(512, 1024))
    then = ownership(before(frames=frame_table(BEFORE, eater)))
    now = ownership(after(frames=frame_table(AFTER, (1536, 2148))))
    found = compare_frames(then, now, 9)
    assert (found.broken.pageblocks, found.broken.unstable) == (3, 1)
    assert (found.held.pageblocks, found.held.unstable) == (2, 1)
    assert found.unstable == 512 + 2
    assert found.changed == 612 + 512 + 500 + 12 + 2 + 2 - found.unstable
    check(by_kind(found), slowly(then), slowly(now), 9, ((0, 4096),))


def test_nothing_changed_between_a_snapshot_and_itself() -> None:
    whose = ownership(load(FIXTURES / "6.12-fragmented.vmsnap"))
    found = compare_frames(whose, whose, 9)
    assert (found.changed, found.unstable, found.changes) == (0, 0, ())
    turns = (found.broken, found.held, found.freed, found.released)
    assert {turn.pageblocks for turn in turns} == {0}
    assert found.contents.sum() == np.trace(found.contents)
