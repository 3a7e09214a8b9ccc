"""The loop and the book, against a dictionary of frames."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given

from kernelmodel.compaction.zone_layout import HEAD, KIND_MASK, TAIL, Frame
from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.free_area import book as books
from kernelmodel.free_area.book import EVICTED, FAILED, GONE, NEXT, NOT_YET, ORDER, OWNER, PREV, Book
from kernelmodel.free_area.book_check import check
from kernelmodel.free_area.carry import NOWHERE, Changes
from kernelmodel.free_area.helping import Helper
from kernelmodel.free_area.result import HelpTally
from tests.kernelmodel.free_area.demands import WANTS, Want, demand_of, waiting
from tests.kernelmodel.free_area.grounds import SHAPES, Shape, ground_of
from tests.oracles.whatif import FirstFit, simulated

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.workload.demand import Demand

SHAPE = Shape()


def helper_of(demand: Demand, *kinds: str, shape: Shape = SHAPE, pure: bool = True) -> Helper:
    ground = ground_of(shape)
    policy = FirstFit(ground, pure=pure)
    return Helper(ground, policy, books.build(ground, demand), kinds, pure=pure)


def played(helper: Helper, stop: int | None = None) -> Helper:
    stop = len(helper.book.events) if stop is None else stop
    assert helper.play(helper.policy.state, helper.book, 0, stop) == stop
    check(helper.book, helper.policy)
    return helper


def changes(*rows: tuple[int, int, int]) -> Changes:
    source, destination, nr_pages = np.array(rows, np.int64).reshape(-1, 3).T.copy()
    return Changes(source, destination, nr_pages)


def chain(book: Book, request: int) -> list[tuple[int, int]]:
    """Return frame and order of each block of a request."""
    blocks, at = [], int(book.where[request])
    while at >= 0:
        blocks.append((at, int(book.block[at, ORDER])))
        at = int(book.block[at, NEXT])
    return blocks


@given(shape=SHAPES, want=WANTS)
def test_the_loop_does_as_the_dictionary(shape: Shape, want: Want) -> None:
    ground = ground_of(shape)
    demand = demand_of(ground, want)
    right = simulated(ground, demand, FirstFit(ground))
    book = played(helper_of(demand, shape=shape)).book
    tally = {tuple(at): int(book.tally[tuple(at)]) for at in np.argwhere(book.tally).tolist()}
    assert tally == right.tally
    assert book.content.tolist() == right.content
    holder = {
        start + page: request
        for request in range(len(demand.requests))
        for start, order in chain(book, request)
        for page in range(1 << order)
    }
    assert holder == right.holder


@pytest.mark.slow
def test_compiled_and_plain_loops_write_the_same_book() -> None:
    ground = ground_of(SHAPE)
    demand = demand_of(ground, Want(nr_requests=400))
    books_ = [played(helper_of(demand, pure=pure)).book for pure in (True, False)]
    for plain, compiled in zip(*books_, strict=True):
        if isinstance(plain, np.ndarray):
            np.testing.assert_array_equal(plain, compiled)


def test_the_book_says_what_became_of_a_request() -> None:
    demand = waiting(0, 6, 0, 0)
    demand = replace(demand, events=np.array([0, 1, 2, ~2], np.int32))
    book = played(helper_of(demand, shape=replace(SHAPE, free_share=5))).book
    assert book.where[0] >= 0
    assert book.where[1:].tolist() == [FAILED, GONE, NOT_YET]


def test_what_stands_is_in_place_and_breaks_the_folio_it_was_part_of() -> None:
    ground = ground_of(replace(SHAPE, free_share=1))
    state = ground.zones[0].layout.state
    used = np.flatnonzero(((state & KIND_MASK) != Frame.FREE) & ((state & KIND_MASK) != Frame.HOLE))
    state[64:72] = Frame.ANON | TAIL
    state[64] = Frame.ANON | HEAD
    demand = replace(waiting(1, 0), standing_pfn=np.array([66]), events=np.array([1, ~0], np.int32))
    book = books.build(ground, demand)
    assert book.content[64:72].tolist() == [1, 1, 1 | HEAD, 1 | TAIL, 1, 1, 1, 1]
    assert book.block[66].tolist() == [0, -1, -1, 1]
    assert len(used)


@pytest.mark.parametrize(
    ("start", "words"),
    [(-64, "outside"), (127, "aligned"), (1 << 20, "outside"), (2, "nothing is in use")],
)
def test_nothing_stands_where_it_cannot(start: int, words: str) -> None:
    ground = ground_of(replace(SHAPE, free_share=10))
    ground.zones[0].layout.state[64:128] = Frame.ANON
    with pytest.raises(ModelError, match=words):
        books.build(ground, replace(waiting(1), standing_pfn=np.array([start]), events=np.empty(0, np.int32)))


def test_two_requests_do_not_stand_on_one_frame() -> None:
    ground = ground_of(SHAPE)
    ground.zones[0].layout.state[64:128] = Frame.ANON
    demand = replace(waiting(1, 0), standing_pfn=np.array([64, 65]), events=np.empty(0, np.int32))
    with pytest.raises(ModelError, match="frame 65"):
        books.build(ground, demand)


@pytest.mark.parametrize("kind", [Frame.FREE, Frame.HOLE])
def test_nothing_is_allocated_to_be_free(kind: Frame) -> None:
    with pytest.raises(ModelError, match=kind.name):
        helper_of(waiting(0, kind=kind))


def test_a_block_moves_as_a_whole() -> None:
    helper = played(helper_of(waiting(0, 2, 0)))
    (at, order), *_ = chain(helper.book, 1)
    to = free_block(helper, 2)
    helper.carry(changes((at, to, 4)), HelpTally())
    check(helper.book, helper.policy)
    assert order == 2
    assert chain(helper.book, 1) == [(to, 2)]
    assert helper.book.content[to : to + 4].tolist() == [1 | HEAD, 1 | TAIL, 1 | TAIL, 1 | TAIL]
    assert (helper.book.content[at : at + 4] == Frame.FREE).all()


def one_folio() -> tuple[Helper, int]:
    """Return a run in which request 0 holds a folio of four pages, and the folio's first frame."""
    demand = replace(waiting(2, 0), events=np.array([0, ~0], np.int32))
    helper = helper_of(demand)
    at = free_block(helper, 2)
    played(helper, 1)
    assert chain(helper.book, 0) == [(at, 2)]
    return helper, at


