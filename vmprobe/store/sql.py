"""A snapshot as an SQL database: a view for each table, the manifest, and nothing else within reach."""

from __future__ import annotations

import json
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Final, TypeVar

import duckdb
import numpy as np

from vmprobe.errors import SnapshotError, UsageError
from vmprobe.store.columns import scan
from vmprobe.store.database import GIB, first_line, identifier, literal, open_database, physical_bytes
from vmprobe.store.load import FolderTables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vmprobe.tables import Snapshot

T = TypeVar("T")

_FETCH_ROWS: Final = 4096
_INTERRUPT_SECONDS: Final = 0.05

_SNAPSHOTS: Final[weakref.WeakKeyDictionary[duckdb.DuckDBPyConnection, Snapshot]] = (
    weakref.WeakKeyDictionary()
)
"""What a connection reads: names it in errors, and keeps an unpacked archive while it is needed."""


def connect(snapshot: Snapshot, *, memory_bytes: int | None = None) -> duckdb.DuckDBPyConnection:
    """Open `snapshot` as a database in memory.

    Each table is a view of its own name; ``manifest`` has a row (``key``, ``value``) for each entry of the
    manifest, keys joined by dots. What is asked can read nothing but the snapshot and write nowhere.

    Parameters
    ----------
    snapshot
        Loaded or just taken.
    memory_bytes
        What a query may use; by default a quarter of the machine's memory, at most 1 GiB.

    Raises
    ------
    SnapshotError
        A file cannot be read.
    """
    limit = min(GIB, physical_bytes() // 4) if memory_bytes is None else memory_bytes
    database = open_database(memory_bytes=limit, threads=2)
    try:
        _make_views(database, snapshot)
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        database.close()
        raise SnapshotError(snapshot.path or "the snapshot in memory", first_line(error)) from error
    _SNAPSHOTS[database] = snapshot
    return database


def _make_views(database: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
    _make_manifest(database, snapshot.manifest)
    if isinstance(snapshot.source, FolderTables):
        stored = snapshot.source.stored
        files = [literal(file) for table in stored.values() for file in table.files]
        database.execute(f"SET allowed_paths = [{', '.join(files)}]")
        for name, table in stored.items():
            of_table = ", ".join(literal(file) for file in table.files)
            database.execute(f"CREATE VIEW {identifier(name)} AS FROM read_parquet([{of_table}])")
        return
    for name in snapshot.tables():
        in_memory = snapshot.table(name)
        part = scan(in_memory, 0, in_memory.nr_rows)
        database.register(f"memory_{name}", part.arrays)
        source = identifier(f"memory_{name}")
        database.execute(f"CREATE VIEW {identifier(name)} AS SELECT {part.select} FROM {source}")  # noqa: S608 - quoted


def _make_manifest(database: duckdb.DuckDBPyConnection, manifest: Mapping[str, Any]) -> None:
    entries = dict(_flat("", manifest))
    # A view like the others: of a table, WITH ... (INSERT ...) could make another one.
    arrays = {"key": np.array(list(entries), object), "value": np.array(list(entries.values()), object)}
    database.register("memory_manifest", arrays)
    database.execute(
        "CREATE VIEW manifest AS SELECT key::VARCHAR AS key, value::VARCHAR AS value FROM memory_manifest"
    )


def _flat(prefix: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield the entries with dotted keys; lists as JSON."""
    for key, value in entry.items():
        if isinstance(value, dict) and value:
            yield from _flat(f"{prefix}{key}.", value)
        elif isinstance(value, str | None):
            yield f"{prefix}{key}", value
        else:
            yield f"{prefix}{key}", json.dumps(value)


def query(
    connection: duckdb.DuckDBPyConnection, sql: str
) -> tuple[tuple[str, ...], tuple[str, ...], Iterator[tuple[Any, ...]]]:
    """Ask one ``SELECT`` (or ``FROM``, ``DESCRIBE``, ``SUMMARIZE``, ``SHOW``).

    Returns
    -------
    names, types, rows
        Column names, their DuckDB types, and an iterator of rows as Python values, None where null.

    Raises
    ------
    UsageError
        The question is wrong, or needs more memory than the connection may use.
    SnapshotError
        The files cannot be read.
    """
    _check_files(connection)
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise UsageError("the query is not valid UTF-8") from None
    try:
        statements = connection.extract_statements(sql)
        if [s.type for s in statements] != [duckdb.StatementType.SELECT]:
            raise _not_reading()
        _check_plan(connection, statements[0].query)
        description = _run(connection, lambda: connection.execute(statements[0]).description) or []
    except duckdb.Error as error:
        raise _explained(connection, error) from error
    names = tuple(d[0] for d in description)
    types = tuple(str(d[1]) for d in description)
    return names, types, _rows(connection)


def _not_reading() -> UsageError:
    return UsageError(
        "the query must be one statement that only reads",
        hint="SELECT ..., FROM ..., DESCRIBE table, SUMMARIZE table or SHOW TABLES",
    )


def _check_plan(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse a plan that writes a file.

    Since DuckDB 2.0 ``WITH x AS (COPY ... TO ...) FROM x`` counts as a SELECT, and could overwrite the files
    that may be read, which are those of the snapshot. There are no tables to insert into.
    """
    for _, plan in connection.execute(f"EXPLAIN (FORMAT json) {sql}").fetchall():
        pending = json.loads(plan)
        while pending:
            node = pending.pop()
            if "COPY" in node["name"]:
                raise _not_reading()
            pending.extend(node["children"])


def _run(connection: duckdb.DuckDBPyConnection, step: Callable[[], T]) -> T:
    """Run a step of a query so that Ctrl-C stops it: DuckDB itself does not listen while it computes."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(step)
        try:
            return future.result()
        except KeyboardInterrupt:
            while not future.done():  # an interrupt that comes before the step has begun is lost
                connection.interrupt()
                wait([future], _INTERRUPT_SECONDS)
            raise


def _rows(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while True:
        try:
            rows = _run(connection, lambda: connection.fetchmany(_FETCH_ROWS))
        except duckdb.Error as error:
            raise _explained(connection, error) from error
        if not rows:
            return
        yield from rows


def _check_files(connection: duckdb.DuckDBPyConnection) -> None:
    snapshot = _SNAPSHOTS.get(connection)
    if snapshot and isinstance(snapshot.source, FolderTables):
        snapshot.source.check_same(*snapshot.tables())


def _explained(connection: duckdb.DuckDBPyConnection, error: duckdb.Error) -> UsageError | SnapshotError:
    """Tell the asker's mistakes from damaged files."""
    _check_files(connection)
    snapshot = _SNAPSHOTS.get(connection)
    path = (snapshot.path if snapshot else None) or "the snapshot in memory"
    reason = first_line(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return UsageError(
            f"the query needs too much memory: {reason}", hint="aggregate, filter or add a LIMIT"
        )
    if isinstance(error, duckdb.PermissionException):
        return UsageError(reason, hint="a query reads the snapshot and nothing else")
    # DuckDB 2.0.1 tells of some corrupt files by its base class; wrong questions have classes of their own.
    damaged = type(error) is duckdb.Error or isinstance(
        error, duckdb.IOException | duckdb.InternalException | duckdb.FatalException
    )
    if damaged or (isinstance(error, duckdb.InvalidInputException) and "parquet" in reason.lower()):
        return SnapshotError(path, reason, hint="the snapshot is damaged or was replaced; open it again")
    names = ", ".join(snapshot.tables()) if snapshot else ""
    hint = f"tables: {names}, manifest" if isinstance(error, duckdb.CatalogException) and names else None
    return UsageError(reason, hint=hint)
