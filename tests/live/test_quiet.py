"""lab.quiet on this kernel: what empties the lists of a CPU."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from lab.quiet import drain, pages_on_lists

pytestmark = [pytest.mark.live, pytest.mark.root]

FILLING = 64 << 20
HIGH_FRACTION = Path("/proc/sys/vm/percpu_pagelist_high_fraction")


def test_lists_are_emptied_by_buffers_of_sockets() -> None:
    with mmap.mmap(-1, FILLING, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        area.madvise(mmap.MADV_NOHUGEPAGE)
        for at in range(0, FILLING, mmap.PAGESIZE):
            area[at] = 1
    filled = pages_on_lists()
    if filled < 3000:
        pytest.skip(f"{filled} pages on per-CPU lists after 64 MiB were freed: they are kept short here")
    kept = HIGH_FRACTION.read_text(encoding="ascii")
    try:
        left = drain()
    finally:
        HIGH_FRACTION.write_text(kept, encoding="ascii")
    assert left < 1000