def free_block(helper: Helper, order: int) -> int:
    """Return the lowest free block of an order."""
    free = helper.policy.state.free.reshape(-1, 1 << order).all(axis=1)
    return int(np.flatnonzero(free)[0]) << order


def free_frames_behind(helper: Helper, at: int) -> list[int]:
    return [int(frame) for frame in np.flatnonzero(helper.policy.state.free) if frame > at]


def test_a_folio_of_which_a_part_moves_falls_into_pages() -> None:
    helper, at = one_folio()
    tally = HelpTally()
    one, other = free_frames_behind(helper, at + 4)[:2]
    helper.carry(changes((at + 2, one, 1), (at, other, 1)), tally)
    check(helper.book, helper.policy)
    assert chain(helper.book, 0) == [(other, 0), (at + 1, 0), (one, 0), (at + 3, 0)]
    assert helper.book.content[[other, at + 1, one, at + 3]].tolist() == [1] * 4
    assert tally == HelpTally(copied_pages=2)
    assert helper.play(helper.policy.state, helper.book, 1, 2) == 2
    check(helper.book, helper.policy)
    assert (helper.book.content[[other, at + 1, one, at + 3]] == Frame.FREE).all()


def test_a_folio_is_split_where_it_stands() -> None:
    helper, at = one_folio()
    helper.carry(changes((at, at, 1)), HelpTally())
    check(helper.book, helper.policy)
    assert chain(helper.book, 0) == [(at + page, 0) for page in range(4)]


def test_a_part_that_is_evicted_is_given_up_and_the_rest_is_freed_later() -> None:
    helper, at = one_folio()
    helper.book.info[books.SWAP_FREE] = 10
    tally = HelpTally()
    helper.carry(changes((at + 1, NOWHERE, 1), (at + 3, NOWHERE, 1)), tally)
    check(helper.book, helper.policy)
    assert chain(helper.book, 0) == [(at, 0), (at + 2, 0)]
    assert (tally.swapped_pages, helper.book.info[books.SWAP_FREE]) == (2, 8)
    assert helper.play(helper.policy.state, helper.book, 1, 2) == 2
    check(helper.book, helper.policy)
    assert helper.book.info[books.SWAP_FREE] == 10, "who leaves gives its swap back"


