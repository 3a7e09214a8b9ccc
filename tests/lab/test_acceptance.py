"""The acceptance run in a guest, at its smallest: one layout is made, compacted, and forecast well.

Many of them on both kernels take half an hour and are run by hand; what each kernel did once is in the
fixtures ``*-compacting`` (tests/bridge/test_compaction.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lab.guest import TREE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lab
MOVES_PERCENT = 3.0
"""Three times the bar for larger runs: of few pages a block where the scanners meet is more."""


def test_a_forecast_in_a_guest_comes_true(tmp_path: Path) -> None:
    output = tmp_path / "rows.jsonl"
    words = ["--guest", "6.12", "--seeds", "1", "--shapes", "clustered", "--gib", "0.4"]
    done = subprocess.run(
        [sys.executable, "benchmarks/acceptance_compaction.py", *words, "--output", str(output)],
        capture_output=True, text=True, check=False, cwd=TREE, timeout=900,
    )  # fmt: skip
    if "lab:" in done.stderr or "cannot" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    answer = rows[-1]["answer"]
    assert answer["foreign_pages"] <= 256, "no run was quiet"
    assert answer["status_source"] == "trace event"
    assert {zone["status_actual"] for zone in answer["zones"]} == {"complete"}
    assert answer["actual"]["moves_pages"] > 10_000
    assert abs(answer["error"]["moves_percent"]) <= MOVES_PERCENT
    assert min(answer["error"][name] for name in ("left_precision", "left_recall")) > 0.9
    assert "pages moved: median" in done.stdout
