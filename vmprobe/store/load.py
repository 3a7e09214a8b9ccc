"""Open a snapshot: everything that can be checked without reading a table is checked here."""

from __future__ import annotations

import hashlib
import os
import stat
import weakref
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from vmprobe.errors import SnapshotError
from vmprobe.schema import FORMAT_MINOR, MANIFEST, TABLES
from vmprobe.store.archive import unpack
from vmprobe.store.database import GIB, first_line, interruptible, open_database, physical_bytes
from vmprobe.store.footers import StoredTable, TableError, columns_of, match_schema, nr_rows_of
from vmprobe.store.manifest import MAX_MANIFEST_BYTES, ManifestError, TooNewError, parse
from vmprobe.store.parquet import read_table
from vmprobe.store.plain_path import plain_path
from vmprobe.tables import Snapshot, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import BufferedReader

_DAMAGED: Final = "the snapshot is damaged; take or copy it again"


@dataclass(frozen=True)
class FolderTables:
    """The tables of an opened folder, read when asked for.

    Parameters
    ----------
    path
        What the user named.
    stored
        The tables by name, those we know in schema order first.
    max_bytes
        Most memory that one table may take.
    identities
        What each file was when it was checked, to notice that it is another one now.
    database
        Reads them.
    """

    path: str
    stored: Mapping[str, StoredTable]
    max_bytes: int
    identities: Mapping[str, tuple[int, ...]]
    database: duckdb.DuckDBPyConnection

    def names(self) -> tuple[str, ...]:
        """Return the tables there are, in schema order."""
        return tuple(self.stored)

    def load(self, name: str, columns: Sequence[str] | None) -> Table:
        """Read a table, with only `columns` when given.

        Raises
        ------
        SnapshotError
            It is damaged, too large for the memory, or was replaced since it was opened.
        """
        stored = self.stored[name]
        try:
            with interruptible():
                table = read_table(self.database, stored, columns, self.max_bytes)
        except (TableError, duckdb.Error) as error:
            self.check_same(name)
            raise SnapshotError(self.path, first_line(error), hint=_DAMAGED) from error
        self.check_same(name)
        return table

    def check_same(self, *names: str) -> None:
        """Check that the files of these tables are those that were opened, without reading them.

        Raises
        ------
        SnapshotError
            One was replaced or is gone: another snapshot may have taken the name.
        """
        for name in names:
            if any(_identity_of(file) != self.identities[file] for file in self.stored[name].files):
                reason = f"table {name} was replaced since the snapshot was opened"
                raise SnapshotError(self.path, reason, hint="open it again")


def load(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> Snapshot:
    """Open the snapshot at `path`: its folder, or a ``.tar`` or ``.tar.zst`` of that.

    Parameters
    ----------
    path
        Folder or archive. An archive is unpacked into a temporary folder that lives as long as the snapshot.
    max_bytes
        Most memory that one table may take when it is read, and most bytes that an archive may unpack to;
        half of the machine's memory by default, at least 1 GiB.

    Raises
    ------
    SnapshotError
        It is missing, damaged, foreign or of a newer major version.
    """
    limit = max(GIB, physical_bytes() // 2) if max_bytes is None else max_bytes
    shown = os.fspath(path)
    with ExitStack() as stack:
        try:
            folder = Path(path)
            if not folder.is_dir():
                folder = stack.enter_context(unpack(folder, limit))
            source, manifest = _open(stack.enter_context(plain_path(folder)), shown, limit)
        except (ManifestError, TableError) as error:
            hint = "upgrade vmprobe" if isinstance(error, TooNewError) else _DAMAGED
            raise SnapshotError(shown, str(error), hint=hint) from error
        except duckdb.Error as error:
            raise SnapshotError(shown, first_line(error), hint=_DAMAGED) from error
        except OSError as error:
            raise SnapshotError(shown, error.strerror or str(error)) from error
        weakref.finalize(source, stack.pop_all().close)
    return Snapshot(manifest, source, shown)


def _open(folder: Path, shown: str, max_bytes: int) -> tuple[FolderTables, dict[str, Any]]:
    manifest = _read_manifest(folder, shown)
    identities = {}
    for table, entry in manifest["tables"].items():
        for file in entry["files"]:
            identities[str(folder / file["name"])] = _check_file(folder, table, file)
    database = open_database(threads=1)
    stored = _check_tables(database, folder, manifest)
    return FolderTables(shown, stored, max_bytes, identities, database), manifest


def _read_manifest(folder: Path, shown: str) -> dict[str, Any]:
    try:
        with _open_regular(folder / MANIFEST) as stream:
            data = stream.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        reason = f"has no {MANIFEST}, so it is not a snapshot"
        raise SnapshotError(shown, reason, hint="name a folder that `vmprobe snapshot` wrote") from None
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes")
    return parse(data)


def _open_regular(path: Path) -> BufferedReader:
    """Open a file that is neither a link nor a device nor a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    stream = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        stream.close()
        raise TableError(f"{path.name} is not a regular file")
    return stream


def _check_file(folder: Path, table: str, entry: dict[str, Any]) -> tuple[int, ...]:
    """Check size and digest of one file of a table; return its identity."""
    name = entry["name"]
    if (folder / name).parent != folder and (folder / name).parent.is_symlink():
        raise TableError(f"table {table}: its folder is a symbolic link")
    try:
        stream = _open_regular(folder / name)
    except FileNotFoundError:
        raise TableError(f"table {table}: the file {name} is missing") from None
    except OSError as error:
        raise TableError(f"table {table}: {name}: {error.strerror}") from None
    with stream:
        status = os.fstat(stream.fileno())
        if status.st_size != entry["bytes"]:
            raise TableError(
                f"table {table}: {name} has {status.st_size} bytes, the manifest says {entry['bytes']}"
            )
        if hashlib.file_digest(stream, "sha256").hexdigest() != entry["sha256"]:
            raise TableError(f"table {table}: the digest of {name} is not the one in the manifest")
        return _identity(status)


def _identity_of(file: str) -> tuple[int, ...] | None:
    try:
        return _identity(os.lstat(file))
    except OSError:
        return None


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _check_tables(
    database: duckdb.DuckDBPyConnection, folder: Path, manifest: dict[str, Any]
) -> dict[str, StoredTable]:
    """Compare what the files say of themselves with manifest and schema."""
    entries = manifest["tables"]
    older_minor = manifest["format"]["version"][1] < FORMAT_MINOR
    order = [*(t for t in TABLES if t in entries), *(t for t in entries if t not in TABLES)]
    paths = {t: tuple(str(folder / file["name"]) for file in entries[t]["files"]) for t in order}
    everything = [path for files in paths.values() for path in files]
    nr_rows = nr_rows_of(database, everything) if everything else {}
    columns = columns_of(database, everything) if everything else {}
    stored = {}
    for table, files in paths.items():
        entry = entries[table]
        found = sum(nr_rows[file] for file in files)
        if found != entry["rows"]:
            raise TableError(f"table {table} has {found} rows, the manifest says {entry['rows']}")
        if any(columns[file] != columns[files[0]] for file in files):
            raise TableError(f"table {table}: its parts have different columns")
        schema, absent = match_schema(table, columns[files[0]], older_minor=older_minor)
        for name in entry["null_columns"]:
            if schema.column(name) is None:
                raise TableError(f"table {table} has no column {name}, which the manifest calls null")
        stored[table] = StoredTable(schema, files, found, absent | entry["null_columns"].keys())
    return stored
