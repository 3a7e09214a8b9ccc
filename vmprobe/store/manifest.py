"""What a manifest must say, and reading one that somebody else wrote.

Every key of format 1.0 is required and typed; keys that we do not know are kept unlooked at, for they may
come from a newer minor version.
"""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from vmprobe.schema import FORMAT_MAJOR, FORMAT_NAME, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Check = Callable[[Any, str], None]

MAX_MANIFEST_BYTES: Final = 64 << 20
MAX_WHOLE: Final = (1 << 64) - 1
TABLE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


class ManifestError(ValueError):
    """The manifest is wrong; the message names the entry."""


class TooNewError(ManifestError):
    """The major version is newer than ours."""


def _fail(where: str, expected: str, found: object) -> NoReturn:
    shown = repr(found) if isinstance(found, str | float | bool | None) else type(found).__name__
    if type(found) is int:
        shown = str(found) if found.bit_length() < 128 else f"a number of {found.bit_length()} bits"
    shown = shown if len(shown) <= 60 else shown[:60] + "…"
    msg = f"manifest: {where} should be {expected}, not {shown}"
    raise ManifestError(msg)


def _whole(low: int = 0, high: int = MAX_WHOLE) -> Check:
    def check(value: Any, where: str) -> None:
        if type(value) is not int or not low <= value <= high:
            _fail(where, f"a whole number from {low} to {high}", value)

    return check


def _seconds(value: Any, where: str) -> None:
    if type(value) not in (int, float) or not 0 <= value < 1e18 or not math.isfinite(value):
        _fail(where, "a number of seconds", value)


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        _fail(where, "a string", value)


