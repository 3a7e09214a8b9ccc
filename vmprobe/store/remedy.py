"""What to do about what the operating system says when something cannot be written."""

from __future__ import annotations

import errno
import os
from typing import Final

_SPACE: Final = "free some space or choose another file system"
_REMEDIES: Final = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EACCES: "choose a folder that you may write",
    errno.EPERM: "choose a folder that you may write",
    errno.EROFS: "choose another file system",
}
_BY_TEXT: Final = {os.strerror(number): remedy for number, remedy in _REMEDIES.items()}


def remedy(reason: str) -> str | None:
    """Return the remedy of what `os.strerror` said; None where there is none that always helps.

    >>> remedy("No space left on device")
    'free some space or choose another file system'
    """
    return _BY_TEXT.get(reason)
