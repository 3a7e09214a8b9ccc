"""lab.quiet on this kernel: what empties the lists of a CPU."""

from __future__ import annotations

import mmap

import pytest

from lab.quiet import SMALLEST_LISTS, drain, pages_on_lists
from tests.live.workloads.knobs import knob

pytestmark = [pytest.mark.live, pytest.mark.root]

FILLING = 64 << 20
HIGH_FRACTION = "/proc/sys/vm/percpu_pagelist_high_fraction"


def test_lists_are_emptied_by_buffers_of_sockets() -> None:
    with mmap.mmap(-1, FILLING, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        area.madvise(mmap.MADV_NOHUGEPAGE)
        for at in range(0, FILLING, mmap.PAGESIZE):
            area[at] = 1
    filled = pages_on_lists()
    if filled < 3000:
        pytest.skip(f"{filled} pages on per-CPU lists after 64 MiB were freed: they are kept short here")
    with knob(HIGH_FRACTION, int(SMALLEST_LISTS)):
        assert drain() < 1000
