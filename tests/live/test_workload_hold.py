"""Workloads as processes: bounds kept, nothing moves while they are held, nothing is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.workloads import WORKLOADS, hold
from lab.workloads.children import TREE
from tests.live.held import EVERY, held, task

pytestmark = pytest.mark.live
LAB_HOLD = (sys.executable, "-m", "lab", "hold")


def run(*given: str, wrap: tuple[str, ...] = (), **choices: Any) -> subprocess.CompletedProcess[str]:
    """Run Python as workloads are run, its input at an end."""
    choices |= {"env": {"PYTHONPATH": str(TREE)}, "stdin": subprocess.DEVNULL}
    command = [*wrap, sys.executable, "-S", "-P", *given]
    return subprocess.run(command, capture_output=True, text=True, check=False, **choices)


def run_workload(spec: str, **choices: Any) -> subprocess.CompletedProcess[str]:
    return run("-m", "lab.workloads", *spec.split(), **choices)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("holes pages=300000", 2, "it would take 1,171.9 MiB, and the limit is 1,024.0 MiB"),
        ("holes pages=10 limit=4096", 2, "the limit is 0.0 MiB"),
        ("holes pages=10 limit=13G", 2, "limit=13958643712: at most 12,288.0 MiB"),
        ("forks children=500 pages=4000", 2, "it would take"),
        ("huge bytes=2G kind=hugetlb", 2, "more than the limit"),
        ("pipes bytes=2G", 2, "it would take 2,048.0 MiB"),
        ("holes pages=10 keep=nan", 2, "keep=nan: 0 to 1"),
        ("holes pages=10 pages=x", 2, "'pages=x': not a number"),
        ("holes pages=10 size=3", 2, "holes has no 'size=3'; it has pages=, "),
        ("holes", 2, "holes needs pages="),
        ("holes pages=10 pattern=clustered keep=0.99 cluster=2", 2, "runs of a mean of 0.04 pages"),
        ("nothing", 2, "NAME is one of forks, holes,"),
        ("holes pages=250000 seconds=0.03", 3, "not done after 0.03 s"),
        ("slab objects=10 folder=/proc", 75, "/proc/vmprobe-lab-slab-"),
    ],
)
def test_bounds_are_kept_in_one_line(words: str, code: int, message: str) -> None:
    done = run_workload(words)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_limits_of_the_process_are_named() -> None:
    done = run_workload("pipes bytes=4M", wrap=("sh", "-c", 'ulimit -n 64; exec "$@"', "sh"))
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr == "64 pipes need 160 files, and RLIMIT_NOFILE is 64, at most 64\n"


@pytest.mark.root
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("pinned pages=17", "69632 bytes to pin, and RLIMIT_MEMLOCK is 65536, at most 65536, without CAP_"),
        ("pipes bytes=80M", "1280 pipes hold 20480 pages; fs.pipe-user-pages-soft is "),
    ],
)
def test_limits_of_others_than_root_are_named(words: str, message: str, root_only: None) -> None:
    wrap = ("sh", "-c", 'ulimit -l 64; shift; exec /usr/bin/python3 "$@"', "sh")
    done = run_workload(words, wrap=wrap, user=65534, group=65534, extra_groups=[])
    if done.returncode == 1 or "No module" in done.stderr:
        pytest.skip(f"nobody can run the tree with /usr/bin/python3: {done.stderr.splitlines()[-1]}")
    assert (done.returncode, done.stdout) == (75, "")
    assert message in done.stderr


def stat(pid: int) -> list[str]:
    """Return the fields of a process from its state on, none when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def gone(*pids: int) -> bool:
    """Wait until no process has these numbers; a zombie has ended."""
    until = time.monotonic() + 5
    while any(stat(pid)[:1] not in ([], ["Z"]) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def everybody(truths: list[dict[str, Any]]) -> list[int]:
    return [pid for t in truths for pid in (t["pid"], *(c["pid"] for c in t.get("children", ())))]


def left(truths: list[dict[str, Any]]) -> list[str]:
    """Return the folders of workloads that are there."""
    return [truth["folder"] for truth in truths if "folder" in truth and os.path.exists(truth["folder"])]


def test_nothing_moves_while_it_is_held() -> None:
    with held(*EVERY, "pinned pages=8", "pipes bytes=64K") as truths:
        pids = everybody(truths)
        # Faults and time of the processor, own and of children.
        before = [stat(pid)[7:15] for pid in pids]
        assert all(task(pid).fields["Threads"] == "1" for pid in pids)
        time.sleep(0.4)
        assert [stat(pid)[7:15] for pid in pids] == before


def test_an_exception_ends_all_of_them() -> None:
    truths: list[dict[str, Any]] = []

    def use() -> None:
        with held(*EVERY) as said:
            truths.extend(said)
            assert len(left(said)) == 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert gone(*everybody(truths))
    assert not left(truths)


def test_a_refusal_ends_those_before_it(tmp_path: Path) -> None:
    specs = (f"pagecache bytes=9K folder={tmp_path}", "holes pages=0")
    with pytest.raises(LabError, match=r"^holes pages=0: pages=0: at least 1$"), hold(*specs):
        pytest.fail("one of them cannot be held")
    assert not list(tmp_path.iterdir())


def test_one_that_was_stopped_ends_too() -> None:
    begin = time.monotonic()
    with held(*EVERY) as truths:
        for pid in everybody(truths):
            os.kill(pid, signal.SIGSTOP)
    assert time.monotonic() - begin < 5
    assert gone(*everybody(truths))


def test_one_that_ends_early_is_an_error_and_leaves_no_file() -> None:
    with ExitStack() as stack:
        truths = stack.enter_context(held(*EVERY))
        os.kill(truths[0]["pid"], signal.SIGKILL)
        assert gone(truths[0]["pid"])
        with pytest.raises(LabError, match="slab objects=300: ended with status -9 while it was held"):
            stack.close()
    assert not left(truths)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
)
def test_whatever_ends_the_holder_nothing_is_left(number: int, code: int) -> None:
    # The shell ends at once when it is told to, and the sleeper would stay.
    leave_one = "exec sleep 60" if number == signal.SIGKILL else "sleep 60 & echo $!; wait"
    command = ["sh", "-c", f'tr "\\n" " " <$LAB_TRUTH; echo; echo $LAB_PIDS; echo $$; {leave_one}']
    holder = [*LAB_HOLD, *EVERY, "--", *command]
    with subprocess.Popen(holder, stdout=subprocess.PIPE, text=True, cwd=TREE) as process:
        assert process.stdout is not None
        truths = json.loads(process.stdout.readline())
        assert process.stdout.readline().split() == [str(truth["pid"]) for truth in truths]
        others = [int(process.stdout.readline()) for _ in range(1 if number == signal.SIGKILL else 2)]
        assert len(left(truths)) == 3
        process.send_signal(number)
        assert process.wait(15) == code
    assert gone(*everybody(truths), *others)
    assert not left(truths)


