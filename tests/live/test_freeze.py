"""Stopping and letting go: all threads, in every way that a run can end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vmprobe.collect import Options, take
from vmprobe.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.live


def runs_on(child: Any) -> bool:
    """Whether all eight counters of the program advance."""
    before = child.ask()["counts"]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if all(b > a for a, b in zip(before, child.ask()["counts"], strict=True)):
            return True
        time.sleep(0.01)
    return False


def frozen(pid: int, **choices: Any) -> Options:
    return Options(pids=(pid,), frames=False, freeze=True, **choices)


def test_all_threads_are_stopped_while_they_are_read_and_run_on(start: Callable[..., Any]) -> None:
    child = start("threads")
    seen: list[list[str]] = []
    snapshot = take(frozen(child.pid), progress=lambda *_: seen.append(child.states()))
    assert seen
    assert all(states == ["t"] * len(states) and len(states) >= 8 for states in seen), seen
    (entry,) = snapshot.manifest["frozen"]
    assert entry["nr_threads"] >= 8
    assert entry["error"] is None
    assert not entry["released_early"]
    assert list(snapshot.table("tasks").rows("frozen")) == [(True,)]
    assert "t" not in child.states()
    assert runs_on(child)


def test_nothing_moves_in_a_frozen_process(start: Callable[..., Any]) -> None:
    child = start("churn")
    for _ in range(5):
        snapshot = take(frozen(child.pid))
        assert snapshot.manifest["volatility"]["entries_changed"] == 0
        assert snapshot.manifest["volatility"]["torn_maps"] == 0


def test_an_error_in_the_middle_lets_it_run_on(start: Callable[..., Any]) -> None:
    child = start("threads")

    def fail(*_: object) -> None:
        assert set(child.states()) == {"t"}
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        take(frozen(child.pid), progress=fail)
    assert runs_on(child)


def test_the_limit_lets_it_run_on_before_the_reading_is_over(start: Callable[..., Any]) -> None:
    child = start("threads")
    after: list[set[str]] = []

    def dawdle(*_: object) -> None:
        time.sleep(0.15)
        after.append(set(child.states()))

    snapshot = take(frozen(child.pid, freeze_limit_seconds=0.1), progress=dawdle)
    (entry,) = snapshot.manifest["frozen"]
    assert entry["released_early"]
    assert entry["stopped_us"] < 5_000_000
    assert "t" not in after[-1]
    assert runs_on(child)


def test_a_stopped_process_stays_stopped_and_a_pending_signal_is_delivered(start: Callable[..., Any]) -> None:
    child = start("quiet")
    os.kill(child.pid, signal.SIGSTOP)
    while child.states() != ["T"]:
        time.sleep(0.01)
    take(frozen(child.pid))
    deadline = time.monotonic() + 5
    while child.states() != ["T"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert child.states() == ["T"], "as it was before"
    os.kill(child.pid, signal.SIGTERM)
    take(frozen(child.pid))
    os.kill(child.pid, signal.SIGCONT)
    assert child.process.wait(10) == -signal.SIGTERM


def test_ourselves_ancestors_and_init_are_refused() -> None:
    for pid in (os.getpid(), os.getppid()):
        with pytest.raises(UsageError, match="ancestor"):
            take(frozen(pid))
    with pytest.raises(UsageError, match="choice of processes"):
        Options(freeze=True)


def test_what_cannot_be_stopped_says_why(start: Callable[..., Any]) -> None:
    child = start("threads")
    ended = subprocess.Popen(["/bin/true"])
    while Path(f"/proc/{ended.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    with pytest.raises(InputError, match="cannot freeze"):
        take(frozen(ended.pid))
    rows = take(Options(pids=(ended.pid,), frames=False)).table("tasks").rows("state", "error")
    assert list(rows) == [("Z", "has ended (zombie): it has no memory")]
    ended.wait()

    def freeze_again(*_: object) -> None:
        script = (
            f"from vmprobe.collect import *; take(Options(pids=({child.pid},), frames=False, freeze=True))"
        )
        second = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONPATH": ":".join(sys.path)},
        )
        answers.append(second.stderr)

    answers: list[str] = []
    take(frozen(child.pid, freeze_limit_seconds=30), progress=freeze_again)
    assert f"traced by process {os.getpid()} already" in answers[0]
    assert runs_on(child)


def command(child: Any, target: Path) -> list[str]:
    program = [sys.executable, "-m", "vmprobe", "snapshot", "--pid", str(child.pid), "--freeze"]
    return [*program, "--freeze-limit", "30", "-o", str(target), "--force"]


def wait_until_stopped(child: Any, probe: subprocess.Popen[bytes]) -> bool:
    """Wait until the child is held; False when the probe ended first."""
    while probe.poll() is None:
        if "t" in child.states():
            return True
    return False


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_to_vmprobe_let_it_run_on(
    start: Callable[..., Any], tmp_path: Path, signal_number: int
) -> None:
    """The pace makes the reading long, so that the signal surely comes while the child is held."""
    child = start("threads")
    slow = [*command(child, tmp_path / "x.vmsnap"), "--pace", "1"]
    with subprocess.Popen(slow, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as probe:
        assert wait_until_stopped(child, probe), probe.stderr.read() if probe.stderr else None
        probe.send_signal(signal_number)
        _, errors = probe.communicate(timeout=30)
    assert runs_on(child)
    assert not (tmp_path / "x.vmsnap").exists()
    if signal_number != signal.SIGKILL:
        assert probe.returncode == 130
        assert errors.decode().startswith("vmprobe: interrupted")
        assert errors.count(b"\n") == 1
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_hundred_kills_leave_nothing_torn_stopped_or_behind(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    import vmprobe

    child = start("threads")
    target = tmp_path / "x.vmsnap"
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    begin = time.monotonic()
    subprocess.run(command(child, target), check=True, capture_output=True)
    whole = time.monotonic() - begin
    killed = 0
    for _ in range(100):
        with subprocess.Popen(
            command(child, target), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as probe:
            # Weighted to the end, where the writing is.
            time.sleep(whole * (0.3 + 0.8 * chance.random()))
            probe.kill()
        # Either the one that was there or a whole new one: loading checks every digest.
        vmprobe.load(target).table("mappings")
        killed += probe.returncode == -signal.SIGKILL
        if probe.returncode == 0:
            # It was measured while this machine did more.
            whole *= 0.95
        # The kernel lets tracees go while the tracer dies; that is over when wait() returns.
        assert "t" not in child.states(), f"seed {seed}"
    assert killed >= 50, "most must have been hit while they ran"
    assert runs_on(child)
    subprocess.run(command(child, target), check=True, capture_output=True)
    assert [p.name for p in tmp_path.iterdir()] == ["x.vmsnap"], f"seed {seed}"
