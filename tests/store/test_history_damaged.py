"""What is no history is refused in one line and left as it is; what a dead writer left is used."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.histories import kept_of
from vmprobe.errors import InputError, OutputError
from vmprobe.metrics import Sample
from vmprobe.store import history
from vmprobe.store.history import append, read
from vmprobe.store.history_file import for_writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmprobe.store.history import Kept


def one(number: int) -> Kept:
    samples = [Sample("events", (f"event {each}",), number * each) for each in range(60)]
    return kept_of(number, number, samples)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of three runs, to be copied."""
    path = tmp_path_factory.mktemp("whole") / "h"
    for number in range(3):
        append(path, one(number))
    return path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    shutil.copy(whole, tmp_path / "h")
    return tmp_path / "h"


def is_refused(path: Path, pattern: str) -> None:
    """Neither read nor written, in one line, and not changed."""
    before = path.read_bytes() if path.is_file() else None
    for act in (lambda: read(path), lambda: append(path, one(9), wait_seconds=0)):
        with pytest.raises(InputError, match=pattern) as caught:
            act()
        assert caught.value.message.startswith(f"{path}: ")
        assert "\n" not in caught.value.message
        assert caught.value.hint
    if before is not None:
        assert path.read_bytes() == before
        assert not path.with_name("h.wal").exists()


@pytest.mark.parametrize("nr_bytes", [0, 1, 11, 4095, 4096, 12287, 12288, 20_000, -300_000, -262_144, -1])
def test_a_file_that_lost_its_end(path: Path, nr_bytes: int) -> None:
    size = path.stat().st_size
    os.truncate(path, nr_bytes if nr_bytes >= 0 else size + nr_bytes)
    is_refused(path, r"h: is (damaged: |no DuckDB database, so no history$)")


def test_garbage(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))
    is_refused(path, "is no DuckDB database")
    path.write_text("SQLite format 3\0")
    is_refused(path, "is no DuckDB database")


def test_what_is_no_file(tmp_path: Path, whole: Path) -> None:
    (tmp_path / "h").mkdir()
    is_refused(tmp_path / "h", "is no plain file")
    is_refused(Path("/"), "^/: is no plain file")
    (tmp_path / "link").symlink_to(whole)
    is_refused(tmp_path / "link", "is no plain file")
    os.mkfifo(tmp_path / "pipe")
    is_refused(tmp_path / "pipe", "is no plain file")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["h", "link", "pipe"], "nothing is made"
    (tmp_path / "plain").touch()
    with pytest.raises(InputError, match=r"plain/h: Not a directory$"):
        read(tmp_path / "plain" / "h")
    with pytest.raises(OutputError, match=r"plain/h: (File exists|Not a directory): the run was not kept"):
        append(tmp_path / "plain" / "h", one(1))


def change(path: Path, *statements: str) -> None:
    with duckdb.connect(str(path)) as database:
        for statement in statements:
            database.execute(statement)


def test_a_database_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "h"
    change(path, "CREATE TABLE runs (run INTEGER)")
    is_refused(path, "is a DuckDB database, and no history of vmprobe$")


def test_a_later_format(path: Path) -> None:
    change(path, "UPDATE vmprobe_history SET format = 2", "ALTER TABLE runs ADD COLUMN more INTEGER")
    is_refused(path, "is a history of format 2, and this vmprobe knows formats up to 1$")


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE owners",
        "ALTER TABLE runs DROP COLUMN seconds",
        "ALTER TABLE samples ALTER value TYPE VARCHAR",
    ],
)
def test_tables_that_are_not_ours(path: Path, statement: str) -> None:
    change(path, "DROP VIEW figures", statement)
    is_refused(path, r"is damaged: table \w+ is not as vmprobe makes it$")


def test_a_history_reaches_no_other_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text(
        "run,kind,owner,pid,pageblocks,pages,trapped_free_pages\n1,a,b,1,1,1,1\n"
    )
    change(
        path,
        "DROP TABLE owners",
        "CREATE VIEW owners AS SELECT run::INTEGER AS run, kind, owner, pid::INTEGER AS pid, pageblocks,"
        f" pages, trapped_free_pages FROM read_csv('{tmp_path / 'other.csv'}')",
    )
    is_refused(path, "is damaged: .*disabled")


