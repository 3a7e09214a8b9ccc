"""Settings of the whole machine, given back as they were."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import look

if TYPE_CHECKING:
    from collections.abc import Iterator

KSM: Final = "/sys/kernel/mm/ksm"


@contextmanager
def knob(path: str, value: int) -> Iterator[None]:
    """Set a number in /proc/sys or /sys, and set it back at the end.

    Raises
    ------
    UnavailableError
        There is no such setting, or it may not be set.
    """
    before = look.text(path).strip()
    _set(path, str(value))
    try:
        yield
    finally:
        _set(path, before)


def _set(path: str, value: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from error
