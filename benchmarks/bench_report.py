"""What a report without a frame scan costs as a whole process, beside Python loading what any such one does.

``python benchmarks/bench_report.py [--rounds N]``. Each round starts all of them in turn; the figures are the
medians of seconds and the largest memory, the ratios medians of the rounds'. The budget is 0.5 s and 120 MiB
on a host that does nothing else. Nothing here is a pass or fail of the test suite: the machine may be busy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

BUDGET_SECONDS = 0.5
BUDGET_BYTES = 120 << 20
REPORT = ["-m", "vmprobe", "report", "--no-frames"]


def cost(command: list[str]) -> tuple[float, int]:
    """Run a command; return seconds from its start to its end, and the most memory that it had in bytes."""
    begin = time.perf_counter()
    pid = os.posix_spawn(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    )
    _, status, used = os.wait4(pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        sys.exit(f"bench_report: {' '.join(command)}: ended with {status}")
    return seconds, used.ru_maxrss * 1024


def commands(folder: str) -> dict[str, list[str]]:
    """Return what is measured; the first one is what the others are held against."""
    return {
        "import numpy, rich, click": ["-c", "import numpy, rich.console, rich.table, click"],
        "report": REPORT,
        "report, not giving way": [*REPORT, "--full-speed"],
        "report with history": [*REPORT, "--history", f"{folder}/history.duckdb"],
        "report with metrics": [*REPORT, "--openmetrics", f"{folder}/vmprobe.prom"],
        "report, JSON": [*REPORT, "--json"],
    }


def main() -> None:
    """Measure in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        measured = {name: [sys.executable, *words] for name, words in commands(folder).items()}
        for command in measured.values():
            cost(command)  # warms caches, and makes the history
        found = {name: [] for name in measured}
        for _ in range(rounds):
            for name, command in measured.items():
                found[name].append(cost(command))
        history = Path(folder, "history.duckdb").stat().st_size
    print(f"host                       {os.cpu_count()} CPUs, Linux {os.uname().release}, {rounds} rounds")
    first = next(iter(found.values()))
    for name, costs in found.items():
        seconds = statistics.median(each for each, _ in costs)
        ratio = statistics.median(each / base for (each, _), (base, _) in zip(costs, first, strict=True))
        peak = max(each for _, each in costs)
        print(f"{name:26} {seconds:.2f} s   {ratio:4.1f} times   {peak / 2**20:4.0f} MiB")
    print(f"budget                     {BUDGET_SECONDS} s               {BUDGET_BYTES >> 20} MiB")
    print(f"history of {rounds + 1} runs          {history:,} bytes")


if __name__ == "__main__":
    main()