@given(st.data())
@settings(max_examples=max(settings().max_examples // 3, 2))
def test_a_byte_that_changed(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("flip") / "h"
    content = bytearray(whole.read_bytes())
    place = data.draw(st.integers(0, 16_384) | st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    found: object = None
    with contextlib.suppress(InputError):
        found = read(path)
    assert found in (None, tuple(map(one, range(3)))), "other figures than were appended"


def left_by_a_dead_writer(path: Path) -> None:
    """Commit a run and be gone before it is worked into the file."""
    with for_writing(path, 0) as database:
        database.execute("BEGIN")
        history._insert(database, one(3))
        database.execute("COMMIT")
        for name in ("h", "h.wal"):
            shutil.copy(path.with_name(name), path.with_name(f"{name}.aside"))
    for name in ("h", "h.wal"):
        path.with_name(f"{name}.aside").replace(path.with_name(name))


def test_a_log_that_a_dead_writer_left(path: Path) -> None:
    left_by_a_dead_writer(path)
    file, log = path.read_bytes(), path.with_name("h.wal").read_bytes()
    assert read(path) == tuple(map(one, range(4)))
    assert (path.read_bytes(), path.with_name("h.wal").read_bytes()) == (file, log), "reading changes nothing"
    append(path, one(4))
    assert not path.with_name("h.wal").exists()
    assert read(path) == tuple(map(one, range(5)))


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9, 0.999])
def test_a_log_that_was_cut_off(path: Path, share: float) -> None:
    """The run in it was never acknowledged."""
    left_by_a_dead_writer(path)
    log = path.with_name("h.wal")
    os.truncate(log, int(log.stat().st_size * share))
    assert read(path) == tuple(map(one, range(3)))
    append(path, one(4))
    assert read(path) == tuple(map(one, (0, 1, 2, 4)))


def test_the_log_of_a_history_that_was_removed(path: Path) -> None:
    left_by_a_dead_writer(path)
    path.unlink()
    append(path, one(7))
    assert read(path) == (one(7),)


def test_a_writer_that_died_while_it_began(tmp_path: Path) -> None:
    """A history is begun in a folder beside it, which the next writer removes."""
    left = tmp_path / ".h.vmprobe-tmp-01234567"
    left.mkdir()
    (left / "history").write_bytes(b"half")
    append(tmp_path / "h", one(0))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["h", "h.lock"]


def sizes(path: Path) -> list[int]:
    """Return limits on the size of files that let a writer come further and further."""
    end = path.stat().st_size
    return [0, 1, 100, 1000, 3000, 5000, 8192, 12_288, end - 1, end, end + 1, end + 262_144, end + 600_000]


def test_a_full_disk_loses_nothing(path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept, said = [0, 1, 2], []
    for number, limit in enumerate(sizes(path), 10):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            append(path, one(number))
            kept.append(number)
        except OutputError as error:
            said.append((error.message, error.hint))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert read(path) == tuple(map(one, kept))
    line = f"{path}: File too large: the run was not kept"
    assert set(said) == {(line, "raise the limit on file sizes (ulimit -f)")}
    assert len(said) >= 5
    assert len(kept) > 3
    append(path, one(99))
    assert read(path) == tuple(map(one, [*kept, 99]))


@pytest.mark.parametrize("limit", [0, 1, 4096, 12_288, 200_000])
def test_no_room_to_begin(tmp_path: Path, limit: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"h: File too large: the run was not kept$"):
            append(tmp_path / "h", one(0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [each.name for each in tmp_path.iterdir()] == ["h.lock"]
    append(tmp_path / "h", one(0))
    assert read(tmp_path / "h") == (one(0),)


def test_who_waits_in_vain_is_told_what_helps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "READER_WAITS_SECONDS", 0.05)
    append(path, one(3))
    lock = os.open(path.with_name("h.lock"), os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        acts: list[tuple[type[Exception], Callable[[], object]]] = [
            (OutputError, lambda: append(path, one(4), wait_seconds=0.05)),
            (InputError, lambda: read(path)),
        ]
        for kind, act in acts:
            with pytest.raises(kind, match=r"h: another process has it open$") as caught:
                act()
            assert f"fuser -v {path}.lock" in str(caught.value.hint)  # type: ignore[attr-defined]
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert len(read(path)) == 4, "readers read together"
        with pytest.raises(OutputError, match="another process"):
            append(path, one(4), wait_seconds=0.05)
    finally:
        os.close(lock)
    append(path, one(4), wait_seconds=0)
    assert len(read(path)) == 5


def test_a_reader_waits_for_the_writer(path: Path) -> None:
    append(path, one(3))
    found: list[int] = []
    reader = threading.Thread(target=lambda: found.append(len(read(path))))
    with for_writing(path, 0) as database:
        reader.start()
        time.sleep(0.1)
        assert not found
        database.execute("DELETE FROM runs WHERE run = 1")
    reader.join(10)
    assert found == [3]


@pytest.mark.live
def test_a_database_that_somebody_asks_in_sql(path: Path) -> None:
    """DuckDB's own lock knows its process."""
    program = (
        "import duckdb, sys, time; d = duckdb.connect(sys.argv[1]); print('open', flush=True); time.sleep(60)"
    )
    asker = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True)
    try:
        assert asker.stdout is not None
        assert asker.stdout.readline() == "open\n"
        with pytest.raises(OutputError, match=rf"h: process {asker.pid} has it open$") as caught:
            append(path, one(3), wait_seconds=0.05)
        assert str(asker.pid) in str(caught.value.hint)
        threading.Timer(0.2, asker.kill).start()
        append(path, one(3))
    finally:
        asker.kill()
        asker.communicate()
    assert len(read(path)) == 4


def test_a_copy_without_its_lock_is_read(path: Path) -> None:
    """Where nothing of ours may write, reading makes no lock."""
    path.parent.chmod(0o500)
    try:
        assert len(read(path)) == 3
        assert [each.name for each in path.parent.iterdir()] == ["h"]
    finally:
        path.parent.chmod(0o700)


def test_messages_name_the_path_once(path: Path) -> None:
    os.truncate(path, 20_000)
    with pytest.raises(InputError) as caught:
        read(path)
    assert len(re.findall(re.escape(str(path)), caught.value.message)) == 1
