"""Writers at once, some of them killed: nothing that was acknowledged is lost, nothing is there in part.

The whole of it, 1,000 runs by 4 processes with 50 kills::

    CROWD_RUNS=1000 CROWD_KILLS=50 pytest -s tests/store/test_history_crowd.py
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.store.crowd import Crowd, check_whole, identity
from vmprobe.store.history import read

if TYPE_CHECKING:
    from pathlib import Path

WRITERS = 4
RUNS = int(os.environ.get("CROWD_RUNS", "160"))
KILLS = int(os.environ.get("CROWD_KILLS", "16"))
SEED = int(os.environ.get("CROWD_SEED", "7"))


@pytest.mark.slow
@pytest.mark.live
def test_a_crowd_of_writers_with_kills(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path, writers=WRITERS, runs=RUNS // WRITERS, seed=SEED)
    crowd.work(kills=KILLS)
    found = read(crowd.history)
    for kept in found:
        check_whole(kept)
    acknowledged = [identity(*each) for each in crowd.acknowledged()]
    there = [kept.run.id for kept in found]
    said = f"{len(there)} runs, {len(acknowledged)} acknowledged, {crowd.kills} kills, {crowd.reads} reads"
    sys.stdout.write(f"{said}\n")
    assert len(there) == len(set(there)), "a run is there twice"
    assert len(acknowledged) == len(set(acknowledged)) == RUNS // WRITERS * WRITERS
    assert set(there) == set(acknowledged)
    assert crowd.kills == KILLS
    assert crowd.reads > 10
