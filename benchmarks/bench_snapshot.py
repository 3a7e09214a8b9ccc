"""A whole-host snapshot against one thread that reads the same bytes of /proc and throws them away.

Run as root on the host: ``python benchmarks/bench_snapshot.py [--rounds N]``. Both sides run in turn, each as
a process of its own, in one run of this program; the figures are the medians of the rounds' ratios and the
largest memory and folder. Nothing here is a pass or fail of the test suite: the machine may be busy.

The reader knows what vmprobe read from the manifest: frame files as often as it read them, and every other
source by the same files. Its time leaves out the start of the interpreter; vmprobe's is given both ways.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vmprobe.collect import take
from vmprobe.formats import maps
from vmprobe.sources.pagemap import PagemapScanner, coalesced
from vmprobe.store import write

TWICE = ("buddyinfo", "zoneinfo", "vmstat", "meminfo")
FRAME_FILES = ("kpageflags", "kpagecount", "kpagecgroup", "kpageflags")
CHUNK = 4 << 20
MEMORY_FIXED = 150 << 20
MEMORY_PER_FRAME = 16


class Discarder:
    """Reads files of /proc with one thread and throws the bytes away."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(CHUNK))
        self.nr_bytes = 0

    def file(self, path: str) -> bytes:
        """Read a text file to its end; return it, since the maps are needed."""
        parts = []
        fd = os.open(path, os.O_RDONLY)
        try:
            while part := os.read(fd, 1 << 16):
                parts.append(part)
        finally:
            os.close(fd)
        self.nr_bytes += sum(map(len, parts))
        return b"".join(parts)

    def words(self, fd: int, first: int, end: int) -> None:
        """Read words [first, end) of a binary file."""
        offset, stop = first * 8, end * 8
        while offset < stop and (got := os.preadv(fd, [self.buffer[: stop - offset]], offset)):
            offset += got
        self.nr_bytes += offset - first * 8

    def process(self, pid: str, scanner: PagemapScanner) -> None:
        """Read what a snapshot reads of one process."""
        for name in ("stat", "status", "cgroup"):
            self.file(f"/proc/{pid}/{name}")
        text = self.file(f"/proc/{pid}/maps")
        rows = [row for row in maps.parse(text) if row.end < 1 << 63] if text else []
        if not rows:
            return
        fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY)
        try:
            runs = scanner.populated(fd, rows[0].start, rows[-1].end, os.sysconf("SC_PAGE_SIZE")) or []
            for first, end in list(coalesced(runs)) * 2:
                self.words(fd, first, end)
        finally:
            os.close(fd)


def read_and_discard() -> dict[str, float]:
    """Read what a whole-host snapshot reads, with one thread."""
    discard, scanner = Discarder(), PagemapScanner()
    begin = time.perf_counter()
    for name in (*TWICE, *TWICE, "pagetypeinfo"):
        discard.file(f"/proc/{name}")
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                discard.process(entry.name, scanner)
    for name in FRAME_FILES:
        fd = os.open(f"/proc/{name}", os.O_RDONLY)
        discard.words(fd, 0, 1 << 40)
        os.close(fd)
    return {"seconds": time.perf_counter() - begin, "bytes": discard.nr_bytes}


def take_and_write(folder: str) -> dict[str, float]:
    """Take and write one in this process; return what it cost without the interpreter's start."""
    begin = time.perf_counter()
    snapshot = take()
    taken = time.perf_counter() - begin
    written = write(snapshot, f"{folder}/inner.vmsnap", force=True)
    return {
        "seconds": time.perf_counter() - begin,
        "taken_seconds": taken,
        "bytes": sum(s["bytes"] for s in snapshot.manifest["sources"]),
        "frames": len(snapshot.table("frames")),
        "folder_bytes": written.nr_bytes,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def side(name: str, folder: str) -> dict[str, float]:
    """Run one side in a process of its own."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, "--side", name, folder], check=True, capture_output=True)
    answer: dict[str, float] = json.loads(done.stdout)
    answer["process_seconds"] = time.perf_counter() - begin
    return answer


def main() -> None:
    """Measure in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        name, folder = options.side
        print(json.dumps(read_and_discard() if name == "read" else take_and_write(folder)))
        return
    if os.geteuid():
        sys.exit("bench_snapshot: needs root: frame words are readable by root alone")
    with tempfile.TemporaryDirectory() as folder:
        side("take", folder)  # warms caches
        rounds = [(side("read", folder), side("take", folder)) for _ in range(options.rounds)]
        cli = []
        for _ in range(options.rounds):
            begin = time.perf_counter()
            command = [sys.executable, "-m", "vmprobe", "snapshot", "-o", f"{folder}/cli.vmsnap", "--force"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            cli.append(time.perf_counter() - begin)
    report(rounds, cli)


def report(rounds: list[tuple[dict[str, float], dict[str, float]]], cli: list[float]) -> None:
    """Print medians, ratios and extremes beside their budgets."""
    frames = int(rounds[-1][1]["frames"])
    budget = MEMORY_FIXED + MEMORY_PER_FRAME * frames
    peak = max(take["peak_bytes"] for _, take in rounds)
    size = max(take["folder_bytes"] for _, take in rounds)
    read_seconds = statistics.median(read["seconds"] for read, _ in rounds)
    take_seconds = statistics.median(take["seconds"] for _, take in rounds)
    taking = statistics.median(take["taken_seconds"] for _, take in rounds)
    ratios = sorted(take["seconds"] / read["seconds"] for read, take in rounds)
    whole = statistics.median(cli) / read_seconds
    print(f"host                    {frames:,} frames, Linux {os.uname().release}")
    print(f"read and discard        {read_seconds:.2f} s, {rounds[-1][0]['bytes']:,.0f} bytes, one thread")
    print(f"snapshot and write      {take_seconds:.2f} s, {rounds[-1][1]['bytes']:,.0f} bytes, two threads")
    print(f"  of which taking       {taking:.2f} s")
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    print(f"ratio                   {statistics.median(ratios):.2f}   (budget 1.25)   {spread}")
    print(f"ratio of whole command  {whole:.2f}   with the interpreter's start and the output")
    print(f"peak memory             {peak / 2**20:.0f} MiB   (budget {budget / 2**20:.0f} MiB)")
    print(f"folder                  {size:,.0f} bytes, {size / frames:.3f} a frame   (budget 1)")


if __name__ == "__main__":
    main()
