"""The history of reports: a DuckDB database in one file, to which each report appends its figures.

Any DuckDB reads it (``duckdb -readonly FILE``, which holds up reports while it is open):

``runs``
    One row a report: ``run`` (a number, which the other tables use), ``id``, ``time`` (UTC), ``boot_id``,
    ``release`` of the kernel, ``frames`` (whether page frames were scanned), ``seconds`` that it took.
``samples``
    One row a figure: ``run``, ``name`` (as in `vmprobe.metrics`), ``labels`` (a map), ``value``. A figure
    that could not be read has no row.
``owners``
    Who held pageblocks: ``run``, ``kind``, ``owner``, ``pid``, ``pageblocks``, ``pages``,
    ``trapped_free_pages``.
``figures``
    A view of samples with their times: ``time``, ``frames``, ``boot_id``, ``name``, ``node``, ``zone``,
    ``"order"``, ``labels``, ``value``::

        SELECT time, sum(value) FROM figures WHERE name = 'free_blocks' AND "order" >= 9 GROUP BY ALL
        SELECT time, value FROM figures WHERE name = 'blocker_pageblocks' AND labels['kind'] = 'slab'

``vmprobe_history``
    One row: the format of all this.

Runs that are old before the one that is appended are thinned then (`vmprobe.store.history_thin`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from vmprobe.errors import InputError
from vmprobe.metrics import METRICS, Sample
from vmprobe.store.history_file import for_reading, for_writing, make_durable
from vmprobe.store.history_thin import DEFAULT, Aged, surplus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    import duckdb

READER_WAITS_SECONDS: Final = 20
"""For a writer that has the file; one needs a twentieth of a second."""

_FETCH_ROWS: Final = 4096

_SAMPLES: Final = """
INSERT INTO samples SELECT ?, unnest(?::VARCHAR[]), map(unnest(?::VARCHAR[][]), unnest(?::VARCHAR[][])),
    unnest(?::DOUBLE[])
"""
_OWNERS: Final = """
INSERT INTO owners SELECT ?, unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), unnest(?::INTEGER[]),
    unnest(?::BIGINT[]), unnest(?::BIGINT[]), unnest(?::BIGINT[])
