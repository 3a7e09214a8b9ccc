"""One report at a time, and one that gives way: with real processes, since only the kernel ends a lock."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from vmprobe.errors import OutputError, OverlapError
from vmprobe.sources import priority
from vmprobe.sources.priority import yield_to_others
from vmprobe.sources.single_run import only_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
import pathlib, sys
from vmprobe.sources.single_run import only_run
with only_run(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock ``tmp_path/lock``."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_makes_its_folder_and_stays_in_place(tmp_path: Path) -> None:
    path = tmp_path / "state" / "lock"
    with only_run(path):
        assert path.read_text().startswith(f"pid {os.getpid()}, since 2")
        inode = path.stat().st_ino
    assert path.stat().st_ino == inode
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.parent.stat().st_mode & 0o7777 == 0o700
    path.write_text(f"pid {1 << 40}, since 2026-01-02T03:04:05+00:00\n" * 3)
    with only_run(path):
        assert path.stat().st_ino == inode
        assert re.fullmatch(r"pid \d+, since 2[0-9T:+-]+\n", path.read_text())


def test_what_is_no_lock_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear to somebody\n")
    refused = r"notes\.txt: holds something else than the words of a lock"
    with pytest.raises(OutputError, match=refused), only_run(path):
        pytest.fail("it was taken for a lock")
    assert path.read_text() == "dear to somebody\n"


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_run(tmp_path / "lock"):
        raise ZeroDivisionError
    with only_run(tmp_path / "lock"):
        pass


@pytest.mark.live
def test_the_second_run_says_who_is_at_work(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(OverlapError) as raised, only_run(tmp_path / "lock"):
        pytest.fail("two at once")
    assert raised.value.message.startswith(f"another report runs (pid {holder.pid}, since 2")
    assert "\n" not in raised.value.message
    assert raised.value.message.endswith("+00:00): nothing was done")


@pytest.mark.live
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, None], ids=["killed", "ended", "done"])
def test_however_the_holder_ends_the_lock_is_free(
    tmp_path: Path, holder: subprocess.Popen[str], number: int | None
) -> None:
    if number is None:
        assert holder.stdin is not None
        holder.stdin.close()
    else:
        holder.send_signal(number)
    holder.wait(10)
    with only_run(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text().startswith(f"pid {os.getpid()},")


@pytest.mark.live
def test_a_child_that_lives_on_does_not_hold_it(tmp_path: Path) -> None:
    with only_run(tmp_path / "lock"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with only_run(tmp_path / "lock"):
            pass
    finally:
        child.kill()
        child.wait()


def test_what_another_wrote_is_shown_as_one_short_line(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with only_run(path):
        path.write_bytes(b"\xff" + b"x" * 1000)
        with pytest.raises(OverlapError) as raised, only_run(path):
            pass
    assert len(raised.value.message) < 200
    assert "\\xff" in raised.value.message


def test_no_link_pipe_or_folder_is_a_lock(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    (tmp_path / "link").symlink_to(kept)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    cases = {"link": "is a symbolic link", "pipe": "is no plain file", "folder": "Is a directory"}
    for name, why in cases.items():
        with pytest.raises(OutputError, match=f"{name}: {why}: no lock") as raised, only_run(tmp_path / name):
            pass
        assert raised.value.hint == "--lock names another file"
    assert kept.read_text() == "mine"
    with pytest.raises(OutputError, match="kept/lock: File exists"), only_run(kept / "lock"):
        pass


SAY = """
import os, psutil
from vmprobe.sources.priority import yield_to_others
{before}
yield_to_others()
print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), int(psutil.Process().ionice().ioclass))
"""
IDLE = "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))"


@pytest.mark.live
@pytest.mark.parametrize(("before", "policy"), [("", os.SCHED_BATCH), (IDLE, os.SCHED_IDLE)])
def test_a_run_gives_way_to_others(before: str, policy: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAY.format(before=before)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["19", str(policy), str(int(psutil.IOPRIO_CLASS_IDLE))]


def test_a_kernel_that_refuses_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    asked = []
    monkeypatch.setattr(priority.os, "setpriority", refuse)
    monkeypatch.setattr(priority.os, "sched_setscheduler", refuse)
    monkeypatch.setattr(priority.psutil.Process, "ionice", lambda *_: asked.append(1) or refuse())
    yield_to_others()
    assert asked == [1]
