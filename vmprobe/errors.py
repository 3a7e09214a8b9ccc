"""Every error that vmprobe raises on purpose.

::

    VmprobeError
    ├── UsageError        the question was put wrongly                     exit 2
    ├── InputError        something given to us could not be read          exit 3
    │   ├── FormatError   a kernel file does not say what it should
    │   └── SnapshotError a snapshot is damaged, missing, foreign, too new
    ├── OutputError       the answer could not be written                  exit 3
    ├── PrivilegeError    the kernel said no                               exit 4
    └── OverlapError      another run is at work: nothing is wrong         exit 0

Errors carry fields; only ``vmprobe.cli`` turns them into text and an exit status.
"""

from __future__ import annotations

from typing import Final

MAX_SHOWN: Final = 120
"""Characters of the offending text that an error quotes."""


class VmprobeError(Exception):
    """Base of all of them.

    Parameters
    ----------
    message
        One line, complete in itself.
    hint
        What to do about it, or ``None``.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(VmprobeError):
    """The options contradict one another or ask for what we refuse."""


class InputError(VmprobeError):
    """Something that was given to us could not be read."""


class FormatError(InputError):
    """A kernel file does not say what its format promises.

    Parameters
    ----------
    file
        The file as its reader named it, for example ``buddyinfo`` or ``/proc/7/maps``.
    line
        1-based line number, or ``None`` for binary files.
    text
        The offending text, cut to `MAX_SHOWN` characters.
    reason
        What was expected.
    """

    def __init__(self, file: str, line: int | None, text: str, reason: str) -> None:
        shown = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
        place = file if line is None else f"{file}, line {line}"
        super().__init__(f"{place}: {reason}: {shown!r}")
        self.file = file
        self.line = line
        self.text = shown
        self.reason = reason
        self.place = place

    @property
    def without_text(self) -> str:
        """The message without the offending text, which may hold names: for what is written down."""
        return f"{self.place}: {self.reason}"


class SnapshotError(InputError):
    """A snapshot cannot be used.

    Parameters
    ----------
    path
        The snapshot.
    reason
        What is wrong, naming the table or manifest entry.
    hint
        The remedy.
    """

    def __init__(self, path: object, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"{path}: {reason}", hint=hint)
        self.path = str(path)
        self.reason = reason


class OutputError(VmprobeError):
    """The answer could not be written: no space, no permission, or it is there already."""


class PrivilegeError(VmprobeError):
    """The kernel refuses, and the question makes no sense without.

    Parameters
    ----------
    what
        What could not be read or done.
    needs
        The privilege that is missing, by the kernel's name.
    """

    def __init__(self, what: str, needs: str, *, hint: str | None = None) -> None:
        super().__init__(f"{what}: needs {needs}", hint=hint)
        self.what = what
        self.needs = needs


class OverlapError(VmprobeError):
    """Another run holds the lock, so this one leaves.

    Parameters
    ----------
    holder
        What the other wrote about itself: pid and begin; empty where that is not known.
    """

    def __init__(self, holder: str) -> None:
        who = f" ({holder})" if holder else ""
        super().__init__(f"another report runs{who}: nothing was done")
        self.holder = holder
