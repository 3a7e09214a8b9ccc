"""Workloads as child processes: started, listened to, and always ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lab.errors import LabError, UnavailableError
from lab.workloads.look import asleep
from lab.workloads.made import LIMIT_SECONDS

if TYPE_CHECKING:
    from lab.workloads.made import Truth

TREE: Final = Path(__file__).resolve().parents[2]
GRACE_SECONDS: Final = 30.0
"""What a workload gets beyond its own limit, to start and to say why it failed."""

END_SECONDS: Final = 10.0


class Child:
    """One workload.

    Parameters
    ----------
    spec
        Name and parameters.
    seed
        Unless the spec has its own.
    python
        Interpreter.

    Raises
    ------
    LabError
        A quotation in the spec has no end.
    """

    def __init__(self, spec: str, seed: int, python: str) -> None:
        self.spec = spec
        try:
            self._words = shlex.split(spec)
        except ValueError as error:
            raise LabError(f"{spec}: {error}") from error
        given = dict(word.split("=", 1) for word in self._words[1:] if "=" in word)
        if "seed" not in given:
            self._words.append(f"seed={seed}")
        self._python = python
        self._patience = GRACE_SECONDS + LIMIT_SECONDS
        with contextlib.suppress(ValueError):  # it will say itself what is wrong with it
            self._patience = GRACE_SECONDS + float(given.get("seconds", LIMIT_SECONDS))
        self._process: subprocess.Popen[bytes] | None = None
        self._truth: Truth = {}

    def start(self) -> Truth:
        """Start it, wait until it holds still, and return what it said.

        Raises
        ------
        UnavailableError
            It cannot run on this machine.
        LabError
            It failed; the message is its own.
        """
        self._process = subprocess.Popen(
            # No site packages, no current directory: its maps are the same wherever it is started.
            [self._python, "-S", "-P", "-m", "lab.workloads", *self._words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={"PYTHONPATH": str(TREE)},
            process_group=0,  # the terminal's Ctrl-C is for us, who end it in order
        )
        line = self._line(self._process)
        if not line.endswith(b"\n"):
            raise self._failure(self._process)
        truth: dict[str, Any] = json.loads(line)
        asleep(self._process.pid)
        self._truth = truth
        return truth

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        """Return what it says up to the end of a line, or of its output."""
        assert process.stdout is not None
        pieces, until = [b""], time.monotonic() + self._patience
        while not pieces[-1].endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                raise LabError(f"{self.spec}: silent for {self._patience:g} s")
            piece = os.read(process.stdout.fileno(), 1 << 20)
            if not piece:
                break
            pieces.append(piece)
        return b"".join(pieces)

    def _failure(self, process: subprocess.Popen[bytes]) -> LabError:
        """Return why it ended without a word."""
        assert process.stderr is not None
        told = process.stderr.read().decode(errors="replace").strip().splitlines()
        status = process.wait(END_SECONDS)
        reason = told[-1] if told else f"ended with status {status}"
        kind = UnavailableError if status == 75 else LabError
        return kind(f"{self.spec}: {reason}")

    def check(self) -> None:
        """Raise if it is gone already: then what it said is no longer true.

        Raises
        ------
        LabError
            It ended.
        """
        if self._process is not None and self._process.poll() is not None:
            raise LabError(f"{self.spec}: ended with status {self._process.returncode} while it was held")

    def end(self) -> None:
        """Let it end, or end it; also when it was stopped, and when it never spoke."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        process.send_signal(signal.SIGCONT)
        if not self._truth:
            process.terminate()  # it may be in the middle of its work
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.returncode < 0 and "folder" in self._truth:
            shutil.rmtree(self._truth["folder"], ignore_errors=True)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
