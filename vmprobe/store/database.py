"""The DuckDB databases that the store works with: in memory, bounded, deaf to the network."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    return duckdb.connect(
        ":memory:",
        config={
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
        },
    )


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
