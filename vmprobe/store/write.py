"""Write a snapshot: the whole folder under its name, or nothing."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from vmprobe.errors import OutputError
from vmprobe.schema import FORMAT_MAJOR, FORMAT_MINOR, FORMAT_NAME, MANIFEST
from vmprobe.store.database import first_line, interruptible, open_database, system_reason
from vmprobe.store.manifest import MAX_MANIFEST_BYTES, check_format, parse
from vmprobe.store.parquet import write_table
from vmprobe.store.plain_path import plain_path
from vmprobe.store.remedy import remedy
from vmprobe.store.staging import publish, remove_leftovers, staging_folder, sync_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmprobe.tables import Snapshot, Table

NOT_RECORDED: Final = "not recorded"
"""Why a column is null when whoever filled the table did not say."""


@dataclass(frozen=True)
class WrittenSnapshot:
    """What `write` wrote: where, and how many bytes its files take together."""

    path: Path
    nr_bytes: int


def check_target(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Refuse now what `write` would refuse at the end; also remove what dead writers left beside `path`.

    Parameters
    ----------
    path
        The folder to be written.
    force
        An earlier snapshot of that name may be replaced; anything else of that name may not.

    Raises
    ------
    OutputError
        The name is taken, or its folder is missing or cannot be written.
    """
    target = Path(path)
    if target.name in ("", ".."):
        raise OutputError(f"{target}: is not a name for a new folder")
    with _output_errors(target):
        _check(target, force=force)
        remove_leftovers(target.parent)
        with staging_folder(target):
            pass


def _check(target: Path, *, force: bool) -> None:
    if os.path.lexists(target):
        if not _is_snapshot(target):
            raise OutputError(
                f"{target}: exists and is not a snapshot, so it is not replaced", hint="choose another name"
            )
        if not force:
            raise OutputError(f"{target}: exists", hint="--force replaces it, or choose another name")
    if not target.parent.is_dir():
        raise OutputError(f"{target}: there is no folder {target.parent}", hint="make the folder first")


def write(snapshot: Snapshot, path: str | os.PathLike[str], *, force: bool = False) -> WrittenSnapshot:
    """Write `snapshot` into the folder `path`, which readers see whole or not at all.

    Columns that a table lacks are written as nulls; the manifest says why they are.

    Parameters
    ----------
    snapshot
        Any, also one that was loaded.
    path
        The folder to make; nothing is appended to the name.
    force
        Replace an earlier snapshot of that name.

    Raises
    ------
    OutputError
        `path` cannot be written: taken, no permission, no space. Nothing of the attempt stays.
    ValueError
        The snapshot contradicts its own format.
    """
    target = Path(path)
    check_target(target, force=force)
    with _output_errors(target), interruptible(), staging_folder(target) as folder:
        manifest = dict(snapshot.manifest)
        manifest["format"] = {"name": FORMAT_NAME, "version": [FORMAT_MAJOR, FORMAT_MINOR]}
        manifest["tables"] = _write_tables(snapshot, folder)
        _write_manifest(folder / MANIFEST, manifest)
        sync_tree(folder)
        nr_bytes = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        publish(folder, target, replace=force)
    return WrittenSnapshot(target, nr_bytes)


def _write_tables(snapshot: Snapshot, folder: Path) -> dict[str, Any]:
    """Write all tables; return what the manifest says of them."""
    reasons = {
        name: entry.get("null_columns", {}) for name, entry in snapshot.manifest.get("tables", {}).items()
    }
    entries = {}
    with plain_path(folder) as plain, open_database(threads=1) as database:
        for name in snapshot.tables():
            table = snapshot.table(name)
            entries[name] = {
                "rows": table.nr_rows,
                "files": [_describe(folder, file) for file in write_table(database, table, plain)],
                "null_columns": _null_columns(table, reasons.get(name, {})),
            }
    return entries


def _null_columns(table: Table, reasons: dict[str, str]) -> dict[str, str]:
    """Return why each column that the table lacks is null."""
    missing = (c.name for c in table.schema.columns if not table.has(c.name))
    return {name: reasons.get(name, NOT_RECORDED) for name in missing}


def _describe(folder: Path, file: str) -> dict[str, Any]:
    """Return the manifest entry of a file that was just written and is still in the page cache."""
    with (folder / file).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"name": file, "bytes": stream.tell(), "sha256": digest}


def _write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    data = json.dumps(manifest, indent=1, allow_nan=False).encode()
    if len(data) > MAX_MANIFEST_BYTES:
        msg = f"the manifest takes {len(data)} bytes, at most {MAX_MANIFEST_BYTES} are read back"
        raise ValueError(msg)
    parse(data)  # what we would refuse to read we refuse to write
    path.write_bytes(data)


def _is_snapshot(path: Path) -> bool:
    """Whether `path` is a folder with a manifest of ours, of whatever version."""
    manifest = path / MANIFEST
    try:
        if path.is_symlink() or manifest.is_symlink() or manifest.stat().st_size > MAX_MANIFEST_BYTES:
            return False
        check_format(json.loads(manifest.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return False
    return True


@contextmanager
def _output_errors(target: Path) -> Iterator[None]:
    """Turn what the operating system or DuckDB say while we write into `OutputError`."""
    try:
        yield
    except FileExistsError:
        raise OutputError(
            f"{target}: exists", hint="another writer was faster; choose another name"
        ) from None
    except OSError as error:
        raise OutputError(
            f"{target}: {error.strerror or error}", hint=remedy(error.strerror or "")
        ) from error
    except duckdb.Error as error:
        reason = system_reason(error) or first_line(error)
        raise OutputError(f"{target}: {reason}", hint=remedy(reason)) from error
