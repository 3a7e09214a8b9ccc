"""What help may do, what it must not do, and that no page is lost or doubled by it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelmodel.compaction.result import blocks_of_order
from kernelmodel.compaction.zone_layout import FIRST_MOVABLE, KIND_MASK, LAST_MOVABLE, Frame
from kernelmodel.errors import ModelError
from kernelmodel.free_area import book as books
from kernelmodel.free_area.attempts import Attempts
from kernelmodel.free_area.book import GONE, NONE, ORDER, OWNER, SWAP_FREE
from kernelmodel.free_area.book_check import check
from kernelmodel.free_area.carry import NOWHERE, Changes
from kernelmodel.free_area.domains import domains, node_domain, targets, zone_domains
from kernelmodel.free_area.ground import Ground
from kernelmodel.free_area.helping import Helper
from kernelmodel.free_area.interface import Ask
from kernelmodel.free_area.registry import POLICIES, make
from kernelmodel.free_area.result import Came, HelpTally
from kernelmodel.page_alloc.layout import Tuning
from kernelmodel.priority import Priority
from kernelmodel.ranges import frames_of
from tests.kernelmodel.free_area.demands import WANTS, Want, demand_of, waiting
from tests.kernelmodel.free_area.grounds import SHAPES, Shape, ground_of
from tests.oracles.whatif import FirstFit

if TYPE_CHECKING:
    from kernelmodel.compaction.result import Outcome
    from kernelmodel.free_area.book import Book
    from kernelmodel.free_area.domains import Domain
    from kernelmodel.workload.demand import Demand

H = TypeVar("H", bound=Helper)
EVERYTHING = ("blit", "evict", "linux")
CPU_LISTS = Tuning(nr_cpus=2, pcp_batch=2, pcp_high_min=8, pcp_high_max=16)
MANY_KEPT = Tuning(nr_cpus=2, pcp_batch=20, pcp_high_min=200, pcp_high_max=200)
MARKS = Tuning(wmark_min=8, wmark_low=10, wmark_high=12)


class Zoned(FirstFit):
    """Has types of pageblocks, so that each zone is a domain of its own."""

    def block_types(self) -> dict[int, np.ndarray]:
        return {zone.zone_type: zone.block_type for zone in self.ground.zones}


def pages_held(book: Book) -> Counter[int]:
    head = np.flatnonzero(book.block[:, OWNER] != NONE)
    held: Counter[int] = Counter()
    for at in head:
        held[int(book.block[at, OWNER])] += 1 << int(book.block[at, ORDER])
    return held


class Watched(Helper):
    """Checks the book, and that nothing is lost or doubled, at every change."""

    outcome: tuple[Outcome, Domain] | None = None
    nr_swapped_of_nobody: int = 0
    """Pages of the ground's own users: nobody comes back for them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.attempts.changes = self.changes  # type: ignore[method-assign]

    def changes(self, outcome: Outcome, domain: Domain) -> Changes:
        outcome.validate()
        self.outcome = outcome, domain
        return Attempts.changes(self.attempts, outcome, domain)

    def carry(self, changes: Changes, tally: HelpTally, cpu: int = 0) -> None:
        book = self.book
        before, held = book.content.copy(), pages_held(book)
        gone: Counter[int] = Counter()
        kinds = before & KIND_MASK
        owner = owner_of_frames(book)
        for at, to, nr in zip(*changes, strict=True):
            assert ((kinds[at : at + nr] >= FIRST_MOVABLE) & (kinds[at : at + nr] <= LAST_MOVABLE)).all()
            if to == NOWHERE:
                gone.update(owner[at : at + nr].tolist())
        copied, swap = tally.copied_pages, int(book.info[SWAP_FREE])
        super().carry(changes, tally, cpu)
        check(book, self.policy)
        if gone[NONE]:
            frames = frames_of(changes.source, changes.nr_pages)[
                np.repeat(changes.destination == NOWHERE, changes.nr_pages)
            ]
            frames = frames[owner[frames] == NONE]
            self.nr_swapped_of_nobody += int(np.isin(kinds[frames], (Frame.ANON, Frame.SHMEM)).sum())
        del gone[NONE]
        assert pages_held(book) == held - gone
        nr_gone = int(changes.nr_pages[changes.destination == NOWHERE].sum())
        moved = tally.copied_pages - copied
        fewer = np.bincount(kinds, minlength=16) - np.bincount(book.content & KIND_MASK, minlength=16)
        assert (fewer[1:] >= 0).all()
        assert fewer[1:].sum() == nr_gone
        assert 0 <= int(book.info[SWAP_FREE]) <= swap
        assert not (nr_gone and moved)
        if self.outcome is not None:
            outcome, domain = self.outcome
            inside = domain.state(book.content)
            # What other CPUs keep was out of reach.
            inside[outcome.after == Frame.UNKNOWN] = Frame.UNKNOWN
            np.testing.assert_array_equal(inside, outcome.after)
            self.outcome = None


