"""What could not be read, why, and what would help: absent is a value with a reason."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection

ROOT: Final = "root, or CAP_DAC_READ_SEARCH"
PTRACE: Final = "the same user, or CAP_SYS_PTRACE"
OWNER: Final = "the same user, or CAP_DAC_READ_SEARCH"
ADMIN: Final = "CAP_SYS_ADMIN in the initial user namespace"

_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})


def reason(error: OSError) -> str:
    """Return the kernel's words for an error.

    >>> reason(OSError(13, "x"))
    'Permission denied'
    """
    return os.strerror(error.errno) if error.errno else str(error)


CLOSED: Final = "more than the capabilities held: an LSM or a sandbox closes it"


class Unread:
    """Collects the manifest's ``unread`` entries, equal ones counted together; threads may share one.

    Parameters
    ----------
    held
        Capabilities that this process has: a refusal in spite of them has another reason.
    """

    def __init__(self, held: Collection[str] = ()) -> None:
        self._held = held
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, str, str | None, str | None], int] = {}

    def add(self, what: str, why: str, *, needs: str | None = None, lost: str | None = None) -> None:
        """Note that `what` could not be read.

        Parameters
        ----------
        what
            The file, or files of processes.
        why
            The reason in words.
        needs
            The privilege that would have helped.
        lost
            The table or column that is null or missing for it.
        """
        with self._lock:
            key = (what, why, needs, lost)
            self._entries[key] = self._entries.get(key, 0) + 1

    def failed(self, what: str, error: OSError, *, needs: str | None, lost: str | None = None) -> None:
        """Note an error of the kernel; `needs` is kept when it was a refusal."""
        if error.errno not in _DENIED:
            needs = None
        elif needs is not None and any(capability in needs for capability in self._held):
            needs = CLOSED
        self.add(what, reason(error), needs=needs, lost=lost)

    def manifest(self) -> list[dict[str, Any]]:
        """Return the entries in a stable order."""
        return [
            {"what": what, "reason": why, "needs": needs, "lost": lost, "count": count}
            for (what, why, needs, lost), count in sorted(self._entries.items(), key=str)
        ]
