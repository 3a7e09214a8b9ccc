"""Whatever is wrong with a snapshot: one `SnapshotError`, one line, never anything else."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from vmprobe.errors import SnapshotError
from vmprobe.schema import TABLES
from vmprobe.store import connect, load, query, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vmprobe.tables import Snapshot

Edit = Any


@pytest.fixture
def folder(sample: Snapshot, tmp_path: Path) -> Path:
    write(sample, tmp_path / "a.vmsnap")
    return tmp_path / "a.vmsnap"


def read_all(path: Path, **limits: int) -> None:
    snapshot = load(path, **limits)
    for table in snapshot.tables():
        snapshot.table(table)


def refused(path: Path, **limits: int) -> str:
    with pytest.raises(SnapshotError) as caught:
        read_all(path, **limits)
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith(f"{path}: ")
    assert caught.value.hint
    return caught.value.reason


def replace_table(folder: Path, name: str, select: str) -> None:
    """Put another table into a snapshot, with the right digest and number of rows."""
    path = folder / f"{name}.parquet"
    with duckdb.connect() as database:
        database.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
        rows = database.execute(f"SELECT count(*) FROM read_parquet('{path}')").fetchone()[0]
    manifest = json.loads((folder / "manifest.json").read_text())
    data = path.read_bytes()
    file = {"name": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["tables"][name] = {"rows": rows, "files": [file], "null_columns": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["frames.parquet", "zones.parquet", "cgroups.parquet", "manifest.json"])
def test_damaged_bytes(folder: Path, name: str) -> None:
    path = folder / name
    whole = path.read_bytes()
    generator = random.Random(name)
    nr_refused = 0
    for at in sorted(generator.sample(range(len(whole)), min(len(whole), 60))):
        for damage in (
            whole[:at] + bytes([whole[at] ^ 1 << generator.randrange(8)]) + whole[at + 1 :],
            whole[:at],
            whole[:at] + whole[at + 7 :],
        ):
            path.write_bytes(damage)
            try:
                read_all(folder)
            except SnapshotError:
                nr_refused += 1
            else:  # a changed word of the manifest can be another true word; never a changed table
                assert name == "manifest.json"
    assert nr_refused > 60


@pytest.mark.slow
def test_damaged_bytes_with_a_right_digest(folder: Path, edit_manifest: Edit) -> None:
    """Damage that somebody signed again reaches DuckDB, whose errors must come out as ours."""
    path = folder / "tasks.parquet"
    whole = path.read_bytes()
    generator = random.Random(5)
    nr_refused = 0
    for _ in range(150):
        at = generator.randrange(len(whole))
        damage = whole[:at] + bytes([generator.randrange(256)]) + whole[at + 1 :]
        path.write_bytes(damage)
        digest = hashlib.sha256(damage).hexdigest()
        edit_manifest(folder, lambda m: m["tables"]["tasks"]["files"][0].update(sha256=digest))  # noqa: B023
        try:
            read_all(folder)
            list(query(connect(load(folder)), "FROM tasks")[2])
        except SnapshotError:
            nr_refused += 1
    assert nr_refused > 50


def test_missing_and_foreign(folder: Path, tmp_path: Path) -> None:
    (folder / "zones.parquet").unlink()
    assert refused(folder) == "table zones: the file zones.parquet is missing"
    (folder / "manifest.json").unlink()
    assert refused(folder) == "has no manifest.json, so it is not a snapshot"
    with pytest.raises(SnapshotError, match="No such file or directory"):
        load(tmp_path / "none")


def test_files_that_are_no_files(folder: Path, tmp_path: Path) -> None:
    path = folder / "zones.parquet"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert "Too many levels of symbolic links" in refused(folder)
    path.unlink()
    os.mkfifo(path)
    assert refused(folder) == "zones.parquet is not a regular file"
    path.unlink()
    path.mkdir()
    assert "zones.parquet" in refused(folder)


def test_a_part_folder_that_is_a_link(
    sample: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vmprobe.store.parquet import write_table

    monkeypatch.setitem(write_table.__kwdefaults__, "part_rows", 2)
    write(sample, tmp_path / "a")
    (tmp_path / "a/zones").rename(tmp_path / "elsewhere")
    (tmp_path / "a/zones").symlink_to(tmp_path / "elsewhere")
    assert refused(tmp_path / "a") == "table zones: its folder is a symbolic link"


LIES: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("major", lambda m: m["format"].update(version=[2, 0]), "format 2.0 is newer than 1.x, which this"),
    ("major 0", lambda m: m["format"].update(version=[0, 9]), "format.version should be at least 1.0"),
    ("version", lambda m: m["format"].update(version="1.0"), "format.version should be a list"),
    ("name", lambda m: m["format"].update(name="zip"), "format.name should be 'vmprobe-snapshot', not 'zip'"),
    ("no format", lambda m: m.pop("format"), "format is missing"),
    ("page size", lambda m: m["host"].update(page_size=4097), "host.page_size should be a power of two"),
    ("page size text", lambda m: m["host"].update(page_size="4096"), "host.page_size should be a whole"),
    ("true", lambda m: m["host"].update(nr_cpus=True), "host.nr_cpus should be a whole number"),
    ("big", lambda m: m["host"].update(mem_total_bytes=2**70), "host.mem_total_bytes should be a whole"),
    ("inf", lambda m: m["time"].update(seconds=float("inf")), "manifest: a number should be finite"),
    ("time", lambda m: m["time"].update(start="now"), "time.start should be an ISO 8601 time, not 'now'"),
    ("zone", lambda m: m["time"].update(start="2026-11-23"), "time with its offset from UTC"),
    ("cap", lambda m: m["privileges"].update(capabilities=[1]), "privileges.capabilities[0] should be a str"),
    ("order", lambda m: m.update(max_order=64), "max_order should be a whole number from 0 to 63"),
    ("range", lambda m: m.update(frame_ranges=[[5, 5]]), "frame_ranges[0] should be a range"),
    (
        "ranges",
        lambda m: m.update(frame_ranges=[[0, 7]]),
        "frame_ranges cover 7 frames, the table frames has",
    ),
    ("rows", lambda m: m["tables"]["tasks"].update(rows=4), "table tasks has 3 rows, the manifest says 4"),
    ("1e15", lambda m: m["tables"]["tasks"].update(rows=10**15), "tables.tasks.rows should be at most"),
    ("minus", lambda m: m["tables"]["tasks"].update(rows=-1), "tables.tasks.rows should be a whole number"),
    ("size", lambda m: m["tables"]["tasks"]["files"][0].update(bytes=1), "bytes, the manifest says 1"),
    (
        "sha",
        lambda m: m["tables"]["tasks"]["files"][0].update(sha256="0" * 64),
        "the digest of tasks.parquet",
    ),
    ("no sha", lambda m: m["tables"]["tasks"]["files"][0].pop("sha256"), "files[0].sha256 is missing"),
    ("no file", lambda m: m["tables"]["tasks"].update(files=[]), "tables.tasks.files should be named"),
    (
        "climb",
        lambda m: m["tables"]["tasks"]["files"][0].update(name="../a.vmsnap/tasks.parquet"),
        "tables.tasks.files should be named after the table, not '../a.vmsnap/tasks.parquet'",
    ),
    ("table", lambda m: m["tables"].update({"../x": m["tables"]["tasks"]}), "should be a plain lower-case"),
    ("null", lambda m: m["tables"]["tasks"]["null_columns"].update(x=""), "has no column x, which"),
    ("list", lambda m: m.update(tables=[]), "tables should be an object"),
]


@pytest.mark.parametrize(("change", "reason"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES])
def test_manifest_lies(folder: Path, edit_manifest: Edit, change: Any, reason: str) -> None:
    edit_manifest(folder, change)
    assert reason in refused(folder)


def test_newer_major_says_upgrade(folder: Path, edit_manifest: Edit) -> None:
    edit_manifest(folder, lambda m: (m["format"].update(version=[2, 0]), m.pop("tables")))
    with pytest.raises(SnapshotError) as caught:
        load(folder)
    assert caught.value.hint == "upgrade vmprobe"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 200_000, "nested too deeply"),
        ("9" * 10_000, "is not JSON: Exceeds the limit"),
        ("[]", "the whole should be an object, not list"),
        ("", "is not JSON"),
        ("{" + '"x": 1, ' * 3, "is not JSON"),
        ("NaN", "should be finite"),
        (b"\xff\xfe\x00", "is not JSON"),
    ],
    ids=["lists", "objects", "digits", "list", "empty", "cut", "nan", "bytes"],
)
def test_manifest_of_garbage(folder: Path, text: str | bytes, reason: str) -> None:
    (folder / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert reason in refused(folder)


def test_manifest_too_large(folder: Path) -> None:
    with (folder / "manifest.json").open("r+b") as file:
        file.truncate((64 << 20) + 1)
    assert "larger than" in refused(folder)


def test_newer_minor_is_read(folder: Path, edit_manifest: Edit) -> None:
    of_tasks = ", ".join(f"NULL::{c.type} AS {c.name}" for c in TABLES["tasks"].columns[3:])
    replace_table(
        folder, "tasks",
        f"SELECT 5::UINTEGER AS pid, NULL::UINTEGER AS ppid, NULL::UBIGINT AS start_time, {of_tasks}, "
        "1.5::DOUBLE AS weight, {'a': 1, 'b': [2]} AS more",
    )  # fmt: skip
    replace_table(folder, "folios", "SELECT 7::UBIGINT AS pfn, 'big' AS kind")

    def newer(manifest: dict[str, Any]) -> None:
        manifest["format"]["version"] = [1, 7]
        manifest["weather"] = {"wind": [1]}
        manifest["tables"]["tasks"]["null_columns"] = {"frozen": "why not"}

    edit_manifest(folder, newer)
    snapshot = load(folder)
    assert snapshot.tables()[-1] == "folios"
    assert list(snapshot.table("folios").rows()) == [(7, "big")]
    assert snapshot.manifest["weather"] == {"wind": [1]}
    assert snapshot.table("tasks").column("weight").tolist() == [1.5]
    assert snapshot.table("tasks", ["pid"]).column("pid").tolist() == [5]
    assert list(query(connect(snapshot), "SELECT weight, more.b FROM tasks")[2]) == [(1.5, [2])]


@pytest.mark.parametrize(
    ("select", "reason"),
    [
        ("SELECT 1::UBIGINT AS inode", "table cgroups lacks the column path"),
        ("SELECT 1::INTEGER AS inode, '' AS path", "inode is of type INTEGER and should be UBIGINT"),
        ("SELECT NULL::UBIGINT AS inode, '' AS path", "table cgroups: inode is null in row 0"),
        ("SELECT 1::UBIGINT AS inode, '' AS path, 1 AS \"x;y\"", "'x;y' is no name for a column"),
    ],
)
def test_tables_that_break_the_schema(folder: Path, select: str, reason: str) -> None:
    replace_table(folder, "cgroups", select)
    assert reason in refused(folder)


@pytest.mark.slow
def test_bomb_of_rows(folder: Path) -> None:
    """A small file of 20 million rows is refused by the footer alone."""
    nulls = ", ".join(f"NULL::{c.type} AS {c.name}" for c in TABLES["mappings"].columns)
    replace_table(folder, "mappings", f"SELECT {nulls} FROM range(20_000_000)")
    assert (folder / "mappings.parquet").stat().st_size < 1 << 20
    reason = refused(folder, max_bytes=1 << 28)
    assert reason == "table mappings needs 0.9 GiB of memory, the limit is 0.2 GiB"


@pytest.mark.slow
def test_bomb_of_one_string(folder: Path) -> None:
    """A long string in every row is in memory once."""
    replace_table(
        folder, "cgroups", "SELECT 1::UBIGINT AS inode, repeat('x', 1_000_000) AS path FROM range(5000)"
    )
    paths = load(folder, max_bytes=1 << 23).table("cgroups").columns["path"]
    assert [len(v) for v in paths.values] == [1_000_000]  # type: ignore[union-attr]
    assert "needs" in refused(folder, max_bytes=1 << 19)


def test_bomb_of_lists(folder: Path) -> None:
    columns = [c for c in TABLES["zones"].columns if c.name != "lowmem_reserve"]
    zeros = ", ".join(f"'0'::{c.type} AS {c.name}" for c in columns)
    lists = "list_resize([]::UBIGINT[], 1_000_000, 0) AS lowmem_reserve"
    replace_table(folder, "zones", f"SELECT {zeros}, {lists} FROM range(9)")
    assert "table zones needs 0.1 GiB" in refused(folder, max_bytes=1 << 26)


def test_replaced_while_open(sample: Snapshot, folder: Path) -> None:
    snapshot = load(folder)
    write(sample, folder, force=True)
    with pytest.raises(SnapshotError, match="table tasks was replaced since the snapshot was opened"):
        snapshot.table("tasks")
    shutil.rmtree(folder)
    with pytest.raises(SnapshotError, match="was replaced"):
        snapshot.table("tasks")