@pytest.mark.parametrize("nr_pages", [1, 2, 3])
def test_a_folio_that_is_evicted_in_part_is_given_up_page_by_page(nr_pages: int) -> None:
    helper, at = one_folio()
    helper.book.info[books.SWAP_FREE] = 10
    helper.carry(changes((at, NOWHERE, nr_pages)), HelpTally())
    check(helper.book, helper.policy)
    assert chain(helper.book, 0) == [(page, 0) for page in range(at + nr_pages, at + 4)]
    assert (helper.book.content[at : at + nr_pages] == Frame.FREE).all()
    assert helper.play(helper.policy.state, helper.book, 1, 2) == 2
    check(helper.book, helper.policy)


def test_a_folio_that_cannot_move_whole_moves_page_by_page() -> None:
    helper, at = one_folio()
    free = helper.policy.state.free
    to = next(start for start in range(2, len(free), 4) if start > at + 4 and free[start : start + 4].all())
    helper.carry(changes((at, to, 4)), HelpTally())
    check(helper.book, helper.policy)
    assert chain(helper.book, 0) == [(to + page, 0) for page in range(4)]
    assert helper.play(helper.policy.state, helper.book, 1, 2) == 2
    check(helper.book, helper.policy)


def test_what_is_evicted_whole_leaves_nothing() -> None:
    helper, at = one_folio()
    helper.carry(changes((at, NOWHERE, 4)), HelpTally())
    assert helper.book.where[0] == EVICTED
    check(helper.book, helper.policy)
    assert helper.play(helper.policy.state, helper.book, 1, 2) == 2
    check(helper.book, helper.policy)


def test_a_destination_that_is_not_free_stops_the_run() -> None:
    helper, at = one_folio()
    used = int(np.flatnonzero(helper.policy.state.free == 0)[-1])
    with pytest.raises(InvariantError, match="claim-free"):
        helper.carry(changes((at, used, 1)), HelpTally())


def first(book: Book) -> int:
    """Return the first block of request 0: a folio of four pages that was split."""
    return int(book.where[0])


def leaks(book: Book) -> None:
    book.content[np.flatnonzero(book.content == Frame.FREE)[0]] = Frame.ANON


def frees(book: Book) -> None:
    book.content[first(book)] = Frame.FREE


def loses(book: Book) -> None:
    book.where[1] = GONE


def steals(book: Book) -> None:
    book.where[1] = book.where[2]


def begins_in_the_middle(book: Book) -> None:
    book.where[0] = book.block[first(book), NEXT]


def strays(book: Book) -> None:
    book.block[first(book), NEXT] = book.where[1]


def runs_in_a_circle(book: Book) -> None:
    last = chain(book, 0)[-1][0]
    book.block[last, NEXT] = first(book)
    book.block[first(book), PREV] = last


def grows(book: Book) -> None:
    book.block[book.where[3], ORDER] = 6


def overlaps(book: Book) -> None:
    book.block[int(book.where[3]) + 1] = (1, -1, -1, 0)


def is_no_folio(book: Book) -> None:
    book.content[int(book.where[3]) : int(book.where[3]) + 2] &= KIND_MASK


def is_nobodys(book: Book) -> None:
    book.block[int(book.where[3]), OWNER] = 99


def swells(book: Book) -> None:
    book.swapped[2] = 1


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (leaks, "book-free"),
        (frees, "book-free"),
        (loses, "book-owned"),
        (steals, "book-where"),
        (begins_in_the_middle, "book-where"),
        (strays, "book-chain"),
        (runs_in_a_circle, "book-where"),
        (grows, "book-block"),
        (overlaps, "book-block"),
        (is_no_folio, "book-folio"),
        (is_nobodys, "book-owned"),
        (swells, "book-size"),
    ],
)
def test_the_check_names_the_rule_that_is_broken(fault: Callable[[Book], None], rule: str) -> None:
    helper = played(helper_of(waiting(2, 0, 0, 1)))
    helper.carry(changes((first(helper.book), first(helper.book), 1)), HelpTally())
    check(helper.book, helper.policy)
    fault(helper.book)
    with pytest.raises(InvariantError) as caught:
        check(helper.book, helper.policy)
    assert caught.value.invariant == rule
