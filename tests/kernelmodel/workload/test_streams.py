"""The streams: the same on every machine, as large as they say, and what each of them asks for."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from kernelmodel.compaction.zone_layout import Frame
from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.page_alloc.state import MOVABLE
from kernelmodel.priority import Priority
from kernelmodel.workload import mix, streams
from kernelmodel.workload.demand import FOREVER, Demand
from kernelmodel.workload.draws import Draws
from kernelmodel.workload.mix import demand, events_of, expand, from_arrays, held_pages, to_arrays
from kernelmodel.workload.scale import Scale
from kernelmodel.workload.streams import STREAMS

if TYPE_CHECKING:
    from kernelmodel.workload.streams import Stream

SCALE = Scale(20_000)

DIGESTS = {
    "page-cache": "f711d52f8b51f9ac",
    "process-churn": "4517e66792902f34",
    "net-burst": "992a0fa513674b05",
    "huge-storm": "db47e298f1d14931",
    "unmovable-sprinkle": "9371c9b62dc60503",
    "sound-card": "846ba500c62fa520",
    "print-job": "5108d3fc762d889c",
    "mixed": "b94a89f832c3c584",
}

SHARES = {
    "page-cache": (300, 400), "process-churn": (220, 340), "net-burst": (7, 12), "huge-storm": (60, 120),
    "unmovable-sprinkle": (40, 60), "sound-card": (930, 1040), "print-job": (920, 1040),
    "mixed": (650, 900),
}  # fmt: skip
"""Pages held in the second half, in thousandths of those that are free."""


def digest(made: Demand) -> str:
    arrays = to_arrays(made)
    return hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()[:16]


def stream(name: str, nr: int = 20_000, seed: int = 1, scale: Scale = SCALE) -> Stream:
    return STREAMS[name].make(Draws(seed, 0), nr, scale)


@pytest.mark.parametrize("name", DIGESTS)
def test_one_seed_is_one_demand_on_every_machine(name: str) -> None:
    made = demand([(name, 1)], 5000, 7, SCALE, 2)
    made.validate()
    assert digest(made) == DIGESTS[name]
    assert digest(demand([(name, 1)], 5000, 8, SCALE, 2)) != DIGESTS[name]


def held_permille(name: str, seed: int) -> int:
    held = held_pages(demand([(name, 1)], 200_000, seed, SCALE))
    return int(1000 * np.median(held[len(held) // 2 :])) // SCALE.free_pages


@pytest.mark.parametrize("name", SHARES)
def test_each_comes_to_hold_its_share(name: str) -> None:
    least, most = SHARES[name]
    for seed in (1, 2):
        assert least <= held_permille(name, seed) <= most


def test_lifetimes_too_short_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    halved = Draws.lifetimes
    monkeypatch.setattr(Draws, "lifetimes", lambda draws, mean, nr: halved(draws, max(1, mean // 2), nr))
    for name in ("process-churn", "net-burst", "huge-storm", "sound-card"):
        assert held_permille(name, 1) < SHARES[name][0]


@pytest.mark.parametrize("name", STREAMS)
def test_columns_are_what_the_allocator_takes(name: str) -> None:
    for scale in (SCALE, Scale(300, 0, 4, 3), Scale(20_000, 3)):
        made = demand([(name, 1)], 3000, 3, scale, 4)
        made.validate(scale.nr_orders)
        requests = made.requests
        movable = requests.migratetype == MOVABLE
        assert (requests.highest_zone[~movable] <= 2).all()
        assert (requests.kind[~movable] == Frame.FIXED).all()
        assert np.isin(requests.kind[movable], (Frame.ANON, Frame.CLEAN, Frame.DIRTY)).all()
        assert set(requests.cpu.tolist()) == {0, 1, 2, 3}
    assert ((stream(name).lifetime >= 1) | (stream(name).lifetime == FOREVER)).all()


def test_packets_are_atomic_and_everyone_else_waits() -> None:
    for name in STREAMS:
        due = Priority.ATOMIC if name == "net-burst" else Priority.WAITS
        assert (stream(name).priority == due).all()


def test_the_sound_card_asks_for_64_kib_below_16_mib_once_memory_is_used() -> None:
    made = stream("sound-card", 100_000)
    driver = made.source == 1
    assert set(made.order[driver]) == {4}
    assert set(made.highest_zone[driver]) == {0}
    assert set(made.order[~driver]) == {0}
    assert driver.sum() == 100_000 // 64 - 50_000 // 64
    assert not driver[: 100_000 // 2].any()


def test_print_jobs_want_orders_1_to_3() -> None:
    made = stream("print-job", 100_000)
    assert set(made.order[made.source == 1]) == {1, 2, 3}
    assert set(made.order[made.source == 0]) == {0}


def test_processes_have_the_sizes_of_the_host() -> None:
    scale = Scale(100_000, process_pages=np.array([50]), vma_pages=np.array([10]))
    made = stream("process-churn", 50_000, scale=scale)
    stacks = np.flatnonzero(made.order == 2)
    anon = np.add.reduceat(made.migratetype == MOVABLE, stacks)
    assert np.median(anon) == 50
    # All of one process leaves together.
    ends = (np.arange(50_000) + made.lifetime)[stacks[5] : stacks[6]]
    assert len(set(ends.tolist())) == 1


def test_half_of_the_files_go_at_each_drop() -> None:
    made = stream("page-cache", 20_000)
    leaves_at = np.arange(20_000) + made.lifetime
    assert len(np.unique(leaves_at)) < 40
    first = leaves_at[:1000]
    assert 0.3 < (first == first.min()).mean() < 0.7


def test_lifetimes_are_those_of_the_stream_in_any_mixture() -> None:
    made = demand([("net-burst", 2), ("unmovable-sprinkle", 1)], 6000, 4, SCALE)
    events = made.events.tolist()
    mine = np.flatnonzero(made.requests.source == 0)
    alone = STREAMS["net-burst"].make(Draws(4, list(STREAMS).index("net-burst")), len(mine), SCALE)
    assert made.requests.order[mine].tolist() == alone.order.tolist()
    for number in range(0, 500, 7):
        last = number + int(alone.lifetime[number])
        at = events.index(~int(mine[number]))
        following = next(each for each in events[at:] if each >= 0)
        assert following == mine[last]


def test_weights_are_shares_of_the_requests() -> None:
    made = demand([("net-burst", 3), ("page-cache", 1)], 40_000, 1, SCALE)
    assert abs(int((made.requests.source == 0).sum()) - 30_000) < 500


def test_mixed_is_a_mixture_of_streams() -> None:
    assert dict(expand([("mixed", 2)])) == {name: 2 * weight for name, weight in streams.MIXED}


def test_a_demand_goes_into_a_file_and_comes_back() -> None:
    made = demand([("sound-card", 1)], 2000, 1, SCALE)
    again = from_arrays(to_arrays(made))
    assert digest(again) == digest(made)
    assert again.sources == ("image-browser", "sound-card")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("events", None, "there is no events"),
        ("version", np.array([2]), "version"),
        ("events", np.zeros(3), "events is float64"),
        ("standing_pfn", np.zeros((2, 2), np.int64), "standing_pfn is int64"),
        ("order", np.zeros(7, np.uint8), "demand-columns"),
        ("events", np.array([5, 5], np.int32), "demand-events"),
    ],
)
def test_damaged_arrays_are_refused(name: str, value: np.ndarray | None, message: str) -> None:
    arrays = to_arrays(demand([("net-burst", 1)], 50, 1, SCALE))
    if value is None:
        del arrays[name]
    else:
        arrays[name] = value
    with pytest.raises((ModelError, InvariantError), match=message):
        from_arrays(arrays)


@pytest.mark.parametrize(
    ("names", "nr", "message"),
    [
        ([], 10, "no demand is named"),
        ([("net", 1)], 10, "no demand 'net': there are mixed, page-cache"),
        ([("net-burst", 0)], 10, "weight 0"),
        ([("mixed", 1), ("net-burst", 1)], 10, "net-burst is named twice"),
        ([("net-burst", 1)], 0, "0 requests"),
    ],
)
def test_demands_that_make_no_sense_are_refused(names: list[tuple[str, int]], nr: int, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        demand(names, nr, 1, SCALE)


def test_draws_are_even_and_lifetimes_have_their_mean() -> None:
    draws = Draws(1, 2)
    counts = np.bincount(draws.below(7, 70_000), minlength=7)
    assert len(counts) == 7
    assert abs(counts - 10_000).max() < 400
    assert abs(draws.lifetimes(900, 50_000).mean() - 900) < 20
    assert draws.lifetimes(1, 1000).min() == 1
    assert set(draws.choose((3, 5), (0, 1), 100).tolist()) == {5}


def test_departures_come_just_before_the_arrival_they_name() -> None:
    rng = np.random.default_rng(1)
    leaves_at = np.minimum(np.arange(300) + 1 + rng.integers(0, 90, 300), 300)
    expected = []
    for number in range(300):
        expected += [~int(each) for each in np.flatnonzero(leaves_at == number)]
        expected.append(number)
    assert events_of(leaves_at).tolist() == expected
    assert mix.events_of(np.array([1])).tolist() == [0]
