"""The question of ``vmprobe map``: whose pages, and what a compaction would change."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from kernelmodel.compaction.result import blocks_of_order
from kernelmodel.compaction.scanners import linux
from lab.fixtures import FOLDER
from tests.bridge.test_blockers import host
from tests.synthetic import rows, snapshot
from vmprobe.analyses.compact import STRATEGIES, compact, prepared
from vmprobe.analyses.map import changes, map_of
from vmprobe.analyses.map_answer import CHANGES, CONTENTS, Map
from vmprobe.bridge.compact import run
from vmprobe.bridge.strip import strips, strips_after
from vmprobe.errors import InputError, SnapshotError, UsageError
from vmprobe.store import load

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot

FREE = CONTENTS.index("free")
FIXTURES = ("6.12-compacting", "6.12-two-nodes", "6.12-fragmented", "6.1-compacting")


@cache
def fixture(name: str) -> Snapshot:
    return load(FOLDER / f"{name}.vmsnap")


def of_owner(answer: Map) -> list[int]:
    (strip,) = answer.zones
    assert strip.of_owner is not None
    return strip.of_owner.tolist()


def test_the_pages_of_a_process_are_counted_where_they_are() -> None:
    answer = map_of(host(), owner="70")
    assert answer.chosen == "process 70 (worker)"
    # Entries to hugetlb, anonymous memory and mlocked pages; not the frames of another process.
    assert of_owner(answer) == [0, 512, 0, 0, 100, 12, 0, 0]
    assert map_of(host()).zones[0].of_owner is None
    assert map_of(host()).chosen is None


def test_a_task_stands_for_all_that_share_its_address_space() -> None:
    assert of_owner(map_of(host(), owner="71")) == of_owner(map_of(host(), owner="70"))


def test_the_pages_of_a_cgroup_are_those_that_it_and_those_below_are_charged_for() -> None:
    cgroups = rows("cgroups", "inode path", (7, "/service"), (9, "/service/inner"), (11, "/serviced"))
    made = host(cgroups=cgroups)
    assert of_owner(map_of(made, owner="/service")) == [0, 0, 0, 4, 0, 0, 0, 0]
    assert of_owner(map_of(made, owner="/service/")) == [0, 0, 0, 4, 0, 0, 0, 0]
    assert of_owner(map_of(made, owner="/service/inner")) == [0, 0, 0, 1, 0, 0, 0, 0]
    assert of_owner(map_of(made, owner="/serviced")) == [0] * 8
    beside = rows("cgroups", "inode path", (7, "/service"), (9, "/serviced"))
    assert of_owner(map_of(host(cgroups=beside), owner="/service")) == [0, 0, 0, 3, 0, 0, 0, 0]
    assert of_owner(map_of(made, owner="/")) == [0, 0, 0, 4, 0, 0, 0, 0]
    assert map_of(made, owner="/service/").chosen == "cgroup /service"


def test_an_owner_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="no cgroup /nowhere") as none:
        map_of(host(), owner="/nowhere")
    assert none.value.hint == "there are /service: see the table cgroups"
    with pytest.raises(UsageError, match="process 7 is not in the snapshot"):
        map_of(host(), owner="7")
    with pytest.raises(UsageError, match=r"process 2 .* is a kernel thread"):
        map_of(host(), owner="2")
    with pytest.raises(UsageError, match="neither a process nor a cgroup"):
        map_of(host(), owner="worker")
    with pytest.raises(InputError, match="memory of process 1"):
        map_of(host(), owner="1")


def test_many_cgroups_are_not_all_listed() -> None:
    cgroups = rows("cgroups", "inode path", *((10 + at, f"/c{at:02}") for at in range(20)))
    with pytest.raises(UsageError) as none:
        map_of(host(cgroups=cgroups), owner="/nowhere")
    assert none.value.hint is not None
    assert "/c07 and 12 more" in none.value.hint


def test_what_tells_whose_pages_they_are_is_demanded() -> None:
    made = host()
    tables = {name: made.table(name) for name in made.tables()}

    def without(*names: str) -> Snapshot:
        left = {name: table for name, table in tables.items() if name not in names}
        return snapshot(without=tuple({*names, "free_areas"}), manifest={"tables": {}}, **left)

    with pytest.raises(SnapshotError, match="table mappings is not in this snapshot"):
        map_of(without("mappings"), owner="70")
    with pytest.raises(SnapshotError, match="cgroups are not in this snapshot"):
        map_of(without("cgroups"), owner="/service")
    with pytest.raises(SnapshotError, match="zones are not in this snapshot"):
        map_of(without("zones"))
    with pytest.raises(SnapshotError, match="page frames are not in this snapshot"):
        map_of(snapshot(without=("frames",)))
    with pytest.raises(
        SnapshotError, match="does not tell which cgroup is charged: kpagecgroup: No such file"
    ):
        map_of(snapshot(cgroups=rows("cgroups", "inode path", (7, "/service"))), owner="/service")


def test_names_that_are_missing_are_told() -> None:
    assert [row.part for row in map_of(snapshot()).missing] == ["cgroups", "processes"]
    assert not map_of(fixture("6.12-compacting")).missing


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", FIXTURES)
def test_free_pageblocks_after_a_strategy_are_those_of_its_outcome(name: str, strategy: str) -> None:
    taken = fixture(name)
    outcomes = run(prepared(taken), strategy, 9, None)
    made = strips(taken, 9)
    zones = strips_after(made.found, outcomes, 9)
    for now, after, outcome in zip(made.zones, zones, outcomes, strict=True):
        assert (now.node, now.zone) == (after.node, after.zone) == (outcome.before.node, outcome.before.zone)
        for strip, blocks in ((now, outcome.free_before), (after, outcome.free_after)):
            assert int((strip.content == FREE).sum()) == blocks_of_order(blocks, 9)
        # What moves stays what it is, and memory is neither won nor lost but by eviction.
        assert int(now.stays.sum()) == int(after.stays.sum())
        gained = int(after.free.sum(dtype=int) - now.free.sum(dtype=int))
        held_back = int(after.unknown.sum(dtype=int) - now.unknown.sum(dtype=int))
        assert held_back == outcome.held_back_pages
        assert gained + held_back == len(outcome.evicted_pfn)
        nr = np.bincount(changes(now, after), minlength=len(CHANGES)).tolist()
        becomes, filled = (nr[CHANGES.index(name)] for name in ("becomes_free", "is_filled"))
        assert outcome.gained_blocks == becomes - filled
        assert (after.owner == -1).all()


def test_pages_that_stay_on_lists_are_not_free_afterwards() -> None:
    taken = fixture("6.12-compacting")
    made = prepared(taken)
    rules = replace(made.kernel.rules, pcp_high=128)
    outcomes = tuple(linux(layout, 9, rules) for layout in made.layouts)
    before = strips(taken, 9)
    nr_held = sum(outcome.held_back_pages for outcome in outcomes)
    assert nr_held > 0
    after = strips_after(before.found, outcomes, 9)
    assert sum(int(zone.unknown.sum()) for zone in after) - nr_held == sum(
        int(zone.unknown.sum()) for zone in before.zones
    )
    for strip, outcome in zip(after, outcomes, strict=True):
        assert int((strip.content == FREE).sum()) == blocks_of_order(outcome.free_after, 9)


def test_a_forecast_shows_what_becomes_of_pageblocks() -> None:
    taken = fixture("6.12-compacting")
    answer, told = map_of(taken, forecast="plan"), compact(taken, "plan")
    assert answer.forecast is not None
    assert (answer.forecast.strategy, answer.forecast.order) == ("plan", 9)
    assert (answer.forecast.gained_blocks, answer.forecast.interval) == (told.gained_blocks, told.interval)
    nr = sum(np.bincount(each, minlength=len(CHANGES)) for each in answer.forecast.changes)
    by_name = dict(zip(CHANGES, np.asarray(nr).tolist(), strict=True))
    assert by_name["becomes_free"] == answer.forecast.gained_blocks > 0
    assert by_name["less_free"] > 0
    assert by_name["is_filled"] == 0, "the planner keeps what is free"


def test_every_change_has_its_name() -> None:
    answer = map_of(host())
    (now,) = answer.zones
    after = map_of(host()).zones[0]
    # Free, in whole, no longer; more and less.
    for block, (content, free) in enumerate(((FREE, 512), (1, 0), (1, 300), (1, 90))):
        after.content[block], after.free[block] = content, free
    now.content[:4], now.free[:4] = (1, FREE, 1, 1), (500, 512, 100, 100)
    names = [CHANGES[each] for each in changes(now, after).tolist()]
    assert names == ["becomes_free", "is_filled", "more_free", "less_free", *["same"] * 4]


def test_strategies_and_orders_that_there_are_not_are_refused() -> None:
    with pytest.raises(UsageError, match="no strategy magic"):
        map_of(fixture("6.12-compacting"), forecast="magic")
    with pytest.raises(UsageError, match="order 11"):
        map_of(fixture("6.12-compacting"), forecast="plan", order=11)
