"""recording.json, which makes a folder a recorded tree, and the list of cgroups in it.

Not files of the kernel: ``lab/record.py`` writes them; docs/snapshot-format.md says what they hold. They come
from elsewhere and are trusted in nothing.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from vmprobe.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

NAME: Final = "vmprobe-recording"
MAJOR: Final = 1
DAMAGED: Final = "the recording is damaged: fetch it again, or make it again with lab/record.py"

U64_LAST: Final = (1 << 64) - 1


@dataclass(frozen=True)
class Recording:
    """What a recorded tree says of itself.

    Parameters
    ----------
    version
        Major and minor version of its format.
    release, machine, boot_id, page_size, clock_ticks, nr_cpus
        The host; the page size in bytes, clock ticks per second, `boot_id` None where it was not shown.
    byte_order
        ``little`` or ``big``: of the words in it.
    start, end, seconds
        ISO 8601 times of the first and the last read, and the seconds between.
    pid, euid, effective, uid_map
        The recorder: its pid in the recorded tree (None where that is another namespace's), user, effective
        capabilities as a mask, and the words of its ``uid_map``, None where it could not read that.
    scan_ioctl
        Whether PAGEMAP_SCAN worked, None where it was not tried.
    pids
        Processes that were chosen; empty means all.
    frame_words
        Words of each frame file that was read to its end, by path.
    errors
        The error number of what could not be read, by path.
    """

    version: tuple[int, int]
    release: str
    machine: str
    boot_id: str | None
    page_size: int
    clock_ticks: int
    nr_cpus: int
    byte_order: str
    start: str
    end: str
    seconds: float
    pid: int | None
    euid: int
    effective: int
    uid_map: tuple[int, ...] | None
    scan_ioctl: bool | None
    pids: tuple[int, ...]
    frame_words: dict[str, int]
    errors: dict[str, int]


def parse(data: bytes, *, file: str = "recording.json") -> Recording:
    """Return the facts.

    Raises
    ------
    InputError
        It is no recording, one of a newer major version, or an entry is missing or makes no sense.
    """
    document = _Document(load(data, file), file)
    name, version = document.text("format.name"), document.wholes("format.version", (1 << 31) - 1)
    if name != NAME:
        document.refuse("format.name", repr(NAME))
    if len(version) != 2 or version[0] < 1:
        document.refuse("format.version", "[major, minor]")
    if version[0] > MAJOR:
        raise InputError(
            f"{file}: format {version[0]}.{version[1]} is newer than {MAJOR}.x, which this vmprobe replays",
            hint="replay it with a newer vmprobe",
        )
    page_size = document.whole("host.page_size", 512, 1 << 30)
    if page_size & (page_size - 1):
        document.refuse("host.page_size", "a power of two")
    return Recording(
        version=(version[0], version[1]),
        release=document.text("host.release"),
        machine=document.text("host.machine"),
        boot_id=document.text("host.boot_id") if document.value("host.boot_id") is not None else None,
        page_size=page_size,
        clock_ticks=document.whole("host.clock_ticks", 1, 1 << 30),
        nr_cpus=document.whole("host.nr_cpus", 1, 1 << 20),
        byte_order=document.text("host.byte_order"),
        start=document.moment("time.start"),
        end=document.moment("time.end"),
        seconds=document.seconds("time.seconds"),
        pid=document.whole("recorder.pid", 1, 1 << 31)
        if document.value("recorder.pid") is not None
        else None,
        euid=document.whole("recorder.euid", 0, 1 << 32),
        effective=document.mask("recorder.effective"),
        uid_map=document.wholes("recorder.uid_map")
        if document.value("recorder.uid_map") is not None
        else None,
        scan_ioctl=document.maybe("scan_ioctl"),
        pids=document.wholes("pids", 1 << 31),
        frame_words=document.frame_words("frame_words"),
        errors=document.errors("errors"),
    )


def parse_cgroups(data: bytes, *, file: str = "cgroups.json") -> list[tuple[int, str]]:
    """Return (inode, path) of the memory cgroups.

    Raises
    ------
    InputError
        It is no list of such pairs.

    Examples
    --------
    >>> parse_cgroups(b'[[1, "/"], [77, "/lab"]]')
    [(1, '/'), (77, '/lab')]
    """
    rows = []
    document = _Document({"list": load(data, file)}, file)
    for row in document.expected("list", lambda value: isinstance(value, list), "a list"):
        if not (isinstance(row, list) and len(row) == 2 and is_whole(row[0]) and isinstance(row[1], str)):
            document.refuse("list", "pairs of an inode and a path")
        # Bytes that are not UTF-8 come as lone surrogates, which no table can hold.
        rows.append((row[0], row[1].encode("utf-8", "backslashreplace").decode()))
    return rows


def load(data: bytes, file: str) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    InputError
        It is no JSON.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise InputError(f"{file}: nested too deeply", hint=DAMAGED) from None
    except ValueError as error:  # malformed JSON, no UTF-8, or a number of thousands of digits
        raise InputError(f"{file}: is not JSON: {str(error).partition(chr(10))[0]}", hint=DAMAGED) from None


def is_whole(value: Any, low: int = 0, high: int = U64_LAST) -> bool:
    """Whether `value` is an integer, and no boolean, from `low` to `high`."""
    return type(value) is int and low <= value <= high


class _Document:
    """Entries of a JSON object by dotted path, or an error that names the one that is wrong."""

    def __init__(self, content: Any, file: str) -> None:
        self._content = content
        self._file = file

    def value(self, path: str) -> Any:
        """Return an entry as it stands."""
        inner = self._content
        for key in path.split("."):
            if not isinstance(inner, dict) or key not in inner:
                raise InputError(f"{self._file}: {path} is missing", hint=DAMAGED)
            inner = inner[key]
        return inner

    def refuse(self, path: str, expected: str) -> NoReturn:
        """Raise the error for an entry."""
        found = self.value(path)
        shown = repr(found) if isinstance(found, str | float | bool | None) else type(found).__name__
        if type(found) is int:
            shown = str(found) if found.bit_length() < 128 else f"a number of {found.bit_length()} bits"
        raise InputError(f"{self._file}: {path} should be {expected}, not {shown[:60]}", hint=DAMAGED)

    def expected(self, path: str, fits: Callable[[Any], bool], what: str) -> Any:
        """Return an entry that `fits`."""
        value = self.value(path)
        if not fits(value):
            self.refuse(path, what)
        return value

    def text(self, path: str) -> str:
        return str(self.expected(path, lambda value: isinstance(value, str), "a string"))

    def maybe(self, path: str) -> bool | None:
        value: bool | None = self.expected(
            path, lambda value: value is None or isinstance(value, bool), "true, false or null"
        )
        return value

    def whole(self, path: str, low: int, high: int) -> int:
        what = f"a whole number from {low} to {high}"
        return int(self.expected(path, lambda value: is_whole(value, low, high), what))

    def wholes(self, path: str, high: int = U64_LAST) -> tuple[int, ...]:
        def fits(value: Any) -> bool:
            return isinstance(value, list) and all(is_whole(item, 0, high) for item in value)

        return tuple(self.expected(path, fits, "a list of whole numbers"))

    def mask(self, path: str) -> int:
        digits = self.text(path)
        if not 1 <= len(digits) <= 16 or digits.strip("0123456789abcdef"):
            self.refuse(path, "up to 16 hexadecimal digits")
        return int(digits, 16)

    def seconds(self, path: str) -> float:
        def fits(value: Any) -> bool:
            return type(value) in (int, float) and 0 <= value < 1e18 and math.isfinite(value)

        return float(self.expected(path, fits, "a number of seconds"))

    def moment(self, path: str) -> str:
        text = self.text(path)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self.refuse(path, "an ISO 8601 time with its offset from UTC")
        return text

    def frame_words(self, path: str) -> dict[str, int]:
        def fits(value: Any) -> bool:
            return isinstance(value, dict) and all(is_whole(item, 0, 1 << 52) for item in value.values())

        return dict(self.expected(path, fits, "an object of numbers of words"))

    def errors(self, path: str) -> dict[str, int]:
        def fits(value: Any) -> bool:
            return isinstance(value, list) and all(
                isinstance(row, list)
                and len(row) == 3
                and isinstance(row[0], str)
                and is_whole(row[1], 1, 4095)
                for row in value
            )

        rows = self.expected(path, fits, "a list of path, error number and text")
        return {row[0]: row[1] for row in rows}