"""


@dataclass(frozen=True)
class Run:
    """One report.

    Parameters
    ----------
    id
        32 hexadecimal digits of a UUID.
    time
        When its snapshot was taken, aware, UTC.
    boot_id
        Of the boot, as the kernel gives it; None where it is not known.
    release
        Of the kernel.
    frames
        Whether page frames were scanned.
    seconds
        That it took; None where that is not known.
    """

    id: str
    time: datetime
    boot_id: str | None
    release: str
    frames: bool
    seconds: float | None


@dataclass(frozen=True)
class Owner:
    """Who held pageblocks, as `vmprobe.analyses.frag_answer.OwnerRow`."""

    kind: str
    owner: str | None
    pid: int | None
    pageblocks: int
    pages: int
    trapped_free_pages: int


@dataclass(frozen=True)
class Kept:
    """One report with what the history keeps of it."""

    run: Run
    samples: tuple[Sample, ...]
    owners: tuple[Owner, ...]


def append(path: Path, kept: Kept, *, wait_seconds: float = 60) -> None:
    """Append one run, all of it or nothing; it is on stable storage when this returns.

    Parameters
    ----------
    path
        The file; it and its folders are made where there is none, with access for their owner alone.
    kept
        The run. One whose id is there already is left out.
    wait_seconds
        For other processes that have the file open.

    Raises
    ------
    OutputError
        There is no room, no permission, or others have it open; what was there stays as it was.
    InputError
        The file is damaged, of a later format or no history; it stays as it is.
    """
    with for_writing(path, wait_seconds) as database:
        database.execute("BEGIN")
        if database.execute("SELECT 1 FROM runs WHERE id = ?", [UUID(kept.run.id)]).fetchone() is None:
            _insert(database, kept)
            _thin(database, kept.run.time)
        database.execute("COMMIT")
        make_durable(database, path)


def _insert(database: duckdb.DuckDBPyConnection, kept: Kept) -> None:
    (number,) = database.execute("SELECT coalesce(max(run), 0) + 1 FROM runs").fetchone() or (1,)
    run = kept.run
    database.execute(
        "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)",
        [number, UUID(run.id), _utc(run.time), run.boot_id, run.release, run.frames, run.seconds],
    )
    if kept.samples:
        names, labels, values = zip(*kept.samples, strict=True)
        keys = [METRICS[name].labels for name in names]
        database.execute(_SAMPLES, [number, names, keys, labels, [float(value) for value in values]])
    if kept.owners:
        columns = zip(
            *((o.kind, o.owner, o.pid, o.pageblocks, o.pages, o.trapped_free_pages) for o in kept.owners),
            strict=True,
        )
        database.execute(_OWNERS, [number, *columns])


def _thin(database: duckdb.DuckDBPyConnection, now: datetime) -> None:
    """Let runs go that are old before `now`, the time of the one that was just appended."""
    old = database.execute(
        "SELECT run, time, frames FROM runs WHERE time < ?::TIMESTAMP - ?::INTERVAL",
        [_utc(now), DEFAULT.bands[0].after],
    ).fetchall()
    aged = [Aged(run, _aware(time), frames) for run, time, frames in old]
    gone = surplus(aged, now, DEFAULT)
    if gone:
        for table in ("samples", "owners", "runs"):
            database.execute(
                f"DELETE FROM {table} WHERE run BETWEEN ? AND ? AND run IN (SELECT unnest(?::INTEGER[]))",  # noqa: S608 - ours
                [min(gone), max(gone), gone],
            )


def read(
    path: Path,
    *,
    since: datetime | None = None,
    last: int | None = None,
    names: Collection[str] | None = None,
    least_order: int = 0,
) -> tuple[Kept, ...]:
    """Return runs with their figures, oldest first; none where there is no file.

    Parameters
    ----------
    path
        The file.
    since
        No run from before (aware).
    last
        No more than so many, the newest.
    names
        Only figures of these names; all of them by default. Numbers that are whole come as integers.
    least_order
        Of figures that have an order, only those of this or a higher one.

    Raises
    ------
    InputError
        The file is damaged, of a later format or no history, or somebody has it open for writing.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    with for_reading(path, READER_WAITS_SECONDS) as database:
        found = database.execute(
            "SELECT run, id, time, boot_id, release, frames, seconds FROM runs WHERE time >= ?"
            " ORDER BY time DESC, run DESC LIMIT ?",
            [_utc(since) if since is not None else datetime(1, 1, 1), last],  # noqa: DTZ001 - as the column
        ).fetchall()
        runs = {row[0]: _run(row) for row in reversed(found)}
        samples: dict[int, list[Sample]] = {run: [] for run in runs}
        owners: dict[int, list[Owner]] = {run: [] for run in runs}
        if runs:
            _read_samples(database, samples, names, least_order)
            for run, *fields in _of_runs(database, "owners", "*", runs, ""):
                owners[run].append(Owner(*fields))
    return tuple(Kept(run, tuple(samples[key]), tuple(owners[key])) for key, run in runs.items())


def _read_samples(
    database: duckdb.DuckDBPyConnection,
    samples: dict[int, list[Sample]],
    names: Collection[str] | None,
    least_order: int,
) -> None:
    condition = ""
    arguments: list[Any] = []
    if names is not None:
        condition += " AND name IN (SELECT unnest(?::VARCHAR[]))"
        arguments.append(list(names))
    if least_order:
        condition += " AND coalesce(TRY_CAST(labels['order'] AS INTEGER) >= ?, true)"
        arguments.append(least_order)
    # The same few names and labels come again with every run: each is kept once.
    known: dict[tuple[str, ...], tuple[str, tuple[str, ...]]] = {}
    columns = "run, name, map_values(labels), value"
    for run, name, its, value in _of_runs(database, "samples", columns, samples, condition, *arguments):
        own = known.setdefault((name, *its), (name, tuple(its)))
        samples[run].append(Sample(*own, int(value) if value.is_integer() else value))


def _of_runs(
    database: duckdb.DuckDBPyConnection,
    table: str,
    columns: str,
    runs: Collection[int],
    condition: str,
    *arguments: Any,
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of some runs, in the order in which they were appended."""
    found = database.execute(
        f"SELECT {columns} FROM {table} WHERE run BETWEEN ? AND ?"  # noqa: S608 - ours
        f" AND run IN (SELECT unnest(?::INTEGER[])){condition}",
        [min(runs), max(runs), list(runs), *arguments],
    )
    while rows := found.fetchmany(_FETCH_ROWS):
        yield from rows


def _run(row: tuple[Any, ...]) -> Run:
    _, id_, time, boot_id, release, frames, seconds = row
    assert isinstance(id_, UUID)
    return Run(id_.hex, _aware(time), boot_id, release, frames, seconds)


def _utc(time: datetime) -> datetime:
    """Return the time as the column has it."""
    return time.astimezone(UTC).replace(tzinfo=None)


def _aware(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC)
