"""Which frames have memory behind them, by /proc/iomem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.ranges import frames_inside

__all__ = ["SYSTEM_RAM", "frames_inside", "ram_ranges"]

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vmprobe.tables import Snapshot

SYSTEM_RAM: Final = "System RAM"
"""``kernel/resource.c``: the name of ranges that have memory behind them."""


def ram_ranges(snapshot: Snapshot) -> NDArray[np.int64] | None:
    """Return the frame ranges that /proc/iomem calls System RAM, sorted, half open; None where it is hidden.

    A frame that is RAM in part belongs to them: a hole has no memory at all. Without CAP_SYS_ADMIN the kernel
    prints every address as 0.
    """
    if not snapshot.has("resources"):
        return None
    page_size = snapshot.page_size
    rows = [
        (start // page_size, last // page_size + 1)
        for start, last, name in snapshot.table("resources").rows("start", "last", "name")
        if name.startswith(SYSTEM_RAM) and start <= last > 0
    ]
    if not rows:
        return None
    merged: list[list[int]] = []
    for start, end in sorted(rows):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return np.array(merged, np.int64)
