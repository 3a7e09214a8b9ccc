"""vmprobe.store.single_file: a reader sees the old file or the new one, whatever happens to the writer."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.store import test_atomic
from tests.store.test_atomic import FailingSystem
from vmprobe.errors import OutputError
from vmprobe.store import single_file, staging
from vmprobe.store.single_file import write_whole

OLD, NEW = b"old\n" * 1000, b"new\n" * 2000


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that is there."""
    path = tmp_path / "vmprobe.prom"
    path.write_bytes(OLD)
    return path


@pytest.mark.parametrize("data", [b"", b"x", NEW, os.urandom(3_000_000)], ids=["none", "one", "new", "many"])
@pytest.mark.parametrize("mode", [0o600, 0o644])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_written(tmp_path: Path, data: bytes, mode: int, umask: int) -> None:
    path = tmp_path / "a"
    before = os.umask(umask)
    try:
        write_whole(path, data, mode=mode)
        first = path.stat().st_ino
        write_whole(path, data, mode=mode)
    finally:
        os.umask(before)
    assert path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.stat().st_ino != first
    assert list(tmp_path.iterdir()) == [path]


def test_only_the_owner_reads_it_unless_told_otherwise(target: Path) -> None:
    target.chmod(0o644)
    write_whole(target, NEW)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_the_mode_is_there_before_the_name(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = single_file.publish_file

    def looked_at(file: Path, to: Path) -> None:
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
        assert file.read_bytes() == NEW
        assert to.read_bytes() == OLD
        assert not file.parent.name.endswith(".prom")
        assert file.parent.parent == to.parent
        publish(file, to)

    monkeypatch.setattr(single_file, "publish_file", looked_at)
    write_whole(target, NEW, mode=0o644)
    assert target.read_bytes() == NEW


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_each_call_fails(tmp_path: Path, lasting: bool, there: bool) -> None:
    """SQLite's anomaly loop, as for snapshots."""
    nr_failed = nr_kept = 0
    for fail_at in range(1, 100):
        folder = tmp_path / str(fail_at)
        folder.mkdir()
        path = folder / "a"
        if there:
            path.write_bytes(OLD)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(test_atomic, "OS_CALLS", (*test_atomic.OS_CALLS, "fchmod"))
            system = FailingSystem(patch, fail_at, lasting=lasting)
            try:
                write_whole(path, NEW)
                failed = False
            except OutputError as error:
                failed = True
                nr_failed += error.message == f"{path}: Input/output error"
        found = path.read_bytes() if path.exists() else None
        assert found in ((OLD if there else None, NEW) if failed else (NEW,))
        nr_kept += failed and found != NEW
        write_whole(folder / "next", NEW)  # removes what a lasting failure kept the writer from removing
        assert {p.name for p in folder.iterdir()} <= {"a", "next"}
        if system.nr_calls < fail_at:
            break
    else:
        pytest.fail("the writer never got through")
    assert nr_failed >= 5
    assert nr_kept >= 4


@pytest.mark.parametrize("nr_bytes", [0, 1, 4096])
def test_file_size_limit(target: Path, nr_bytes: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nr_bytes, before[1]))
    try:
        with pytest.raises(OutputError, match=r"vmprobe\.prom: File too large$") as caught:
            write_whole(target, NEW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "ulimit" in str(caught.value.hint)
    assert target.read_bytes() == OLD
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")
def test_full_disk(tmp_path: Path) -> None:
    program = f"""
import os, pathlib
from vmprobe.errors import OutputError
from vmprobe.store.single_file import write_whole
folder = pathlib.Path({str(tmp_path)!r})
write_whole(folder / "a", b"old")
try:
    write_whole(folder / "a", bytes(1 << 20))
except OutputError as error:
    print(error.message, error.hint, os.listdir(folder), (folder / "a").read_bytes(), sep="|")
"""
    mount = f"mount -t tmpfs -o size=128k tmpfs {tmp_path}"
    tried = subprocess.run(["unshare", "-m", *mount.split()], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"cannot mount here: {tried.stderr.strip()}")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{mount} && exec "$0" -c "$1"', sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
    )
    said = "No space left on device|free some space or choose another file system|['a']|b'old'"
    assert done.stdout == f"{tmp_path / 'a'}: {said}\n", done.stderr


