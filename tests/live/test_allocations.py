"""Page allocations recorded on this kernel: those of a child of ours, against the kernel's own counters."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vmprobe.collect.allocations import EVENTS, RecordOptions, record
from vmprobe.errors import UsageError
from vmprobe.sources.trace_instance import TraceInstance
from vmprobe.sources.tracepoint import tracefs
from vmprobe.store.allocations import read

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.live, pytest.mark.root]

NR_PAGES = 20_000
CHILD = f"""
import mmap, sys
def counters():
    with open("/proc/vmstat") as file:
        words = dict(line.split() for line in file)
    return sum(int(nr) for name, nr in words.items() if name.startswith("pgalloc_"))
before = counters()
memory = mmap.mmap(-1, {NR_PAGES} * 4096)
memory.madvise(mmap.MADV_NOHUGEPAGE)
for page in range({NR_PAGES}):
    memory[page * 4096] = 1
sys.stderr.write(str(counters() - before))
memory.close()
"""


def instances(pid: int = os.getpid()) -> list[str]:
    """The trace buffers of a process."""
    folder = tracefs()
    try:
        return [
            name
            for name in os.listdir(f"/proc/self/fd/{folder}/instances")
            if name.startswith(f"vmprobe-{pid}-")
        ]
    finally:
        os.close(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    told = tmp_path_factory.mktemp("child") / "told"
    command = ("sh", "-c", f'exec "$0" -c "$1" 2>{told}', sys.executable, CHILD)
    recorded = record(RecordOptions(command=command, seconds=60))
    return recorded, int(told.read_text())


def test_what_a_child_takes_is_recorded_and_what_it_gives_back(made: Any) -> None:
    recorded, counted = made
    columns = recorded.columns
    taken = (columns["kind"] == 0) & (columns["pfn"] >= 0)
    pages = int((1 << columns["order"][taken].astype(np.int64)).sum())
    assert recorded.manifest["lost"] == 0
    # The kernel counts what every CPU takes while the child runs; its start and end are recorded as well.
    assert counted >= NR_PAGES
    assert counted * 999 // 1000 <= pages <= counted + 20_000
    single = columns["pfn"][taken & (columns["order"] == 0) & (columns["migratetype"] == 1)]
    given_back = columns["pfn"][columns["kind"] == 1]
    assert len(single) >= NR_PAGES
    assert np.isin(single, given_back).sum() >= NR_PAGES * 99 // 100
    assert (np.diff(columns["time_ns"]) >= 0).all()
    assert recorded.manifest["ended_by"] == "command"
    assert recorded.manifest["command_status"] == 0


def test_the_kernel_s_counts_stand_at_both_ends(made: Any) -> None:
    recorded, _ = made
    for end in ("counts_at_start", "counts_at_end"):
        zones = recorded.manifest[end]
        assert {(row["node"], row["zone"]) for row in zones} <= {
            (node, zone) for node, zone in recorded.before.table("zones").rows("node", "zone")
        }
        assert all(len(row["nr_free"]) == 11 for row in zones)


def test_nothing_stays_in_tracefs(made: Any) -> None:
    assert made
    assert instances() == []


def test_a_command_that_is_not_there_is_told_and_nothing_stays() -> None:
    with pytest.raises(UsageError, match="no-such-program: there is no such program"):
        record(RecordOptions(command=("no-such-program",)))
    assert instances() == []


def test_a_bound_ends_it_early_and_says_so() -> None:
    recorded = record(RecordOptions(command=(sys.executable, "-c", CHILD), most_events=2000, seconds=60))
    assert recorded.manifest["ended_by"] == "events"


def test_a_command_that_does_not_end_is_ended() -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    recorded = record(RecordOptions(command=(sys.executable, "-c", stubborn), seconds=1))
    assert recorded.manifest["ended_by"] == "time"
    assert recorded.manifest["seconds"] < 30


def test_lost_events_are_counted() -> None:
    command = (sys.executable, "-c", CHILD)
    small = record(RecordOptions(command=command, seconds=60, buffer_mib=0))
    large = record(RecordOptions(command=command, seconds=60))
    assert large.manifest["lost"] == 0
    assert small.manifest["lost"] + len(small.columns["kind"]) > NR_PAGES


def test_who_is_not_root_is_told_in_one_line(tmp_path: Path) -> None:
    # Once as we are: every module is loaded then, also where nobody may not read the interpreter's own files.
    code = (
        "import difflib, os; from vmprobe.cli.main import run; words = ['record', '-o', 'x.vmrec', '--'];"
        "assert run(['record', '--seconds', '0.1', '-o', 'y.vmrec']) == 0;"
        "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534);"
        "raise SystemExit(run([*words, 'true']))"
    )
    tmp_path.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].endswith("needs CAP_SYS_ADMIN")
    assert not (tmp_path / "x.vmrec").exists()


def test_a_document_on_stdout_is_not_mixed_with_what_the_command_says(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vmprobe", "record", "--json", "-o", "x.vmrec", "--", "echo", "said"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert json.loads(done.stdout)["command_status"] == 0
    assert done.stderr == "said\n"


def started(folder: Path, code: str) -> tuple[subprocess.Popen[str], int]:
    """Record a command that writes a number into ``told``; return the recorder, and that number."""
    command = [sys.executable, "-m", "vmprobe", "record", "-o", "x.vmrec", "--", "sh", "-c", code]
    recorder = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (folder / "told").exists() or not (folder / "told").read_text().strip():
        assert recorder.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return recorder, int((folder / "told").read_text())


def gone(pid: int) -> bool:
    """Whether a process has ended, or does within some seconds."""
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.05)
    return not os.path.exists(f"/proc/{pid}")


def test_an_interrupt_ends_the_recording_and_all_that_the_command_started(tmp_path: Path) -> None:
    recorder, background = started(tmp_path, "sleep 98 & echo $! > told; sleep 99")
    recorder.send_signal(signal.SIGINT)
    out, _ = recorder.communicate(timeout=120)
    assert recorder.returncode == 130
    assert "it was interrupted" in out
    assert "was ended with it" in out
    assert read(tmp_path / "x.vmrec").manifest["ended_by"] == "interrupt"
    assert gone(background)
    assert instances(recorder.pid) == []


def test_a_second_signal_leaves_neither_a_stubborn_command_nor_buffers(tmp_path: Path) -> None:
    recorder, stubborn = started(tmp_path, "trap '' TERM; echo $$ > told; while :; do sleep 0.1; done")
    for _ in range(2):
        recorder.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    recorder.communicate(timeout=120)
    assert recorder.returncode == 130
    assert gone(stubborn)
    assert instances(recorder.pid) == []
    assert not (tmp_path / "x.vmrec").exists()


def test_an_interrupt_while_buffers_are_made_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = os.mkdir

    def interrupted(*args: Any, **kwargs: Any) -> None:
        mkdir(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "mkdir", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TraceInstance(EVENTS, 64).__enter__()
    assert instances() == []


def test_buffers_of_a_run_that_was_killed_are_removed_by_the_next() -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    folder = tracefs(writable=True)
    name = f"instances/vmprobe-{dead.pid}-00000000"
    try:
        os.mkdir(name, dir_fd=folder)
        assert len(instances(dead.pid)) == 1
        with TraceInstance(EVENTS, 64):
            assert instances(dead.pid) == []
            assert len(instances()) == 1
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(name, dir_fd=folder)
        os.close(folder)


def test_a_command_that_fails_is_told_and_sets_the_status(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vmprobe", "record", "-o", "x.vmrec", "--", "sh", "-c", "kill -SEGV $$"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "none: ended by SIGSEGV" in done.stdout


def test_buffers_that_others_use_are_named_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmprobe.sources.trace_instance.REMOVE_SECONDS", 0)
    folder = tracefs(writable=True)
    trace = TraceInstance(EVENTS, 64)
    try:
        with trace:
            name = instances()[0]
            busy = os.open(f"instances/{name}/trace_pipe", os.O_RDONLY, dir_fd=folder)
        os.close(busy)
        assert trace.left == name
        assert instances() == [name]
        os.rmdir(f"instances/{name}", dir_fd=folder)
    finally:
        os.close(folder)
