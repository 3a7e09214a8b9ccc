"""A build recorded in a guest and replayed: the policy engine's own forecast error.

The guest has little memory, so that the build goes to its end and below: it reclaims, and requests fall back
to other migratetypes. It does not compact: pages that compaction moves come to their new frame without an
event. Compaction is woken by requests of a higher order and by boosted watermarks, so that slabs of single
pages are asked for, no huge pages, and no boost.
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
from vmprobe.store import allocations, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmprobe.bridge.replay_compare import ForecastError

pytestmark = pytest.mark.lab

SHAPE = ("--memory", "480M", "--cpus", "1", "--disk", "700M")
PARAMETERS = "transparent_hugepage=never slab_max_order=0"
COMMAND = """
echo 0 >/proc/sys/vm/watermark_boost_factor
echo 0 >/proc/sys/vm/compaction_proactiveness
cd "$LAB_TREE"
vmprobe record -o "$LAB_OUT/build.vmrec" -- python3 -m lab.build "$LAB_SCRATCH/build"
"""

MOST_DISTANCE = 0.05
"""Of free mass; 0.022 to 0.037 in three guests, where ``buddy-lifo`` had 0.053 to 0.080."""

MOST_TIMES = 10
"""Of fallbacks. Wanted was a tenth, which does not hold: almost all of them come in a few bursts, when there
is no memory left and a list runs dry, and a burst is a pageblock that is claimed or hundreds of pages that
are stolen one by one. In three guests 1209 were forecast of 1173, 2503 of 6248 and 1099 of 5297, the last
with compaction; with memory to spare, 10 of 10, 11 of 12, 13 of 11."""


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
    return error_of_recording(replace(events, **columns), ground)


def holds(error: ForecastError) -> bool:
    """Tell whether the forecast is as good as it was found to be."""
    times = error.fallbacks_forecast / max(1, error.fallbacks_real)
    return error.distance <= MOST_DISTANCE and 1 / MOST_TIMES <= times <= MOST_TIMES


def test_the_stream_is_understood(recording: Any) -> None:
    drift = error_of(recording).drift
    assert drift.nr_requests > 100_000
    assert drift.nr_standing > 100
    assert drift.pages_missed + drift.pages_unknown < drift.nr_requests // 1000
    assert drift.nr_elsewhere == 0


def test_free_memory_ends_as_the_kernel_s(recording: Any) -> None:
    error = error_of(recording)
    assert holds(error), error
    assert error.fallbacks_real > 100, "the guest had too much memory"
    assert error.distance < error.distance_simple < error.distance_unchanged
    assert error.nr_refused <= error.drift.nr_requests // 10_000


def one_in_ten_lost(columns: dict[str, Any]) -> dict[str, Any]:
    kept = np.arange(len(columns["kind"])) % 10 != 9
    return {name: column[kept] for name, column in columns.items()}


def types_ignored(columns: dict[str, Any]) -> dict[str, Any]:
    return columns | {"migratetype": np.ones_like(columns["migratetype"])}


def test_a_lost_event_in_ten_shows(recording: Any) -> None:
    assert not holds(error_of(recording, one_in_ten_lost))


def test_types_that_are_ignored_show(recording: Any) -> None:
    assert error_of(recording, types_ignored).distance > 1.2 * error_of(recording).distance
