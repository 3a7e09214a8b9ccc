from __future__ import annotations

import gc
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from vmprobe.errors import SnapshotError, UsageError
from vmprobe.store import connect, load, query, write

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from vmprobe.tables import Snapshot


@pytest.fixture(params=["disk", "memory"])
def database(request: pytest.FixtureRequest, sample: Snapshot, tmp_path: Path) -> duckdb.DuckDBPyConnection:
    if request.param == "memory":
        return connect(sample)
    write(sample, tmp_path / "a.vmsnap")
    return connect(load(tmp_path / "a.vmsnap"))


def ask(database: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return list(query(database, sql)[2])


def test_tables_and_manifest(database: duckdb.DuckDBPyConnection) -> None:
    names, types, rows = query(database, "SELECT memcg, count(*) AS n FROM frames GROUP BY ALL ORDER BY 1")
    assert (names, types) == (("memcg", "n"), ("UBIGINT", "BIGINT"))
    assert list(rows) == [(0, 33), (4242, 34), (2**64 - 1, 33)]
    assert ask(database, "SELECT comm FROM tasks ORDER BY pid") == [("systemd",), (None,), ("a\x00\n'b\"",)]
    assert ask(database, "SELECT count(flags), count(mapcount) FROM frames") == [(90, 0)]
    asked = "SELECT value FROM manifest WHERE key = 'host.page_size' OR key = 'host.boot_id' ORDER BY key"
    assert ask(database, asked) == [(None,), ("4096",)]
    assert ask(database, "SELECT value FROM manifest WHERE key = 'frame_ranges'") == [
        ("[[0, 60], [100, 140]]",)
    ]
    assert ask(database, "DESCRIBE cgroups")[0][:2] == ("inode", "UBIGINT")
    assert ("zones",) in ask(database, "SHOW TABLES")
    assert ask(database, 'WITH x AS (FROM zones) SELECT zone AS "COPY" FROM x; -- fine')[1] == ("Normal",)
    assert len(ask(database, "SUMMARIZE zones")) == 15
    assert ask(database, "PIVOT mappings ON kind IN ('swap') USING sum(nr_pages) GROUP BY mm ORDER BY mm")[
        0
    ] == (1, 2)


FORBIDDEN = [
    "COPY frames TO 'out.csv'",
    "COPY (SELECT 1) TO '{own}' (USE_TMP_FILE false)",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{own}' (USE_TMP_FILE false)",
    "ATTACH 'other.db'",
    "FROM read_csv('/etc/passwd')",
    "FROM read_text('/etc/passwd')",
    "FROM read_blob('/proc/self/environ')",
    "FROM '/etc/passwd.csv'",
    "FROM glob('/etc/*')",
    "FROM parquet_metadata('/etc/passwd')",
    "FROM read_parquet('{parent}/*.parquet')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '100GB'",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET allowed_paths",
    "PRAGMA threads = 8",
    "EXPORT DATABASE 'out'",
    "IMPORT DATABASE 'out'",
    "CREATE SECRET (TYPE s3)",
    "CREATE TABLE x AS SELECT 1",
    "DROP VIEW tasks",
    "INSERT INTO manifest VALUES ('a', 'b')",
    "WITH x AS (INSERT INTO manifest VALUES ('a', 'b') RETURNING *) FROM x",
    "WITH x AS (DELETE FROM manifest RETURNING *) FROM x",
    "WITH x AS (COPY (SELECT 1) TO '{own}' (USE_TMP_FILE false)) FROM x",
    "WITH x AS MATERIALIZED (COPY frames TO '{own}' (USE_TMP_FILE false)), y AS (FROM x) FROM y",
    "/* */ WITH x AS (FROM tasks), y AS (COPY x TO '{own}' (USE_TMP_FILE false)) SELECT 1 FROM x",
    "FROM query('WITH x AS (COPY (SELECT 1) TO ''{own}'' (USE_TMP_FILE false)) FROM x')",
    "FROM (WITH x AS (COPY (SELECT 1) TO '{own}' (USE_TMP_FILE false)) FROM x)",
    "DESCRIBE WITH x AS (COPY (SELECT 1) TO '{own}' (USE_TMP_FILE false)) FROM x",
    "SUMMARIZE WITH x AS (COPY (SELECT 1) TO '{own}' (USE_TMP_FILE false)) FROM x",
    "FROM query('DROP VIEW tasks')",
    "SELECT getenv('HOME')",
    "SELECT 1; SELECT 2",
    "",
    "CHECKPOINT",
    "FROM local_variable",
]


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_a_query_only_reads_the_snapshot(
    database: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    monkeypatch.chdir(tmp_path)
    local_variable = {"x": [1]}
    folder = tmp_path / "a.vmsnap"
    before = {p: p.stat().st_mtime_ns for p in [tmp_path, folder, *folder.rglob("*")] if p.exists()}
    with pytest.raises(UsageError) as caught:
        ask(database, sql.format(own=folder / "tasks.parquet", parent=folder.parent))
    assert "\n" not in caught.value.message
    assert local_variable
    assert before == {p: p.stat().st_mtime_ns for p in before}
    assert len(ask(database, "FROM tasks")) == 3


def test_the_connection_itself_is_closed_to_the_system(
    database: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """Not only `query` refuses: so does DuckDB, should a statement get through."""
    import duckdb

    for sql in (
        f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
        "FROM read_csv('/etc/passwd')",
        "SET enable_external_access = true",
        f"ATTACH '{tmp_path}/other.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET threads = 8",
    ):
        with pytest.raises(duckdb.Error, match=r"disabled|locked"):
            database.execute(sql)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELEC 1", "syntax error"),
        ("FROM nothing", "nothing does not exist"),
        ("SELECT nothing FROM tasks", '"nothing" not found'),
        ("SELECT 'x'::INT", "Could not convert string 'x' to INT32"),
        ("SELECT regexp_matches(comm, '(') FROM tasks", "missing"),
    ],
)
def test_mistakes(database: duckdb.DuckDBPyConnection, sql: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason.replace("(", r"\(")) as caught:
        ask(database, sql)
    assert "\n" not in caught.value.message


def test_unknown_table_names_those_there_are(database: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(UsageError) as caught:
        ask(database, "FROM nothing")
    assert "zones" in str(caught.value.hint)
    assert str(caught.value.hint).endswith("manifest")


def test_a_query_has_a_memory_limit(sample: Snapshot) -> None:
    with pytest.raises(UsageError, match="too much memory") as caught:
        ask(connect(sample, memory_bytes=64 << 20), "SELECT list(i) FROM range(100_000_000) t(i)")
    assert "LIMIT" in str(caught.value.hint)


def test_files_that_went_away(sample: Snapshot, tmp_path: Path) -> None:
    write(sample, tmp_path / "a")
    database = connect(load(tmp_path / "a"))
    (tmp_path / "a/tasks.parquet").unlink()
    with pytest.raises(SnapshotError, match=r"/a: table tasks was replaced"):
        ask(database, "FROM tasks")


def test_rows_are_streamed(sample: Snapshot) -> None:
    """A billion rows begin at once."""
    rows = query(connect(sample, memory_bytes=64 << 20), "SELECT a.i FROM range(100000) a(i), range(10000)")[
        2
    ]
    assert next(rows) == (0,)


def test_interrupt(sample: Snapshot) -> None:
    """Ctrl-C stops a query that DuckDB alone would finish first."""
    database = connect(sample)
    started = time.monotonic()
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        ask(
            database,
            "SELECT sum(a.i * b.i) FROM range(9000000) a(i), range(900000) b(i) WHERE a.i + b.i <> 5",
        )
    timer.join()
    assert time.monotonic() - started < 30
    assert len(ask(database, "FROM tasks")) == 3


def test_the_connection_keeps_an_unpacked_archive(
    sample: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    write(sample, tmp_path / "a.vmsnap")
    subprocess.run(["tar", "-C", tmp_path, "-cf", tmp_path / "a.tar", "a.vmsnap"], check=True)
    database = connect(load(tmp_path / "a.tar"))
    gc.collect()
    assert len(ask(database, "FROM tasks")) == 3
    assert len(os.listdir(tmp_path / "tmp")) == 1
    del database
    gc.collect()
    assert os.listdir(tmp_path / "tmp") == []


def test_a_query_that_is_no_text_is_wrong_usage(database: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(UsageError, match="not valid UTF-8"):
        query(database, "SELECT '\udcff'")
