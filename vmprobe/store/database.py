"""The DuckDB databases that the store works with: in memory or a file, bounded, deaf to the network."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB: Final = 1 << 20
GIB: Final = 1 << 30

DEFAULT_MEMORY_BYTES: Final = 256 * MIB
"""Enough for the row groups of one thread and the distinct strings of a column."""


def physical_bytes() -> int:
    """Return the memory of the machine we run on, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def open_database(*, threads: int, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> duckdb.DuckDBPyConnection:
    """Open an empty database in memory: it fetches no extension, spills to no disk, sees no Python variable.

    `memory_bytes` bounds DuckDB's own buffers; arrays that it only scans or hands out are not counted.
    """
    return duckdb.connect(":memory:", config=_config(threads, memory_bytes))


def open_file(
    path: Path, *, read_only: bool = False, storage_version: str | None = None
) -> duckdb.DuckDBPyConnection:
    """Open the database in a file with one thread; what is asked of it can reach no other file.

    Parameters
    ----------
    path
        The file. No other process may have it open for writing; with `read_only` several may read it. A file
        that is not there is made.
    read_only
        Write nothing, not even what a writer that died had left in the write-ahead log beside the file.
    storage_version
        Oldest DuckDB that is to read a file that is made, as ``v1.4.0``; the newest alone by default.
    """
    config = _config(1, DEFAULT_MEMORY_BYTES)
    if storage_version is not None:
        config["storage_compatibility_version"] = storage_version
    database = duckdb.connect(os.path.abspath(path), read_only=read_only, config=config)  # noqa: PTH100 - no symlinks
    try:
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
    except BaseException:
        database.close()
        raise
    return database


def _config(threads: int, memory_bytes: int) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "threads": threads,
        "memory_limit": f"{memory_bytes // MIB}MiB",
        # By default a database in memory spills into ./.tmp of whatever folder we stand in.
        "temp_directory": "",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "python_enable_replacements": False,
        # Object columns are strings; DuckDB would otherwise guess their type from a sample of rows.
        "pandas_analyze_sample": 0,
    }


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C be a `KeyboardInterrupt` again, of which DuckDB makes a `RuntimeError`."""
    try:
        yield
    except RuntimeError as error:
        if "Query interrupted" in str(error):
            raise KeyboardInterrupt from error
        raise


def first_line(error: BaseException) -> str:
    r"""Return the first line of a DuckDB message without its ``IO Error:`` kind of prefix.

    >>> first_line(Exception('Catalog Error: Table with name x does not exist!\nDid you mean "y"?'))
    'Table with name x does not exist!'
    """
    line = str(error).strip().partition("\n")[0]
    kind, separator, rest = line.partition(" Error: ")
    return rest if separator and kind.replace(" ", "").isalpha() else line


def system_reason(error: duckdb.Error) -> str | None:
    """Find what the operating system said, which DuckDB wraps in sentences and JSON.

    >>> system_reason(duckdb.IOException('IO Error: Could not write file "x": No space left on device'))
    'No space left on device'
    """
    known = (os.strerror(number) for number in errno.errorcode)
    return max((text for text in known if f": {text}" in str(error)), key=len, default=None)


def identifier(name: str) -> str:
    """Quote a table or column name for SQL.

    >>> identifier('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a string for SQL, where no parameter can stand.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"
