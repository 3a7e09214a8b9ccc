"""Files that come from elsewhere: opened only if they are files, and nothing that behaves as one."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from vmprobe.errors import InputError
from vmprobe.formats.recording import DAMAGED
from vmprobe.sources.procfs import FLAGS

# Without O_NONBLOCK a named pipe in place of a file would hold us until somebody writes into it.
_PLAIN_FLAGS: Final = FLAGS | os.O_NOFOLLOW | os.O_NONBLOCK


def open_plain(path: str, folder_fd: int | None = None, shown: str | None = None) -> int:
    """Open a file for reading; the caller closes it.

    Parameters
    ----------
    path
        Relative to `folder_fd`, if that is given.
    shown
        The path for errors, where it is another.

    Raises
    ------
    InputError
        It is a link, a device, a pipe or a folder.
    OSError
        It cannot be opened.
    """
    try:
        fd = os.open(path, _PLAIN_FLAGS, dir_fd=folder_fd)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:  # a link; a socket
            raise InputError(f"{shown or path}: is not a plain file", hint=DAMAGED) from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InputError(f"{shown or path}: is not a plain file", hint=DAMAGED)
    return fd
