"""Between which figures the blocks gained lie: what two kernels gained, and what each doubt is worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kernelmodel.compaction.zone_layout import Frame
from lab.fixtures import FOLDER
from tests.bridge.test_compaction import COMPACTING, truth
from vmprobe.bridge import interval
from vmprobe.bridge.compact import host, run
from vmprobe.store import load

ORDER = 9


def found(name: str, strategy: str = "linux") -> tuple[interval.Intervals, list[int]]:
    """Return the intervals of a fixture, and what is forecast for each zone."""
    snapshot = load(FOLDER / f"{name}.vmsnap")
    made = host(snapshot, averaged=False)
    outcomes = run(made, strategy, ORDER, 20 if strategy != "linux" else None)
    gained = [outcome.gained_blocks for outcome in outcomes]
    return interval.intervals(snapshot, made, strategy, outcomes, 20), gained


@pytest.mark.parametrize("name", COMPACTING)
def test_what_a_kernel_gained_lies_between(name: str) -> None:
    after = truth(name)["free_blocks"]
    snapshot = load(FOLDER / f"{name}.vmsnap")
    between, gained = found(name)
    real = []
    for layout in host(snapshot, averaged=False).layouts:
        nr_free = next(nr for zone, nr in after.items() if zone.split()[1] == layout.zone)
        before = layout.free_blocks()
        real.append(nr_free[9] + 2 * nr_free[10] - int(before[9] + 2 * before[10]))
    assert sum(real) > 30
    for (low, high), said, did in zip(
        (*between.zones, between.total), (*gained, sum(gained)), (*real, sum(real)), strict=True
    ):
        assert low <= said <= high
        assert low <= did <= high
    assert between.total[1] - between.total[0] < 0.5 * sum(real)


def test_a_few_pages_that_come_and_go_make_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    between, _ = found("6.12-compacting")
    monkeypatch.setattr(interval, "CHURN_PAGES", 0)
    without, _ = found("6.12-compacting")
    assert between.total[0] < without.total[0]
    assert without.total[1] < between.total[1]


def test_a_doubtful_type_makes_a_difference() -> None:
    snapshot = load(FOLDER / "6.12-compacting.vmsnap")
    made = host(snapshot, averaged=False)
    fewer = tuple(
        replace(layout, other_targets=layout.targets & (np.arange(len(layout.targets)) % 2 == 0))
        for layout in made.layouts
    )
    doubtful = replace(made, layouts=fewer)
    other = replace(made, layouts=tuple(replace(layout, targets=layout.other_targets) for layout in fewer))
    (sure, unsure) = (
        interval.intervals(snapshot, each, "linux", run(each, "linux", ORDER, None), None).total
        for each in (made, doubtful)
    )
    gained = sum(outcome.gained_blocks for outcome in run(other, "linux", ORDER, None))
    assert gained < sure[0], "the planted doubt matters"
    assert unsure[0] <= gained < sure[0] <= sure[1] <= unsure[1]


def test_what_may_be_held_may_move() -> None:
    snapshot = load(FOLDER / "6.12-compacting.vmsnap")
    made = host(snapshot, averaged=False)
    moving = run(made, "linux", ORDER, None)
    layouts = []
    for outcome in moving:
        state = outcome.before.state.copy()
        # A page of every hundredth move, which keeps a block each.
        state[outcome.moves.source_pfn[::100] - outcome.before.base_pfn] = Frame.HELD
        layouts.append(outcome.before.with_state(state))
    held = replace(made, layouts=tuple(layouts))
    low, high = interval.intervals(snapshot, held, "linux", run(held, "linux", ORDER, None), None).total
    gained = sum(outcome.gained_blocks for outcome in moving)
    assert low < gained <= high
    assert high - low > 10


def test_lists_that_keep_more_let_less_be_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    between, _ = found("6.12-compacting")
    monkeypatch.setattr(interval, "pcp_room", lambda *_: 4000)
    fuller, _ = found("6.12-compacting")
    assert fuller.total[0] < between.total[0]
    assert fuller.total[1] == between.total[1]


def test_a_plan_is_not_moved_by_a_stride() -> None:
    between, gained = found("6.12-compacting", "plan")
    assert between.total == (sum(gained), sum(gained)) == (16, 16)
