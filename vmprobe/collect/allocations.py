"""What the page allocator does for a while: every block taken, given back, or taken from another type's list.

The order in which a moving machine is read::

    snapshot before | events on, free lists counted ... free lists counted, events off | snapshot after

so that a replay can begin with the frames of the one and be compared with the counts at the other end. What
this program itself takes meanwhile is in the stream like everybody's.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from vmprobe.collect.options import Options
from vmprobe.collect.take import take
from vmprobe.errors import FormatError, PrivilegeError, UsageError
from vmprobe.formats import buddyinfo, trace_buffer, tracepoint, zoneinfo
from vmprobe.sources.held_signals import held_signals
from vmprobe.sources.trace_instance import CLOCK, TraceInstance
from vmprobe.store.allocations import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from vmprobe.tables import Snapshot

ALLOC, FREE, FALLBACK = "kmem/mm_page_alloc", "kmem/mm_page_free", "kmem/mm_page_alloc_extfrag"
EVENTS: Final = (ALLOC, FREE, FALLBACK)
"""By the number that they have in the column ``kind``."""
FIELDS: Final = {
    ALLOC: {"pfn": "pfn", "order": "order", "migratetype": "migratetype", "gfp_flags": "gfp_flags"},
    FREE: {"pfn": "pfn", "order": "order"},
    FALLBACK: {"pfn": "pfn", "order": "alloc_order", "migratetype": "alloc_migratetype"},
}
"""Column to the field of the event that it comes from."""
EXTRA: Final = ("fallback_order", "fallback_migratetype", "change_ownership")
NO_TYPE: Final = 255
BYTES_EACH: Final = 40
"""About what an event takes in the buffers."""
STDERR: Final = 2
PAUSE_SECONDS: Final = 0.02
END_SECONDS: Final = 2
"""What a command gets to end by itself when it is told to."""
READ_SECONDS: Final = 0.1
"""Between two rounds of reading."""
SLACK_BYTES: Final = 512
"""A sub-buffer that lacks more than that is not full yet: it is the one that is being written."""
MOST_READS: Final = 4096
"""Sub-buffers of one CPU in a round, so that none waits for another for long."""
FORMAT: Final = {"name": "vmprobe-allocations", "version": 1}


@dataclass(frozen=True)
class RecordOptions:
    """What is recorded.

    Parameters
    ----------
    seconds
        How long, at most.
    command
        What is run meanwhile; the recording ends with it. Empty for nothing.
    buffer_mib
        Of the kernel's buffers, all CPUs together.
    most_events
        Where the recording ends early.
    to_stderr
        Whether the command writes to stderr what it writes to stdout, which is another's then.
    """

    seconds: float = 10.0
    command: tuple[str, ...] = ()
    buffer_mib: int = 64
    most_events: int = 5_000_000
    to_stderr: bool = False


@dataclass(frozen=True, eq=False)
class Recorded:
    """A recording, in memory.

    Parameters
    ----------
    columns
        `vmprobe.store.allocations.DTYPES`, a row an event, ascending in time.
    manifest
        How it was made, and what was lost.
    before, after
        The snapshots at either end.
    """

    columns: dict[str, NDArray[Any]]
    manifest: dict[str, Any]
    before: Snapshot
    after: Snapshot


def record(options: RecordOptions, progress: Callable[[str, int, int], None] | None = None) -> Recorded:
    """Record.

    Parameters
    ----------
    options
        What and how long.
    progress
        Told the stage.

    Raises
    ------
    PrivilegeError
        Trace events are refused to us.
    UsageError
        The command cannot be run; the kernel has no such events.
    """
    if options.command and shutil.which(options.command[0]) is None:
        raise UsageError(f"{options.command[0]}: there is no such program, or it may not be run")
    with ExitStack() as stack:
        # The buffers are there in both snapshots: what they take is in no event.
        trace = _entered(stack, options)
        _told(progress, "snapshot before")
        before = take(Options())
        layout = trace_buffer.parse_header_page(trace.sub_buffer, "tracefs events/header_page")
        reader = Reader(trace, layout, options.most_events * BYTES_EACH)
        _told(progress, "recording")
        with reader:
            trace.switch(on=True)
            start_ns, start = time.monotonic_ns(), _counts()
            with _running(options) as child:
                ended = _wait(options, reader, child)
                end_ns, end = time.monotonic_ns(), _counts()
                trace.switch(on=False)
                status = child.poll() if child and ended == "command" else None
        lost = trace.lost()
        formats = {
            name: tracepoint.parse(data, file=f"tracefs events/{name}/format")
            for name, data in trace.formats.items()
        }
        _told(progress, "snapshot after")
        after = take(Options())
    _told(progress, "reading events")
    columns = columns_of(reader.pages, layout, formats, start_ns)
    manifest = {
        "format": FORMAT,
        "boot_id": before.manifest["host"].get("boot_id"),
        "release": before.manifest["host"]["release"],
        "before_time": before.manifest["time"]["start"],
        "clock": CLOCK,
        "seconds": round((end_ns - start_ns) / 1e9, 6),
        "events": len(columns["kind"]),
        "lost": sum(lost.values()),
        "ended_by": ended,
        "command_status": status,
        "command_was_ended": bool(options.command) and ended != "command",
        "cpus": len(lost),
        "buffers_left": trace.left,
        "buffer_mib": options.buffer_mib,
        "counts_at_start": start,
        "counts_at_end": end,
    }
    return Recorded(columns, manifest, before, after)


def _told(progress: Callable[[str, int, int], None] | None, stage: str) -> None:
    if progress is not None:
        progress(stage, 0, 0)


def _entered(stack: ExitStack, options: RecordOptions) -> TraceInstance:
    """Make the buffers before anything takes long: what is refused is refused at once."""
    kib_each = max(64, options.buffer_mib * 1024 // (os.cpu_count() or 1))
    try:
        return stack.enter_context(TraceInstance(EVENTS, kib_each))
    except PermissionError as error:
        raise PrivilegeError(f"trace events: {error.strerror}", needs="CAP_SYS_ADMIN") from error
    except OSError as error:
        if error.errno == errno.ENOMEM:
            told = f"no memory for trace buffers of {options.buffer_mib} MiB"
            raise UsageError(told, hint="choose a smaller --max-size") from error
        if error.errno == errno.ENOENT:
            raise UsageError(f"this kernel does not trace page allocations: {error.strerror}") from error
        raise UsageError(f"trace buffers could not be made: {error.strerror}") from error


class Reader:
    """Reads the buffers of all CPUs while it is entered, and what is left in the end."""

    def __init__(self, trace: TraceInstance, layout: trace_buffer.SubBuffer, most_bytes: int) -> None:
        self._trace, self._layout, self._most_bytes = trace, layout, most_bytes
        self.pages: dict[int, list[bytes]] = {cpu: [] for cpu in trace.cpus}
        self.full = threading.Event()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._nr_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error
        # After an error nobody asks for what is left, and events may come faster than they are read.
        for cpu in self.pages if kind is None else ():
            while self._take(cpu) is not None:
                pass

    def _run(self) -> None:
        try:
            while not self._stop.wait(READ_SECONDS):
                self._drain()
        except BaseException as error:  # noqa: BLE001 - raised again where somebody waits for this thread
            self._error = error
            self.full.set()

    def _drain(self) -> None:
        for cpu in self.pages:
            for _ in range(MOST_READS):
                nr_bytes = self._take(cpu)
                # Reading takes pages itself: who reads on finds a sub-buffer with just that, for ever.
                if nr_bytes is None or nr_bytes < self._layout.size - SLACK_BYTES:
                    break
        if self._nr_bytes >= self._most_bytes:
            self.full.set()

    def _take(self, cpu: int) -> int | None:
        """Keep a sub-buffer; return how many bytes of records it holds, None where there is none."""
        page = self._trace.read(cpu, self._layout.size)
        if page is None:
            return None
        nr_bytes = trace_buffer.nr_bytes(page)
        # On many CPUs that do little, what is not filled would be most of it.
        self.pages[cpu].append(page[: self._layout.data + nr_bytes])
        self._nr_bytes += nr_bytes
        return nr_bytes


@contextmanager
def _running(options: RecordOptions) -> Iterator[subprocess.Popen[bytes] | None]:
    """Run the command, if there is one; what of it still runs in the end is ended."""
    if not options.command:
        yield None
        return
    try:
        child = subprocess.Popen(
            options.command,
            stdin=subprocess.DEVNULL,
            stdout=STDERR if options.to_stderr else None,
            process_group=0,
        )
    except OSError as error:
        raise UsageError(f"{options.command[0]}: {error.strerror}") from error
    try:
        yield child
    finally:
        with held_signals():
            _end(child)


def _wait(options: RecordOptions, reader: Reader, child: subprocess.Popen[bytes] | None) -> str:
    """Wait for the end, and return what it was."""
    try:
        deadline = time.monotonic() + options.seconds
        while child is None or child.poll() is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return "time"
            if reader.full.wait(min(left, left if child is None else PAUSE_SECONDS)):
                return "events"
    except KeyboardInterrupt:
        # Who has seen enough wants what was recorded until then.
        return "interrupt"
    return "command"


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a command that did not end by itself, and what it started."""
    if child.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        child.send_signal(number)
        _tell_group(child, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(END_SECONDS)
            break
    _tell_group(child, signal.SIGKILL)


def _tell_group(child: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _counts() -> list[dict[str, Any]]:
    """Return free blocks by order and pages on per-CPU lists of each zone, as they are this moment."""
    with open("/proc/buddyinfo", "rb") as file:
        free = buddyinfo.parse(file.read())
    with open("/proc/zoneinfo", "rb") as file:
        zones = zoneinfo.parse(file.read()).zones
    on_lists = {
        (zone.node, zone.zone): sum(cpu.get("count", 0) for cpu in zone.cpus) if zone.cpus else None
        for zone in zones
    }
    return [
        {
            "node": row.node,
            "zone": row.zone,
            "nr_free": list(row.nr_free),
            "pcp_pages": on_lists.get((row.node, row.zone)),
        }
        for row in free
    ]


def columns_of(
    pages: dict[int, list[bytes]],
    layout: trace_buffer.SubBuffer,
    formats: dict[str, tracepoint.Event],
    start_ns: int,
) -> dict[str, NDArray[Any]]:
    """Return the columns of all CPUs, ascending in time."""
    parts: list[dict[str, NDArray[Any]]] = []
    for cpu, listed in pages.items():
        data = np.frombuffer(b"".join(page.ljust(layout.size, b"\0") for page in listed), np.uint8)
        listed.clear()
        records = trace_buffer.parse(data, layout, f"trace buffer of CPU {cpu}")
        number = trace_buffer.field(data, records.at, tracepoint.Field(0, 2, False))
        for kind, name in enumerate(EVENTS):
            mine = np.flatnonzero(number == formats[name].identity)
            part = _of_event(data, records.at[mine], name, formats[name])
            part["time_ns"] = records.time[mine].astype(np.int64) - start_ns
            part["at"] = records.at[mine]
            part["cpu"] = np.full(len(mine), cpu, np.uint16)
            part["kind"] = np.full(len(mine), kind, np.uint8)
            parts.append(part)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in (*DTYPES, "at")}
    # Two events of one CPU may have one time.
    turn = np.lexsort((joined.pop("at"), joined["cpu"], joined["time_ns"]))
    return {name: column[turn] for name, column in joined.items()}


def _of_event(
    data: NDArray[np.uint8], at: NDArray[np.int64], name: str, event: tracepoint.Event
) -> dict[str, NDArray[Any]]:
    """Return what the records of one event say themselves, as columns."""

    def told(column: str) -> NDArray[np.int64]:
        if column not in event.fields:
            raise FormatError(f"tracefs events/{name}/format", None, column, "a field of that name")
        return trace_buffer.field(data, at, event.fields[column])

    found = {
        "migratetype": np.full(len(at), NO_TYPE),
        "gfp_flags": np.zeros(len(at), np.int64),
        "extra": np.zeros(len(at), np.int64),
    }
    found |= {column: told(source) for column, source in FIELDS[name].items()}
    if name == FALLBACK:
        low, middle, high = (told(column) for column in EXTRA)
        found["extra"] = low | middle << 8 | high << 16
    return {column: values.astype(DTYPES[column]) for column, values in found.items()}
