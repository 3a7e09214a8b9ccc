"""The folder that something is written into before it takes its name, and what writers that died left of it.

A staging folder ``.NAME.vmprobe-tmp-xxxxxxxx`` stands beside its target. Its writer holds a lock on it; the
kernel lets go of the lock when the writer dies in whatever way, so a folder that is not locked is nobody's.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from vmprobe.store.rename import exchange, rename_new

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STAGING: Final = re.compile(r"\.(?P<name>.+)\.vmprobe-(?P<kind>tmp|old)-[0-9a-f]{8}", re.DOTALL)


def _beside(target: Path, kind: str) -> Path:
    return target.parent / f".{target.name}.vmprobe-{kind}-{secrets.token_hex(4)}"


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """Make an empty, locked folder beside `target`; remove what is left under its name in the end.

    Raises
    ------
    OSError
        The folder cannot be made.
    """
    while True:
        folder = _beside(target, "tmp")
        folder.mkdir(mode=0o700)
        descriptor = -1
        try:
            descriptor = _opened(folder)
            if descriptor >= 0:
                _lock(descriptor)
                if _is_still(folder, descriptor):
                    yield folder
                    return
            # Another writer took the new folder for a leftover before we had locked it.
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if descriptor >= 0:
                os.close(descriptor)


def publish(folder: Path, target: Path, *, replace: bool) -> None:
    """Give the finished `folder` its name, at once.

    With `replace` the folder that has the name now is removed; a reader sees the old or the new one.

    Raises
    ------
    FileExistsError
        The name is taken, and `replace` is not set.
    """
    if not replace or not os.path.lexists(target):
        rename_new(folder, target)
    elif exchange(folder, target):
        _sync_folder(target.parent)
        shutil.rmtree(folder, ignore_errors=True)
        return
    else:
        aside = _beside(target, "old")
        target.rename(aside)
        try:
            rename_new(folder, target)
        except BaseException:
            aside.rename(target)
            raise
        _sync_folder(target.parent)
        shutil.rmtree(aside, ignore_errors=True)
        return
    _sync_folder(target.parent)


def publish_file(file: Path, target: Path) -> None:
    """Give a file that is on stable storage its name, at once; a file that has it now is replaced."""
    file.rename(target)
    _sync_folder(target.parent)


def sync_tree(folder: Path) -> None:
    """Put every file and folder under `folder` on stable storage, readable by the owner alone."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            sync_tree(path)
        else:
            path.chmod(0o600)
            _sync(path, os.O_RDONLY)
    _sync_folder(folder)


def remove_leftovers(parent: Path) -> None:
    """Remove the staging folders in `parent` that nobody writes any more; what resists stays."""
    try:
        paths = list(parent.iterdir())
    except OSError:
        return  # a folder that can be written but not read: leftovers cannot be seen, and harm nobody
    for path in paths:
        match = _STAGING.fullmatch(path.name)
        # Where names cannot be swapped, an old snapshot is set aside for a moment. If that moment was
        # the writer's last, the aside is the only one there is: it stays until its name is taken again.
        if match and (match["kind"] == "tmp" or os.path.lexists(parent / match["name"])):
            _remove_if_dead(path)


def _remove_if_dead(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_still(folder, descriptor):
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # locked by its writer, or on a file system without locks: not ours to judge
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> int:
    """Return a descriptor of the folder; -1 where it is gone."""
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return -1


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return  # a file system without locks: nobody can take our folder for dead there


def _is_still(folder: Path, descriptor: int) -> bool:
    """Whether `folder` names the open folder."""
    try:
        return os.path.samestat(os.lstat(folder), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
