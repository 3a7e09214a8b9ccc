"""Processes that have nothing but what they are to have: all else is unmapped and closed, Python included.

An interpreter reads the zero page, maps libraries that others map, and has a vdso: whoever wants to see one
mechanism alone cannot look at one. So a child makes its memory with Python, and then runs a few instructions
that unmap the rest and sleep. x86-64 alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lab.errors import UnavailableError
from lab.workloads import look
from lab.workloads.made import DisagreesError
from lab.workloads.memory import ANON, PAGE, PRIVATE, READ, SET_PDEATHSIG, WRITE, mmap, prctl
from tests.live.workloads import witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import NoReturn

    from lab.workloads.memory import Area

EXEC: Final = 4
TASK_END: Final = (1 << 47) - PAGE
"""Where the addresses of a process end, with page tables of four levels or five."""

STRIP: Final = bytes.fromhex(
    "4889fb"  # mov rbx, rdi           pairs of address and length, the last of length 0
    "488b3b 488b7308 4885f6 740d"  # next: mov rdi, [rbx]; mov rsi, [rbx + 8]; test rsi, rsi; jz sleep
    "b80b000000 0f05 4883c310 ebe7"  # munmap; add rbx, 16; jmp next
    "bf01000000 be09000000 b89d000000 0f05"  # sleep: prctl(PR_SET_PDEATHSIG, SIGKILL)
    "b822000000 0f05 ebf7"  # again: pause; jmp again
)
SLEEP: Final = 28
"""Where in `STRIP` sleeping begins."""

TABLE: Final = 128
WAIT_SECONDS: Final = 60
"""For a child to do its work; an emulated machine is slow."""


class Stub:
    """The page of instructions that a bare process sleeps in."""

    def __init__(self) -> None:
        self.start = mmap(None, PAGE, prot=READ | WRITE | EXEC, flags=PRIVATE | ANON)
        self.nr_bytes = PAGE
        ctypes.memmove(self.start, STRIP, len(STRIP))

    def keep_only(self, ranges: Sequence[tuple[int, int]]) -> int:
        """Write what is to be unmapped, and return the address of the table."""
        table, at = [], 0
        for start, nr_bytes in sorted([*ranges, (self.start, PAGE), (TASK_END, 0)]):
            if start > at:
                table += [at, start - at]
            at = start + nr_bytes
        words = (ctypes.c_uint64 * (len(table) + 2))(*table, 0, 0)
        assert TABLE + len(bytes(words)) <= PAGE
        ctypes.memmove(self.start + TABLE, bytes(words), len(bytes(words)))
        return self.start + TABLE

    def strip(self, ranges: Sequence[tuple[int, int]]) -> NoReturn:
        """Unmap all but these ranges (address, bytes) and the stub, and sleep until the end."""
        table = self.keep_only(ranges)
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.start)(table)
        raise AssertionError


@dataclass
class Keep:
    """What a child keeps.

    Parameters
    ----------
    areas
        Its memory.
    ranges
        More memory, as (address, bytes).
    fds
        Open files.
    facts
        What it says to its parent, fit for JSON.
    stub
        The page to sleep in, if it is made already.
    """

    areas: Sequence[Area] = ()
    ranges: Sequence[tuple[int, int]] = ()
    fds: Sequence[int] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    stub: Stub | None = None

    def all_ranges(self) -> list[tuple[int, int]]:
        """Return all memory but the stub, as (address, bytes)."""
        return [*((area.start, area.nr_bytes) for area in self.areas), *self.ranges]


@dataclass(frozen=True)
class Bare:
    """A bare process.

    Parameters
    ----------
    pid
        As the process sees it that made it.
    facts
        What it said.
    """

    pid: int
    facts: dict[str, Any]


def spawn(work: Callable[[], Keep]) -> Bare:
    """Fork a child that does `work`, and wait until it is bare; it ends with us.

    Raises
    ------
    UnavailableError
        The work cannot be done here.
    DisagreesError
        It failed.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _live(work, writer)
    os.close(writer)
    try:
        with open(reader, "rb") as file:
            said = json.loads(file.read() or '{"failed": "it ended without a word"}')
        if "unavailable" in said:
            raise UnavailableError(said["unavailable"])
        if "failed" in said:
            raise DisagreesError(said["failed"])
        _wait_until_bare(pid, said["bytes"])
    except BaseException:
        end(pid)
        raise
    return Bare(pid, said["facts"])


@contextmanager
def bare(*works: Callable[[], Keep]) -> Iterator[list[Bare]]:
    """Hold a bare process for each work, made one after the other.

    Raises
    ------
    UnavailableError, DisagreesError
        As `spawn` does.
    """
    made: list[Bare] = []
    try:
        made.extend(map(spawn, works))
        yield made
    finally:
        for each in reversed(made):
            end(each.pid)


def end(pid: int) -> None:
    """End a child."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def special(name: str) -> tuple[int, int]:
    """Return the range of a mapping of our own that the kernel named, such as ``[vdso]``.

    Raises
    ------
    UnavailableError
        There is none.
    """
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if line.rstrip().endswith(name):
                start, end = (int(word, 16) for word in line.split()[0].split("-"))
                return start, end - start
    raise UnavailableError(f"this kernel maps no {name}")


def _live(work: Callable[[], Keep], writer: int) -> NoReturn:
    """Be a child: nothing of the parent's may be cleaned up here, so it never returns."""
    said: dict[str, Any] = {"failed": "its report cannot be written"}
    with contextlib.suppress(BaseException):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        prctl(SET_PDEATHSIG, signal.SIGKILL)
        signal.alarm(WAIT_SECONDS)
        try:
            kept = work()
            ranges = kept.all_ranges()
            said = {"facts": kept.facts, "bytes": PAGE + sum(nr_bytes for _, nr_bytes in ranges)}
            stub = kept.stub or Stub()
            signal.alarm(0)
        except UnavailableError as error:
            said = {"unavailable": str(error)}
        except Exception as error:
            said = {"failed": f"{type(error).__name__}: {error}"}
        os.write(writer, json.dumps(said).encode())
        if "facts" in said:
            low = 0
            for fd in (*sorted(kept.fds), 1 << 20):
                os.closerange(low, fd)
                low = fd + 1
            stub.strip(ranges)
    os._exit(1)


def _wait_until_bare(pid: int, nr_bytes: int) -> None:
    """Wait until a child has no more than it said it keeps, and sleeps."""
    until = time.monotonic() + WAIT_SECONDS
    mapped = -1
    while time.monotonic() < until:
        mapped = sum(size for _, size in witness.spans(pid))
        state = look.state(pid)
        if mapped == nr_bytes and state in {"S", "D"}:
            return
        if state in {"Z", "X"}:
            raise DisagreesError(f"child {pid} ended while it unmapped what it had")
        time.sleep(0.001)
    raise DisagreesError(f"child {pid} has {mapped} bytes mapped, not {nr_bytes}")
