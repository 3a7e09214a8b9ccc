"""The history against a list: what was appended is read, and old runs are thinned as they should."""

from __future__ import annotations

import os
import stat
import tempfile
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.histories import START, kept_of, run_of
from tests.oracles.history import ListHistory, slot
from vmprobe.metrics import METRICS, Sample
from vmprobe.store.history import Kept, Owner, Run, append, read
from vmprobe.store.history_thin import DEFAULT, Aged, surplus

IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where a sync costs nothing."""
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
SAMPLES = st.sampled_from(sorted(METRICS)).flatmap(
    lambda name: st.builds(
        Sample,
        st.just(name),
        st.tuples(*[st.integers(0, 20).map(str) | TEXTS] * len(METRICS[name].labels)),
        VALUES,
    )
)
COUNTS = st.integers(0, 2**63 - 1)
OWNERS = st.builds(Owner, TEXTS, st.none() | TEXTS, st.none() | st.integers(0, 2**22), COUNTS, COUNTS, COUNTS)
STEPS = st.timedeltas(timedelta(0), timedelta(hours=1)) | st.timedeltas(
    timedelta(days=-3), timedelta(days=300)
)
"""Forwards in time for the most part."""
RUNS = st.builds(
    Run, st.just(""), st.just(START), st.none() | TEXTS, TEXTS, st.booleans(), st.none() | st.floats(0, 1e6)
)
SINCE_START = st.timedeltas(timedelta(0), timedelta(days=900))


class Machine(RuleBasedStateMachine):
    """Random runs are appended, again, and read."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=IN_MEMORY)
        self.path = Path(self.folder.name) / "made" / "history.duckdb"
        self.model = ListHistory()
        self.time = START
        self.number = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(
        step=STEPS,
        run=RUNS,
        samples=st.lists(SAMPLES, max_size=5),
        owners=st.lists(OWNERS, max_size=3),
    )
    def append(self, step: timedelta, run: Run, samples: list[Sample], owners: list[Owner]) -> None:
        self.time += step
        self.number += 1
        run = replace(run, id=uuid.UUID(int=self.number).hex, time=self.time)
        kept = Kept(run, tuple(samples), tuple(owners))
        append(self.path, kept)
        self.model.append(kept)
        assert kept in read(self.path)
        assert read(self.path, last=2) == self.model.read(last=2)

    @rule(data=st.data())
    def append_again(self, data: st.DataObject) -> None:
        if self.model.runs:
            kept = data.draw(st.sampled_from(self.model.runs))
            append(self.path, kept)
            self.model.append(kept)

    @rule(
        since=st.none() | SINCE_START,
        last=st.none() | st.integers(0, 5),
        names=st.none() | st.sets(st.sampled_from(sorted(METRICS)), max_size=5),
    )
    def read(self, since: timedelta | None, last: int | None, names: set[str] | None) -> None:
        start = None if since is None else START + since
        expected = self.model.read(since=start, last=last, names=names)
        assert read(self.path, since=start, last=last, names=names) == expected


Machine.TestCase.settings = settings(
    max_examples=max(settings().max_examples // 6, 2), stateful_step_count=12, deadline=None
)
test_history_is_a_list = Machine.TestCase


def test_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "history.duckdb"
    assert read(path) == ()
    assert not path.parent.exists(), "reading makes nothing"
    before = os.umask(0o022)
    try:
        append(path, kept_of(1, 0))
    finally:
        assert os.umask(before) == 0o022
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in [*path.parent.iterdir(), path.parent]}
    assert modes == {"history.duckdb": 0o600, "history.duckdb.lock": 0o600, "b": 0o700}


def test_times_of_all_zones_are_one_time(tmp_path: Path) -> None:
    path = tmp_path / "h"
    time = datetime(2026, 11, 1, 1, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5)))
    kept = Kept(run_of(1, time), (), ())
    append(path, kept)
    (found,) = read(path, since=time.astimezone(timezone(timedelta(hours=-3))))
    assert found == kept
    assert found.run.time.tzinfo is UTC
    assert read(path, since=time + timedelta(microseconds=1)) == ()


def test_small_orders_are_left_out(tmp_path: Path) -> None:
    samples = [Sample("free_blocks", ("0", "DMA", order), 1) for order in ("0", "8", "9", "10")]
    samples += [Sample("obtainable", ("9", "now"), 2), Sample("score_percent", ("0",), 3)]
    append(tmp_path / "h", kept_of(1, 0, samples))
    (found,) = read(tmp_path / "h", least_order=9)
    assert found.samples == tuple(samples[2:])


def test_absent_is_not_zero(tmp_path: Path) -> None:
    append(tmp_path / "h", kept_of(1, 0, [Sample("unexplained", (), 0)], frames=True))
    append(tmp_path / "h", kept_of(2, 1))
    assert [kept.samples for kept in read(tmp_path / "h")] == [(Sample("unexplained", (), 0),), ()]


