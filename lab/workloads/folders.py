"""Folders of a workload's own: made inside another folder, removed at the end with what is in them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX: Final = "vmprobe-lab-"


@contextmanager
def own_folder(inside: str, name: str) -> Iterator[str]:
    """Make a folder, and remove it and its files at the end; a workload makes no folders in it.

    Parameters
    ----------
    inside
        A folder that is there.
    name
        Of the workload; the pid is added.

    Raises
    ------
    UnavailableError
        It cannot be made.
    """
    path = f"{os.path.abspath(inside)}/{PREFIX}{name}-{os.getpid()}"
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from error
    try:
        yield path
    finally:
        for file in os.listdir(path):
            os.unlink(f"{path}/{file}")
        os.rmdir(path)


def filesystem(path: str) -> str | None:
    """Return the kind of file system that a path lies on, such as ``ext4``.

    None where mountinfo does not list its device, as for a subvolume.
    """
    wanted = device(os.stat(path).st_dev)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            if fields[2] == wanted:
                return fields[fields.index("-") + 1]
    return None


def device(number: int) -> str:
    """Return a device as mountinfo writes it."""
    return f"{os.major(number)}:{os.minor(number)}"
