"""/proc/PID/status: who a process is, one fact a line.

Kernel source: ``fs/proc/array.c: proc_pid_status, task_state, proc_task_name``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from vmprobe.formats.lines import U32_LAST, U64_LAST, Line, decode, empty, ends_early, split

_ESCAPE: Final = re.compile(rb"\\([n\\])")
_STATE: Final = re.compile(r"([A-Za-z]) \(.+\)")
_REQUIRED: Final = ("Name", "State", "Tgid", "Pid", "PPid", "Uid", "Threads")
_SIZES: Final = ("VmLck", "VmPin", "HugetlbPages")
_TAKEN: Final = frozenset({*_REQUIRED, *_SIZES, "Kthread"})
_KIB: Final = re.compile(r" *([0-9]+) kB")


class TaskStatus(NamedTuple):
    """What status says of a process, or of a thread under task/TID.

    Parameters
    ----------
    name
        Name of the thread, the kernel's escapes undone.
    state
        One letter: R, S, D, T, t, Z, X, I, P.
    tgid, pid, ppid
        Numbers in the PID namespace of the /proc that was read; ppid 0 has no parent there.
    uid
        Real user id.
    nr_threads
        Live threads of the process; 0 while it is being released.
    kernel_thread
        Whether it has no address space of its own; None where the kernel does not say (no field
        ``Kthread``): then the flags in stat do.
    vm_lck_bytes, vm_pin_bytes, hugetlb_bytes
        Memory that is locked, pinned, and mapped from hugetlbfs, as this process is charged for it; None
        without an address space.
    fields
        Every line by its name, the value as printed behind the tab.
    """

    name: str
    state: str
    tgid: int
    pid: int
    ppid: int
    uid: int
    nr_threads: int
    kernel_thread: bool | None
    vm_lck_bytes: int | None
    vm_pin_bytes: int | None
    hugetlb_bytes: int | None
    fields: dict[str, str]


def parse(data: bytes, *, file: str = "status") -> TaskStatus:
    r"""Return the facts.

    Raises
    ------
    FormatError
        A line has no name, comes twice, or one of those that every kernel prints is missing or malformed.

    Examples
    --------
    >>> status = parse(
    ...     b"Name:\ta\\nb\nState:\tS (sleeping)\nTgid:\t7\nPid:\t7\nPPid:\t1\n"
    ...     b"Uid:\t1000\t0\t0\t0\nThreads:\t3\n"
    ... )
    >>> status.name, status.uid, status.nr_threads, status.kernel_thread
    ('a\nb', 1000, 3, None)
    """
    rows = split(data, file)
    if not rows:
        raise empty(file)
    fields: dict[str, str] = {}
    for number, text in enumerate(rows, 1):
        key, colon, value = text.partition(":")
        if not colon or not key:
            raise Line(file, number, text).error("expected `Name: value`")
        if key in fields:
            raise Line(file, number, text).error("expected each field once")
        fields[key] = value.removeprefix("\t")
    places = {
        key: Line(file, number, rows[number - 1]) for number, key in enumerate(fields, 1) if key in _TAKEN
    }
    for key in _REQUIRED:
        if key not in places:
            raise ends_early(Line(file, len(rows), rows[-1]), f"a line `{key}:`")

    def number_of(key: str, word: str) -> int:
        return places[key].unsigned(word, f"a number for {key}", U32_LAST)

    sizes = [_bytes(places[key], fields[key]) if key in places else None for key in _SIZES]

    return TaskStatus(
        name=_name(data),
        state=_state(places["State"], fields["State"]),
        tgid=number_of("Tgid", fields["Tgid"]),
        pid=number_of("Pid", fields["Pid"]),
        ppid=number_of("PPid", fields["PPid"]),
        uid=number_of("Uid", _uids(places["Uid"], fields["Uid"])[0]),
        nr_threads=number_of("Threads", fields["Threads"]),
        kernel_thread=_flag(places["Kthread"], fields["Kthread"]) if "Kthread" in places else None,
        vm_lck_bytes=sizes[0],
        vm_pin_bytes=sizes[1],
        hugetlb_bytes=sizes[2],
        fields=fields,
    )


def _bytes(line: Line, value: str) -> int:
    match = _KIB.fullmatch(value)
    if match is None:
        raise line.error("expected a size in kB")
    return line.unsigned(match[1], "a size in kB", U64_LAST >> 10) << 10


def _name(data: bytes) -> str:
    r"""Return the name with ``\n`` and ``\\`` undone, before undecodable bytes become backslashes too."""
    begin = data.index(b"Name:") if data.startswith(b"Name:") else data.index(b"\nName:") + 1
    raw = data[begin + 5 : data.index(b"\n", begin)].removeprefix(b"\t")
    return decode(_ESCAPE.sub(lambda m: b"\n" if m[1] == b"n" else b"\\", raw))


def _state(line: Line, value: str) -> str:
    match = _STATE.fullmatch(value)
    if match is None:
        raise line.error("expected a state such as `S (sleeping)`")
    return match[1]


def _uids(line: Line, value: str) -> list[str]:
    words = value.split("\t")
    if len(words) != 4:
        raise line.error("expected real, effective, saved and file system user id")
    return words


def _flag(line: Line, value: str) -> bool:
    if value not in {"0", "1"}:
        raise line.error("expected 0 or 1")
    return value == "1"
