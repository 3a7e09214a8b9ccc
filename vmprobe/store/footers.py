"""What the footers of Parquet files promise, compared with the schema before a row is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmprobe.schema import TABLES, Column, TableSchema
from vmprobe.store.manifest import TABLE_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb


class TableError(ValueError):
    """A table's files do not hold what they should; the message names the table."""


@dataclass(frozen=True)
class StoredTable:
    """A table on disk whose files were found to agree with the manifest.

    Parameters
    ----------
    schema
        Ours, then the columns that only the files have; for a table that we do not know all from the files.
    files
        Paths of the files, in row order.
    nr_rows
        Rows of all files together.
    null_columns
        Columns that are null in every row: they could not be read, or came with a later minor version.
    """

    schema: TableSchema
    files: tuple[str, ...]
    nr_rows: int
    null_columns: frozenset[str]


def nr_rows_of(database: duckdb.DuckDBPyConnection, files: Sequence[str]) -> dict[str, int]:
    """Return how many rows the footer of each file promises.

    Raises
    ------
    TableError
        The footer of a file contradicts itself.
    """
    named = {"files": list(files)}
    footers: dict[str, int] = dict(
        database.execute("SELECT file_name, num_rows FROM parquet_file_metadata($files)", named).fetchall()
    )
    groups: dict[str, int] = dict(
        database.execute(
            "SELECT file_name, sum(rows)::HUGEINT FROM (SELECT DISTINCT file_name, row_group_id, "
            "row_group_num_rows AS rows FROM parquet_metadata($files)) GROUP BY file_name",
            named,
        ).fetchall()
    )
    for file, nr_rows in footers.items():
        if groups.get(file, 0) != nr_rows:
            raise TableError(f"{file}: its row groups hold {groups.get(file, 0)} rows, it says {nr_rows}")
    return footers


def columns_of(database: duckdb.DuckDBPyConnection, files: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return file to column name to DuckDB type.

    Raises
    ------
    TableError
        A file has two columns of one name.
    """
    rows = database.execute(
        "SELECT file_name, name, coalesce(num_children, 0), coalesce(duckdb_type, 'STRUCT') "
        "FROM parquet_schema($files)",
        {"files": list(files)},
    ).fetchall()
    found: dict[str, dict[str, str]] = {file: {} for file in files}
    # A schema is a tree in depth-first order; the children of its root are the columns. For each file: how
    # many children are still to come of each node on the way from the root.
    awaited: dict[str, list[int]] = {file: [] for file in files}
    for file, name, nr_children, duckdb_type in rows:
        path = awaited[file]
        if len(path) == 1:
            if name in found[file]:
                raise TableError(f"{file} has two columns {name}")
            found[file][name] = duckdb_type
        if path:
            path[-1] -= 1
        path.append(nr_children)
        while path and path[-1] <= 0:
            path.pop()
    return found


def match_schema(
    table: str, columns: dict[str, str], *, older_minor: bool
) -> tuple[TableSchema, frozenset[str]]:
    """Return the schema to read a table by, and those of our columns that its files lack.

    Parameters
    ----------
    table
        Its name.
    columns
        Name to type as in the files.
    older_minor
        The files were written before some of our columns were invented.

    Raises
    ------
    TableError
        A column is missing or has another type.
    """
    known = TABLES.get(table)
    ours = known.columns if known else ()
    absent = frozenset(c.name for c in ours if c.name not in columns)
    if absent and not older_minor:
        raise TableError(f"table {table} lacks the column {min(absent)}")
    for column in ours:
        if column.name not in absent and columns[column.name] != column.type:
            raise TableError(
                f"table {table}: {column.name} is of type {columns[column.name]} and should be {column.type}"
            )
    added = [name for name in columns if known is None or known.column(name) is None]
    for name in added:
        if not TABLE_NAME.fullmatch(name):
            raise TableError(f"table {table}: {name[:60]!r} is no name for a column")
    unknown = tuple(Column(name, columns[name], nullable=True, about="") for name in added)
    row, max_rows = (known.row, known.max_rows) if known else ("", 1 << 63)
    return TableSchema(table, row, ours + unknown, max_rows), absent
