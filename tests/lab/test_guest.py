"""A guest brings back files, output and exit status, keeps its time, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.guest import TREE
from lab.shapes import Shape

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab
SMALL = ("--memory", "512M", "--cpus", "1")


def lab_run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``python -m lab run`` in a small guest; skip with its reason."""
    command = [sys.executable, "-m", "lab", "run", *SMALL, "--files", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TREE, timeout=300)
    if done.returncode == 75:
        pytest.skip(done.stderr.strip())
    return done


def emulators() -> set[int]:
    """Return the QEMU processes that run."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().startswith("qemu-system"):
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture
def no_new_emulator() -> Iterator[None]:
    """Demand that no emulator is left that was not there."""
    before = emulators()
    yield
    give_up = time.monotonic() + 10
    while (left := emulators() - before) and time.monotonic() < give_up:
        time.sleep(0.1)
    assert not left


@pytest.mark.usefixtures("no_new_emulator")
def test_files_output_and_exit_status_come_back(tmp_path: Path) -> None:
    script = 'id -u; echo "to stderr" >&2; echo kept > $LAB_OUT/file; ls $LAB_TREE/README.md; exit 7'
    done = lab_run("--", "sh", "-c", script, folder=tmp_path / "out")
    assert (done.returncode, done.stdout, done.stderr) == (7, "0\n/run/vmprobe/README.md\n", "to stderr\n")
    assert (tmp_path / "out" / "file").read_text() == "kept\n"


@pytest.mark.usefixtures("no_new_emulator")
def test_a_command_that_does_not_end_is_ended(tmp_path: Path) -> None:
    done = lab_run("--time-limit", "20", "--", "sh", "-c", "echo begun; sleep 600", folder=tmp_path / "out")
    assert (done.returncode, done.stdout) == (124, "begun\n")
    assert done.stderr == "lab: ended after 20 s, the time limit\n"


@pytest.mark.usefixtures("no_new_emulator")
def test_a_guest_that_dies_says_so(tmp_path: Path) -> None:
    done = lab_run("--", "sh", "-c", "echo o > /proc/sysrq-trigger; sleep 60", folder=tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith("lab: the guest ended without running the command to its end")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.usefixtures("no_new_emulator")
def test_a_signal_ends_the_guest(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "lab", "run", *SMALL, "--", "sh", "-c", "echo begun; sleep 600"]
    # A shell lets its background jobs ignore SIGINT, and what they start: this test may be among them.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        running = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=TREE
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert running.stdout is not None
    with running:
        if running.stdout.readline() == "begun\n":
            os.kill(running.pid, number)
        try:
            _, err = running.communicate(timeout=30)
        finally:
            running.kill()
    if running.returncode == 75:
        pytest.skip(err.strip())
    assert (running.returncode, err) == (130, "lab: interrupted\n")


@pytest.mark.usefixtures("no_new_emulator")
def test_the_shape_is_what_was_asked_for(tmp_path: Path) -> None:
    script = "cat /proc/swaps; ls -d /sys/devices/system/node/node?; grep HugePages_Total /proc/meminfo"
    script += "; df $LAB_SCRATCH"
    shape = ("--memory", "1G", "--numa", "2", "--swap", "16M", "--swap", "file:16M", "--hugepages", "8")
    done = lab_run(*shape, "--", "sh", "-c", script, folder=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["/dev/zram0", "/run/scratch/swap99"]
    assert lines[3:5] == [f"/sys/devices/system/node/node{n}" for n in (0, 1)]
    assert lines[5].split() == ["HugePages_Total:", "8"]
    assert lines[7].startswith("/dev/vda")


@pytest.mark.parametrize("shape", [Shape(cma_bytes=1 << 26), Shape(page_owner=True)])
def test_what_a_kernel_was_built_without_is_named(tmp_path: Path, shape: Shape) -> None:
    words = ("--cma", "64M") if shape.cma_bytes else ("--page-owner",)
    command = [sys.executable, "-m", "lab", "run", *words, "--files", str(tmp_path / "out"), "--", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TREE, timeout=300)
    assert done.returncode == 75
    assert done.stderr.startswith("lab: skipped: ")
    assert "is built without CONFIG_" in done.stderr or "missing" in done.stderr
