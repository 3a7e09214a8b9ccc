"""Writers of one history that are killed at any moment, and started again where they had got to.

As a program: ``crowd.py HISTORY ACKNOWLEDGED NAME FIRST END`` appends runs and acknowledges each by a line.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

from tests.histories import kept_of
from vmprobe.metrics import Sample
from vmprobe.store.history import Kept, Owner, append, read

ROOT = Path(__file__).parents[2]
SAMPLES = 120


def run_of(name: int, number: int) -> Kept:
    """Make the run of a writer: whoever finds it can tell whether it is whole.

    All are of two days, so that none is thinned.
    """
    samples = [
        Sample("free_blocks", (str(zone), f"writer {name}", str(order)), 1000 * number + zone * 11 + order)
        for zone in range(SAMPLES // 10)
        for order in range(10)
    ]
    owners = [Owner("process", f"writer {name}", number, each, number, name) for each in range(5)]
    run = kept_of(0, number / 10 + name / 100, samples, owners, frames=True)
    return replace(run, run=replace(run.run, id=identity(name, number)))


def identity(name: int, number: int) -> str:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{name} {number}").hex


class Crowd:
    """Writers, and what they acknowledged.

    Parameters
    ----------
    folder
        Empty.
    writers, runs
        How many there are, and how many each has to append.
    seed
        Of the moments at which they are killed.
    """

    def __init__(self, folder: Path, *, writers: int, runs: int, seed: int) -> None:
        self.history = folder / "history.duckdb"
        self.acknowledgements = folder / "acknowledged"
        self.acknowledgements.touch()
        self.runs = runs
        self.random = random.Random(seed)
        self.processes = {name: self.start(name) for name in range(writers)}
        self.kills = 0
        self.reads = 0

    def start(self, name: int) -> subprocess.Popen[bytes]:
        """Start a writer behind the last run that it acknowledged."""
        first = max((number for who, number in self.acknowledged() if who == name), default=-1) + 1
        command = [sys.executable, "-m", "tests.store.crowd", str(self.history), str(self.acknowledgements)]
        return subprocess.Popen(
            [*command, str(name), str(first), str(self.runs)], cwd=ROOT, stderr=subprocess.PIPE
        )

    def acknowledged(self) -> list[tuple[int, int]]:
        """Return writers and numbers in the order in which they were acknowledged."""
        lines = self.acknowledgements.read_text().splitlines()
        return [(int(name), int(number)) for name, number in (line.split() for line in lines)]

    def work(self, *, kills: int) -> None:
        """Let them append all, kill one now and then, and read beside them."""
        whole = len(self.processes) * self.runs
        marks = sorted(self.random.randrange(whole * 9 // 10) for _ in range(kills))
        while any(process.poll() is None for process in self.processes.values()):
            if marks and len(self.acknowledged()) >= marks[0]:
                marks.pop(0)
                self.kill_one()
            self.look()
        for process in self.processes.values():
            _, errors = process.communicate()
            assert process.returncode == 0, errors.decode()

    def kill_one(self) -> None:
        """Kill a writer at some moment of its work, and start it again."""
        while True:
            time.sleep(self.random.uniform(0, 0.1))
            living = [name for name, process in self.processes.items() if process.poll() is None]
            name = self.random.choice(living)
            self.processes[name].kill()
            if self.processes[name].wait() == -signal.SIGKILL:
                break  # otherwise it had come to its end
        self.processes[name].communicate()
        self.kills += 1
        self.processes[name] = self.start(name)

    def look(self) -> None:
        """Read the newest runs: they are whole, whatever is written or killed now."""
        known = self.acknowledged()
        for kept in read(self.history, last=3):
            check_whole(kept)
        self.reads += 1
        if self.reads % 20 == 0:
            there = {kept.run.id for kept in read(self.history, names=())}
            assert {identity(*each) for each in known} <= there
        time.sleep(0.02)


def check_whole(kept: Kept) -> None:
    """Find the run that this is, and compare."""
    owner = kept.owners[0]
    name, number = owner.trapped_free_pages, owner.pages
    assert kept == run_of(name, number)


def main() -> None:
    history, acknowledgements, name, first, end = sys.argv[1:]
    lines = os.open(acknowledgements, os.O_WRONLY | os.O_APPEND)
    for number in range(int(first), int(end)):
        append(Path(history), run_of(int(name), number))
        os.write(lines, f"{name} {number}\n".encode())


if __name__ == "__main__":
    main()
