"""Children of the tests, started, asked and always ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAMS = Path(__file__).with_name("programs.py")


class Child:
    """A running program of `programs.py`."""

    def __init__(self, name: str, *arguments: str) -> None:
        command = [sys.executable, "-I", str(PROGRAMS), name, *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={}
        )
        self.pid = self.process.pid
        self.facts: dict[str, Any] = self.next()

    def next(self) -> dict[str, Any]:
        """Return what it says next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the program ended without a word"
        facts: dict[str, Any] = json.loads(line)
        return facts

    def ask(self) -> dict[str, Any]:
        """Send a line and return the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.next()

    def finish(self) -> dict[str, Any]:
        """Close its input and return its last words."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.next()

    def states(self) -> list[str]:
        """Return the state letter of each thread."""
        letters = []
        for tid in os.listdir(f"/proc/{self.pid}/task"):
            text = Path(f"/proc/{self.pid}/task/{tid}/stat").read_text()
            letters.append(text.rpartition(")")[2].split()[0])
        return letters

    def end(self) -> None:
        """End it, also if it is stopped."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Child]]:
    """Start programs; all are ended after the test."""
    children: list[Child] = []

    def run(name: str, *arguments: str) -> Child:
        children.append(Child(name, *arguments))
        return children[-1]

    yield run
    for child in children:
        child.end()


@pytest.fixture
def root_only() -> None:
    """Skip without root, with the reason."""
    if os.geteuid():
        pytest.skip("needs root: frame numbers and frame words are for root alone")