def test_the_view_says_what_its_documentation_says(tmp_path: Path) -> None:
    path = tmp_path / "h"
    samples = [Sample("free_blocks", ("1", "Normal", str(order)), order) for order in range(8, 11)]
    samples.append(Sample("blocker_pageblocks", ("slab",), 7))
    append(path, kept_of(1, 0, samples, frames=True))
    with duckdb.connect(str(path), read_only=True) as database:
        blocks: Any = database.execute(
            "SELECT time, sum(value) FROM figures WHERE name = 'free_blocks' AND \"order\" >= 9 GROUP BY ALL"
        ).fetchall()
        slab = database.execute(
            "SELECT time, value FROM figures WHERE name = 'blocker_pageblocks' AND labels['kind'] = 'slab'"
        ).fetchall()
        node = database.execute(
            "SELECT DISTINCT node, zone, frames, boot_id FROM figures WHERE zone NOT NULL"
        )
        assert node.fetchall() == [(1, "Normal", True, "boot 1")]
    time = START.replace(tzinfo=None)
    assert (blocks, slab) == ([(time, 19)], [(time, 7)])


HOURS = st.lists(st.integers(0, 24 * 60 * 500), min_size=1, max_size=60, unique=True)


@given(HOURS, st.data())
def test_thinning_is_that_of_the_calendar(minutes: list[int], data: st.DataObject) -> None:
    aged = [
        Aged(run, START + timedelta(minutes=each), data.draw(st.booleans()))
        for run, each in enumerate(sorted(minutes))
    ]
    newest = aged[-1].time
    model = ListHistory()
    for each in aged:
        model.append(Kept(run_of(each.run, each.time, frames=each.frames), (), ()))
    all_at_once = set(range(len(aged))) - set(surplus(aged, newest, DEFAULT))
    assert all_at_once == {int(kept.run.id, 16) for kept in model.runs}, "as if thinned at each append"
    assert aged[-1].run in all_at_once


def test_bounds_of_the_bands() -> None:
    newest = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)

    def stays(*ages: timedelta) -> list[bool]:
        aged = [Aged(run, newest - age, False) for run, age in enumerate(ages)]
        gone = surplus(aged, newest, DEFAULT)
        return [each.run not in gone for each in aged]

    minute = timedelta(minutes=1)
    two = timedelta(days=2)
    assert stays(two + minute, two) == [True, True], "two days old stays whole"
    assert stays(two + 2 * minute, two + minute) == [True, False], "older: one an hour"
    assert stays(two + 31 * minute, two + 29 * minute) == [True, True], "of two hours one each"
    fortnight = timedelta(days=14)
    assert stays(fortnight + 2 * minute, fortnight + minute) == [True, False]
    assert stays(fortnight + minute, fortnight) == [True, True], (
        "of the last hour that is not thinned to a day"
    )
    assert stays(timedelta(days=20, hours=12), timedelta(days=20, hours=1)) == [True, False]
    year = timedelta(days=401)
    assert stays(year + timedelta(days=2), year + timedelta(days=1)) == [True, False]


def test_thinning_is_done_when_it_is_due(tmp_path: Path) -> None:
    path = tmp_path / "h"
    for number, hours in enumerate([0, 0.2, 0.4, 1.1, 30]):
        append(path, kept_of(number, hours, [Sample("unexplained", (), number)]))
    assert len(read(path)) == 5
    append(path, kept_of(5, 49.9))
    found = read(path)
    assert [int(kept.run.id, 16) for kept in found] == [0, 3, 4, 5]
    assert [kept.samples[0].value for kept in found[:3]] == [0, 3, 4], "those that stay are as they were"
    with duckdb.connect(str(path), read_only=True) as database:
        rows = database.execute("SELECT count(*), count(DISTINCT run) FROM samples").fetchone()
    assert rows == (3, 3), "nothing is left of the runs that went"


def test_a_clock_that_was_ahead_costs_no_later_run(tmp_path: Path) -> None:
    path = tmp_path / "h"
    append(path, kept_of(0, 24 * 1500))
    for number in range(1, 21):
        append(path, kept_of(number, number / 4))
    assert [int(kept.run.id, 16) for kept in read(path)] == [*range(1, 21), 0]


def test_an_old_run_is_not_thinned_by_its_own_append(tmp_path: Path) -> None:
    path = tmp_path / "h"
    for number, hours in enumerate([0, 24 * 500, 0.2, 0.1]):
        append(path, kept_of(number, hours))
    assert [int(kept.run.id, 16) for kept in read(path)] == [0, 3, 2, 1]
    append(path, kept_of(4, 24 * 500 + 1))
    assert [int(kept.run.id, 16) for kept in read(path)] == [0, 1, 4]


def test_slots_of_the_oracle_nest() -> None:
    """What the default thinning rests on: an hour is in one day, a day in one week."""
    newest = START + timedelta(days=1000)
    weeks: dict[Any, set[Any]] = {}
    for hour in range(24 * 21):
        time = START + timedelta(hours=hour)
        week = slot(Kept(run_of(1, time), (), ()), newest)
        weeks.setdefault(f"{time:%Y-%m-%d}", set()).add(week)
    assert all(len(found) == 1 for found in weeks.values())


def test_an_id_is_a_uuid(tmp_path: Path) -> None:
    run = Run("no uuid", START, None, "6.12.0", False, None)
    with pytest.raises(ValueError, match="hexadecimal UUID"):
        append(tmp_path / "h", Kept(run, (), ()))
    assert read(tmp_path / "h") == ()