def owner_of_frames(book: Book) -> np.ndarray:
    owner = np.full(len(book.content), NONE)
    for at in np.flatnonzero(book.block[:, OWNER] != NONE):
        owner[at : at + (1 << int(book.block[at, ORDER]))] = book.block[at, OWNER]
    return owner


def watched(
    ground: Ground, demand: Demand, kinds: tuple[str, ...], policy: type[FirstFit] = FirstFit
) -> Watched:
    return Watched(ground, policy(ground), books.build(ground, demand), kinds, pure=True)


def played_unchecked(helper: H) -> H:
    at, stop = 0, len(helper.book.events)
    while at < stop:
        at = helper.play(helper.policy.state, helper.book, at, stop)
        if at < stop:
            helper.help(at)
            at += 1
    return helper


def played(helper: H) -> H:
    played_unchecked(helper)
    check(helper.book, helper.policy)
    return helper


def came(helper: Helper) -> list[int]:
    return helper.book.tally.sum(axis=(0, 1, 2)).tolist()


@pytest.mark.parametrize("policy", [FirstFit, Zoned])
@given(
    shape=SHAPES,
    want=WANTS,
    kinds=st.lists(st.sampled_from(EVERYTHING), min_size=1, unique=True),
    rest=st.tuples(st.sampled_from((0, 20, 1000)), st.sampled_from((Tuning(), MARKS))),
)
def test_nothing_is_lost_or_doubled(
    policy: type[FirstFit], shape: Shape, want: Want, kinds: list[str], rest: tuple[int, Tuning]
) -> None:
    swap, tuning = rest
    ground = replace(ground_of(replace(shape, tuning=tuning, free_share=5)), swap_free_pages=swap)
    demand = demand_of(ground, replace(want, leaves=3, all_leave=True))
    helper = played(watched(ground, demand, tuple(kinds), policy))
    assert not pages_held(helper.book)
    assert (helper.book.where == GONE).all()
    assert not helper.book.swapped.any()
    assert int(helper.book.info[SWAP_FREE]) == swap - helper.nr_swapped_of_nobody
    arrivals = int((demand.events >= 0).sum())
    assert int(helper.book.tally.sum()) == arrivals
    nr_helped = int(helper.book.tally[..., Came.HELPED].sum())
    assert nr_helped == sum(each.succeeded for each in helper.tally.values())
    assert int(helper.book.tally[:, Priority.NOWAIT, :, Came.HELPED].sum()) == 0


@pytest.mark.parametrize("spec", [*POLICIES, "buddy-grouped:defrag_mode=1", "gravity:tree=avl"])
@settings(max_examples=12)
@given(
    want=WANTS,
    kinds=st.lists(st.sampled_from(EVERYTHING), min_size=1, unique=True),
    tuning=st.sampled_from((Tuning(), MARKS, CPU_LISTS)),
)
def test_every_policy_agrees_with_the_book(spec: str, want: Want, kinds: list[str], tuning: Tuning) -> None:
    ground = replace(ground_of(Shape(tuning=tuning, free_share=5)), swap_free_pages=100)
    demand = demand_of(ground, replace(want, leaves=3, all_leave=True))
    policy = make(spec, ground, pure=True)
    helper = played(Watched(ground, policy, books.build(ground, demand), kinds, pure=True))
    policy.validate()
    assert not pages_held(helper.book)


def fragmented(*, kind: Frame = Frame.ANON, tuning: Tuning = Tuning()) -> Ground:  # noqa: B008
    """Return a ground of 64 + 192 + 256 frames in which every other frame is free."""
    shape = Shape(ends=(64, 256, 512), start=0, free_share=10, tuning=tuning)
    ground = ground_of(shape)
    for zone in ground.zones:
        zone.layout.state[::2], zone.layout.state[1::2] = kind, Frame.FREE
        zone.block_type[:] = 1
    return replace(ground, swap_free_pages=1 << 20)


@pytest.mark.parametrize(
    ("kinds", "tally"),
    [
        (("blit",), HelpTally(calls=1, succeeded=1, copied_pages=4)),
        (("evict",), HelpTally(calls=1, succeeded=1, swapped_pages=4)),
        (("linux",), None),
    ],
)
def test_who_waits_may_call_all(kinds: tuple[str, ...], tally: HelpTally | None) -> None:
    helper = played(watched(fragmented(), waiting(3), kinds))
    assert came(helper) == [0, 1, 0, 0]
    if tally is not None:
        assert helper.tally[kinds[0]] == tally
    else:
        assert helper.tally["linux"].copied_pages > 16
        assert helper.tally["linux"].scanned_pages > 200


