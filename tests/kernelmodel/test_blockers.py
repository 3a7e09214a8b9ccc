"""kernelmodel.blockers against counting frame by frame; the sums by hand; planted faults."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.blockers import (
    Windows,
    held_by_kind,
    held_by_owner,
    held_by_tag,
    hostages,
    potential,
    windows,
)
from kernelmodel.errors import InvariantError
from kernelmodel.holder import (
    CGROUP_TAG,
    HOLDER_NAMES,
    NR_TAGS,
    PINNED_TAG,
    PROCESS_TAG,
)
from kernelmodel.memmap import MemMap
from kernelmodel.movability import Movability
from kernelmodel.pageblock import pageblocks
from tests.oracles import blockers as oracle

TAGS = {
    "free": Movability.FREE,
    "movable": Movability.ANON,
    "hole": Movability.HOLE,
    "process": PROCESS_TAG,
    "cgroup": CGROUP_TAG,
    "slab": Movability.SLAB,
    "page tables": Movability.PGTABLE,
    "kernel": Movability.RESERVED,
    "pinned": PINNED_TAG,
    "unknown": Movability.UNKNOWN,
}


def made(host: dict[int, str], order: int) -> Windows:
    """Windows of a host, whose frames may have gaps."""
    pfns = sorted(host)
    starts = [pfn for pfn in pfns if pfn - 1 not in host]
    ends = [pfn + 1 for pfn in pfns if pfn + 1 not in host]
    ranges = np.array(list(zip(starts, ends, strict=True)), np.int64).reshape(-1, 2)
    frames = MemMap(ranges, np.zeros(len(pfns), np.uint64), None, np.zeros(len(pfns), np.bool_))
    found = windows(frames, np.array([TAGS[host[pfn]] for pfn in pfns], np.uint8), order)
    found.validate()
    return found


@st.composite
def hosts(draw: st.DrawFn, kinds: tuple[str, ...] = tuple(TAGS)) -> dict[int, str]:
    """Runs of frames of one kind, with gaps between some."""
    host: dict[int, str] = {}
    at = draw(st.integers(0, 9))
    for _ in range(draw(st.integers(1, 14))):
        at += draw(st.sampled_from([0, 0, 0, 3]))
        kind, length = draw(st.sampled_from(kinds)), draw(st.sampled_from([1, 1, 2, 5, 8]))
        host |= dict.fromkeys(range(at, at + length), kind)
        at += length
    return host


@given(hosts(), st.integers(0, 4))
def test_kinds_hold_what_is_counted_frame_by_frame(host: dict[int, str], order: int) -> None:
    found = held_by_kind(made(host, order))
    assert {HOLDER_NAMES[holder]: tuple(held) for holder, held in found.items()} == oracle.held(host, order)
    assert hostages(made(host, order)) == oracle.hostages(host, order)


@given(hosts(), st.integers(0, 2), st.integers(0, 3))
def test_coarser_windows_are_those_that_are_counted_anew(host: dict[int, str], order: int, more: int) -> None:
    found, expected = made(host, order).coarser(order + more), made(host, order + more)
    found.validate()
    assert found.start_pfn.tolist() == expected.start_pfn.tolist()
    assert found.counts.tolist() == expected.counts.tolist()


@given(hosts(), st.integers(0, 3), st.data())
def test_owners_hold_what_is_counted_frame_by_frame(
    host: dict[int, str], order: int, data: st.DataObject
) -> None:
    who = ("a", "b", "c")
    blocking = [pfn for pfn, kind in host.items() if kind in oracle.KINDS]
    owners = {pfn: set(data.draw(st.sets(st.sampled_from(who)))) for pfn in blocking}
    pairs = [(pfn, who.index(name)) for pfn, names in owners.items() for name in names]
    pairs += pairs[:2]  # a frame that one process maps twice
    pfn, owner = np.array(pairs, np.int64).reshape(-1, 2).T
    found = held_by_owner(made(host, order), pfn, owner, len(who))
    assert [tuple(held) for held in found] == [
        oracle.held_by_owner(host, owners, order, name) for name in who
    ]


@given(hosts(kinds=("free", "movable", "slab", "hole")), st.integers(0, 3))
def test_perfect_compaction_frees_as_many_windows_as_trying_it_out(host: dict[int, str], order: int) -> None:
    nr_free = sum(kind == "free" for kind in host.values())
    found = potential(made(host, order), nr_free, 0, 0)
    assert found.after == found.at_most == oracle.most_free(host, order)
    assert found.now <= found.after


@given(hosts(), st.integers(0, 4))
def test_pageblocks_are_those_of_the_plain_count(host: dict[int, str], order: int) -> None:
    """Where nothing more is known than the words say, both ways to count agree."""
    plain = {pfn: kind for pfn, kind in host.items() if TAGS[kind] < len(Movability)}
    if not plain:
        return
    pfns = sorted(plain)
    ranges = np.array([(pfn, pfn + 1) for pfn in pfns], np.int64)
    frames = MemMap(ranges, np.zeros(len(pfns), np.uint64), None, np.zeros(len(pfns), np.bool_))
    expected = pageblocks(frames, np.array([TAGS[plain[pfn]] for pfn in pfns], np.uint8), order)
    found = made(plain, order).pageblocks()
    assert found.counts.tolist() == expected.counts.tolist()


HOST = (
    ["free"] * 6 + ["slab", "page tables"]  # 0: two kinds
    + ["slab"] * 8  # 8: full
    + ["movable"] * 5 + ["free"] * 2 + ["pinned"]  # 16: one pin
    + ["free"] * 8  # 24
    + ["movable"] * 8  # 32
    + ["free"] * 7 + ["unknown"]  # 40
)  # fmt: skip


def test_sums_by_hand() -> None:
    found = made(dict(enumerate(HOST)), 3)
    held = {HOLDER_NAMES[holder]: tuple(sums) for holder, sums in held_by_kind(found).items()}
    assert held == {
        "process": (0, 0, 0, 0, 0),
        "cgroup": (0, 0, 0, 0, 0),
        "slab": (2, 1, 1, 9, 6),
        "page tables": (1, 0, 0, 1, 6),
        "kernel": (0, 0, 0, 0, 0),
        "pinned": (1, 1, 0, 1, 2),
        "unknown": (1, 1, 0, 1, 7),
    }
    # Four windows, though the kinds count five: the first is held by two.
    assert hostages(found) == (4, 15)
    assert held_by_tag(found, Movability.SLAB) == (2, 1, 1, 9, 6)
    # 23 free pages: windows 24 and 32 can be had, and 40 too if its unknown frame is free.
    assert potential(found, 23, 0, 0) == (1, 2, 2)
    assert potential(found, 23, 1, 0) == (1, 2, 3)
    # A reserve leaves room for one, and what is free stays free whatever the reserve.
    assert potential(found, 23, 0, 8) == (1, 1, 1)
    assert potential(found, 23, 0, 23) == (1, 1, 1)


def test_whole_windows_of_words_of_0_are_not_counted_on() -> None:
    found = made(dict(enumerate(["unknown"] * 8 + ["free"] * 8)), 3)
    assert potential(found, 8, 8, 0) == (1, 1, 1)


def test_windows_of_a_zone_lie_inside_or_touch_it() -> None:
    found = made(dict.fromkeys(range(32), "free"), 3)
    assert found.inside(1, 24).tolist() == [False, True, True, False]
    assert found.touching(1, 24).tolist() == [True, True, True, False]
    assert found.touching(8, 25).tolist() == [False, True, True, True]
    assert found.find(np.array([7, 8, 31, 32])).tolist() == [0, 1, 3, -1]


def test_a_frame_counted_twice_is_told() -> None:
    found = made(dict(enumerate(HOST)), 3)
    counts = found.counts.copy()
    counts[2, Movability.ANON] += 1
    with pytest.raises(InvariantError, match="pageblock-sum"):
        replace(found, counts=counts).validate()
    with pytest.raises(InvariantError, match="window-tags"):
        replace(found, counts=found.counts[:, :-1]).validate()


def test_no_windows_hold_nothing() -> None:
    nothing = Windows(3, np.empty(0, np.int64), np.empty((0, NR_TAGS), np.int64))
    assert hostages(nothing) == (0, 0)
    assert len(nothing.coarser(5)) == 0
    assert nothing.find(np.array([4])).tolist() == [-1]
    assert held_by_owner(nothing, np.array([4]), np.array([0]), 1) == [(0, 0, 0, 0, 0)]
