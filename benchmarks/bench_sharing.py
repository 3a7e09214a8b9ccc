"""Snapshot and sharing report of a pre-forking server, against smem and page-types on the same processes.

Run as root: ``python benchmarks/bench_sharing.py [--mib 2350] [--forks 40] [--rounds 3]``. A parent
touches so much memory and forks; all of them are held still. Then, in one run, in turn: ``vmprobe
sharing`` alone, which takes its snapshot in memory; ``vmprobe snapshot`` and ``vmprobe sharing`` as two
commands; smem where it is installed (or ``--smem PATH``), and page-types once for each process where
that is (or ``--page-types PATH``; it is in ``tools/mm`` of the kernel's source). Printed are seconds,
the largest memory, and ratios; nothing here is a pass or fail of the test suite.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = mmap.PAGESIZE
PR_SET_PDEATHSIG = 1
BUDGET_SECONDS = 6
BUDGET_MIB = 600


@contextlib.contextmanager
def family(nr_bytes: int, nr_forks: int, run_pages: int = 0) -> Iterator[list[int]]:
    """Hold a parent that touched `nr_bytes` and its forks; give their pids."""
    ready, told = os.pipe()
    parent = os.fork()
    if parent == 0:
        hold(nr_bytes, nr_forks, run_pages, told)
    os.close(told)
    try:
        with os.fdopen(ready) as lines:
            pids = [int(word) for word in lines.readline().split()]
            yield pids
    finally:
        os.kill(parent, signal.SIGTERM)
        os.waitpid(parent, 0)


def hold(nr_bytes: int, nr_forks: int, run_pages: int, told: int) -> None:
    """Be the parent: touch memory, fork, say who, and wait for the end, which ends the forks too."""
    import ctypes

    memory = mmap.mmap(-1, nr_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    step = run_pages * PAGE or nr_bytes
    begins = list(range(0, nr_bytes, step))
    random.Random(1998).shuffle(begins)
    for begin in begins:
        for at in range(begin, min(begin + step, nr_bytes), PAGE):
            memory[at] = 1
    children = []
    for _ in range(nr_forks):
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.pause()
            os._exit(0)
        children.append(child)
    os.write(told, (" ".join(map(str, [os.getpid(), *children])) + "\n").encode())
    signal.pause()
    os._exit(0)


def run(*words: str) -> tuple[float, int]:
    """Run a command; return seconds and its largest memory in bytes."""
    begin = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        told = process.stderr.read().decode() if process.stderr else ""
        sys.exit(f"bench_sharing: {' '.join(words)}: status {status}: {told}")
    return seconds, usage.ru_maxrss * 1024


def main() -> None:
    """Measure in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=2350)
    parser.add_argument("--forks", type=int, default=40)
    parser.add_argument("--run-pages", type=int, default=0, help="scatter memory: so many pages at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smem", default=shutil.which("smem"))
    parser.add_argument("--page-types", default=shutil.which("page-types"))
    options = parser.parse_args()
    if os.geteuid():
        sys.exit("bench_sharing: needs root: frame words are readable by root alone")
    alone: list[tuple[float, int]] = []
    parts: list[tuple[float, float, int, int]] = []
    others: dict[str, list[float]] = {}
    python = sys.executable
    with (
        tempfile.TemporaryDirectory() as folder,
        family(options.mib << 20, options.forks, options.run_pages) as pids,
    ):
        name = f"{folder}/a.vmsnap"
        for _ in range(options.rounds):
            alone.append(run(python, "-m", "vmprobe", "sharing"))
            taken, peak = run(python, "-m", "vmprobe", "snapshot", "-o", name, "--force")
            told, peak_told = run(python, "-m", "vmprobe", "sharing", name)
            parts.append((taken, told, peak, peak_told))
            if options.smem:
                others.setdefault("smem", []).append(run(python, options.smem)[0])
            if options.page_types:
                each = [run(options.page_types, "-p", str(pid))[0] for pid in pids]
                others.setdefault("page-types, once for each process", []).append(sum(each))
    report(options, alone, parts, others)


def report(
    options: argparse.Namespace,
    alone: list[tuple[float, int]],
    parts: list[tuple[float, float, int, int]],
    others: dict[str, list[float]],
) -> None:
    """Print medians, ratios and extremes beside their budgets."""
    entries = (options.forks + 1) * (options.mib << 20) // PAGE
    one = statistics.median(seconds for seconds, _ in alone)
    taken, told = (statistics.median(part[at] for part in parts) for at in (0, 1))
    print(f"{entries:,} entries of {options.forks + 1} processes")
    print(f"budget                {BUDGET_SECONDS:6.2f} s {BUDGET_MIB:5} MiB")
    print(f"in one command        {one:6.2f} s {max(size for _, size in alone) >> 20:5} MiB")
    largest = max(max(part[2:]) for part in parts) >> 20
    print(f"in two                {taken + told:6.2f} s {largest:5} MiB: {taken:.2f} s and {told:.2f} s")
    for name, seconds in others.items():
        other = statistics.median(seconds)
        print(f"{name}: {other:.2f} s, {other / one:.2f} times ours in one command")
    for name, path in (("smem", options.smem), ("page-types", options.page_types)):
        if not path:
            print(f"{name}: not installed here")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
