"""Tables in memory as DuckDB sees them: narrow arrays to scan, and SQL that makes the columns of them.

What is wide or null exists in SQL only: a `Coded` column is scanned as its codes and looked up in a list, a
frame number may come in 32 bits, nulls come as the array of valid rows. No column is ever copied in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vmprobe.store.database import identifier, literal
from vmprobe.tables import Array, Coded

if TYPE_CHECKING:
    from vmprobe.schema import Column
    from vmprobe.tables import Table


@dataclass(frozen=True)
class Scan:
    """What DuckDB needs to read a table from memory.

    Parameters
    ----------
    arrays
        Column name to array, as ``connection.register`` takes them. Never empty.
    select
        One SQL expression with its name for each column of the schema.
    """

    arrays: dict[str, Array]
    select: str


def scan(table: Table, start: int, end: int) -> Scan:
    """Describe rows ``[start, end)`` of `table`.

    Raises
    ------
    ValueError
        A code of a `Coded` column has no value, or a row of a column that may not be null is null.
    """
    # DuckDB takes the number of rows from the arrays: a table without a readable column has rows too.
    arrays: dict[str, Array] = {"row": np.zeros(end - start, np.bool_)} if not table.columns else {}
    terms = []
    for column in table.schema.columns:
        values = table.columns.get(column.name)
        if values is None:
            terms.append(f"NULL::{column.type} AS {identifier(column.name)}")
            continue
        source = identifier(column.name)
        if isinstance(values, Coded):
            _check_codes(table, column, values)
            arrays[column.name] = values.codes[start:end]
            term = f"list_extract({_list(values.values)}::{column.type}[], {source}::BIGINT + 1)"
        else:
            arrays[column.name] = _flat(column, values[start:end])
            term = f"{source}::{column.type}"
        if column.name in table.valid:
            valid = table.valid[column.name][start:end]
            if not column.nullable and not valid.all():
                msg = f"{table.schema.name}.{column.name} may not be null in a single row"
                raise ValueError(msg)
            arrays[f"valid {column.name}"] = valid
            term = f"CASE WHEN {identifier(f'valid {column.name}')} THEN {term} END"
        terms.append(f"{term} AS {source}")
    return Scan(arrays, ", ".join(terms))


def _check_codes(table: Table, column: Column, values: Coded) -> None:
    """Refuse codes without a value: SQL would make silent nulls of them."""
    if len(values) and not 0 <= int(values.codes.min()) <= int(values.codes.max()) < len(values.values):
        msg = f"{table.schema.name}.{column.name} has codes outside its {len(values.values)} values"
        raise ValueError(msg)


def _list(values: tuple[Any, ...]) -> str:
    """Spell the values of a `Coded` column as an SQL list."""
    spelled = (literal(v) if isinstance(v, str) else "NULL" if v is None else str(int(v)) for v in values)
    return f"[{', '.join(spelled)}]"


def _flat(column: Column, values: Array) -> Array:
    """Spell lists as text, which DuckDB casts exactly; it has no array of lists to scan."""
    if not column.type.endswith("[]"):
        return values
    flat = np.empty(len(values), object)
    flat[:] = [None if row is None else f"[{', '.join(str(int(v)) for v in row)}]" for row in values]
    return flat
