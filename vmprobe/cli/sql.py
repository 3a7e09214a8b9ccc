"""``vmprobe sql``: a question in SQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from vmprobe.cli.complete import snapshots
from vmprobe.cli.options import debug_option, json_option, open_or_take, root_options
from vmprobe.cli.output import stdout
from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT_ROWS: Final = 1000
"""Rows shown as text: a grid is laid out whole before its first line; CSV and JSON give all rows."""

Rows = tuple[tuple[str, ...], tuple[str, ...], "Iterator[tuple[Any, ...]]"]


@click.command(short_help="Ask a snapshot in SQL.")
@click.argument("arguments", nargs=-1, required=True, metavar="[SNAPSHOT] QUERY", shell_complete=snapshots)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header line; null is an empty field.")
@root_options
@debug_option
def sql(
    arguments: tuple[str, ...], procfs: str | None, sysfs: str | None, *, as_json: bool, as_csv: bool
) -> None:
    """Ask SNAPSHOT in SQL (DuckDB's); each of its tables is a view.

    Without SNAPSHOT one is taken now, in memory. `SHOW TABLES` and `DESCRIBE frames` tell what there is.

    \b
    Examples:
      vmprobe sql host.vmsnap 'SELECT zone, managed_pages FROM zones'
      vmprobe sql 'SELECT comm, sum(rss_pages) FROM tasks GROUP BY ALL' --csv
    """  # noqa: D301 - click's mark for lines to be left alone
    path, question = _split(arguments)
    if as_json and as_csv:
        raise UsageError("--json and --csv contradict each other", hint="leave out one of the two")
    from vmprobe.store import connect, query

    connection = connect(open_or_take(path, procfs=procfs, sysfs=sysfs))
    try:
        answer = query(connection, question)
        write = _write_json if as_json else _write_csv if as_csv else _write_text
        write(answer)
    finally:
        connection.close()


def _split(arguments: tuple[str, ...]) -> tuple[Path | None, str]:
    """Return the snapshot, if any, and the question."""
    if len(arguments) > 2:
        raise UsageError(
            f"a SNAPSHOT and a QUERY, but {len(arguments)} arguments are given",
            hint="put the query in quotes, so that the shell leaves it whole",
        )
    *paths, question = arguments
    if not paths and Path(question).exists():
        raise UsageError(f"no QUERY for {question}", hint=f"vmprobe sql {question} 'SHOW TABLES'")
    return (Path(paths[0]) if paths else None), question


def _write_json(answer: Rows) -> None:
    """Write one document row by row, so that a large answer is never held whole."""
    from vmprobe.render.jsontext import dumps

    names, types, rows = answer
    write = stdout().write
    columns = [{"name": name, "type": type_} for name, type_ in zip(names, types, strict=True)]
    write(f'{{"columns": {dumps(columns, indent=None)},\n"rows": [')
    separator = "\n"
    for row in rows:
        write(separator + dumps(row, indent=None))
        separator = ",\n"
    write("\n]}\n")


def _write_csv(answer: Rows) -> None:
    import csv

    names, _, rows = answer
    writer = csv.writer(stdout(), lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_csv_field(value) for value in row])


def _csv_field(value: Any) -> Any:
    """Return a scalar as itself, lists, structures and booleans as JSON, null as nothing."""
    from vmprobe.render.jsontext import dumps, to_plain

    field = to_plain(value)
    return dumps(field, indent=None) if isinstance(field, bool | list | dict) else field


def _write_text(answer: Rows) -> None:
    from itertools import islice

    from vmprobe.analyses.parts import Column, Grid, Kind, Note, Parts
    from vmprobe.cli.output import write_text

    names, _, rows = answer
    shown = tuple(islice(rows, TEXT_ROWS))
    parts: list[Grid | Note] = [Grid("", tuple(Column(name, Kind.TEXT) for name in names), shown)]
    if next(rows, None) is not None:
        parts.append(Note("", (f"only the first {TEXT_ROWS} rows; --csv and --json give all",)))
    write_text(Parts(tuple(parts)))
