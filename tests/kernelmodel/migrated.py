"""What tests of migrate look at: the layouts of a model, and what is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.compaction.from_frames import frame_states
from kernelmodel.compaction.zone_layout import ZoneLayout
from kernelmodel.consistency import check
from tests.kernelmodel.hosts import NR_ORDERS

if TYPE_CHECKING:
    from kernelmodel.host import HostModel


def layouts(model: HostModel) -> list[ZoneLayout]:
    """The layout of each zone."""
    # By words alone: a page of a folio that nobody maps would be in doubt once it stands alone.
    frames = replace(model.frames, mapcount=None)
    states = frame_states(frames, None, unevictable_allowed=True, nr_zspages=0)
    made = []
    row = 0
    for zone in model.zones:
        start, end = zone.start_pfn, zone.end_pfn
        # Both begin and end at multiples of the largest block.
        state = states[row : row + end - start].copy()
        targets = np.ones((end - start) >> zone.pageblock_order, np.bool_)
        made.append(
            ZoneLayout(
                zone.node, zone.zone, start, end, start, state, targets, zone.pageblock_order, NR_ORDERS
            )
        )
        made[-1].validate()
        row += end - start
    return made


def reverse_of(model: HostModel) -> dict[int, list[tuple[int, int]]]:
    """Frame to (mm, vpn), from the reverse map, sorted."""
    entries = model.entries
    assert entries is not None
    found: dict[int, list[tuple[int, int]]] = {}
    addresses = zip(*(column.tolist() for column in entries.address_of_entry()), strict=True)
    for pfn, at in zip(entries.frame_of_entry().tolist(), addresses, strict=True):
        found.setdefault(pfn, []).append(at)
    return {pfn: sorted(each) for pfn, each in found.items()}


def violations(model: HostModel) -> set[tuple[str, str]]:
    return {(violation.kind, violation.where) for violation in check(model).violations}
