"""A reader sees a whole snapshot or none, whatever happens to the writer."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vmprobe.errors import OutputError
from vmprobe.schema import TABLES
from vmprobe.store import check_target, load, rename, write
from vmprobe.tables import MemoryTables, Snapshot, Table

if TYPE_CHECKING:
    from vmprobe.tables import TableSource

SAMPLES = str(Path(__file__).with_name("conftest.py"))

OS_CALLS = ("mkdir", "open", "fsync", "chmod", "rename", "lstat", "listdir")


class FailingSystem:
    """Lets the n-th call into the operating system fail, and with `lasting` each one after it."""

    def __init__(self, patch: pytest.MonkeyPatch, fail_at: int, *, lasting: bool) -> None:
        self.nr_calls = 0
        self.fail_at = fail_at
        self.lasting = lasting
        for name in OS_CALLS:
            patch.setattr(os, name, self.wrapped(getattr(os, name)))
        patch.setattr(rename, "_renameat2", self.renameat2(rename._renameat2))

    def now(self) -> bool:
        self.nr_calls += 1
        return self.nr_calls == self.fail_at or (self.lasting and self.nr_calls > self.fail_at)

    def wrapped(self, call: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if self.now():
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return call(*args, **kwargs)

        return wrapper

    def renameat2(self, call: Any) -> Any:
        def wrapper(*args: Any) -> int:
            if self.now():
                ctypes.set_errno(errno.EIO)
                return -1
            return int(call(*args))

        return wrapper


@pytest.mark.slow
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("lasting", [False, True])
def test_each_call_fails(
    sample: Snapshot, manifest: dict[str, Any], tmp_path: Path, rows_of: Any, *, force: bool, lasting: bool
) -> None:
    """SQLite's anomaly loop: the first call fails, then the second, until the writer gets through."""
    small = Snapshot(manifest, MemoryTables({"cgroups": sample.table("cgroups")}))
    rows = rows_of(small)
    nr_failed = 0
    for fail_at in range(1, 200):
        folder = tmp_path / str(fail_at)
        folder.mkdir()
        target = folder / "a"
        if force:
            write(small, target)
        with pytest.MonkeyPatch.context() as patch:
            system = FailingSystem(patch, fail_at, lasting=lasting)
            try:
                write(small, target, force=force)
            except OutputError as error:
                nr_failed += "Input/output error" in error.message
        if target.exists() or force:
            assert rows_of(load(target)) == rows
        write(small, folder / "next")  # removes what a lasting failure kept the writer from removing
        assert {p.name for p in folder.iterdir()} <= {"a", "next"}
        if system.nr_calls < fail_at:
            break
    else:
        pytest.fail("the writer never got through")
    assert nr_failed > 10


@pytest.mark.parametrize("nr_bytes", [0, 1, 100, 5000, 500_000, 3_000_000])
def test_file_size_limit(tmp_path: Path, manifest: dict[str, Any], nr_bytes: int) -> None:
    """The writes of DuckDB, which no Python call can fail, fail by a limit on the size of files."""
    noise = np.random.default_rng(0).integers(0, 2**60, 600_000).astype(np.uint64)
    table = Table(TABLES["cgroups"], {"inode": noise}, len(noise))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nr_bytes, before[1]))
    try:
        with pytest.raises(OutputError, match=r"a: File too large$") as caught:
            write(Snapshot(manifest, MemoryTables({"cgroups": table})), tmp_path / "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "ulimit" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")
