"""Every strategy on a snapshot of this host, carried out on its model: as consistent as before."""

from __future__ import annotations

import os

import pytest

from lab.workloads import hold
from tests.compaction_strategies import STRATEGIES, Host, carried_out, lost_entry_is_caught, opened
from vmprobe.collect import Options, take

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.usefixtures("root_only")]


@pytest.fixture(scope="module")
def host() -> Host:
    """This host, with holes and shared pages of our own children in its memory."""
    if os.geteuid():
        pytest.skip("needs root: frame numbers and frame words are for root alone")
    with hold("holes pages=4096", "forks children=3 pages=512 share=0.5", seed=11):
        return opened(take(Options()))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_after_a_strategy_this_host_is_as_consistent_as_before(host: Host, strategy: str) -> None:
    _, done = carried_out(host, strategy)
    if strategy in {"linux", "gravity"}:
        assert done.entries_patched > 0, "nothing that is mapped was moved"


def test_a_lost_entry_is_caught(host: Host) -> None:
    lost_entry_is_caught(host, "gravity")