@pytest.mark.parametrize(("code", "command"), [(0, "true"), (7, "exit 7"), (137, "kill -9 $$"), (127, None)])
def test_the_commands_status_is_returned(code: int, command: str | None, tmp_path: Path) -> None:
    file = tmp_path / "truth"
    words = ["holes pages=9", "slab objects=5", "--seed", "4", "--truth", str(file), "--"]
    words += ["/no/such"] if command is None else ["sh", "-c", command]
    done = subprocess.run([*LAB_HOLD, *words], capture_output=True, text=True, check=False, cwd=TREE)
    assert done.returncode == code
    assert [truth["seed"] for truth in json.loads(file.read_text())] == [4, 5]


def test_the_maps_of_a_workload_name_no_place_of_ours() -> None:
    with held("holes pages=9") as (truth,):
        assert "site-packages" not in Path(f"/proc/{truth['pid']}/maps").read_text()
        # C.UTF-8 is what Python itself sets when it finds no locale.
        environment = Path(f"/proc/{truth['pid']}/environ").read_text().strip("\0").split("\0")
        assert set(environment) <= {f"PYTHONPATH={TREE}", "LC_CTYPE=C.UTF-8"}


def test_the_program_starts_light() -> None:
    code = "import sys, lab.workloads.__main__, lab.workloads.holes; print(*sys.modules)"
    loaded = set(run("-c", code).stdout.split())
    assert "lab.workloads.holes" in loaded
    heavy = {"argparse", "subprocess", "inspect", "pathlib", "tempfile", "shutil", "numpy", "vmprobe"}
    assert not loaded & (heavy | {f"lab.workloads.{name}" for name in WORKLOADS if name != "holes"})


@pytest.mark.parametrize(
    ("module", "sabotage", "call", "message"),
    [
        ("holes", "w.DONTNEED = 15", "holes(pages=9)", "kept pages: the kernel shows 9 pages, 4 were"),
        ("forks", "w.partial = lambda f, _: lambda: f([])", "forks(pages=9)", "own pages of "),
        ("pagecache", "w.Area.read_each = str", "pagecache(bytes=9)", "mapped pages: the kernel shows 0 "),
        ("slab", "w.layout.gaps = lambda *_: []", "slab(objects=9)", "kept files: the kernel shows 9 "),
        ("pinned", "w.vm_pin_kib = lambda: 0", "pinned(pages=1)", "VmPin in KiB: the kernel shows 0, made"),
    ],
)
def test_a_workload_that_did_not_do_its_work_fails(
    module: str, sabotage: str, call: str, message: str
) -> None:
    code = f"from lab.workloads import {module} as w; {sabotage}\nwith w.{call} as truth: print(truth)"
    done = run("-c", code)
    if "UnavailableError" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert (done.returncode, done.stdout) == (1, "")
    assert f"DisagreesError: {message}" in done.stderr
