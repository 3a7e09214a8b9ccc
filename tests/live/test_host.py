"""The whole live host: it completes whatever goes on, and what it says of frames is what the bytes say."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from array import array
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vmprobe.analyses.show import show
from vmprobe.bridge.memmap import flag_counts
from vmprobe.collect import Options, take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.live
FRAME_FILES = ("kpageflags", "kpagecount", "kpagecgroup")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user reaches, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@pytest.fixture
def copied(tmp_path: Path, root_only: None) -> Path:
    """A /proc with copies of the live frame files, so that two readers see the same bytes."""
    root = tmp_path / "proc"
    root.mkdir()
    for name in (*FRAME_FILES, "zoneinfo", "buddyinfo", "iomem", "vmstat", "meminfo"):
        with Path(f"/proc/{name}").open("rb") as source, (root / name).open("wb") as copy:
            while data := source.read(1 << 20):
                copy.write(data)
    (root / "7").mkdir()
    return root


@pytest.mark.root
@pytest.mark.slow
def test_flag_bits_and_classes_against_an_independent_count(copied: Path) -> None:
    snapshot = take(Options(procfs=str(copied), sysfs="/sys"))
    words = array("Q")
    words.frombytes((copied / "kpageflags").read_bytes())
    counted: Counter[int] = Counter()
    for word, nr in Counter(words).items():
        for bit in range(64):
            if word >> bit & 1:
                counted[bit] += nr
    assert counted[10] > 0
    assert flag_bits(snapshot) == counted
    answer = show(snapshot)
    assert answer.frames is not None
    assert sum(row.nr_frames for row in answer.frames.classes) == len(words) == len(snapshot.table("frames"))
    free = next(row.nr_frames for row in answer.frames.classes if row.name == "free")
    assert free == counted[10]
    zones = sum(1 for word in words if word >> 24 & 1)
    assert next(row.nr_frames for row in answer.frames.classes if row.name == "zero page") == zones
    counts = array("Q")
    counts.frombytes((copied / "kpagecount").read_bytes())
    assert snapshot.table("frames").column("mapcount").tolist() == counts.tolist()


def flag_bits(snapshot: Any) -> Counter[int]:
    """Return vmprobe's counts by bit number."""
    from kernelmodel.pageflags import PAGE_FLAGS

    bits = {flag.name: flag.bit for flag in PAGE_FLAGS}
    return Counter({bits[name]: nr for name, nr in flag_counts(snapshot).items() if nr})


@pytest.mark.root
def test_buddy_frames_are_the_free_pages_of_buddyinfo(root_only: None) -> None:
    """Within what moved; the best of several, since free pages may dip and recover between two counts."""
    misses = []
    for _ in range(8):
        snapshot = take(Options())
        answer = show(snapshot)
        assert answer.frames is not None
        free = next(row for row in answer.frames.classes if row.name == "free")
        moved = snapshot.manifest["volatility"]
        low, high = sorted((moved["free_pages_before"], moved["free_pages_after"]))
        misses.append(max(low - free.nr_frames, free.nr_frames - high, 0) / (moved["frames_changed"] + 1))
    assert min(misses) <= 1, misses


@pytest.mark.slow
def test_forks_and_exits_do_not_stop_it_and_each_process_has_a_row(start: Callable[..., Any]) -> None:
    storms = [start("storm", "200"), start("storm", "200")]
    snapshots = [take(Options()) for _ in range(5)]
    totals = [storm.finish() for storm in storms]
    rate = sum(t["total"] / t["seconds"] for t in totals)
    if rate < 300:
        pytest.skip(f"this machine made {rate:.0f} forks a second beside the snapshots, and 300 are the test")
    for snapshot in snapshots:
        mms = set(snapshot.table("vmas").column("mm").tolist())
        for pid, mm, kernel, state, error in snapshot.table("tasks").rows(
            "pid", "mm", "kernel_thread", "state", "error"
        ):
            assert mm in mms or kernel or error, (pid, state)
        assert set(snapshot.table("mappings").column("mm").tolist()) <= mms


@pytest.mark.root
def test_hidepid_is_named(open_folder: Path, root_only: None) -> None:
    """In a mount namespace of our own, as a user: /proc with hidepid=2 lists our own processes alone."""
    script = f"""
import ctypes, json, os, sys
sys.path[:0] = {sys.path!r}
import vmprobe.collect.take, vmprobe.formats.stat, vmprobe.store, vmprobe.cli.main
os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
from vmprobe.collect import Options, take
snapshot = take(Options(procfs={str(open_folder)!r}))
rows = list(snapshot.table("tasks").rows("pid", "error"))
print(json.dumps([[e["what"] + ": " + e["reason"] for e in snapshot.manifest["unread"]], rows, os.getpid()]))
"""
    mounted = f'mount -t proc -o hidepid=2 none "{open_folder}" && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted, sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
    )
    if "mount" in done.stderr and done.returncode:
        pytest.skip(f"no private mount namespace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    import json

    unread, rows, pid = json.loads(done.stdout)
    assert any("hidepid" in reason for reason in unread), unread
    assert rows == [[pid, None]]
    assert any(reason.startswith("kpageflags: Permission denied") for reason in unread)


NOBODY = """
import contextlib, ctypes, io, os, shutil, sys
sys.path[:0] = {path!r}
from vmprobe.cli.main import run
os.chdir({folder!r})
# Once as we are: every module is loaded then, also where nobody may not read the interpreter's own files.
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    run(["snapshot", "-o", "warm.vmsnap"])
    run(["snapshot", "-o", "warm.vmsnap"])
shutil.rmtree("warm.vmsnap")
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: our own /proc is ours again
sys.exit(run({arguments!r}))
"""


def as_nobody(arguments: list[str], folder: Path) -> tuple[int, str, str]:
    """Run the command line as a user without privileges."""
    script = NOBODY.format(path=sys.path, folder=str(folder), arguments=arguments)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_without_privileges_it_takes_what_it_can_and_says_what_is_missing(open_folder: Path) -> None:
    import vmprobe

    status, out, errors = as_nobody(["snapshot", "-o", "x.vmsnap"], open_folder)
    assert (status, errors) == (0, "")
    for words in ("kpageflags", "Permission denied", "needs root", "CAP_SYS_ADMIN"):
        assert words in out
    snapshot = vmprobe.load(open_folder / "x.vmsnap")
    assert not snapshot.has("frames")
    assert not snapshot.table("mappings").has("pfn")
    assert len(snapshot.table("mappings")) > 100, "our own process can be read"
    assert len(snapshot.table("zones")) > 0


def test_required_frames_without_privilege_are_status_4(open_folder: Path) -> None:
    status, out, errors = as_nobody(["snapshot", "-o", "x.vmsnap", "--require-frames"], open_folder)
    assert (status, out) == (4, "")
    assert errors.startswith("vmprobe: /proc/kpageflags: needs root")
    assert errors.count("\n") == 2, "the message and its hint"
    assert list(open_folder.iterdir()) == []
