from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmprobe.schema import FORMAT_MAJOR, TABLES
from vmprobe.store import connect, load, query, write
from vmprobe.store.columns import scan
from vmprobe.store.database import open_database
from vmprobe.store.parquet import write_table
from vmprobe.tables import Coded, MemoryTables, Snapshot, Table, from_rows

WHOLE = {"UBIGINT": 64, "UINTEGER": 32, "UTINYINT": 8}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def values_of(duckdb_type: str) -> st.SearchStrategy[Any]:
    if duckdb_type.endswith("[]"):
        return st.lists(values_of(duckdb_type[:-2]), max_size=3)
    if duckdb_type in WHOLE:
        top = 2 ** WHOLE[duckdb_type] - 1
        return st.sampled_from([0, 1, top // 2 + 1, top]) | st.integers(0, top)
    if duckdb_type in ("BIGINT", "INTEGER"):
        top = 2 ** (63 if duckdb_type == "BIGINT" else 31)
        return st.sampled_from([-top, -1, 0, top - 1])
    return st.booleans() if duckdb_type == "BOOLEAN" else TEXT


@st.composite
def tables(draw: st.DrawFn) -> Table:
    schema = TABLES[draw(st.sampled_from([t for t in TABLES if t != "frames"]))]
    columns = [c for c in schema.columns if draw(st.booleans())]
    nr_rows = draw(st.integers(0, 6))
    cell = {c.name: values_of(c.type) | st.none() if c.nullable else values_of(c.type) for c in columns}
    rows = [tuple(draw(cell[c.name]) for c in columns) for _ in range(nr_rows)]
    table = from_rows(schema, [c.name for c in columns], rows)
    coded = dict(table.columns)
    for column in columns:
        wide = coded[column.name]
        plain = column.name not in table.valid and not column.type.endswith("[]")
        if nr_rows and plain and column.type in ("VARCHAR", "UBIGINT") and draw(st.booleans()):
            values = tuple(dict.fromkeys(wide.tolist()))
            coded[column.name] = Coded(np.array([values.index(v) for v in wide.tolist()], np.uint16), values)
    return Table(schema, coded, nr_rows, table.valid)


@pytest.mark.slow
@given(table=tables())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_was_written_is_read(table: Table, manifest: dict[str, Any], rows_of: Any) -> None:
    snapshot = Snapshot(manifest, MemoryTables({table.schema.name: table}))
    with tempfile.TemporaryDirectory() as folder:
        write(snapshot, Path(folder, "a"))
        loaded = load(Path(folder, "a"))
        again = loaded.table(table.schema.name)
        assert rows_of(loaded) == rows_of(snapshot)
        assert set(again.columns) == set(table.columns)
        for column in table.schema.columns:
            assert again.is_valid(column.name).tolist() == table.is_valid(column.name).tolist()
        # ... and SQL says the same of both.
        order = ", ".join(f'"{c.name}"' for c in table.schema.columns)
        question = f"SELECT {order} FROM {table.schema.name}"
        of_disk, of_memory = query(connect(loaded), question), query(connect(snapshot), question)
        assert of_disk[:2] == of_memory[:2]
        assert of_disk[1] == tuple(c.type for c in table.schema.columns)
        assert list(of_disk[2]) == list(of_memory[2])


def test_sample_survives(sample: Snapshot, tmp_path: Path, rows_of: Any) -> None:
    written = write(sample, tmp_path / "a.vmsnap")
    loaded = load(tmp_path / "a.vmsnap")
    assert rows_of(loaded) == rows_of(sample)
    assert loaded.tables() == tuple(t for t in TABLES if sample.has(t))
    assert loaded.manifest["format"]["version"][0] == FORMAT_MAJOR
    kept = {k: v for k, v in loaded.manifest.items() if k not in ("format", "tables")}
    assert kept == {k: v for k, v in sample.manifest.items() if k != "tables"}
    assert loaded.manifest["tables"]["frames"]["null_columns"] == {"mapcount": "Permission denied"}
    assert loaded.manifest["tables"]["tasks"]["null_columns"]["uid"] == "not recorded"
    assert written.nr_bytes == sum(p.stat().st_size for p in (tmp_path / "a.vmsnap").iterdir())
    modes = {p.stat().st_mode & 0o777 for p in (tmp_path / "a.vmsnap").iterdir()}
    assert ((tmp_path / "a.vmsnap").stat().st_mode & 0o777, modes) == (0o700, {0o600})
    # what was loaded can be written again
    write(loaded, tmp_path / "b.vmsnap")
    assert rows_of(load(tmp_path / "b.vmsnap")) == rows_of(sample)


def test_some_columns(sample: Snapshot, tmp_path: Path) -> None:
    write(sample, tmp_path / "a")
    table = load(tmp_path / "a").table("frames", ["unstable", "mapcount"])
    assert list(table.columns) == ["unstable"]
    assert table.column("unstable").nonzero()[0].tolist() == [7]
    with pytest.raises(KeyError):
        load(tmp_path / "a").table("vmas")


def test_parts(sample: Snapshot, tmp_path: Path) -> None:
    """A table larger than a part is several files that give the same rows in the same order."""
    table = sample.table("frames")
    with open_database(threads=1) as database:
        names = write_table(database, table, tmp_path, part_rows=30)
        assert names == [f"frames/part-000{i}.parquet" for i in range(4)]
        paths = [str(tmp_path / n) for n in names]
        found = database.execute("SELECT pfn, memcg FROM read_parquet($p)", {"p": paths}).fetchall()
    assert found == list(table.rows("pfn", "memcg"))


def test_parts_in_a_snapshot(
    sample: Snapshot, tmp_path: Path, rows_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(write_table.__kwdefaults__, "part_rows", 2)
    write(sample, tmp_path / "a")
    assert (tmp_path / "a/zones/part-0001.parquet").exists()
    assert rows_of(load(tmp_path / "a")) == rows_of(sample)
    assert len(list(query(connect(load(tmp_path / "a")), "FROM zones")[2])) == 3


@pytest.mark.parametrize("name", ["a[1]*?", "ü ' \"x", "a\\b", "x\ny", b"latin-\xe9"])
def test_odd_names(
    sample: Snapshot, tmp_path: Path, name: str | bytes, rows_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / (name if isinstance(name, str) else name.decode(errors="surrogateescape"))
    folder.mkdir()
    (tmp_path / "a1").mkdir()  # what a[1] would match as a pattern
    write(sample, tmp_path / "a1" / "s")
    monkeypatch.chdir(folder)
    write(sample, "s")
    loaded = load("s")
    assert rows_of(loaded) == rows_of(sample)
    assert list(query(connect(loaded), "SELECT count(*) FROM frames")[2]) == [(100,)]


def test_codes_without_value(sample: Snapshot) -> None:
    bad = Table(TABLES["cgroups"], {"inode": Coded(np.array([0, 1], np.uint16), (5,))}, 2)
    with pytest.raises(ValueError, match=r"cgroups\.inode has codes outside its 1 values"):
        scan(bad, 0, 2)


def test_null_where_none_may_be(sample: Snapshot, tmp_path: Path, manifest: dict[str, Any]) -> None:
    bad = from_rows(TABLES["cgroups"], ["inode", "path"], [(1, "/"), (None, "/a")])
    with pytest.raises(ValueError, match=r"cgroups\.inode may not be null"):
        write(Snapshot(manifest, MemoryTables({"cgroups": bad})), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_other_programs_read_it(sample: Snapshot, tmp_path: Path) -> None:
    write(sample, tmp_path / "a")
    plain = duckdb.connect()
    found = plain.execute(
        "SELECT kind, vpn, pfn FROM read_parquet($f)", {"f": str(tmp_path / "a/mappings.parquet")}
    )
    assert found.fetchall() == [("it's ü", 2**52 - 1, None), ("swap", 0, None), ("it's ü", 5, None)]