def test_full_disk(tmp_path: Path) -> None:
    program = f"""
import os, sys, importlib.util
import numpy as np
from vmprobe.errors import OutputError
from vmprobe.store import write
from vmprobe.schema import TABLES
from vmprobe.tables import MemoryTables, Snapshot, Table
spec = importlib.util.spec_from_file_location("samples", {SAMPLES!r})
samples = importlib.util.module_from_spec(spec)
spec.loader.exec_module(samples)
noise = np.random.default_rng(0).integers(0, 2**60, 600_000).astype(np.uint64)
tables = MemoryTables({{"cgroups": Table(TABLES["cgroups"], {{"inode": noise}}, len(noise))}})
manifest = {{**samples.MANIFEST, "frame_ranges": []}}
try:
    write(Snapshot(manifest, tables), {str(tmp_path / "a")!r})
except OutputError as error:
    print(error.message, error.hint, os.listdir({str(tmp_path)!r}), sep="|")
"""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    try_it = subprocess.run(["unshare", "-m", *mount], capture_output=True, text=True, check=False)
    if try_it.returncode:
        pytest.skip(f"cannot mount here: {try_it.stderr.strip()}")
    script = 'eval "$0" && exec "$1" -c "$2"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, " ".join(mount), sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == (
        f"{tmp_path / 'a'}: No space left on device|free some space or choose another file system|[]\n"
    ), done.stderr


