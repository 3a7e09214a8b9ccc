"""The file of a history: who may have it open, how it comes to be, and what is refused.

DuckDB lets one process write a file, or several read it, and refuses all others at once. Ours wait for one
another by a lock on ``FILE.lock``, which stays there: writers alone, readers together. The kernel lets go of
it when its holder dies in whatever way. What a writer that died had committed stands in ``FILE.wal``; DuckDB
adds it to what is read, and to the file when that is next written.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import duckdb

from vmprobe.errors import InputError, OutputError, VmprobeError
from vmprobe.store.database import (
    first_line,
    identifier,
    interruptible,
    open_file,
    system_reason,
)
from vmprobe.store.remedy import remedy
from vmprobe.store.staging import publish_file, remove_leftovers, staging_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FORMAT: Final = 1
"""Of the tables; a later one is refused."""

TABLES: Final = {
    "vmprobe_history": {"format": "INTEGER"},
    "runs": {
        "run": "INTEGER",
        "id": "UUID",
        "time": "TIMESTAMP",
        "boot_id": "VARCHAR",
        "release": "VARCHAR",
        "frames": "BOOLEAN",
        "seconds": "DOUBLE",
    },
    "samples": {"run": "INTEGER", "name": "VARCHAR", "labels": "MAP(VARCHAR, VARCHAR)", "value": "DOUBLE"},
    "owners": {
        "run": "INTEGER",
        "kind": "VARCHAR",
        "owner": "VARCHAR",
        "pid": "INTEGER",
        "pageblocks": "BIGINT",
        "pages": "BIGINT",
        "trapped_free_pages": "BIGINT",
    },
}
"""Columns of each table."""

_VIEW: Final = """
CREATE VIEW figures AS
SELECT time, frames, boot_id, name, TRY_CAST(labels['node'] AS INTEGER) AS node, labels['zone'] AS zone,
    TRY_CAST(labels['order'] AS INTEGER) AS "order", labels, value
FROM samples JOIN runs USING (run)
"""

STORAGE_VERSION: Final = "v1.4.0"
"""A DuckDB as old as the oldest that vmprobe runs with can read the file."""

_HEADER_BYTES: Final = 12288
"""Before the first block: three headers (``storage_info.hpp: FILE_HEADER_SIZE``)."""

_BLOCK_BYTES: Final = 262144
"""Of a block, as DuckDB makes them."""

_MAGIC: Final = slice(8, 12), b"DUCK"
_POLL_SECONDS: Final = 0.002


@contextmanager
def for_writing(path: Path, wait_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the history at `path` alone, or begin one; nobody but its owner may read what is made.

    Raises
    ------
    OutputError
        It cannot be written, or another process has had it open for `wait_seconds`.
    InputError
        What is there is no history that we can use; it stays as it is.
    """
    lock, deadline = -1, time.monotonic() + wait_seconds
    before = os.umask(0o077)  # DuckDB makes its files with the mode that the process gives
    try:
        if os.path.lexists(path):
            _check_plain(path)  # before anything is made beside it
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(_lock_path(path), flags, 0o600)
        _until(deadline, lambda: _locked(lock, fcntl.LOCK_EX), _busy(path, OutputError))
        remove_leftovers(path.parent)
        if not os.path.lexists(path):
            _begin(path)
        _check_magic(path)
        with interruptible(), _opened(path, deadline, OutputError, read_only=False) as database:
            yield database
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path}: {reason}: the run was not kept", hint=remedy(reason)) from error
    except duckdb.Error as error:
        raise _not_written(path, error) from error
    finally:
        os.umask(before)
        if lock >= 0:
            os.close(lock)


