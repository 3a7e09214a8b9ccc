"""The model of a guest: free blocks against buddyinfo, reverse entries against the kernel's map counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.consistency import check
from kernelmodel.pageflags import mask
from lab.errors import DiffersError
from lab.plants import PLANTS
from lab.ring.check import Check, equal
from lab.ring.checks_frames import SLAB, free_blocks
from vmprobe.bridge.model import host_model

if TYPE_CHECKING:
    from kernelmodel.consistency import Violation
    from lab.ring.visit import Round, Visit


def compare_blocks(_visit: Visit, taken: Round) -> str:
    """Compare the free blocks that frames add up to with buddyinfo, at every order of every zone."""
    model = host_model(taken.snapshot, averaged=False)
    told = free_blocks(taken.text("buddyinfo"))
    for zone, free in zip(model.zones, model.free, strict=True):
        counts = free.counts().tolist()
        equal(counts, told[zone.node, zone.zone], f"free blocks of node {zone.node} zone {zone.zone}")
    nr = sum(len(free.order) for free in model.free)
    return f"{nr:,} blocks in {len(model.zones)} zones"


def plant_blocks(_visit: Visit, taken: Round) -> Round:
    """Plant one free frame too many."""
    flags = taken.snapshot.table("frames").column("flags")
    row = int(np.flatnonzero(flags & SLAB)[0])
    return taken.changed("frames", "flags", row, np.uint64(mask("BUDDY")))


def compare_entries(_visit: Visit, taken: Round) -> str:
    """Demand that every frame has as many reverse entries as the kernel counts, or differs with a reason.

    And that each of five faults, planted in the model of this guest, is found and named.
    """
    model = host_model(taken.snapshot, averaged=False)
    found = check(model)
    _none(found.violations, "of the guest as it is")
    assert found.counts is not None
    counts = found.counts
    equal(counts.nr_unexplained, 0, "frames whose counts differ without a reason")
    explained = sum(counts.explained.values())
    equal(counts.nr_match + explained + counts.nr_unstable, counts.nr_mapped, "frames compared")
    if "hidden-mappers" in counts.explained:
        raise DiffersError(f"{counts.explained['hidden-mappers']} frames have mappers that were not seen")
    # The photographer's own memory, which grows while it reads.
    if 20 * counts.nr_unstable > counts.nr_mapped:
        raise DiffersError(f"{counts.nr_unstable} of {counts.nr_mapped} mapped frames are unstable")
    for number, plant in enumerate(PLANTS):
        kinds = {violation.kind for violation in check(plant.do(model, 1000 * number)).violations}
        if not plant.named <= kinds <= plant.named | plant.beside:
            raise DiffersError(f"{plant.name}: found {sorted(kinds)}, not {sorted(plant.named)}")
    reasons = "".join(f", {name} {nr:,}" for name, nr in counts.explained.items())
    return f"{counts.nr_match:,} frames{reasons}, unexplained 0"


def _none(violations: tuple[Violation, ...], what: str) -> None:
    if violations:
        first = violations[0]
        told = f"{first.kind} at {first.where}: {first.detail}"
        raise DiffersError(f"{len(violations)} contradictions {what}, the first: {told}")


def plant_entries(_visit: Visit, taken: Round) -> Round:
    """Plant a run of page-table entries that was not found."""
    table = taken.snapshot.table("mappings")
    rows = np.flatnonzero((table.column("kind") == "present") & ~table.column("file"))
    return taken.without_row("mappings", int(rows[len(rows) // 2]))


CHECKS: Final = (
    Check("free blocks rebuilt", "buddyinfo, every order", compare_blocks, plant_blocks),
    Check("reverse entries", "kpagecount, five planted faults", compare_entries, plant_entries),
)
"""Rows of the table about the model."""
