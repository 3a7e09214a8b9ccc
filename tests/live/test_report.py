"""``vmprobe report`` of this host: it says what the kernel says, and costs little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from vmprobe.cli.main import run
from vmprobe.formats import buddyinfo
from vmprobe.sources.own_cost import own_cost

pytestmark = pytest.mark.live

MOST_BYTES = 120 << 20
"""Most memory of a report without a frame scan, as a whole process."""


def report(*words: str, **more: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "vmprobe", "report", "--json", *words],
        capture_output=True, check=True, timeout=120, env={"PATH": os.environ["PATH"]}, **more,
    )  # fmt: skip
    assert done.stderr == b""
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def free() -> dict[tuple[int, str], tuple[int, ...]]:
    rows = buddyinfo.parse(Path("/proc/buddyinfo").read_bytes())
    return {(row.node, row.zone): row.nr_free for row in rows}


def test_free_blocks_are_those_of_buddyinfo(capsys: pytest.CaptureFixture[str]) -> None:
    """Between two readings of ours, but for as much as moved; the best of several, as blocks come and go."""
    misses = []
    for _ in range(8):
        before = free()
        assert run(["report", "--no-frames", "--full-speed", "--json"]) == 0
        after = free()
        told = json.loads(capsys.readouterr().out)["frag"]["zones"]
        zones = {(zone["node"], zone["zone"]): zone["free_blocks"] for zone in told}
        assert set(zones) == set(before)
        miss = moved = 0
        for key, blocks in zones.items():
            assert len(blocks) == len(before[key])
            for order, nr in enumerate(blocks):
                low, high = sorted((before[key][order], after[key][order]))
                miss += max(low - nr, nr - high, 0) << order
                moved += high - low << order
        misses.append(miss - moved)
    assert min(misses) <= 0, misses


@pytest.mark.parametrize("history", [False, True])
def test_without_frames_it_takes_little_memory(history: bool, tmp_path: Path) -> None:
    words = ["--no-frames", "--history", str(tmp_path / "h.duckdb")] if history else ["--no-frames"]
    for _ in range(2):  # the second reads what the first wrote
        cost = report(*words)["cost"]
        assert cost["max_rss_bytes"] <= MOST_BYTES
        assert cost["snapshot_bytes"] < 1 << 20
        assert cost["cpu_seconds"] > 0


def test_the_cost_is_what_others_say_of_this_process() -> None:
    spent = own_cost()
    me = psutil.Process()
    assert spent.seconds == pytest.approx(time.time() - me.create_time(), abs=1)
    assert spent.cpu_seconds == pytest.approx(sum(me.cpu_times()[:2]), abs=0.5)
    assert spent.max_rss_bytes is not None
    assert me.memory_info().rss <= spent.max_rss_bytes + (1 << 20)


def test_a_cost_that_nothing_tells_is_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> bytes:
        raise FileNotFoundError

    monkeypatch.setattr("vmprobe.sources.own_cost._read", refuse)
    spent = own_cost()
    assert (spent.seconds, spent.max_rss_bytes) == (None, None)
    assert spent.cpu_seconds > 0


NOBODY = """
import contextlib, ctypes, io, os, sys
sys.path[:0] = {path!r}
from vmprobe.cli.main import run
# Once as we are: every module is loaded then, also where nobody may not read the interpreter's own files.
with contextlib.redirect_stdout(io.StringIO()):
    run(["report", "--no-frames", "--json"])
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: our own /proc is ours again
sys.exit(run(["report", "--json"]))
"""


def test_where_frames_may_not_be_read_it_goes_without_and_says_so() -> None:
    script = NOBODY.format(path=sys.path)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    told = json.loads(done.stdout)
    assert told["frames"] is False
    assert told["verdict"]["level"] != "unknown", "free lists are for everybody"
    reasons = {row["part"]: row["reason"] for row in told["missing"]}
    assert "kpageflags: Permission denied; needs root" in reasons["sharing"]
    assert told["obtainable"][0]["now"] is not None
    assert told["obtainable"][0]["mid"] is None
