"""A recording of the model's own allocator gives the model's own memory back; and what cannot be known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kernelmodel.compaction.zone_layout import KIND_MASK, Frame
from kernelmodel.free_area.grouped import Grouped
from kernelmodel.free_area.interface import Ask
from kernelmodel.free_area.recorded import follow_recorded
from kernelmodel.page_alloc.layout import Tuning
from kernelmodel.page_alloc.state import NO_PAGE
from tests.kernelmodel.free_area.grounds import Shape, ground_of
from vmprobe.bridge import gfp
from vmprobe.bridge.replay import ALLOC, FALLBACK, FREE, Replay, replay
from vmprobe.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from kernelmodel.free_area.ground import Ground

FLAGS = {0: 0xCC0, 1: 0x140CCA, 2: 0x52C50}
"""GFP flags of a request of each type, all of which may have Normal."""

TUNING = Tuning(nr_cpus=2, pcp_batch=2, pcp_high_min=8, pcp_high_max=20)


@dataclass(frozen=True, eq=False)
class Events:
    """Columns of a recording."""

    time_ns: NDArray[np.int64]
    cpu: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    pfn: NDArray[np.int64]
    order: NDArray[np.uint8]
    migratetype: NDArray[np.uint8]
    gfp_flags: NDArray[np.uint32]


def events(*rows: tuple[int, int, int, int], cpu: int = 0) -> Events:
    """Return a recording of kind, pfn, order and migratetype, an event a microsecond."""
    columns = np.array(rows, np.int64).reshape(-1, 4)
    kind, pfn, order, migratetype = columns.T
    flags = np.array([FLAGS.get(int(each), 0) for each in migratetype], np.uint32)
    time_ns = np.arange(len(rows), dtype=np.int64) * 1000
    return Events(
        time_ns,
        np.full(len(rows), cpu, np.uint8),
        kind.astype(np.uint8),
        pfn,
        order.astype(np.uint8),
        migratetype.astype(np.uint8),
        flags,
    )


def recorded(ground: Ground, seed: int, nr: int = 3000) -> tuple[Events, Grouped]:
    """Let the model's allocator work on a ground, and return what tracepoints would have told of it."""
    rng = np.random.default_rng(seed)
    policy = Grouped("buddy-grouped", ground, pure=True)
    kinds = ground.content() & KIND_MASK
    standing = np.flatnonzero((kinds != Frame.FREE) & (kinds != Frame.HOLE))
    held = [(int(frame), 0, 0) for frame in rng.permutation(standing)[: len(standing) // 2]]
    rows: list[tuple[int, int, int, int]] = []
    cpus: list[int] = []
    fallbacks = 0
    for _ in range(nr):
        cpu = int(rng.integers(2))
        if held and rng.integers(100) < 48:
            index, order, _ = held.pop(int(rng.integers(len(held))))
            policy.free(index, order, cpu)
            rows.append((FREE, index + ground.base_pfn, order, 255))
        else:
            order, migratetype = int(rng.integers(3)) * int(rng.integers(2)), int(rng.integers(3))
            zone = int(gfp.highest_zone(np.array([FLAGS[migratetype]], np.uint32))[0])
            index = policy.alloc(Ask(order, migratetype, 0, zone, 0, cpu))
            pfn = -1 if index == NO_PAGE else index + ground.base_pfn
            more = policy.counters()["fallbacks"] - fallbacks
            fallbacks += more
            rows += [(FALLBACK, max(pfn, ground.base_pfn), order, migratetype)] * more
            cpus += [cpu] * more
            rows.append((ALLOC, pfn, order, migratetype))
            if index != NO_PAGE:
                held.append((index, order, migratetype))
        cpus.append(cpu)
    return replace(events(*rows), cpu=np.array(cpus, np.uint8)), policy


def followed(made: Replay) -> Grouped:
    """Return the policy after a replay."""
    policy = Grouped("buddy-grouped", made.ground, pure=True)
    done = follow_recorded(made.ground, made.demand, made.clock, policy, pure=True)
    assert done.nr_refused == 0
    policy.validate()
    return policy


def memory(policy: Grouped) -> tuple[list[tuple[int, int]], list[tuple[int, int]], int]:
    """Return what a policy's memory is: free blocks, what CPUs keep, and fallbacks on the way to it."""
    blocks = [
        list(zip(each.start_pfn.tolist(), each.order.tolist(), strict=True))
        for each in (policy.free_blocks(), policy.kept_blocks())
    ]
    return blocks[0], blocks[1], policy.counters()["fallbacks"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tuning", [Tuning(nr_cpus=2), TUNING], ids=["no lists", "lists"])
def test_a_recording_of_the_model_comes_back_to_the_same_memory(seed: int, tuning: Tuning) -> None:
    ground = ground_of(Shape(seed=seed, tuning=tuning))
    stream, policy = recorded(ground, seed)
    made = replay(stream, ground, pure=True)
    assert made.drift.nr_standing > 20
    assert made.drift.nr_requests + made.drift.nr_failed == np.count_nonzero(stream.kind == ALLOC)
    clean = {key: value for key, value in vars(made.drift).items() if key.startswith("pages_")}
    assert set(clean.values()) == {0}, clean
    assert memory(followed(made)) == memory(policy)
    assert policy.counters()["fallbacks"] > 5


def one_in_ten(stream: Events) -> Events:
    kept = np.arange(len(stream.kind)) % 10 != 9
    return Events(**{name: column[kept] for name, column in vars(stream).items()})


FAULTS: dict[str, Callable[[Events], Events]] = {
    "types ignored": lambda stream: replace(stream, migratetype=np.ones_like(stream.migratetype)),
    "one event in ten lost": one_in_ten,
    "orders ignored": lambda stream: replace(stream, order=np.zeros_like(stream.order)),
    "cpus ignored": lambda stream: replace(stream, cpu=np.zeros_like(stream.cpu)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_replay_that_is_not_the_recording_ends_elsewhere(fault: str) -> None:
    ground = ground_of(Shape(seed=1, tuning=TUNING))
    stream, policy = recorded(ground, 1)
    assert memory(followed(replay(FAULTS[fault](stream), ground, pure=True))) != memory(policy)


def made_of(content: str, *rows: tuple[int, int, int, int], cpu: int = 0, flags: int = 0) -> Replay:
    """Replay events on a ground that begins so: ``.`` free, ``?`` on no list, ``o`` a hole, ``c`` in use."""
    ground = ground_of(Shape(start=0, tuning=TUNING))
    zone = ground.zones[0]
    state = zone.layout.state.copy()
    state[:128] = Frame.FIXED
    kinds = {".": Frame.FREE, "?": Frame.UNKNOWN, "c": Frame.CLEAN, "o": Frame.HOLE}
    state[: len(content)] = [kinds[each] for each in content]
    first = replace(zone, layout=zone.layout.with_state(state))
    stream = events(*rows, cpu=cpu)
    if flags:
        stream = replace(stream, gfp_flags=np.full_like(stream.gfp_flags, flags))
    made = replay(stream, replace(ground, zones=(first, *ground.zones[1:])), pure=True)
    made.demand.validate()
    return made


def test_a_frame_that_is_freed_first_stood_there() -> None:
    made = made_of("....cccc", (FREE, 4, 2, 255), (ALLOC, 4, 2, 1), (FREE, 4, 2, 255))
    assert made.demand.standing_pfn.tolist() == [4]
    assert made.demand.events.tolist() == [~0, 1, ~1]
    assert made.demand.requests.order.tolist() == [2, 2]
    assert made.demand.requests.kind.tolist() == [Frame.CLEAN, Frame.CLEAN]


def test_a_frame_that_was_taken_after_the_picture_stands_there_too() -> None:
    made = made_of("....", (FREE, 1, 0, 255))
    assert made.drift.pages_taken_before == 1
    assert made.demand.standing_pfn.tolist() == [1]
    assert (made.ground.content()[:4] & KIND_MASK).tolist() == [0, Frame.FIXED, 0, 0]


def test_what_cpus_kept_is_given_back_before_the_first_event_in_reverse_order() -> None:
    own = int(ground_of(Shape(start=0)).zones[0].block_type[0])
    rows = ((ALLOC, 2, 0, own), (ALLOC, 0, 1, own), (ALLOC, 4, 0, own))
    made = made_of("????c", *rows, cpu=1, flags=0xCC1)
    assert made.drift.pages_on_lists == 3
    assert made.drift.pages_freed_before == 1
    assert made.demand.standing_pfn.tolist() == [4, 0, 2]
    assert made.demand.requests.order.tolist()[:3] == [0, 1, 0]
    assert made.demand.events.tolist() == [~0, ~1, ~2, 3, 4, 5]
    assert made.clock.cpu.tolist() == [1] * 6
    # The list is a stack: what is taken from it is what was.
    policy = Grouped("buddy-grouped", made.ground, pure=True)
    follow_recorded(made.ground, made.demand, made.clock, policy, pure=True)
    assert not {0, 1, 2, 4} & set(policy.kept_blocks().start_pfn.tolist())


def test_what_comes_whole_and_goes_in_pieces_leaves_with_its_last_piece() -> None:
    made = made_of("....", (ALLOC, 0, 2, 0), (FREE, 2, 1, 255), (FREE, 0, 0, 255), (FREE, 1, 0, 255))
    assert made.demand.events.tolist() == [0, ~0]
    assert made.clock.time_ns.tolist() == [0, 3000]
    assert made.drift.nr_in_pieces == 3


def test_a_free_of_several_blocks_is_theirs_and_of_what_stood_beside_them() -> None:
    made = made_of("..cc", (ALLOC, 0, 0, 1), (FREE, 0, 2, 255))
    assert made.demand.standing_pfn.tolist() == [1, 2, 3]
    assert sorted(made.demand.events.tolist()) == sorted([3, ~3, ~0, ~1, ~2])
    assert made.drift.pages_taken_before == 1


def test_what_is_allocated_twice_was_freed_unheard() -> None:
    made = made_of("....", (ALLOC, 0, 1, 1), (ALLOC, 0, 0, 1))
    assert made.drift.pages_missed == 1
    assert made.demand.events.tolist() == [0, 1]


def test_what_is_freed_twice_is_not_understood() -> None:
    made = made_of("....", (ALLOC, 0, 0, 1), (FREE, 0, 0, 255), (FREE, 0, 0, 255))
    assert made.drift.pages_unknown == 1
    assert made.demand.events.tolist() == [0, ~0]


def test_events_that_failed_or_happened_elsewhere_are_left_out() -> None:
    rows = ((ALLOC, -1, 3, 0), (ALLOC, 1 << 20, 0, 0), (FREE, 639, 1, 255), (FALLBACK, 0, 0, 1))
    made = made_of("....", *rows)
    assert (made.drift.nr_failed, made.drift.nr_elsewhere) == (1, 2)
    assert len(made.demand.events) == 0


def test_holes_are_nobody_s_lists() -> None:
    made = made_of("oo", (ALLOC, 0, 0, 0))
    assert made.drift.pages_on_lists == made.drift.pages_freed_before == 0
    assert made.demand.nr_standing == 0


def test_events_in_holes_happened_elsewhere() -> None:
    made = made_of("oo..", (ALLOC, 0, 0, 0), (ALLOC, 2, 0, 0))
    assert (made.drift.nr_elsewhere, made.drift.nr_requests) == (1, 1)


def test_a_folio_larger_than_any_block_is_freed_as_blocks() -> None:
    top = ground_of(Shape()).nr_orders - 1
    made = made_of("c" * (2 << top), (FREE, 0, top + 1, 255))
    assert made.demand.standing_pfn.tolist() == [0, 1 << top]
    assert made.demand.requests.order.tolist() == [top, top]
    with pytest.raises(InputError, match=f"allocation of order {top + 1}, at most {top}"):
        made_of("." * (2 << top), (ALLOC, 0, top + 1, 0))


def test_what_stands_has_no_limit_of_its_own() -> None:
    made = made_of("c?", (FREE, 0, 0, 255), (ALLOC, 1, 0, 0), flags=0xCC1)
    assert made.demand.requests.highest_zone.tolist() == [3, 3, 0]


@pytest.mark.slow
def test_compiled_it_is_the_same() -> None:
    ground = ground_of(Shape(seed=2, tuning=TUNING))
    stream, policy = recorded(ground, 2)
    made: Any = replay(stream, ground)
    compiled = Grouped("buddy-grouped", made.ground)
    follow_recorded(made.ground, made.demand, made.clock, compiled)
    assert memory(compiled) == memory(policy)
