"""One file written whole or not at all, for readers that come at any time: a node exporter, a browser.

The file is made in a staging folder beside its target (`vmprobe.store.staging`) and renamed out of it. No
reader takes the unfinished one for its own: a node exporter reads every ``*.prom``, and the folder is
not called so. What killed writers left is removed by the next one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vmprobe.errors import OutputError
from vmprobe.store.remedy import remedy
from vmprobe.store.staging import publish_file, remove_leftovers, staging_folder

if TYPE_CHECKING:
    from pathlib import Path


def write_whole(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write `data` into the file `path`, which has the old content until it has all of the new one.

    A plain file of that name is replaced, with its mode; beside other writers the last one wins. Anything
    else is refused: whoever made a symbolic link would choose what root overwrites, and a rename to
    ``/dev/stdout`` would take it away from everybody.

    Parameters
    ----------
    path
        The file; its folder must be there.
    data
        All of its content.
    mode
        Permissions that the file has from the moment on when it has its name, whatever the umask.

    Raises
    ------
    OutputError
        The folder is missing, the name is taken by what is no plain file, or the system says no. The old file
        is as it was, or the new one is there whole where only its way to stable storage failed; nothing else
        of the attempt stays.
    """
    try:
        _check(path)
        remove_leftovers(path.parent)
        with staging_folder(path) as folder:
            whole = folder / "whole"
            _write(whole, data, mode)
            publish_file(whole, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path}: {reason}", hint=remedy(reason)) from error


def _check(path: Path) -> None:
    if path.name in ("", ".."):
        raise OutputError(f"{path}: is not a name for a file", hint="name a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}", hint="make the folder first")
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        raise OutputError(
            f"{path}: is no plain file, so it is not replaced", hint="name a plain file or a new one"
        )


def _write(path: Path, data: bytes, mode: int) -> None:
    with path.open("xb", buffering=0) as stream:
        view = memoryview(data)
        while view:
            view = view[stream.write(view) :]
        os.fchmod(stream.fileno(), mode)
        os.fsync(stream.fileno())
