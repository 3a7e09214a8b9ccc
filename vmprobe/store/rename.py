"""The two renames that Python does not offer: swap two names, and never replace one.

Follows renameat2(2) (``fs/namei.c: do_renameat2``). Some file systems have neither flag (NFS, 9p, several
of FUSE) and answer EINVAL; some C libraries lack the function.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_RENAME_EXCHANGE: Final = 2

_UNSUPPORTED: Final = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)

_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def exchange(a: Path, b: Path) -> bool:
    """Swap what two names stand for, at once; return False where the file system cannot."""
    return _rename(a, b, _RENAME_EXCHANGE)


def rename_new(source: Path, target: Path) -> None:
    """Rename a folder to a name that is free.

    Raises
    ------
    FileExistsError
        The name is taken. (Where the kernel cannot check, an empty folder of that name is replaced.)
    """
    if _rename(source, target, _RENAME_NOREPLACE):
        return
    try:
        # rename(2) of a folder never replaces a file or a folder with something in it.
        source.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR, errno.EEXIST):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        raise


def _rename(source: Path, target: Path, flags: int) -> bool:
    if _renameat2 is None:
        return False
    done = _renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), ctypes.c_uint(flags))
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(target))
