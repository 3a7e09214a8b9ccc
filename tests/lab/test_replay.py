"""A build recorded in a guest and replayed: the policy engine's own forecast error.

The guest has memory for the build and what records it, and does not compact: pages that compaction moves come
to their new frame without an event. Compaction is woken by requests of a higher order and by boosted
watermarks, so that slabs of single pages are asked for, no huge pages, and no boost.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lab.guest import TREE
from vmprobe.analyses.compact import prepared
from vmprobe.analyses.whatif import error_of as error_of_recording
from vmprobe.bridge.ground import ground as ground_of
from vmprobe.bridge.replay import replay
from vmprobe.store import allocations, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmprobe.bridge.replay_compare import ForecastError

pytestmark = pytest.mark.lab

SHAPE = ("--memory", "640M", "--cpus", "1", "--disk", "700M")
PARAMETERS = "transparent_hugepage=never slab_max_order=0"
COMMAND = """
echo 0 >/proc/sys/vm/watermark_boost_factor
echo 0 >/proc/sys/vm/compaction_proactiveness
cd "$LAB_TREE"
vmprobe record -o "$LAB_OUT/build.vmrec" --max-size 16 -- python3 -m lab.build "$LAB_SCRATCH/build" --jobs 3
"""

MOST_DISTANCE = 0.075
"""Of free mass. Wanted was 0.05: four builds had 0.022 to 0.037, and half as much again is for the next one.
That nothing had changed would be off by 0.56, and one event in ten lost makes it 0.15."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the guest recorded."""
    folder = tmp_path_factory.mktemp("replay") / "out"
    guest = (*SHAPE, "--append", PARAMETERS, "--files", str(folder), "--time-limit", "500")
    command = [sys.executable, "-m", "lab", "run", *guest, "--", "sh", "-c", COMMAND]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TREE, timeout=600)
    if done.returncode == 75:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    return allocations.read(folder / "build.vmrec")


def error_of(
    recording: Any, change: Callable[[dict[str, Any]], dict[str, Any]] = lambda columns: columns
) -> Any:
    """Return the forecast error, of a recording that was changed."""
    events = recording
    before = load(events.before)
    ground = ground_of(before, prepared(before))
    names = ("time_ns", "cpu", "kind", "pfn", "order", "migratetype", "gfp_flags")
    columns = change({name: getattr(events, name) for name in names})
    changed = replace(events, **columns)
    return error_of_recording(changed, replay(changed, ground))


def understood(error: ForecastError) -> bool:
    """Tell whether frees match their allocations."""
    drift = error.drift
    return drift.pages_missed + drift.pages_unknown < drift.nr_requests // 1000


def counts_fallbacks(error: ForecastError) -> bool:
    """Tell whether there are about as many fallbacks as the kernel had."""
    return abs(error.fallbacks_forecast - error.fallbacks_real) <= 1 + error.fallbacks_real // 2


def test_the_stream_is_understood(recording: Any) -> None:
    error = error_of(recording)
    assert error.drift.nr_requests > 100_000
    assert error.drift.pages_on_lists > 100
    assert understood(error), error
    assert error.drift.nr_elsewhere == 0


def test_free_memory_ends_as_the_kernel_s(recording: Any) -> None:
    error = error_of(recording)
    assert error.distance <= MOST_DISTANCE < error.distance_unchanged, error
    assert error.fallbacks_real > 0
    assert counts_fallbacks(error), error
    assert error.nr_refused <= error.drift.nr_requests // 10_000


def one_in_ten_lost(columns: dict[str, Any]) -> dict[str, Any]:
    kept = np.arange(len(columns["kind"])) % 10 != 9
    return {name: column[kept] for name, column in columns.items()}


def types_ignored(columns: dict[str, Any]) -> dict[str, Any]:
    return columns | {"migratetype": np.ones_like(columns["migratetype"])}


def test_a_lost_event_in_ten_shows(recording: Any) -> None:
    error = error_of(recording, one_in_ten_lost)
    assert not understood(error)
    assert error.distance > MOST_DISTANCE


def test_types_that_are_ignored_show(recording: Any) -> None:
    assert not counts_fallbacks(error_of(recording, types_ignored))
