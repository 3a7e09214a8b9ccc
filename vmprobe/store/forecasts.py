"""The record of forecasts that were verified: one JSON document a line, only ever appended to.

Each forecast that is made later on that host prints how far off the earlier ones were.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vmprobe.errors import InputError, OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = 1
"""Of a line; a reader leaves lines of later versions alone."""

NAME: Final = "vmprobe/forecasts.jsonl"


@dataclass(frozen=True)
class History:
    """What a file of forecasts holds.

    Parameters
    ----------
    documents
        One for each forecast, oldest first.
    damaged
        A sentence for each line that is none, with file and line.
    """

    documents: tuple[dict[str, Any], ...]
    damaged: tuple[str, ...]


def default_path(environment: Mapping[str, str]) -> Path:
    """Return the file of this user.

    >>> str(default_path({"XDG_STATE_HOME": "/s"})), str(default_path({"HOME": "/h"}))
    ('/s/vmprobe/forecasts.jsonl', '/h/.local/state/vmprobe/forecasts.jsonl')
    """
    state = environment.get("XDG_STATE_HOME", "")
    # A relative one is to be ignored, says the XDG base directory specification.
    if state.startswith("/"):
        return Path(state) / NAME
    home = environment.get("HOME")
    return (Path(home) if home else Path.home()) / ".local" / "state" / NAME


def read(path: Path) -> History:
    """Return what was appended so far; nothing where there is no file.

    Raises
    ------
    InputError
        It is a folder, a device or a pipe, or cannot be read.
    """
    try:
        data = path.read_bytes() if path.is_file() or not path.exists() else None
    except FileNotFoundError:
        return History((), ())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if data is None:
        raise InputError(f"{path}: is no plain file")
    documents, damaged = [], []
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        document = _document(line)
        if document is None:
            damaged.append(f"{path}, line {number}: is no forecast, and is left out")
        elif document["version"] <= VERSION:
            documents.append(document)
    return History(tuple(documents), tuple(damaged))


def _document(line: bytes) -> dict[str, Any] | None:
    """Return what a line says, None where it is damaged."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("version"), int):
        return None
    return document


def append(path: Path, document: Mapping[str, Any]) -> None:
    """Append one forecast as one line, beside other writers; all of the line is kept, or nothing.

    Parameters
    ----------
    path
        The file; its folders are made.
    document
        Fit for JSON; its version is added.

    Raises
    ------
    OutputError
        The disk is full, or the file cannot be written; what was there stays as it was.
    """
    line = json.dumps({"version": VERSION, **document}, allow_nan=False).encode("ascii") + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _not_kept(path, error) from error
    try:
        # O_APPEND keeps whole lines apart; the lock lets the end of a line that did not fit be cut off again.
        fcntl.flock(fd, fcntl.LOCK_EX)
        end = os.fstat(fd).st_size
        if end and os.pread(fd, 1, end - 1) != b"\n":
            line = b"\n" + line  # whoever wrote before us was ended in the middle of it
        try:
            written = os.write(fd, line)
            if written < len(line):
                written += os.write(fd, line[written:])  # says why there is no room
            os.fsync(fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, end)
            raise
    except OSError as error:
        raise _not_kept(path, error) from error
    finally:
        os.close(fd)


def _not_kept(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: {error.strerror}: the forecast was scored, and its error not kept",
        hint="--history names another file",
    )
