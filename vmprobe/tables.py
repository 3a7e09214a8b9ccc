"""Tables in memory: numpy columns with explicit nulls, and the snapshot that holds them.

A `Table` never copies what it is given and never lends it out for writing. A column that is in the schema but
not in the table is null in every row. A `Snapshot` gives its tables on demand, so that one opened from disk
loads only what a question needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from vmprobe.schema import TableSchema

Array = np.ndarray[Any, np.dtype[Any]]

_NUMPY_TYPES = {
    "UBIGINT": np.uint64,
    "BIGINT": np.int64,
    "UINTEGER": np.uint32,
    "INTEGER": np.int32,
    "UTINYINT": np.uint8,
    "BOOLEAN": np.bool_,
}


def numpy_type(duckdb_type: str) -> type[np.generic]:
    """Return the dtype that holds `duckdb_type`; object for strings and lists.

    >>> numpy_type("UBIGINT").__name__
    'uint64'
    """
    return _NUMPY_TYPES.get(duckdb_type, np.object_)


@dataclass(frozen=True)
class Coded:
    """A column of few distinct values: small integer codes into `values`.

    Two bytes a row where the decoded column takes eight (memcg inodes) or more (strings); the store decodes
    it in SQL while it writes, so that the wide column never exists.
    """

    codes: Array
    values: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def decode(self) -> Array:
        """Return the wide column, uint64 or object."""
        wide = np.array(self.values, object if any(isinstance(v, str) for v in self.values) else np.uint64)
        decoded: Array = wide[self.codes]
        return decoded


@dataclass(frozen=True)
class Ranges:
    """A column that counts up through half-open ranges: page frame numbers, at no memory a row.

    >>> Ranges(((2, 4), (9, 11))).decode().tolist()
    [2, 3, 9, 10]
    """

    ranges: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return sum(end - start for start, end in self.ranges)

    def __getitem__(self, rows: slice) -> Array:
        """Return the values of some rows, as uint32 where they fit."""
        first, last, _ = rows.indices(len(self))
        wide = bool(self.ranges) and self.ranges[-1][1] > 1 << 32
        values: Array = np.empty(max(0, last - first), np.uint64 if wide else np.uint32)
        row = 0
        for start, end in self.ranges:
            low, high = max(first, row), min(last, row + end - start)
            if low < high:
                part = np.arange(start + low - row, start + high - row, dtype=values.dtype)
                values[low - first : high - first] = part
            row += end - start
        return values

    def decode(self) -> Array:
        """Return the whole column as uint64."""
        return self[:].astype(np.uint64)


Values = Array | Coded | Ranges
"""How a table holds a column."""


@dataclass(frozen=True)
class Table:
    """Columns of equal length.

    Parameters
    ----------
    schema
        What the columns mean.
    columns
        Name to array, `Coded` or `Ranges`. Columns that are missing here are null in every row.
    valid
        Name to bool array for columns with some null rows; columns not named are valid in every row.
    nr_rows
        Rows; needed because a table may have no readable column.
    """

    schema: TableSchema
    columns: Mapping[str, Values]
    nr_rows: int
    valid: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in (*self.columns.items(), *self.valid.items()):
            if len(values) != self.nr_rows:
                msg = f"{self.schema.name}.{name} has {len(values)} rows, the table {self.nr_rows}"
                raise ValueError(msg)
            if not isinstance(values, Ranges):
                array = values.codes if isinstance(values, Coded) else values
                array.flags.writeable = False

    def __len__(self) -> int:
        return self.nr_rows

    def has(self, name: str) -> bool:
        """Whether `name` could be read at all."""
        return name in self.columns

    def column(self, name: str) -> Array:
        """Return the values of `name`; rows that are null hold an arbitrary value: ask `is_valid`.

        Raises
        ------
        KeyError
            The column is null in every row.
        """
        values = self.columns[name]
        return values.decode() if isinstance(values, Coded | Ranges) else values

    def is_valid(self, name: str) -> NDArray[np.bool_]:
        """Return which rows of `name` hold a value."""
        if name not in self.columns:
            return np.zeros(self.nr_rows, np.bool_)
        return self.valid.get(name, np.ones(self.nr_rows, np.bool_))

    def equals(self, name: str, value: str) -> NDArray[np.bool_]:
        """Return which rows of a column of strings hold `value`; codes are compared, not decoded."""
        values = self.columns[name]
        if isinstance(values, Coded):
            code = values.values.index(value) if value in values.values else -1
            coded: NDArray[np.bool_] = values.codes == code
            return coded
        same: NDArray[np.bool_] = self.column(name) == value
        return same

    def rows(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Iterate rows of small tables as Python values, None where null."""
        lists = []
        for name in names or tuple(c.name for c in self.schema.columns):
            if name not in self.columns:
                lists.append([None] * self.nr_rows)
                continue
            values = self.column(name).tolist()
            if name in self.valid:
                values = [v if ok else None for v, ok in zip(values, self.valid[name].tolist(), strict=True)]
            lists.append(values)
        return zip(*lists, strict=True)


