"""Every strategy on every committed snapshot, carried out on the whole model: nothing is lost or doubled."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from lab.fixtures import FOLDER
from tests.compaction_strategies import STRATEGIES, Host, carried_out, lost_entry_is_caught, opened
from vmprobe.store import load

QUICK = "6.12-compacting"
NAMES = sorted(path.name.removesuffix(".vmsnap") for path in FOLDER.glob("*.vmsnap"))


def quick_first(names: list[str]) -> list[Any]:
    """Return parameters of which the quick run takes one."""
    return [pytest.param(name, marks=() if name == QUICK else pytest.mark.slow) for name in names]


@cache
def host(name: str) -> Host:
    return opened(load(FOLDER / f"{name}.vmsnap"))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", quick_first(NAMES))
def test_after_a_strategy_nothing_is_inconsistent_that_was_not(name: str, strategy: str) -> None:
    outcomes, done = carried_out(host(name), strategy)
    if name.endswith("compacting"):
        nr_evicted = sum(len(outcome.evicted_pfn) for outcome in outcomes)
        assert done.pages_copied + nr_evicted > 0, "nothing was there to be carried out"


@pytest.mark.parametrize("name", quick_first([name for name in NAMES if name.endswith("compacting")]))
def test_a_lost_entry_is_caught(name: str) -> None:
    lost_entry_is_caught(host(name), "linux")