@contextmanager
def for_reading(path: Path, wait_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the history at `path` beside other readers; nothing there is changed.

    Raises
    ------
    InputError
        What is there is no history that we can use, or another process has had it open for writing for
        `wait_seconds`.
    """
    lock, deadline = -1, time.monotonic() + wait_seconds
    try:
        _check_plain(path)
        # Where nothing of ours ever wrote there is no lock; the one who may write it shall be who makes it.
        with suppress(FileNotFoundError):
            lock = os.open(_lock_path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            _until(deadline, lambda: _locked(lock, fcntl.LOCK_SH), _busy(path, InputError))
        _check_magic(path)
        with interruptible(), _opened(path, deadline, InputError, read_only=True) as database:
            yield database
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except duckdb.Error as error:
        raise _not_read(path, error) from error
    finally:
        if lock >= 0:
            os.close(lock)


def make_durable(database: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Put what was committed where a crash cannot take it.

    DuckDB has synced the write-ahead log itself, not its name. The log is then worked into the file; where
    that fails it stays and is read with the file, so that the run is kept.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    with suppress(duckdb.Error):
        database.execute("CHECKPOINT")


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _until(deadline: float, succeeds: Callable[[], bool], failure: VmprobeError) -> None:
    """Try again and again, and raise `failure` once the time is over."""
    while not succeeds():
        if time.monotonic() >= deadline:
            raise failure
        time.sleep(_POLL_SECONDS)


def _busy(path: Path, kind: type[VmprobeError], pid: str | None = None) -> VmprobeError:
    who = f"process {pid}" if pid else "another process"
    names = f"`ps -p {pid}`" if pid else f"`fuser -v {_lock_path(path)}`"
    return kind(f"{path}: {who} has it open", hint=f"{names} shows which; try again when it has ended")


def _begin(path: Path) -> None:
    """Make an empty history, whole or not at all."""
    # The log of a database that was removed since would be taken for that of the new one.
    path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
    with staging_folder(path) as folder:
        new = folder / "history"
        database = open_file(new, storage_version=STORAGE_VERSION)
        try:
            for name, columns in TABLES.items():
                inside = ", ".join(f"{identifier(column)} {type_}" for column, type_ in columns.items())
                database.execute(f"CREATE TABLE {name} ({inside})")
            database.execute(_VIEW)
            database.execute("INSERT INTO vmprobe_history VALUES (?)", [FORMAT])
            database.execute("CHECKPOINT")
        finally:
            database.close()
        publish_file(new, path)


def _check_plain(path: Path) -> None:
    """Refuse a folder, a pipe, and a link, through which DuckDB would look for a log of another name."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise InputError(f"{path}: is no plain file", hint="give the path of a file, not of a link or folder")


def _check_magic(path: Path) -> None:
    """Refuse what is no DuckDB database.

    Under our lock and before DuckDB opens the file: whoever closes any descriptor of a file gives up all
    locks that fcntl(2) holds for his process, which are DuckDB's.
    """
    with path.open("rb") as file:
        head = file.read(16)
    place, magic = _MAGIC
    if head[place] != magic:
        raise InputError(f"{path}: is no DuckDB database, so no history", hint="give another file")


@contextmanager
def _opened(
    path: Path, deadline: float, kind: type[VmprobeError], *, read_only: bool
) -> Iterator[duckdb.DuckDBPyConnection]:
    database = _open_when_free(path, deadline, kind, read_only=read_only)
    try:
        _check_tables(path, database)
        yield database
    finally:
        with suppress(duckdb.Error):  # on a full disk it cannot empty the log; the log is what was kept
            database.close()


def _open_when_free(
    path: Path, deadline: float, kind: type[VmprobeError], *, read_only: bool
) -> duckdb.DuckDBPyConnection:
    """Open the file, wait where others have it open, who do not know of our lock."""
    while True:
        try:
            return open_file(path, read_only=read_only)
        except duckdb.IOException as error:
            holder = re.search(r"Could not set lock.*\(PID (\d+)\)", str(error), re.DOTALL)
            if holder is None:
                raise
            if time.monotonic() >= deadline:
                raise _busy(path, kind, holder[1]) from error
        time.sleep(_POLL_SECONDS)


def _check_tables(path: Path, database: duckdb.DuckDBPyConnection) -> None:
    """Refuse another's database, a later format, and a file that lost its end."""
    if _columns(database, "vmprobe_history").get("format") != "INTEGER":
        raise InputError(f"{path}: is a DuckDB database, and no history of vmprobe", hint="give another file")
    (format_,) = database.execute("SELECT max(format) FROM vmprobe_history").fetchone() or (None,)
    if format_ is not None and format_ > FORMAT:
        raise InputError(
            f"{path}: is a history of format {format_}, and this vmprobe knows formats up to {FORMAT}",
            hint="use the vmprobe that wrote it, or a later one",
        )
    for name, columns in TABLES.items():
        if _columns(database, name) != columns:
            raise _damaged(path, f"table {name} is not as vmprobe makes it")
    last = database.execute("SELECT max(block_id) FROM pragma_storage_info('samples')").fetchone()
    if last and last[0] is not None and path.stat().st_size < _HEADER_BYTES + (last[0] + 1) * _BLOCK_BYTES:
        raise _damaged(path, "its end is missing")


def _columns(database: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Return the types of a table's columns; asked of DuckDB's catalogue they would cost 10 MiB."""
    try:
        described = database.execute(f"SELECT * FROM {table} LIMIT 0").description  # noqa: S608 - ours
    except duckdb.CatalogException:
        return {}
    return {name: str(type_) for name, type_, *_ in described or ()}


def _damaged(path: Path, reason: str) -> InputError:
    """Return what DuckDB said of a file, which it names again."""
    short = reason.replace(f' "{os.path.abspath(path)}"', "")  # noqa: PTH100 - as it was opened
    return InputError(f"{path}: is damaged: {short}", hint="move it aside, and a new one is begun")


def _not_read(path: Path, error: duckdb.Error) -> InputError:
    # A checkpoint that runs out of memory says so by a FatalException.
    if "failed to allocate" in str(error):
        return InputError(f"{path}: {first_line(error)}", hint=f"`duckdb {path}` may use more memory")
    return _damaged(path, first_line(error))


def _not_written(path: Path, error: duckdb.Error) -> VmprobeError:
    said = system_reason(error)
    if said is None:
        return _not_read(path, error)
    return OutputError(f"{path}: {said}: the run was not kept", hint=remedy(said))
