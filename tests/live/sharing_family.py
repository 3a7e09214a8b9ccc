"""A parent and its forks that share memory in every ordinary way; prints their numbers, then holds still.

Run as ``python -I sharing_family.py CHILDREN FILE``; ends, with all children, when stdin closes.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import sys
import tempfile

PAGE = mmap.PAGESIZE
HUGE = 2 << 20
PRIVATE, SHARED = mmap.MAP_PRIVATE, mmap.MAP_SHARED
PAGEOUT = 21


def write(area: mmap.mmap, pages: range) -> None:
    for page in pages:
        area[page * PAGE] = 1


def anonymous(nr_bytes: int, sharing: int, advice: int | None = None) -> mmap.mmap:
    area = mmap.mmap(-1, nr_bytes, flags=sharing | mmap.MAP_ANONYMOUS)
    if advice is not None:
        area.madvise(advice)
    return area


def main() -> None:
    nr_children = int(sys.argv[1])
    small = anonymous(512 * PAGE, PRIVATE, mmap.MADV_NOHUGEPAGE)
    huge = anonymous(4 * HUGE, PRIVATE, mmap.MADV_HUGEPAGE)
    shared = anonymous(256 * PAGE, SHARED)
    unwritten = anonymous(64 * PAGE, PRIVATE, mmap.MADV_NOHUGEPAGE)
    with tempfile.TemporaryFile(dir=sys.argv[2]) as file:
        file.write(bytes(256 * PAGE))
        file.flush()
        once, again, own = (
            mmap.mmap(file.fileno(), 256 * PAGE, flags=sharing) for sharing in (SHARED, SHARED, PRIVATE)
        )
    write(small, range(512))
    write(huge, range(4 * HUGE // PAGE))
    write(shared, range(128))
    # Swapped out before the forks: pages that several map stay. Without swap space all stay.
    swapped = anonymous(256 * PAGE, PRIVATE, mmap.MADV_NOHUGEPAGE)
    write(swapped, range(256))
    swapped.madvise(PAGEOUT)
    said, says = os.pipe()
    waits, holds = os.pipe()
    pids = []
    for number in range(nr_children):
        pid = os.fork()
        if pid == 0:
            os.close(holds)
            # Each other pages: every number of sharers from one to all of them comes up.
            write(small, range(number * 11 % 512))
            write(huge, range(number * 50, number * 50 + 3))
            write(shared, range(100, 130 + number * 3))
            write(own, range(number * 5))
            write(swapped, range(200, 200 + number))
            sum(swapped[page * PAGE] for page in range(number, 2 * number))
            sum(area[page * PAGE] for area in (once, again, unwritten) for page in range(number, 64))
            os.write(says, b".")
            os.read(waits, 1)
            os._exit(0)
        pids.append(pid)
    for _ in pids:
        os.read(said, 1)
    start = ctypes.addressof(ctypes.c_char.from_buffer(small))
    sys.stdout.write(json.dumps({"pids": [os.getpid(), *pids], "small": start}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    os.close(holds)
    for pid in pids:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