def test_help_is_called_in_the_order_given() -> None:
    helper = played(watched(fragmented(), waiting(3), ("evict", "blit")))
    assert (helper.tally["evict"].calls, helper.tally["blit"].calls) == (1, 0)


@pytest.mark.parametrize(("kinds", "expected"), [(EVERYTHING, 1), (("evict", "linux"), 0)])
def test_the_atomic_may_call_blit_alone(kinds: tuple[str, ...], expected: int) -> None:
    helper = played(watched(fragmented(), waiting(3, priority=Priority.ATOMIC), kinds))
    assert came(helper)[Came.HELPED] == expected
    assert sum(helper.tally[kind].calls for kind in ("evict", "linux")) == 0


def test_who_neither_waits_nor_is_atomic_just_fails() -> None:
    helper = played(watched(fragmented(), waiting(3, 3, priority=Priority.NOWAIT), EVERYTHING))
    assert came(helper) == [0, 0, 2, 0]
    assert all(each == HelpTally() for each in helper.tally.values())


def test_what_cannot_move_stays() -> None:
    helper = played(watched(fragmented(kind=Frame.FIXED), waiting(3), EVERYTHING))
    assert came(helper) == [0, 0, 1, 0]
    assert helper.book.content.tolist() == helper.policy.ground.content().tolist()


def test_there_is_no_other_help() -> None:
    with pytest.raises(ModelError, match="'pray': there are blit, evict, linux"):
        watched(fragmented(), waiting(3), ("pray",))


def test_a_request_with_a_limit_gets_room_below_it() -> None:
    demand = waiting(3)
    demand.requests.highest_zone[:] = 0
    for kind in EVERYTHING:
        for policy in (FirstFit, Zoned):
            helper = played(watched(fragmented(), demand, (kind,), policy))
            assert came(helper) == [0, 1, 0, 0]
            assert helper.book.where[0] < 64


@pytest.mark.parametrize("kind", EVERYTHING)
def test_nothing_is_touched_where_a_request_could_not_go(kind: str) -> None:
    for policy in (FirstFit, Zoned) if kind == "evict" else (Zoned,):
        for order in (0, 3):
            ground = full_below()
            demand = waiting(order)
            demand.requests.highest_zone[:] = 0
            helper = played(watched(ground, demand, (kind,), policy))
            assert came(helper)[Came.HELPED] == (kind == "evict")
            assert helper.book.content[64:].tolist() == ground.content()[64:].tolist()


def test_the_scanners_do_not_run_where_too_little_is_free() -> None:
    for mark, expected in ((79, 1), (80, 0)):
        ground = fragmented(tuning=Tuning(wmark_min=mark, wmark_low=mark, wmark_high=mark))
        # 256 pages are free: 16, and the watermarks of three zones, leave some or not.
        helper = played(watched(ground, waiting(3), ("linux",)))
        assert helper.tally["linux"].calls == expected
        assert came(helper)[Came.HELPED] == expected


def test_the_scanners_fill_what_the_policy_types_as_movable_and_their_pages_are_theirs() -> None:
    ground = fragmented()
    for zone in ground.zones:
        zone.block_type[:] = 0
    helper = played(watched(ground, waiting(3), ("linux", "evict"), Zoned))
    assert helper.tally["linux"].copied_pages == 0
    assert helper.tally["linux"].scanned_pages > 0
    assert helper.tally["evict"] == HelpTally(calls=1, succeeded=1, swapped_pages=4)