def _boolean(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        _fail(where, "true or false", value)


def _scalar(value: Any, where: str) -> None:
    if not isinstance(value, str | int | float | bool | None):
        _fail(where, "a single value", value)


def _moment(value: Any, where: str) -> None:
    _text(value, where)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        _fail(where, "an ISO 8601 time", value)
    if moment.tzinfo is None:
        _fail(where, "an ISO 8601 time with its offset from UTC", value)


def _page_size(value: Any, where: str) -> None:
    _whole(512, 1 << 30)(value, where)
    if value & (value - 1):
        _fail(where, "a power of two", value)


def _or_null(inner: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if value is not None:
            inner(value, where)

    return check


def _list_of(inner: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, list | tuple):
            _fail(where, "a list", value)
        for i, item in enumerate(value):
            inner(item, f"{where}[{i}]")

    return check


def _map_of(inner: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            _fail(where, "an object", value)
        for key, item in value.items():
            inner(item, f"{where}.{key}")

    return check


class _Optional:
    """A key that the first snapshots of this version lack."""

    def __init__(self, inner: Check) -> None:
        self.inner = inner

    def __call__(self, value: Any, where: str) -> None:
        self.inner(value, where)


def _keys(**inner: Check) -> Check:
    """Require these keys, but for the optional ones; others pass."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            _fail(where or "the whole", "an object", value)
        for key, item in inner.items():
            place = f"{where}.{key}" if where else key
            if key not in value and isinstance(item, _Optional):
                continue
            if key not in value:
                msg = f"manifest: {place} is missing"
                raise ManifestError(msg)
            item(value[key], place)

    return check


def _frame_range(value: Any, where: str) -> None:
    if not isinstance(value, list | tuple) or len(value) != 2:
        _fail(where, "a pair of page frame numbers", value)
    for number in value:
        _whole(0, 1 << 52)(number, where)
    if value[0] >= value[1]:
        _fail(where, "a range [start, end) that is not empty", value)


_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def _digest(value: Any, where: str) -> None:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        _fail(where, "64 hexadecimal digits", value)


_COLLECTED: Final = _keys(
    program=_keys(name=_text, version=_text),
    host=_keys(
        release=_text, machine=_text, page_size=_page_size, boot_id=_or_null(_text),
        nr_cpus=_whole(1, 1 << 20), clock_ticks=_whole(1, 1 << 30),
        mem_total_bytes=_or_null(_whole()), config=_or_null(_map_of(_scalar)),
    ),
    time=_keys(start=_moment, end=_moment, seconds=_seconds, uptime_seconds=_or_null(_seconds)),
    privileges=_keys(euid=_whole(), capabilities=_list_of(_text), initial_userns=_or_null(_boolean)),
    options=_keys(
        pids=_list_of(_whole()), trees=_list_of(_whole()), cgroups=_list_of(_text),
        frames=_boolean, freeze=_boolean, redact=_boolean, smaps=_boolean, pace_percent=_whole(),
    ),
    sources=_list_of(_keys(name=_text, seconds=_seconds, bytes=_whole(), reads=_whole())),
    unread=_list_of(
        _keys(what=_text, reason=_text, needs=_or_null(_text), lost=_or_null(_text), count=_whole())
    ),
    frozen=_list_of(
        _keys(pid=_whole(), nr_threads=_whole(), stopped_us=_whole(), released_early=_boolean)
    ),
    volatility=_keys(
        frames_compared=_or_null(_whole()), frames_changed=_or_null(_whole()),
        entries_compared=_or_null(_whole()), entries_changed=_or_null(_whole()),
        processes_vanished=_whole(), processes_appeared=_or_null(_whole()), torn_maps=_whole(),
        forks=_Optional(_or_null(_whole())),
        free_pages_before=_or_null(_whole()), free_pages_after=_or_null(_whole()),
    ),
    frame_ranges=_list_of(_frame_range),
    pageblock_order=_or_null(_whole(0, 63)),
    max_order=_or_null(_whole(0, 63)),
)  # fmt: skip

_FORMAT: Final = _keys(format=_keys(name=_text, version=_list_of(_whole(0, 1 << 31))))
_TABLE: Final = _keys(
    rows=_whole(),
    files=_list_of(_keys(name=_text, bytes=_whole(), sha256=_digest)),
    null_columns=_map_of(_text),
)
_STORED: Final = _keys(tables=_map_of(_TABLE))


def check_collected(manifest: Mapping[str, Any]) -> None:
    """Check what the collector says, which is everything but ``format`` and ``tables``.

    Raises
    ------
    ManifestError
        Naming the entry.
    """
    _COLLECTED(manifest, "")


def parse(data: bytes) -> dict[str, Any]:
    """Read and check the text of a ``manifest.json``.

    Raises
    ------
    ManifestError
        Naming the entry; `TooNewError` for a newer major version.
    """
    try:
        manifest = json.loads(data, parse_constant=lambda word: _fail("a number", "finite", word))
    except ManifestError:
        raise
    except RecursionError:
        raise ManifestError("manifest: nested too deeply") from None
    except ValueError as error:  # malformed JSON, no UTF-8, or a number of thousands of digits
        msg = f"manifest: is not JSON: {str(error).partition(chr(10))[0]}"
        raise ManifestError(msg) from None
    check_format(manifest)
    check_collected(manifest)
    _STORED(manifest, "")
    _check_tables(manifest)
    return dict(manifest)


def check_format(manifest: Any) -> None:
    """Check that a manifest is one of ours and not of a newer major version."""
    _FORMAT(manifest, "")
    name, version = manifest["format"]["name"], manifest["format"]["version"]
    if name != FORMAT_NAME:
        _fail("format.name", repr(FORMAT_NAME), name)
    if len(version) != 2:
        _fail("format.version", "[major, minor]", version)
    if version[0] > FORMAT_MAJOR:
        msg = f"format {version[0]}.{version[1]} is newer than {FORMAT_MAJOR}.x, which this vmprobe reads"
        raise TooNewError(msg)
    if version[0] < FORMAT_MAJOR:
        _fail("format.version", f"at least {FORMAT_MAJOR}.0", version)


def file_names(table: str, nr_files: int) -> list[str]:
    """Return the names that the files of a table have, relative to the snapshot's folder.

    >>> file_names("zones", 1), file_names("frames", 2)
    (['zones.parquet'], ['frames/part-0000.parquet', 'frames/part-0001.parquet'])
    """
    if nr_files == 1:
        return [f"{table}.parquet"]
    return [f"{table}/part-{i:04d}.parquet" for i in range(nr_files)]


def _check_tables(manifest: dict[str, Any]) -> None:
    """Check the table entries against one another, the schema and ``frame_ranges``."""
    for table, entry in manifest["tables"].items():
        # `manifest` is the view of this very file that connect() makes.
        if not TABLE_NAME.fullmatch(table) or table == "manifest":
            _fail("a table's name", "a plain lower-case word", table)
        names = [file["name"] for file in entry["files"]]
        if not names or names != file_names(table, len(names)):
            found = next(
                (a for a, b in zip(names, file_names(table, len(names)), strict=True) if a != b), "none"
            )
            _fail(f"tables.{table}.files", "named after the table", found)
        schema = TABLES.get(table)
        if schema is not None and entry["rows"] > schema.max_rows:
            _fail(f"tables.{table}.rows", f"at most {schema.max_rows}", entry["rows"])
    nr_frames = sum(end - start for start, end in manifest["frame_ranges"])
    rows = manifest["tables"].get("frames", {"rows": 0})["rows"]
    if nr_frames != rows:
        msg = f"manifest: frame_ranges cover {nr_frames} frames, the table frames has {rows} rows"
        raise ManifestError(msg)