def from_rows(schema: TableSchema, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Build a small table from Python rows; None becomes null.

    Columns of the schema that are not in `names` are null throughout.
    """
    listed = list(rows)
    columns: dict[str, Values] = {}
    valid: dict[str, NDArray[np.bool_]] = {}
    for i, name in enumerate(names):
        column = schema.column(name)
        if column is None:
            msg = f"{schema.name} has no column {name}"
            raise ValueError(msg)
        dtype = numpy_type(column.type)
        values = [row[i] for row in listed]
        ok = np.array([v is not None for v in values], np.bool_)
        array = np.empty(len(values), dtype)
        if dtype is np.object_:
            array[:] = values
        else:
            array[ok] = [v for v in values if v is not None]
            array[~ok] = 0
        columns[name] = array
        if not ok.all():
            valid[name] = ok
    return Table(schema, columns, len(listed), valid)


class TableSource(Protocol):
    """Where a snapshot's tables come from: memory or a folder."""

    def names(self) -> tuple[str, ...]:
        """Return the tables there are, in schema order."""

    def load(self, name: str, columns: Sequence[str] | None) -> Table:
        """Return a table, with only `columns` when given."""


@dataclass(frozen=True)
class MemoryTables:
    """Tables that were just collected."""

    tables: Mapping[str, Table]

    def names(self) -> tuple[str, ...]:
        """Return the tables there are."""
        return tuple(self.tables)

    def load(self, name: str, columns: Sequence[str] | None) -> Table:
        """Return the table; nothing is narrowed, it is all in memory already."""
        del columns
        return self.tables[name]


@dataclass(frozen=True)
class Snapshot:
    """A photograph of one host.

    Parameters
    ----------
    manifest
        What, when, with which privileges, what is missing and why (docs/snapshot-format.md).
    source
        Gives the tables.
    path
        Where it was opened from; None for one that was just taken and never written.
    """

    manifest: Mapping[str, Any]
    source: TableSource
    path: str | None = None

    @property
    def page_size(self) -> int:
        """Bytes in a page of that host."""
        return int(self.manifest["host"]["page_size"])

    @property
    def selective(self) -> bool:
        """Whether only some processes were asked for."""
        options = self.manifest.get("options", {})
        return any(options.get(name) for name in ("pids", "trees", "cgroups"))

    def tables(self) -> tuple[str, ...]:
        """Return the names of the tables it has."""
        return self.source.names()

    def has(self, name: str) -> bool:
        """Whether the table is there."""
        return name in self.source.names()

    def released(self, *names: str) -> Snapshot:
        """Return the snapshot without what it holds of these tables in memory; one on disk holds nothing."""
        if not isinstance(self.source, MemoryTables):
            return self
        kept = {name: table for name, table in self.source.tables.items() if name not in names}
        return replace(self, source=MemoryTables(kept))

    def table(self, name: str, columns: Sequence[str] | None = None) -> Table:
        """Return a table by name, reading only `columns` where it comes from disk.

        Raises
        ------
        KeyError
            The snapshot has no such table.
        """
        if name not in self.source.names():
            raise KeyError(name)
        return self.source.load(name, columns)
