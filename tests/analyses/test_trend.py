"""What a history says of a new run: changes, medians, rates within a boot; absent is never zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.histories import kept_of, six_days
from vmprobe.analyses.figures import LEAST_ORDER, NAMES, followed
from vmprobe.analyses.report_answer import Change, Series, TrendRow
from vmprobe.analyses.trend import MOST_OWNERS, named_series, since_last, trend
from vmprobe.metrics import METRICS, Sample
from vmprobe.store.history import Owner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmprobe.store.history import Kept


def score(percent: int) -> Sample:
    return Sample("score_percent", ("0",), percent)


def stalls(count: int) -> Sample:
    return Sample("events", ("compact_stall",), count)


def row(rows: Sequence[TrendRow], what: str) -> TrendRow | None:
    return next((each for each in rows if each.what.startswith(what)), None)


def line(past: Sequence[Kept], name: str) -> Series:
    (found,) = [each for _, each in named_series(past) if each.name == name]
    return found


def test_nothing_before_is_nothing() -> None:
    now = kept_of(1, 0, [score(5)])
    later = kept_of(2, 1, [score(50)])
    for past in ((), (later,), (now,)):
        assert since_last(past, now) is None
        assert trend(past, now) == ()
    assert named_series([]) == []


def test_day_and_week_are_medians_of_their_quarter() -> None:
    ages = {17: 1000, 18: 1, 24: 2, 30: 30, 31: 1000, 125: 1000, 126: 7, 168: 9, 210: 8, 211: 1000}
    now = kept_of(99, 1000, [score(4)])
    past = [kept_of(age, 1000 - age, [score(value)]) for age, value in sorted(ages.items(), reverse=True)]
    assert trend(past, now) == (TrendRow("fragmentation score, worst node", 4, 2, 8, 1, 1000),)
    assert trend(past[:2], now)[0] == TrendRow("fragmentation score, worst node", 4, None, 8, 4, 1000)
    both = [kept_of(1, 999 - 24, [score(1)]), kept_of(2, 1000 - 24, [score(2)])]
    assert trend(both, now)[0].day == 1


def test_memory_says_that_it_is_bytes() -> None:
    runs = [kept_of(n, n, [Sample("free_bytes", ("0", "DMA"), 4096 * n)]) for n in (1, 2)]
    assert [each.what for each in trend(runs[:1], runs[1])] == ["free memory, bytes"]


def test_absent_is_neither_zero_nor_a_change() -> None:
    past = [kept_of(1, 0, [score(5)]), kept_of(2, 1)]
    now = kept_of(3, 2, [score(7)])
    assert trend(past, now) == (TrendRow("fragmentation score, worst node", 7, None, None, 5, 7),)
    since = since_last(past, now)
    assert since is not None
    assert (since.seconds, since.changes) == (3600, ()), "the last run does not say what the score was"
    assert trend(past, kept_of(3, 2)) == ()
    assert line([*past, now], "score_percent").values == (5, None, 7)


def test_a_cheap_run_is_told_from_one_with_frames() -> None:
    def full(number: int, hours: int, value: int) -> Kept:
        samples = [
            score(value),
            Sample("unexplained", (), value),
            Sample("obtainable", ("9", "after_compaction"), 9),
        ]
        return kept_of(number, hours, samples, [Owner("slab", "dentry", None, value, 1, 1)], frames=True)

    past = [full(1, 0, 3), kept_of(2, 1, [score(4)])]
    cheap = since_last(past, kept_of(3, 2, [score(8)]))
    assert cheap is not None
    assert cheap.time == "2026-11-01T01:00:00+00:00"
    assert cheap.changes == (Change("fragmentation score, worst node", 4, 8),)
    frames = since_last(past, full(4, 3, 6))
    assert frames is not None
    assert frames.time == "2026-11-01T00:00:00+00:00"
    assert {change.what for change in frames.changes} == {
        "fragmentation score, worst node", "unexplained frames", "pageblocks held by slab dentry",
    }  # fmt: skip
    first_full = since_last(past[1:], full(4, 3, 6))
    assert first_full is not None
    assert [change.what for change in first_full.changes] == ["fragmentation score, worst node"]
    assert row(trend(past, kept_of(3, 2, [score(8)])), "unexplained") is None
    assert line([*past, full(5, 9, 4)], "unexplained").times == (
        "2026-11-01T00:00:00+00:00", "2026-11-01T09:00:00+00:00",
    )  # fmt: skip
    assert line(past, "obtainable").times == ("2026-11-01T00:00:00+00:00",), "it is forecast from frames"


def test_rates_never_reach_across_a_boot() -> None:
    counts = [
        ("b1", 100),
        ("b1", 160),
        ("b2", 170),
        ("b2", 200),
        (None, 300),
        (None, 400),
        ("b2", 500),
        ("b2", 490),
    ]
    runs = [kept_of(n, 2 * n, [stalls(count)], boot_id=boot) for n, (boot, count) in enumerate(counts)]
    assert line(runs, "events").values == (None, 30, None, 15, None, None, None, None)
    events = row(trend(runs[:3], runs[3]), "compact_stall an hour")
    assert events == TrendRow("compact_stall an hour", 15, None, None, 15, 30)
    assert row(trend(runs[:2], runs[2]), "compact_stall") is None

    rebooted = since_last(runs[:2], runs[2])
    assert rebooted is not None
    assert (rebooted.rebooted, rebooted.changes) == (True, ())
    same = since_last(runs[:3], runs[3])
    assert same is not None
    assert (same.rebooted, same.changes) == (False, (Change("compact_stall since boot", 170, 200),))
    unknown = since_last(runs[:5], runs[5])
    assert unknown is not None
    assert (unknown.rebooted, unknown.changes) == (None, ())


def test_a_rate_is_over_the_time_since_the_run_that_counted() -> None:
    runs = [kept_of(1, 0, [stalls(0)]), kept_of(2, 1), kept_of(3, 4, [stalls(8)]), kept_of(4, 4, [stalls(9)])]
    assert line(runs, "events").values == (None, None, 2, None)


def test_an_event_that_never_happens_is_not_worth_a_line() -> None:
    runs = [kept_of(number, number, [stalls(7)]) for number in range(3)]
    assert named_series(runs) == []
    assert [each.values for _, each in named_series(runs, idle=True)] == [(None, 0, 0)]
    assert trend(runs[:2], runs[2]) == ()


def test_the_changes_that_are_large_for_their_size_come_first() -> None:
    def run(number: int, free: int, percent: int, blocks: int) -> Kept:
        zone = ("0", "Normal")
        samples = [
            Sample("free_bytes", zone, free),
            score(percent),
            Sample("free_blocks", (*zone, "9"), blocks),
        ]
        return kept_of(number, number, samples)

    since = since_last([run(1, 1000, 10, 500)], run(2, 1009, 20, 400))
    assert since is not None
    assert since.changes == (
        Change("fragmentation score, worst node", 10, 20),
        Change("free blocks of order 9 or more", 500, 400),
    ), "less than one in a hundred is noise"


def owner(kind: str, name: str | None, pid: int | None, pageblocks: int) -> Owner:
    return Owner(kind, name, pid, pageblocks, 10 * pageblocks, 0)


def test_owners_that_came_or_grew() -> None:
    before = [owner("process", "a", 1, 5), owner("slab", "dentry", None, 5), owner("kernel", None, None, 9)]
    after = [
        owner("process", "a", 1, 6), owner("process", "a", 2, 4), owner("slab", "dentry", None, 8),
        owner("kernel", None, None, 3),
    ]  # fmt: skip
    now = kept_of(2, 1, owners=after, frames=True)
    since = since_last([kept_of(1, 0, owners=before, frames=True)], now)
    assert since is not None
    assert set(since.changes) == {
        Change("pageblocks held by process a (pid 1)", 5, 6),
        Change("pageblocks held by process a (pid 2)", None, 4),
        Change("pageblocks held by slab dentry", 5, 8),
    }
    for boot in ("boot 0", None):
        other = since_last([kept_of(1, 0, owners=before, frames=True, boot_id=boot)], now)
        assert other is not None
        assert other.changes == (Change("pageblocks held by slab dentry", 5, 8),), "pids are of one boot"


def test_the_owners_that_grew_most_are_shown() -> None:
    now = kept_of(2, 1, owners=[owner("slab", f"cache {n}", None, n) for n in range(1, 20)], frames=True)
    since = since_last([kept_of(1, 0, frames=True)], now)
    assert since is not None
    assert [change.after for change in since.changes] == list(range(19, 19 - MOST_OWNERS, -1))


def test_the_size_of_a_huge_page_follows_from_that_of_a_page() -> None:
    samples = [Sample("free_blocks", ("0", "Normal", str(order)), 1 << order) for order in range(14)]
    for page, order, size in ((4096, 9, "2.0 MiB"), (16384, 11, "32.0 MiB"), (65536, 13, "512.0 MiB")):
        (figures,) = followed([kept_of(1, 0, [*samples, Sample("page_size_bytes", (), page)])])
        (found,) = [(figure, value) for figure, value in figures.items() if figure.name == "free_blocks"]
        assert found[0].labels == f"order>={order}"
        assert found[0].what == f"free blocks of {size} or more"
        assert found[1] == sum(1 << each for each in range(order, 14))
        assert order >= LEAST_ORDER


def test_every_name_is_a_metric_and_enough_to_follow() -> None:
    assert set(NAMES) <= set(METRICS)
    runs = six_days()
    fewer = [
        kept_of(
            0, 0, [s for s in kept.samples if s.name in NAMES], kept.owners, frames=kept.run.frames
        ).samples
        for kept in runs
    ]
    assert [followed([kept])[0] for kept in runs] == [
        followed([kept_of(0, 0, samples)])[0] for samples in fewer
    ]


@given(st.lists(st.none() | st.integers(0, 9), min_size=2, max_size=30))
def test_trend_against_the_plain_list(values: list[int | None]) -> None:
    runs = [kept_of(n, n, [] if value is None else [score(value)]) for n, value in enumerate(values)]
    known = [value for value in values if value is not None]
    (found,) = trend(runs[:-1], runs[-1]) or (None,)
    assert (found is None) == (values[-1] is None)
    if found is not None:
        assert (found.lowest, found.highest, found.now) == (min(known), max(known), values[-1])
    lines = named_series(runs)
    assert [each.values for _, each in lines] == ([tuple(values)] if known else [])