def test_interrupted(sample: Snapshot, tmp_path: Path) -> None:
    """Ctrl-C between two tables leaves nothing."""

    class Interrupted:
        def names(self) -> tuple[str, ...]:
            return (*sample.tables(), "swap_areas")

        def load(self, name: str, columns: object) -> Table:
            if name == "swap_areas":
                assert len(list(next(tmp_path.iterdir()).iterdir())) == len(sample.tables())
                raise KeyboardInterrupt
            return sample.table(name)

    source: TableSource = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        write(Snapshot(sample.manifest, source), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_killed(writer_program: list[str], sample: Snapshot, tmp_path: Path, rows_of: Any) -> None:
    """SIGKILL at any moment: the name stands for a whole snapshot, and the next writer cleans up."""
    rows = rows_of(sample)
    nr_leftovers = 0
    for i in range(12):
        command = [*writer_program, SAMPLES, str(tmp_path / "a"), "loop"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin
            assert child.stdout
            assert child.stdout.readline() == b"ready\n"
            child.stdin.write(b"\n")
            child.stdin.flush()
            time.sleep(0.02 + 0.013 * i)
            child.kill()
        nr_leftovers += sum(p.name.startswith(".a.vmprobe-tmp-") for p in tmp_path.iterdir())
        if (tmp_path / "a").exists():
            assert rows_of(load(tmp_path / "a")) == rows
    assert nr_leftovers > 0
    write(sample, tmp_path / "b")
    assert {p.name for p in tmp_path.iterdir()} <= {"a", "b"}


@pytest.mark.slow
def test_concurrent_writers(
    writer_program: list[str], sample: Snapshot, tmp_path: Path, rows_of: Any
) -> None:
    command = [*writer_program, SAMPLES, str(tmp_path / "a"), "once"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, **pipes) for _ in range(4)]  # type: ignore[call-overload]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    errors = [child.communicate()[1] for child in children]
    assert sorted(child.returncode for child in children) == [0, 1, 1, 1]
    assert sum(error == f"{tmp_path / 'a'}: exists\n" for error in errors) == 3
    assert rows_of(load(tmp_path / "a")) == rows_of(sample)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def leftover(path: Path) -> Path:
    path.mkdir()
    (path / "frames.parquet").write_bytes(b"PAR1")
    return path


def test_only_our_dead_leftovers_go(sample: Snapshot, tmp_path: Path) -> None:
    dead = leftover(tmp_path / ".x.vmsnap.vmprobe-tmp-0123abcd")
    alive = leftover(tmp_path / ".x.vmsnap.vmprobe-tmp-00000000")
    aside = leftover(tmp_path / ".only.vmprobe-old-00000000")
    spent = leftover(tmp_path / ".spent.vmprobe-old-00000000")
    (tmp_path / "spent").mkdir()
    foreign = [
        leftover(tmp_path / name)
        for name in (
            ".x.tmp-0123abcd",
            "x.vmprobe-tmp-0123abcd",
            ".x.vmprobe-tmp-0123abcd~",
            ".x.vmprobe-tmp-xyz",
        )
    ]
    (tmp_path / ".l.vmprobe-tmp-0123abcd").symlink_to(foreign[0])
    (tmp_path / ".f.vmprobe-tmp-0123abcd").write_bytes(b"")
    descriptor = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        check_target(tmp_path / "new")
    finally:
        os.close(descriptor)
    assert not dead.exists()
    assert not spent.exists()
    assert all((p / "frames.parquet").exists() for p in (alive, aside, *foreign))
    assert (tmp_path / ".l.vmprobe-tmp-0123abcd").is_symlink()
    assert (tmp_path / ".f.vmprobe-tmp-0123abcd").exists()


@pytest.mark.parametrize("force", [False, True])
def test_targets_that_are_refused(sample: Snapshot, tmp_path: Path, force: bool) -> None:
    file, foreign, link = tmp_path / "file", tmp_path / "foreign", tmp_path / "link"
    file.write_text("precious")
    foreign.mkdir()
    (foreign / "manifest.json").write_text('{"format": {"name": "other", "version": [1, 0]}}')
    write(sample, tmp_path / "real")
    link.symlink_to(tmp_path / "real")
    for target in (file, foreign, link, tmp_path):
        with pytest.raises(OutputError, match="exists and is not a snapshot"):
            check_target(target, force=force)
    with pytest.raises(OutputError, match="there is no folder"):
        check_target(tmp_path / "none" / "a", force=force)
    with pytest.raises(OutputError, match="not a name for"):
        check_target("..", force=force)
    assert file.read_text() == "precious"
    assert link.is_symlink()


def test_without_force_nothing_is_replaced(sample: Snapshot, tmp_path: Path) -> None:
    write(sample, tmp_path / "a")
    before = (tmp_path / "a").stat().st_ino
    with pytest.raises(OutputError, match=r"a: exists$") as caught:
        write(sample, tmp_path / "a")
    assert "--force" in str(caught.value.hint)
    assert (tmp_path / "a").stat().st_ino == before
    write(sample, tmp_path / "a", force=True)
    assert (tmp_path / "a").stat().st_ino != before
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_name_taken_meanwhile_is_not_replaced(sample: Snapshot, tmp_path: Path) -> None:
    class Late:
        def names(self) -> tuple[str, ...]:
            return sample.tables()

        def load(self, name: str, columns: object) -> Table:
            (tmp_path / "a").mkdir(exist_ok=True)
            return sample.table(name)

    source: TableSource = Late()
    with pytest.raises(OutputError, match=r"a: exists$"):
        write(Snapshot(sample.manifest, source), tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.parametrize("answer", ["missing", "refused"])
def test_without_renameat2(
    sample: Snapshot, tmp_path: Path, rows_of: Any, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """File systems and C libraries that cannot swap or check names still get whole snapshots."""

    def refuse(*args: object) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(rename, "_renameat2", None if answer == "missing" else refuse)
    write(sample, tmp_path / "a")
    with pytest.raises(OutputError, match="exists"):
        write(sample, tmp_path / "a")
    write(sample, tmp_path / "a", force=True)
    assert rows_of(load(tmp_path / "a")) == rows_of(sample)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    (tmp_path / "b").mkdir()
    with pytest.raises(FileExistsError):
        rename.rename_new(tmp_path / "b", tmp_path / "a")


def test_no_permission() -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:  # one that others may look into, unlike tmp_path
        Path(folder).chmod(0o555)
        try:
            if user == 0:
                os.seteuid(65534)
            with pytest.raises(OutputError, match=r"a: Permission denied$") as caught:
                check_target(Path(folder, "a"))
        finally:
            os.seteuid(user)
            Path(folder).chmod(0o700)
    assert caught.value.hint == "choose a folder that you may write"


def test_a_folder_that_cannot_be_looked_at(tmp_path: Path) -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").mkdir()
        Path(folder).chmod(0o000)
        try:
            if user == 0:
                os.seteuid(65534)
            with pytest.raises(OutputError, match=r"a: Permission denied$"):
                check_target(Path(folder, "in", "a"))
        finally:
            os.seteuid(user)
            Path(folder).chmod(0o700)
    with pytest.raises(OutputError, match=r"x: File name too long$"):
        check_target(tmp_path / ("a" * 300) / "x")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
def test_a_folder_that_takes_nothing(sample: Snapshot) -> None:
    with pytest.raises(OutputError, match=r"^/proc/a: "):
        check_target("/proc/a")
