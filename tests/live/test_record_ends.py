"""lab/record.py refused, interrupted, on a full disk and without privileges: a line, nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab import record
from vmprobe.collect import Options, take

if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = pytest.mark.live
PROGRAM = record.__file__


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user reaches, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


AS_NOBODY = """
import contextlib, ctypes, io, os, sys
program, *arguments = sys.argv[1:]
names = {"__name__": "record"}
# All is imported as we are: nobody may not read the interpreter's own files everywhere.
with open(program) as file, contextlib.redirect_stderr(io.StringIO()):
    exec(compile(file.read(), program, "exec"), names)
    names["main"]([])
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: our own /proc is ours again
sys.exit(names["main"](arguments))
"""


def as_nobody(*arguments: str) -> tuple[int, str, str]:
    """Run the recorder as a user without privileges."""
    command = [sys.executable, "-I", "-c", AS_NOBODY, PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_without_privileges_it_records_what_it_can_and_names_the_rest(open_folder: Path) -> None:
    folder = open_folder / "x.recording"
    status, out, errors = as_nobody(str(folder))
    assert (status, errors) == (0, "")
    assert "files not read" in out
    snapshot = take(Options(procfs=str(folder)))
    assert not snapshot.has("frames")
    assert not snapshot.table("mappings").has("pfn")
    assert len(snapshot.table("mappings")) > 50, "the recorder itself"
    assert len(snapshot.table("zones")) > 0
    unread = {entry["what"]: entry for entry in snapshot.manifest["unread"]}
    assert unread["kpageflags"]["reason"] == "Permission denied"
    assert unread["kpageflags"]["needs"] == "root, or CAP_DAC_READ_SEARCH"
    assert unread["frame numbers in pagemap"]["needs"].startswith("CAP_SYS_ADMIN")
    assert snapshot.manifest["privileges"]["capabilities"] == []


@pytest.mark.root
def test_where_nothing_may_be_recorded_the_status_is_4(open_folder: Path, root_only: None) -> None:
    status, out, errors = as_nobody(str(open_folder / "x.recording"), "--pid", str(os.getpid()))
    assert (status, out) == (4, "")
    assert errors.startswith("record: ")
    assert "Permission denied; no memory could be recorded, which needs root" in errors
    assert errors.count("\n") == 1
    assert list(open_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["{}/there"], 3, "exists; choose another name"),
        (["{}/none/x"], 3, "No such file or directory"),
        (["{}/x", "--pid", "4194305"], 3, "process 4194305 is not there"),
        (["{}/x", "--procfs", "{}/none"], 3, "No such file or directory"),
        ([], 2, "--help shows the usage"),
        (["{}/x", "--pid", "seven"], 2, "--help shows the usage"),
        (["{}/x", "--turbo"], 2, "--help shows the usage"),
    ],
)
def test_what_is_refused_takes_one_line(
    arguments: list[str], status: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").mkdir()
    assert record.main([word.format(tmp_path) for word in arguments]) == status
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("record: ")
    assert says in err
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.root
def test_a_full_disk_leaves_nothing(tmp_path: Path, root_only: None) -> None:
    mount = f"mount -t tmpfs -o size=300k tmpfs {tmp_path}"
    listing = f'status=$?; ls -A "{tmp_path}"; exit $status'
    script = f'{mount} || exit 99; "$0" "$1" "$2"; {listing}'
    command = ["unshare", "-m", "sh", "-c", script, sys.executable, PROGRAM, f"{tmp_path}/x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 99:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"record: {tmp_path}/x: No space left on device\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """In the middle: the last frame file is a pipe into which nobody writes."""
    proc, target = tmp_path / "proc", tmp_path / "out"
    (proc / "7").mkdir(parents=True)
    target.mkdir()
    (proc / "kpageflags").write_bytes(bytes(80))
    os.mkfifo(proc / "kpagecount")
    command = [sys.executable, PROGRAM, str(target / "x"), "--procfs", str(proc)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        deadline = time.monotonic() + 30
        while not list(target.glob(".x.record-tmp-*/kpageflags")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert list(target.iterdir()), "it was at work"
        time.sleep(0.2)
        child.send_signal(number)
        _, errors = child.communicate(timeout=30)
    assert (child.returncode, errors) == (130, "record: interrupted; nothing was recorded\n")
    assert list(target.iterdir()) == []
