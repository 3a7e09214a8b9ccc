"""A trace buffer of our own in tracefs, with some events switched on: nothing of other tracers changes.

Kernel source: ``kernel/trace/trace.c: trace_array_create_dir, tracing_buffers_read``;
``Documentation/trace/ftrace.rst: Instances``.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from contextlib import suppress
from typing import Final, Self

from vmprobe.sources.held_signals import held_signals
from vmprobe.sources.procfs import FLAGS, read_fd
from vmprobe.sources.tracepoint import tracefs

CLOCK: Final = "mono"
"""The trace clock that `time.monotonic_ns` reads too."""
REMOVE_SECONDS: Final = 5
"""How long a buffer that is still in use for a moment is tried to be removed."""
_NAME: Final = re.compile(r"vmprobe-(\d+)-[0-9a-f]{8}")
LOST: Final = (b"overrun", b"commit overrun", b"dropped events")


class TraceInstance:
    """Buffers of our own; use as a context manager, which removes them.

    Parameters
    ----------
    events
        Such as ``kmem/mm_page_alloc``.
    kib_each
        KiB of the buffer of each CPU.

    Raises
    ------
    OSError
        There is no tracefs, no such event, or it is refused (CAP_SYS_ADMIN, lockdown).
    """

    def __init__(self, events: tuple[str, ...], kib_each: int) -> None:
        self._events = events
        self._kib_each = kib_each
        # A number alone would be another's that was killed, or one of another PID namespace.
        self._name = f"vmprobe-{os.getpid()}-{secrets.token_hex(4)}"
        self._pipes: dict[int, int] = {}
        self._root = self._folder = -1
        self._made = False
        self.left: str | None = None
        """The buffers' name in tracefs, if others used them so long that they could not be removed."""

    def __enter__(self) -> Self:
        self._root = tracefs(writable=True)
        try:
            self.formats = {name: self._read(f"events/{name}/format", self._root) for name in self._events}
            self._remove_forgotten()
            self._made = True
            os.mkdir(f"instances/{self._name}", 0o700, dir_fd=self._root)
            self._folder = os.open(f"instances/{self._name}", FLAGS | os.O_DIRECTORY, dir_fd=self._root)
            self.sub_buffer = self._header_page()
            self._write("tracing_on", "0")
            self._write("options/overwrite", "0")
            self._write("trace_clock", CLOCK)
            self._write("buffer_size_kb", str(self._kib_each))
            cpus = sorted(int(name[3:]) for name in os.listdir(self._sub("per_cpu")) if name[3:].isdecimal())
            for cpu in cpus:
                path = f"per_cpu/cpu{cpu}/trace_pipe_raw"
                self._pipes[cpu] = os.open(path, FLAGS | os.O_NONBLOCK, dir_fd=self._folder)
            for name in self._events:
                self._write(f"events/{name}/enable", "1")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self._remove()
        except KeyboardInterrupt:
            # It came before signals were held back.
            self._remove()
            raise

    @property
    def cpus(self) -> tuple[int, ...]:
        """The CPUs that have buffers."""
        return tuple(self._pipes)

    def switch(self, *, on: bool) -> None:
        """Let events be recorded from now on, or no longer."""
        self._write("tracing_on", str(int(on)))

    def read(self, cpu: int, size: int) -> bytes | None:
        """Return a sub-buffer of a CPU, at most `size` bytes, with what there is now; None where none is."""
        try:
            return os.read(self._pipes[cpu], size) or None
        except BlockingIOError:
            return None

    def lost(self) -> dict[int, int]:
        """Return how many events of each CPU found no room."""
        found = {}
        for cpu in self._pipes:
            stats = self._read(f"per_cpu/cpu{cpu}/stats", self._folder)
            told = dict(line.split(b": ", 1) for line in stats.splitlines() if b": " in line)
            found[cpu] = sum(int(told.get(name, b"0")) for name in LOST)
        return found

    def _remove_forgotten(self) -> None:
        """Remove the buffers of runs that were killed: nobody else would, and they cost memory and time."""
        for name in os.listdir(f"/proc/self/fd/{self._root}/instances"):
            found = _NAME.fullmatch(name)
            if found and not os.path.isdir(f"/proc/{found[1]}"):
                # Busy are those of a run in another PID namespace.
                with suppress(OSError):
                    os.rmdir(f"instances/{name}", dir_fd=self._root)

    def _header_page(self) -> bytes:
        """Return how our sub-buffers are laid out: since 6.8 theirs need not be as large as everybody's."""
        try:
            return self._read("events/header_page", self._folder)
        except FileNotFoundError:
            return self._read("events/header_page", self._root)

    def _sub(self, path: str) -> str:
        return f"/proc/self/fd/{self._folder}/{path}"

    @staticmethod
    def _read(path: str, folder: int) -> bytes:
        descriptor = os.open(path, FLAGS, dir_fd=folder)
        try:
            data, _ = read_fd(descriptor)
        finally:
            os.close(descriptor)
        return data

    def _write(self, path: str, text: str) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def _remove(self) -> None:
        """Close everything, and remove the buffers; they may be in use for a moment longer."""
        if self._root < 0:
            return
        with held_signals():
            if self._folder >= 0:
                with suppress(OSError):
                    self._write("tracing_on", "0")
                for name in self._events:
                    with suppress(OSError):
                        self._write(f"events/{name}/enable", "0")
            for descriptor in (*self._pipes.values(), self._folder):
                if descriptor >= 0:
                    os.close(descriptor)
            self._pipes, self._folder = {}, -1
            try:
                if self._made:
                    self._remove_folder()
            finally:
                os.close(self._root)
                self._root, self._made = -1, False

    def _remove_folder(self) -> None:
        deadline = time.monotonic() + REMOVE_SECONDS
        while True:
            try:
                os.rmdir(f"instances/{self._name}", dir_fd=self._root)
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno == errno.EBUSY and time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                self.left = self._name
            return