class Keeps(FirstFit):
    """A CPU keeps all frames from 0 to 63 until they are drained."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self.kept = self.state.free[:64].copy()
        self.state.free[:64] = 0
        self.state.info[2] -= self.kept.sum()

    def drain(self) -> None:
        self.state.free[:64] |= self.kept
        self.state.info[2] += self.kept.sum()
        self.kept[:] = 0


def test_cpus_give_back_what_they_keep_before_anything_else() -> None:
    ground = fragmented()
    ground.zones[0].layout.state[:] = Frame.FREE
    helper = played(watched(ground, waiting(3), ("blit",), Keeps))
    assert came(helper) == [0, 1, 0, 0]
    assert helper.tally["blit"] == HelpTally()


@pytest.mark.parametrize(
    ("kind", "priority"),
    [*((kind, Priority.WAITS) for kind in EVERYTHING), ("blit", Priority.ATOMIC)],
)
def test_cpus_give_back_what_help_freed(kind: str, priority: Priority) -> None:
    ground = fragmented(tuning=MANY_KEPT)
    policy = make("buddy-grouped", ground, pure=True)
    demand = waiting(4, priority=priority)
    demand.requests.cpu[:] = 1
    # Not watched: the check itself makes CPUs give back.
    helper = played(Helper(ground, policy, books.build(ground, demand), (kind,), pure=True))
    assert came(helper) == [0, 1, 0, 0]


@pytest.mark.parametrize(("priority", "met", "nr_kept"), [(Priority.WAITS, 1, 0), (Priority.ATOMIC, 0, 4)])
def test_the_atomic_do_not_reach_what_other_cpus_keep(priority: Priority, met: int, nr_kept: int) -> None:
    zone = fragmented(tuning=MANY_KEPT).zones[0]
    zone.layout.state[:] = Frame.FIXED
    zone.layout.state[16:20], zone.layout.state[20:24] = Frame.ANON, Frame.FREE
    ground = Ground((zone,))
    # CPU 1 gives frames 4 to 7 back, the only room to copy the anonymous pages to, and keeps them.
    demand = waiting(0, 0, 0, 0, 3, priority=priority)
    demand.requests.cpu[:4] = 1
    events = np.array([~0, ~1, ~2, ~3, 4], np.int32)
    demand = replace(demand, standing_pfn=np.arange(4, 8), events=events)
    policy: Any = make("buddy-grouped", ground, pure=True)
    helper = played_unchecked(Helper(ground, policy, books.build(ground, demand), ("blit",), pure=True))
    assert came(helper) == [0, met, 1 - met, 0]
    assert policy.kept_blocks().nr_pages() == nr_kept
    check(helper.book, policy)


def full_below() -> Ground:
    """Return the fragmented ground with the lowest zone full."""
    ground = fragmented()
    ground.zones[0].layout.state[:] = Frame.ANON
    return ground


def test_one_area_makes_room_below_a_limit_by_copying_upwards_and_zones_cannot() -> None:
    demand = waiting(3)
    demand.requests.highest_zone[:] = 0
    assert came(played(watched(full_below(), demand, ("blit",), FirstFit))) == [0, 1, 0, 0]
    assert came(played(watched(full_below(), demand, ("blit",), Zoned))) == [0, 0, 1, 0]


def test_nobody_is_copied_past_his_own_limit() -> None:
    ground = full_below()
    demand = waiting(*[0] * 64, 3)
    demand = replace(demand, standing_pfn=np.arange(64), events=np.array([64], np.int32))
    demand.requests.highest_zone[:] = 0
    helper = played(watched(ground, demand, ("blit",), FirstFit))
    assert came(helper) == [0, 0, 1, 0]
    assert helper.book.where[:64].tolist() == list(range(64))


def test_a_zone_keeps_its_reserve_from_those_who_can_go_higher() -> None:
    ask = Ask(0, 1, Priority.WAITS, 2, 512, 0)
    tuning = Tuning(wmark_min=10, wmark_low=12, wmark_high=14, lowmem_reserve=(0, 5, 100, 0, 0))
    ground = fragmented(tuning=tuning)
    highest, *_, lowest = zone_domains(ground)
    assert (highest.zone_type, lowest.zone_type) == (2, 0)
    assert [lowest.allows(free, ask) for free in (110, 111)] == [False, True]
    atomic = ask._replace(priority=Priority.ATOMIC)
    assert [lowest.allows(free, atomic) for free in (104, 105)] == [False, True]
    assert [lowest.suits_compaction(free, ask) for free in (112, 113)] == [False, True]
    large = ask._replace(order=4)
    assert [lowest.suits_compaction(free, large) for free in (144, 145)] == [False, True]
    node = node_domain(ground)
    assert (node.wmark_min, node.wmark_atomic) == (30, 11)
    assert [node.allows(free, ask) for free in (30, 31)] == [False, True]
    assert [domain.layout.zone for domain in domains(ground, FirstFit(ground))] == ["all"]
    assert len(domains(ground, Zoned(ground))) == 3


def test_the_free_scanner_fills_movable_pageblocks() -> None:
    zone = ground_of(Shape(start=40)).zones[0]
    types = np.array([0, 1, 2, 4, 1, 0], np.uint8)
    assert targets(zone, types).tolist() == [False, False, False, True, False, True, True, False]


def test_blocks_are_made_ahead_and_the_watermark_left_alone() -> None:
    helper = watched(fragmented(), waiting(0), ())
    tally = HelpTally()
    helper.make_blocks(3, 5, tally)
    assert (tally.calls, tally.succeeded, tally.copied_pages) == (1, 1, 20)
    assert blocks_of_order(helper.policy.free_blocks().counts(), 3) == 5
    helper.make_blocks(3, 5, tally)
    assert tally.calls == 1, "nothing is missing"
    helper.make_blocks(3, 1000, tally)
    assert (tally.calls, tally.succeeded) == (2, 1)
