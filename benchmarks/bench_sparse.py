"""A process with a sparse 1 TiB reservation: vmprobe's walk of it against reading its pagemap end to end.

Run as ``python benchmarks/bench_sparse.py``; the child is that of the live tests. Both are measured in turn
in one run of this program; the figures are medians.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from vmprobe.collect.address_space import Reader
from vmprobe.collect.tasks import read_task
from vmprobe.formats import pagemap
from vmprobe.sources.meter import Meter
from vmprobe.sources.procfs import Tree

PROGRAMS = Path(__file__).parents[1] / "tests" / "live" / "programs.py"
PAGE = os.sysconf("SC_PAGE_SIZE")
ROUNDS = 5
CHUNK = 4 << 20


def walk(pid: int, start: int, end: int) -> tuple[float, dict[str, int]]:
    """Read VMAs and entries as a snapshot does; return seconds and entries in the range by kind."""
    meter = Meter()
    proc = Tree("/proc", meter)
    begin = time.perf_counter()
    space = Reader(proc, meter, PAGE, with_smaps=False).read(read_task(proc, pid))
    seconds = time.perf_counter() - begin
    found: dict[str, int] = {}
    kinds = pagemap.kinds(space.extents.word).tolist()
    for vpn, nr, kind in zip(space.extents.vpn.tolist(), space.extents.nr_pages.tolist(), kinds, strict=True):
        if start <= vpn * PAGE < end:
            found[pagemap.KINDS[kind]] = found.get(pagemap.KINDS[kind], 0) + nr
    return seconds, found


def naive(pid: int, start: int, end: int) -> float:
    """Read every word of the reservation and discard it; return seconds."""
    buffer = bytearray(CHUNK)
    fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY)
    begin = time.perf_counter()
    for offset in range(start // PAGE * 8, end // PAGE * 8, CHUNK):
        os.preadv(fd, [buffer], offset)
    seconds = time.perf_counter() - begin
    os.close(fd)
    return seconds


def main() -> None:
    """Measure in turn and print."""
    command = [sys.executable, "-I", str(PROGRAMS), "sparse"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        facts = json.loads(child.stdout.readline())
        place = child.pid, facts["start"], facts["end"]
        rounds = [(walk(*place), naive(*place)) for _ in range(ROUNDS)]
        child.communicate()
    walked = statistics.median(seconds for (seconds, _), _ in rounds)
    read = statistics.median(seconds for _, seconds in rounds)
    expected = {"present": len(facts["touched"])} | ({"guard": 1} if facts["guard"] is not None else {})
    print(f"walk of the process     {walked * 1e3:.1f} ms   (budget 50 ms)")
    print(f"reading its words       {read * 1e3:.0f} ms, 2 GiB")
    print(f"ratio                   {walked / read:.4f}")
    print(f"entries in the tebibyte {rounds[-1][0][1]}, expected {expected}")


if __name__ == "__main__":
    main()
