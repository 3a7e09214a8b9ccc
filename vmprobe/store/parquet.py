"""One table to Parquet files and back.

Both ways DuckDB runs on one thread: it reads and makes numpy arrays under Python's lock, where a second
thread only waits. Writing 6.5 million frames took 0.28 s and 40 MiB with one, 0.47 s and 90 MiB with two;
reading them 0.28 s against 0.34 s, and column by column needs 90 MiB less than all at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vmprobe.schema import PART_ROWS
from vmprobe.store.columns import scan
from vmprobe.store.database import GIB, identifier, literal
from vmprobe.store.footers import TableError
from vmprobe.store.manifest import file_names
from vmprobe.tables import Array, Coded, Table, numpy_type

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import duckdb
    from numpy.typing import NDArray

    from vmprobe.schema import Column
    from vmprobe.store.footers import StoredTable

_OPTIONS: Final = "FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd, USE_TMP_FILE false"


def write_table(
    database: duckdb.DuckDBPyConnection, table: Table, folder: Path, *, part_rows: int = PART_ROWS
) -> list[str]:
    """Write `table` under `folder` and return the names of its files, relative to the folder.

    Raises
    ------
    ValueError
        The table contradicts its schema.
    duckdb.Error
        It could not be written.
    """
    nr_files = max(1, -(-table.nr_rows // part_rows))
    names = file_names(table.schema.name, nr_files)
    if nr_files > 1:
        (folder / table.schema.name).mkdir(mode=0o700)
    for i, name in enumerate(names):
        part = scan(table, i * part_rows, min(table.nr_rows, (i + 1) * part_rows))
        database.register("part", part.arrays)
        target = literal(str(folder / name))
        database.execute(f"COPY (SELECT {part.select} FROM part) TO {target} ({_OPTIONS})")  # noqa: S608 - quoted
        database.unregister("part")
    return names


def read_table(
    database: duckdb.DuckDBPyConnection, stored: StoredTable, wanted: Sequence[str] | None, max_bytes: int
) -> Table:
    """Read a table, or only its columns `wanted`, into at most about `max_bytes`.

    Strings come as `Coded`: they repeat (kinds, zones, libraries), and a file that says one long string a
    million times must not make a million of it.

    Raises
    ------
    TableError
        It is too large, null where it may not be, or has no such column.
    duckdb.Error
        A file cannot be read.
    """
    table = stored.schema.name
    columns = _present(stored, wanted)
    _check_size(table, stored.nr_rows * sum(_row_bytes(c) for c in columns), max_bytes)
    arrays: dict[str, Array | Coded] = {}
    valid: dict[str, NDArray[np.bool_]] = {}
    for column in columns:
        if column.type == "VARCHAR":
            array, mask = _read_strings(database, stored, column, max_bytes)
        else:
            array, mask = _read_values(database, stored, column, max_bytes)
        if len(array) != stored.nr_rows:
            raise TableError(f"table {table}: {column.name} has {len(array)} of {stored.nr_rows} rows")
        if mask is not None and mask.any():
            if not column.nullable:
                raise TableError(f"table {table}: {column.name} is null in row {int(mask.argmax())}")
            valid[column.name] = ~mask
        arrays[column.name] = array
    return Table(stored.schema, arrays, stored.nr_rows, valid)


def _present(stored: StoredTable, wanted: Sequence[str] | None) -> list[Column]:
    """Return the columns to read: those wanted that are not null throughout."""
    if wanted is None:
        return [c for c in stored.schema.columns if c.name not in stored.null_columns]
    columns = {name: stored.schema.column(name) for name in wanted}
    for name, column in columns.items():
        if column is None:
            raise TableError(f"table {stored.schema.name} has no column {name}")
    return [c for c in columns.values() if c is not None and c.name not in stored.null_columns]


def _row_bytes(column: Column) -> int:
    """Estimate what a row of `column` takes in memory, its place in `Table.valid` included."""
    if column.type == "VARCHAR":
        return 4 + column.nullable
    dtype = numpy_type(column.type)
    return 128 if dtype is np.object_ else np.dtype(dtype).itemsize + column.nullable


def _check_size(table: str, nr_bytes: int, max_bytes: int) -> None:
    if nr_bytes > max_bytes:
        raise TableError(
            f"table {table} needs {nr_bytes / GIB:.1f} GiB of memory, the limit is {max_bytes / GIB:.1f} GiB"
        )


def _read_values(
    database: duckdb.DuckDBPyConnection, stored: StoredTable, column: Column, max_bytes: int
) -> tuple[Array, NDArray[np.bool_] | None]:
    """Read numbers, truth values or lists; return them and which rows are null."""
    name = identifier(column.name)
    files = {"files": list(stored.files)}
    if column.type.endswith("[]"):
        nr_items = _one(database, f"SELECT coalesce(sum(len({name})), 0) FROM read_parquet($files)", files)[0]  # noqa: S608 - quoted
        _check_size(stored.schema.name, 8 * nr_items, max_bytes)
    return _fetch(database, f"SELECT {name} FROM read_parquet($files)", files)  # noqa: S608 - quoted


def _read_strings(
    database: duckdb.DuckDBPyConnection, stored: StoredTable, column: Column, max_bytes: int
) -> tuple[Array | Coded, NDArray[np.bool_] | None]:
    """Read strings as codes of an enum made for them; return them and which rows are null."""
    name = identifier(column.name)
    files = {"files": list(stored.files)}
    distinct = f"SELECT DISTINCT {name} AS v FROM read_parquet($files) WHERE v IS NOT NULL"  # noqa: S608 - quoted
    nr_values, nr_bytes = _one(
        database,
        f"SELECT count(*), coalesce(sum(strlen(v)), 0) FROM ({distinct})",  # noqa: S608 - quoted
        files,
    )
    _check_size(stored.schema.name, nr_bytes + 64 * nr_values, max_bytes)
    if not nr_values:  # an enum has at least one value
        return np.full(stored.nr_rows, None, object), np.ones(stored.nr_rows, np.bool_)
    database.execute(f"CREATE OR REPLACE TYPE strings AS ENUM ({distinct} ORDER BY v)", files)
    values = database.execute("SELECT unnest(enum_range(NULL::strings))").fetchall()
    codes, mask = _fetch(database, f"SELECT enum_code({name}::strings) FROM read_parquet($files)", files)  # noqa: S608 - quoted
    database.execute("DROP TYPE strings")
    return Coded(codes, tuple(v for (v,) in values)), mask


def _fetch(
    database: duckdb.DuckDBPyConnection, sql: str, files: dict[str, list[str]]
) -> tuple[Array, NDArray[np.bool_] | None]:
    """Return the only column of a query, null rows zeroed or None, and which rows are null."""
    (found,) = database.execute(sql, files).fetchnumpy().values()
    if not isinstance(found, np.ma.MaskedArray):
        return found, None
    mask = np.ma.getmaskarray(found)
    array: Array = found.data
    array[mask] = None if array.dtype == np.object_ else 0
    return array, mask


def _one(database: duckdb.DuckDBPyConnection, sql: str, files: dict[str, list[str]]) -> tuple[Any, ...]:
    row = database.execute(sql, files).fetchone()
    assert row is not None  # an aggregate always has a row
    return row
