"""One run at a time: a lock that is held for as long as the process lives, however it ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from vmprobe.errors import OutputError, OverlapError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_MAX_BYTES: Final = 128
"""Of what a holder writes about itself; more is not ours and is not repeated."""
_OURS: Final = re.compile(rb"pid \d+, since \S+\n")


@contextmanager
def only_run(path: Path) -> Iterator[None]:
    """Hold the lock `path` while the context lasts.

    The kernel lets go of it with the last descriptor of the open file (flock(2)): a process that is killed
    holds nothing. The file stays, because a lock on a file that was removed locks nobody out. It holds the
    pid and the begin of the last run, for the message of the next one.

    Parameters
    ----------
    path
        A file, made with mode 0600 where there is none, and its folder with 0700. A symbolic link is not
        followed.

    Raises
    ------
    OverlapError
        Another process holds it.
    OutputError
        The file cannot be opened or locked, or is something else that would be lost.
    """
    descriptor = _open(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OverlapError(_written(descriptor).decode("ascii", "backslashreplace").strip()) from None
        except OSError as error:
            raise _no_lock(path, error.strerror) from error
        if os.fstat(descriptor).st_size and not _OURS.match(_written(descriptor)):
            raise _no_lock(path, "holds something else than the words of a lock")
        with contextlib.suppress(OSError):  # a full disk takes the words, not the lock
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _about_us(), 0)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open the lock, which must be a plain file."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, _FLAGS, 0o600)
    except OSError as error:
        why = "is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise _no_lock(path, why) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_lock(path, "is no plain file")
    return descriptor


def _no_lock(path: Path, why: str | None) -> OutputError:
    return OutputError(f"{path}: {why}: no lock can be held there", hint="--lock names another file")


def _about_us() -> bytes:
    return f"pid {os.getpid()}, since {datetime.now(UTC).isoformat(timespec='seconds')}\n".encode()


def _written(descriptor: int) -> bytes:
    """Return what a holder wrote about itself, empty where it has not come to it."""
    try:
        return os.pread(descriptor, _MAX_BYTES, 0)
    except OSError:
        return b""
