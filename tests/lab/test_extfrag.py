"""The indices of fragmentation are those that stock kernels print, in every cell, where requests fail too."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lab.guest import TREE
from lab.kernels import KERNELS
from tests.live.extfrag import cells, differences, without_the_one

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lab

COMMAND = """
cd "$LAB_TREE" || exit 3
say() { python3 -P -m tests.live.extfrag "$@"; }
say >"$LAB_OUT/quiet.json" && python3 -P -m lab hold "holes pages=16384 pattern=clustered cluster=64" -- \
    sh -c 'cd "$LAB_TREE" && python3 -P -m tests.live.extfrag fragment >"$LAB_OUT/fragmented.json"'
"""


@pytest.fixture(scope="module", params=KERNELS)
def readings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one guest printed, at rest and when no huge page was free."""
    folder: Path = tmp_path_factory.mktemp("extfrag") / "out"
    words = ("--kernel", request.param, "--memory", "1G", "--cpus", "1", "--files", str(folder))
    command = [sys.executable, "-m", "lab", "run", *words, "--", "sh", "-c", COMMAND]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TREE, timeout=700)
    if done.returncode == 75:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in ("quiet", "fragmented")}


@pytest.mark.parametrize("state", ["quiet", "fragmented"])
def test_every_cell_is_what_debugfs_prints(readings: dict[str, Any], state: str) -> None:
    reading = readings[state]
    assert "skip" not in reading, reading
    assert len(cells(reading["extfrag_index"])) == len(cells(reading["unusable_index"])) >= 2 * 11
    assert differences(reading) == []


def test_there_are_requests_that_fail_in_the_fragmented_guest(readings: dict[str, Any]) -> None:
    """Without them every cell of the fragmentation index is -1.000, whatever its formula."""
    reading = readings["fragmented"]
    failing = {cell: figure for cell, figure in cells(reading["extfrag_index"]).items() if figure != "-1.000"}
    assert any(float(figure) > 0.5 for figure in failing.values()), reading
    assert {cells(reading["unusable_index"])[cell] for cell in failing} == {"1.000"}
    assert differences(reading, {"extfrag_index": without_the_one})
