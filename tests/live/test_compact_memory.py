"""The one file that compacts, and the event that tells how it ended: refusals, silence, and a real run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest

from lab.errors import UnavailableError
from lab.workloads import hold
from vmprobe.errors import FormatError, InputError, PrivilegeError
from vmprobe.sources import compact_memory
from vmprobe.sources.compact_memory import CompactMemory
from vmprobe.sources.meter import Meter
from vmprobe.sources.procfs import Tree
from vmprobe.sources.tracepoint import Tracepoint

VMSTAT = "nr_free_pages {0}\npgmigrate_success {0}\ncompact_free_scanned 3\nallocstall_normal {0}\n"
MOUNTS = ("/proc/self/mounts", "/proc/self/mountinfo")


class FakeEvent:
    """A trace event that tells what the test says."""

    records_to_tell: list[dict[str, int | str]] | None = None

    def __init__(self, _name: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def records(self) -> list[dict[str, int | str]] | None:
        return self.records_to_tell


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """A /proc of files, in which a write compacts nothing."""
    (tmp_path / "sys" / "vm").mkdir(parents=True)
    (tmp_path / "sys" / "vm" / "compact_memory").touch()
    (tmp_path / "vmstat").write_text(VMSTAT.format(10))
    monkeypatch.setattr(compact_memory, "Tracepoint", FakeEvent)
    return Tree(str(tmp_path), Meter())


def test_a_one_is_written_and_counters_are_told_apart(proc: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    record: dict[str, int | str] = {"zone_start": 1, "migrate_pfn": 5, "free_pfn": 6, "status": "contended"}
    monkeypatch.setattr(FakeEvent, "records_to_tell", [record])
    write = os.write

    def compact(fd: int, data: bytes) -> int:
        Path(proc.path("vmstat")).write_text(VMSTAT.format(25))
        return write(fd, data)

    with CompactMemory(proc) as ready:
        assert Path(proc.path(compact_memory.FILE)).read_bytes() == b""
        monkeypatch.setattr(os, "write", compact)
        done = ready.write()
    assert Path(proc.path(compact_memory.FILE)).read_bytes() == b"1"
    assert done.counters == {"pgmigrate_success": 15, "compact_free_scanned": 0}
    assert done.zones == (compact_memory.ZoneEnd(1, 5, 6, "contended"),)
    assert done.why_unheard is None


@pytest.mark.parametrize(
    ("told", "why"), [(None, "more records than fit"), ([{"zone_start": 1}], "has no field 'migrate_pfn'")]
)
def test_an_event_that_does_not_tell_is_no_answer(
    proc: Tree, monkeypatch: pytest.MonkeyPatch, told: Any, why: str
) -> None:
    monkeypatch.setattr(FakeEvent, "records_to_tell", told)
    with CompactMemory(proc) as ready:
        done = ready.write()
    assert done.zones is None
    assert why in (done.why_unheard or "")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (PermissionError(1, "Operation not permitted"), "Operation not permitted"),
        (FormatError("format", 3, "x", "expected a field"), "format, line 3: expected a field"),
    ],
)
def test_without_an_event_it_compacts_all_the_same(
    proc: Tree, monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    def refuse(_name: str) -> None:
        raise error

    monkeypatch.setattr(compact_memory, "Tracepoint", refuse)
    with CompactMemory(proc) as ready:
        done = ready.write()
    assert done.zones is None
    assert why in (done.why_unheard or "")


def test_a_kernel_without_compaction(proc: Tree) -> None:
    Path(proc.path(compact_memory.FILE)).unlink()
    with pytest.raises(InputError, match="compact_memory: No such file"):
        CompactMemory(proc)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_who_may_not_is_told_so() -> None:
    with pytest.raises(PrivilegeError, match="compact_memory: needs root"):
        CompactMemory(Tree("/proc", Meter()))


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("root_only")
def test_an_event_of_this_thread_is_heard_and_nothing_stays_behind() -> None:
    before = [Path(path).read_text() for path in MOUNTS]
    nr_files = len(os.listdir("/proc/self/fd"))
    try:
        event = Tracepoint("sched/sched_process_fork")
    except OSError as error:
        pytest.skip(f"no trace events here: {error.strerror}")
    with event:
        assert event.records() == []
        # The child forks twice itself: that is no event of ours.
        done = subprocess.run(["sh", "-c", "(:); (:); echo $$"], check=True, capture_output=True, text=True)
        (record,) = event.records() or [{}]
        assert record["child_pid"] == int(done.stdout)
    with pytest.raises(FileNotFoundError):
        Tracepoint("compaction/no_such_event")
    assert len(os.listdir("/proc/self/fd")) == nr_files
    assert [Path(path).read_text() for path in MOUNTS] == before


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("root_only")
@pytest.mark.slow
def test_a_small_host_forecast_is_held_against_what_happened(tmp_path: Path) -> None:
    history = tmp_path / "forecasts.jsonl"
    before = Path("/proc/self/mounts").read_text()
    command = [sys.executable, "-m", "vmprobe", "compact", "--verify", "--json", "--history", str(history)]
    try:
        with hold("mixed pages=32768 keep=0.5", seed=1):
            told = subprocess.run(command, capture_output=True, text=True, check=True)
            assert json.loads(told.stdout)["done"] is False
            assert not history.exists()
            done = subprocess.run([*command, "--yes"], capture_output=True, text=True, check=True)
    except UnavailableError as error:
        pytest.skip(str(error))
    answer = json.loads(done.stdout)
    actual, error = answer["actual"], answer["error"]
    # How far off it is hangs on who else is at work here; that it was heard and added up does not.
    assert actual["migrate_scanned"] > 0
    assert actual["cost_us"]["mid"] > 0
    assert error["moves_percent"] is None or actual["moves_pages"] > 0 or answer["moves_pages"] == 0
    if answer["status_source"] == "trace event":
        assert {zone["status_actual"] for zone in answer["zones"]} <= {"complete", "contended"}
    (line,) = history.read_text().splitlines()
    kept = json.loads(line)
    assert kept["error"]["moves_percent"] == error["moves_percent"]
    assert kept["actual"]["moves_pages"] == actual["moves_pages"]
    assert answer["record"]["runs"] == 1
    assert Path("/proc/self/mounts").read_text() == before
