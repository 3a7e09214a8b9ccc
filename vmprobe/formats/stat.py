"""/proc/PID/stat: who a process is, on one line.

Kernel source: ``fs/proc/array.c: do_task_stat``, whose 52 fields are counted from 1 in proc(5).
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import Final, NamedTuple

from vmprobe.errors import FormatError
from vmprobe.formats.lines import U32_LAST, U64_LAST, decode, empty

PF_KTHREAD: Final = 0x00200000
"""Bit of `TaskStat.flags`: ``include/linux/sched.h``."""

# DOTALL and greed, since a comm may hold newlines and ") R 1". Signs stand where the kernel has them.
_LINE: Final = re.compile(
    rb"([0-9]{1,10}) \((.*)\) ([A-Za-z])"
    rb"((?: [0-9]{1,20})"  # 4 ppid
    rb"(?: -?[0-9]{1,20}){4}"  # 5 pgrp, session, tty_nr, tpgid
    rb"(?: [0-9]{1,20}){9}"  # 9 flags ... cstime
    rb"(?: -?[0-9]{1,20}){2}"  # 18 priority, nice
    rb"(?: [0-9]{1,20}){18}"  # 20 num_threads ... cnswap
    rb"(?: -?[0-9]{1,20})"  # 38 exit_signal
    rb"(?: [0-9]{1,20}){6}"  # 39 processor ... cguest_time
    rb"(?: -?[0-9]{1,20})*)\n",  # 45 start_data ... env_end, exit_code and what comes later
    re.DOTALL,
)

# Indices into the fields behind the state: TaskStat's, from ppid to start_stack.
_taken: Final = itemgetter(0, 5, 16, 18, 19, 20, 22, 23, 24)

# Fields behind the state that older kernels print: up to cguest_time (44), start_brk (47, since 3.3).
_OLD_COUNTS: Final = (41, 44)
_FULL_COUNT: Final = 49  # up to exit_code (52, since 3.5)


class TaskStat(NamedTuple):
    """The fields of stat that tell processes and address spaces apart.

    The addresses are 0 (``start_code`` and ``end_code``: 1) when we may not ptrace the process, and 0 for
    kernel threads; those that an old kernel does not print are None.

    Parameters
    ----------
    pid, ppid
        In the PID namespace of the /proc that was read.
    comm
        Name of the thread; it may hold blanks, parentheses and newlines.
    state
        One letter.
    flags
        PF_* bits.
    nr_threads
        Live threads of the process.
    start_time
        Clock ticks after boot; with the pid it names one process for ever.
    vsize
        Bytes of all VMAs.
    rss_pages
        Resident pages, inexact: folded from per-CPU counters now and then.
    start_code, end_code, start_stack, start_data, end_data, start_brk, arg_start, arg_end, env_start, env_end
        Addresses in bytes.
    """

    pid: int
    comm: str
    state: str
    ppid: int
    flags: int
    nr_threads: int
    start_time: int
    vsize: int
    rss_pages: int
    start_code: int
    end_code: int
    start_stack: int
    start_data: int | None
    end_data: int | None
    start_brk: int | None
    arg_start: int | None
    arg_end: int | None
    env_start: int | None
    env_end: int | None

    @property
    def kernel_thread(self) -> bool:
        """Whether it has no address space of its own."""
        return bool(self.flags & PF_KTHREAD)

    @property
    def zombie_leader(self) -> bool:
        """Whether the leader ended while other threads live on: ``/proc/PID/maps`` is empty then."""
        return self.state == "Z" and self.nr_threads > 1


def parse(data: bytes, *, file: str = "stat") -> TaskStat:
    r"""Return the fields.

    Raises
    ------
    FormatError
        It is not one line of the form that some kernel prints.

    Examples
    --------
    >>> text = b"7 (a) b) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 3 0 88 4096 2 0" + b" 0" * 27 + b"\n"
    >>> stat = parse(text)
    >>> stat.comm, stat.ppid, stat.nr_threads, stat.start_time, stat.kernel_thread
    ('a) b', 1, 3, 88, False)
    """
    match = _LINE.fullmatch(data)
    if match is None:
        raise _malformed(data, file)
    pid, comm, state, tail = match.groups()
    words = tail.split()
    printed = list(map(int, words[41:48]))
    taken = [int(pid), *map(int, _taken(words)), *printed]
    if min(taken) < 0 or max(taken) > U64_LAST:
        raise _error(data, file, "expected unsigned 64-bit numbers")
    if max(taken[:4]) > U32_LAST:
        raise _error(data, file, "expected 32-bit process ids, flags and threads")
    if len(words) < _FULL_COUNT and len(words) not in _OLD_COUNTS:
        raise _error(data, file, f"expected 44, 47 or at least 52 fields, found {len(words) + 3}")
    later = (*printed, *(None,) * (7 - len(printed)))
    return TaskStat(taken[0], decode(comm), state.decode(), *taken[1:10], *later)


def _malformed(data: bytes, file: str) -> FormatError:
    if not data:
        return empty(file)
    if not data.endswith(b"\n"):
        return _error(data, file, "expected a newline at the end, the file is cut off")
    return _error(data, file, "expected `pid (comm) state` and decimal numbers")


def _error(data: bytes, file: str, reason: str) -> FormatError:
    """Return an error about the line that begins the file: a comm with a newline does not make it two."""
    return FormatError(file, 1, decode(data).removesuffix("\n"), reason)