def test_killed_between_writing_and_renaming(target: Path) -> None:
    program = f"""
import pathlib, time
from vmprobe.store import single_file, staging
def stuck(file, target):
    print("written", flush=True)
    time.sleep(60)
single_file.publish_file = stuck
single_file.write_whole(pathlib.Path({str(target)!r}), {NEW[:8]!r})
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "written\n"
        write_whole(target, OLD)  # a writer beside it takes nothing from it
        (alive,) = (p for p in target.parent.iterdir() if p != target)
        child.kill()
    assert target.read_bytes() == OLD
    assert [p.read_bytes() for p in alive.iterdir()] == [NEW[:8]]
    assert not alive.name.endswith(".prom")
    write_whole(target, NEW)
    assert target.read_bytes() == NEW
    assert list(target.parent.iterdir()) == [target]


def test_interrupted(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(target, NEW)
    assert target.read_bytes() == OLD
    assert list(target.parent.iterdir()) == [target]


def test_writers_side_by_side(target: Path) -> None:
    """Every look finds a whole file, of one writer."""
    contents = {bytes([letter]) * 100_000 for letter in b"abcd"} | {OLD}

    def write(letter: int) -> None:
        for _ in range(15):
            write_whole(target, bytes([letter]) * 100_000)

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, letter) for letter in b"abcd"]
        nr_looks = 0
        while not all(writer.done() for writer in writers):
            assert target.read_bytes() in contents
            nr_looks += 1
        for writer in writers:
            writer.result()
    assert nr_looks > 10
    assert target.read_bytes() in contents - {OLD}
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("when", ["before it is open", "before it is locked"])
def test_a_new_folder_that_another_writer_takes_for_a_leftover(
    target: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Seen in `test_writers_side_by_side` on a busy machine: the next try gets its folder."""
    taken = []
    opened, lock = staging._opened, staging._lock

    def taken_once(folder: Path) -> None:
        if not taken:
            taken.append(folder)
            folder.rmdir()

    def late_open(folder: Path) -> int:
        taken_once(folder)
        return opened(folder)

    def late_lock(descriptor: int) -> None:
        taken_once(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        lock(descriptor)

    if when == "before it is open":
        monkeypatch.setattr(staging, "_opened", late_open)
    else:
        monkeypatch.setattr(staging, "_lock", late_lock)
    write_whole(target, NEW)
    assert len(taken) == 1
    assert target.read_bytes() == NEW
    assert list(target.parent.iterdir()) == [target]


def test_what_is_refused(target: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    before = set(tmp_path.iterdir())
    for name in ("folder", "link", "dangling", "fifo"):
        with pytest.raises(OutputError, match=f"{name}: is no plain file, so it is not replaced") as caught:
            write_whole(tmp_path / name, NEW)
        assert caught.value.hint == "name a plain file or a new one"
    with pytest.raises(OutputError, match="there is no folder") as caught:
        write_whole(tmp_path / "none" / "a", NEW)
    assert caught.value.hint == "make the folder first"
    for path in (Path(), Path("..")):
        with pytest.raises(OutputError, match="is not a name for a file"):
            write_whole(path, NEW)
    assert target.read_bytes() == OLD
    assert (tmp_path / "link").is_symlink()
    assert set(tmp_path.iterdir()) == before


def test_a_path_without_a_folder_is_in_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_whole(Path("a"), NEW)
    assert (tmp_path / "a").read_bytes() == NEW


def test_no_permission() -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:  # one that others may look into, unlike tmp_path
        Path(folder).chmod(0o555)
        try:
            if user == 0:
                os.seteuid(65534)
            with pytest.raises(OutputError, match=r"a: Permission denied$") as caught:
                write_whole(Path(folder, "a"), NEW)
        finally:
            os.seteuid(user)
            Path(folder).chmod(0o700)
    assert caught.value.hint == "choose a folder that you may write"


def test_a_folder_that_cannot_be_looked_at() -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").mkdir()
        Path(folder).chmod(0o000)
        try:
            if user == 0:
                os.seteuid(65534)
            with pytest.raises(OutputError, match=r"a: Permission denied$") as caught:
                write_whole(Path(folder, "in", "a"), NEW)
        finally:
            os.seteuid(user)
            Path(folder).chmod(0o700)
    assert caught.value.hint == "choose a folder that you may write"


@pytest.mark.parametrize("name", [f"{'a' * 300}/x", "a" * 300], ids=["folder", "file"])
def test_a_name_that_is_too_long(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"a: File name too long$|x: File name too long$"):
        write_whole(tmp_path / name, NEW)


def test_everything_is_on_stable_storage_before_the_next_step(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    fsync, rename = os.fsync, os.rename

    def synced(fd: int) -> None:
        calls.append(("fsync", Path(os.readlink(f"/proc/self/fd/{fd}")).name))
        fsync(fd)

    def renamed(file: Path, to: Path) -> None:
        calls.append(("rename", Path(to).name))
        rename(file, to)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    write_whole(target, NEW)
    assert calls == [("fsync", "whole"), ("rename", "vmprobe.prom"), ("fsync", target.parent.name)]
